"""Every evaluator: one signature, and a finding whose figures say what they are and survive a file."""

import inspect
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

from toys import ToyPictures, toy_method
from walk import of_role
from withstand.core.findings.finding import HIGH, LOW, SPREAD, Finding, Measure, Table
from withstand.core.roles import PRODUCTS, Evaluator
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.judges import judge
from withstand.evaluation.probes.named import KNN, Gauges, Map
from withstand.evaluation.representation.sample_state import SampleState
from withstand.methods.contrastive.isogclr import ISogCLR

UNITS = {
    "share", "count", "seconds", "radius", "k/255", "nats", "cosine", "cosine distance", "squared distance",
    "dB", "directions", "degrees", "distance", "ratio", "correlation", "the target's", "the method's own",
    "the rule's own", "layout", "pixels", "shares of the largest feature value", "shares of the nodes' mean length",
}  # fmt: skip
"""What figures and columns of our own are measured in."""

EVERY = {part.__name__: part for part in of_role(Evaluator)}


@cache
def found(name: str) -> Finding:
    evaluator = EVERY[name].example()
    subject, source, control = evaluator.example_trial()
    for network in (subject, control):
        if isinstance(network, nn.Module):
            network.eval()
    assert evaluator.lacks(subject, source) == ""
    return evaluator.evaluate(subject, source, control=control)


def measures(finding: Finding) -> list[Measure]:
    own = list(finding.figures.values())
    return own + [measure.control for measure in own if measure.control is not None]


def test_evaluators_are_found_and_no_two_have_one_name() -> None:
    assert {"KNN", "RobustnessAudit", "Detection", "FlowDrift"} <= set(EVERY)
    assert len(EVERY) == len(of_role(Evaluator))


@pytest.mark.parametrize("part", of_role(Evaluator), ids=lambda part: part.__name__)
def test_the_signature_is_one(part: type[Evaluator]) -> None:
    own = list(inspect.signature(part.evaluate).parameters.values())
    wanted = list(inspect.signature(Evaluator.evaluate).parameters.values())
    assert [(one.name, one.kind, one.default) for one in own[: len(wanted)]] == [
        (one.name, one.kind, one.default) for one in wanted
    ]
    assert all(one.kind is one.KEYWORD_ONLY and one.default is not one.empty for one in own[len(wanted) :])
    assert part.product in (*PRODUCTS, "method", "defense")


@pytest.mark.parametrize("name", EVERY)
def test_figures_say_what_they_are(name: str) -> None:
    finding = found(name)
    assert finding.figures or name == "Map"
    for measure in measures(finding):
        assert measure.unit in UNITS
        assert measure.unit != "share" or -1 <= measure.value <= 1
    for figure, measure in finding.figures.items():
        lower = ("nearer", "fooling", "retrieved", "rewritten", "gap", "lost", "abstentions", "success", "emission",
                 "wrongly", "rejected", "harmless", "calibration error")  # fmt: skip
        way = "lower" if any(word in figure for word in lower) else "higher"
        assert measure.better in (way, None) or measure.unit != "share" or name in ("Certificate", "Unlearning")


@pytest.mark.parametrize("name", EVERY)
def test_columns_say_what_they_hold(name: str) -> None:
    for key, table in found(name).tables.items():
        for column in measured(table):
            assert table.units.get(column) in UNITS, f"{column!r} in {key!r}"


def measured(table: Table) -> list[str]:
    """Return the columns of numbers that are no counts, without spreads and intervals."""
    return [
        column
        for column in table.columns
        if any(isinstance(cell, float) for cell in table.column(column)) and not column.endswith((SPREAD, LOW, HIGH))
    ]


@pytest.mark.parametrize("name", EVERY)
def test_findings_survive_a_file(name: str, tmp_path: Path) -> None:
    finding = found(name)
    again = Finding.load(finding.save(tmp_path))
    assert (again.figures, again.headline, again.checks) == (finding.figures, finding.headline, finding.checks)
    assert again.record() == finding.record()


@pytest.mark.parametrize("name", EVERY)
def test_controls_stand_beside_what_they_are_of(name: str) -> None:
    if EVERY[name].example().example_trial().control is None:
        pytest.skip("it has no use for a control")
    headline = found(name).headline
    compared = found(name).figures.values() if headline is None else [found(name).figures[headline]]
    if name not in ("Map", "Layers"):  # these two show the control in tables alone
        assert all(measure.control is not None for measure in compared)


def test_judges_that_lack_what_they_need_are_left_out() -> None:
    method, source = toy_method().eval(), ToyPictures(24)
    bare = ArraySource(source[range(24)].x)
    judges = (Map(layout="pca"), KNN(), SampleState(), Gauges())
    assert [finding.name for finding in judge(judges, method, source, control=toy_method())] == ["map", "knn", "gauges"]
    assert [finding.name for finding in judge(judges, method, bare)] == ["map", "gauges"]
    kept = toy_method(ISogCLR, samples=24).eval()
    assert [finding.name for finding in judge(judges, kept, source)] == ["map", "knn", "samples", "gauges"]


@pytest.mark.parametrize("name", EVERY)
def test_a_network_in_training_mode_keeps_its_state(name: str) -> None:
    evaluator = EVERY[name].example()
    subject, source, control = evaluator.example_trial()
    if not isinstance(subject, nn.Module):
        pytest.skip("it judges no network")
    subject.train()
    before = {key: value.clone() for key, value in subject.state_dict().items()}
    modes = [module.training for module in subject.modules()]  # a frozen part may stay in eval mode
    flags = {key: value.requires_grad for key, value in subject.named_parameters()}
    evaluator.evaluate(subject, source, control=control)
    for key, value in subject.state_dict().items():  # batch statistics, say
        torch.testing.assert_close(value, before[key], rtol=0, atol=0, equal_nan=True, msg=key)
    assert [module.training for module in subject.modules()] == modes
    assert {key: value.requires_grad for key, value in subject.named_parameters()} == flags
