"""A run of SLA: its votes are on test samples, and its classifier is one network."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from withstand.api.runs import Run
from withstand.core.batch import unit_range
from withstand.core.part import build
from withstand.core.roles import Source
from withstand.engine.launch import train
from withstand.models.blocks.classifiers.aggregated import Aggregated
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.recipes.pretext import sla


def trained(out: Path, mode: str = "joint") -> Run:
    setup = replace(sla.SETUP, data="digits", width=2, epochs=1, batch=256)
    train(sla.experiment(setup, mode=mode), out, quiet=True)  # type: ignore[arg-type]
    return Run(out, device="cpu")


def test_votes_are_counted_on_samples_that_were_not_learnt_from(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    tree = run.folder.record()["tree"]
    assert isinstance(tree, dict)
    test = build(tree["init_args"]["test"])  # type: ignore[index,call-overload]
    assert isinstance(test, Source)
    assert test.labels is not None
    (votes,) = [finding for finding in run._judged() if finding.name == "votes"]
    assert votes.protocol["samples given"] == len(test)
    network = run.classifier()
    assert isinstance(network, Aggregated)
    with torch.no_grad():
        right = network(unit_range(test[range(len(test))].x)).argmax(1) == test.labels
    assert votes.figures["accuracy, all versions together"].value == pytest.approx(right.float().mean().item())


def test_a_distilled_head_is_a_plain_classifier_without_votes(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "distilled")
    assert isinstance(run.classifier(), Classifier)
    assert not [finding for finding in run._judged() if finding.name == "votes"]
