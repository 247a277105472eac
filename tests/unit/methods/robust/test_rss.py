"""Robust self-training: what it reads, what it ignores, what it refuses, and a run on two Gaussians."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from withstand.claims.robust.rss import exact_accuracy, mixture, robust_rate
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import network_of
from withstand.data.arrays.source import ArraySource
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.evaluation.continual.classifier_gain import ClassifierGain
from withstand.losses.robust.transport import pair_norms
from withstand.methods.robust.rss import LABELLED, RSS
from withstand.models.blocks.normalization.scaled import Flat, Scaled
from withstand.recipes.robust.rss import SETUP, experiment


def method(**settings: object) -> RSS:
    with isolated("rss"):
        return RSS(Flat(3), 2, **settings)  # type: ignore[arg-type]


def batch(unlabelled: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    known = Batch(torch.randn(4, 3, generator=generator), torch.arange(4), torch.arange(4) % 2)
    return Batch(torch.randn(unlabelled, 3, generator=generator), torch.arange(unlabelled), beside={LABELLED: known})


def test_the_loss_is_the_papers_for_two_classes() -> None:
    rss, given = method(gamma=0.5, gamma_unlabelled=0.25, weight=3.0), batch()
    difference = (rss.classifier.weight[1] - rss.classifier.weight[0]).detach()
    unit = difference / difference.norm()
    known = given.beside[LABELLED]
    assert known.y is not None
    labelled = (1 - 0.5 * (2 * known.y - 1) * (known.x @ unit)).clamp(0, 1).mean()
    unlabelled = (1 - 0.25 * (given.x @ unit).abs()).clamp(0, 1).mean()
    torch.testing.assert_close(rss.step(given)["loss"].detach(), labelled + 3 * unlabelled)


def test_without_weight_unlabelled_samples_change_nothing() -> None:
    rss, given = method(weight=0.0), batch()
    other = replace(given, x=1e3 * given.x)
    assert torch.equal(rss.step(given)["loss"], rss.step(other)["loss"])
    assert torch.equal(rss.step(given)["loss"], rss.step(given.beside[LABELLED])["loss"])


def test_the_unlabelled_part_does_not_know_which_class_is_which() -> None:
    rss, given = method(), batch()
    before = rss.step(given)["unlabelled"]
    with torch.no_grad():
        rss.classifier.weight.copy_(rss.classifier.weight.flip(0))
    torch.testing.assert_close(rss.step(given)["unlabelled"], before)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"loss": "zero-one", "gamma": None}, "no gradient"),
        ({"loss": "hinge", "gamma": 0.9}, "infinite"),
        ({"loss": "logistic"}, "squared-l2"),
        ({"loss": "logistic", "cost": "squared-l2", "gamma_unlabelled": 0.125}, "more than one worst point"),
        ({"gamma": 0.0}, "gamma must be above 0"),
        ({"weight": -1.0}, "weight"),
        ({"loss": "square"}, "is unknown"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        method(**settings)


def test_every_loss_learns() -> None:
    for loss, cost, gamma in (
        ("ramp", "l2", 1.0), ("ramp", "squared-l2", None), ("hinge", "l2", 1.0), ("hinge", "squared-l2", 0.5),
        ("logistic", "squared-l2", 0.2), ("logistic", "l2", None),
    ):  # fmt: skip
        rss = method(loss=loss, cost=cost, gamma=gamma, gamma_unlabelled=gamma)
        rss.step(batch())["loss"].backward()
        gradient = rss.classifier.weight.grad
        assert gradient is not None
        assert bool((gradient != 0).any()), (loss, cost)


def test_what_it_reads() -> None:
    with pytest.raises(DataError, match="beside"):
        method().step(replace(batch(), beside={}))
    with pytest.raises(DataError, match="have none"):
        method().step(replace(batch(), beside={LABELLED: replace(batch().beside[LABELLED], y=None)}))
    with pytest.raises(DataError, match="only one class"):
        method(weight=0.0).accept(ArraySource(torch.rand(4, 3), torch.zeros(4, dtype=torch.int64)), 4)


def test_features_are_brought_to_a_spread_of_1() -> None:
    scaled = Scaled(Flat(4))
    x = 5 * torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) + 9
    scaled.measure(lambda function: function(x))
    assert float(scaled(x).var(0, correction=0).mean()) == pytest.approx(1.0, abs=1e-5)
    still = Scaled(Flat(4))
    still.measure(lambda function: function(torch.ones(3, 4)))
    assert float(still.spread) == 1.0


def means() -> tuple[Tensor, torch.Generator]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.zeros(20)
    mean[0] = 1.5
    return mean, generator


def test_the_classifier_is_given_at_unit_scale_whatever_its_weights_have_grown_to() -> None:
    with isolated("rss"):
        method = RSS(Flat(4), 3, bias=True)
    rows = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    given = [network(rows) for network in (network_of(method, "classifier"), method.started())]
    with torch.no_grad():
        for layer in (method.classifier, method.start):
            layer.weight *= 1000
            assert layer.bias is not None
            layer.bias *= 1000
    for network, before in zip((network_of(method, "classifier"), method.started()), given, strict=True):
        torch.testing.assert_close(network(rows), before)
        weight = network.get_submodule("head").get_parameter("weight").detach()
        assert float(pair_norms(weight).amax()) == pytest.approx(1)


def test_a_run_beside_its_first_stage(tmp_path: Path) -> None:
    mean, generator = means()
    data, free = mixture(60, mean, generator), mixture(600, mean, generator)
    made = experiment(
        replace(SETUP, data=data, unlabelled=free, labels=2, epochs=80, batch=600, learning_rate=0.05), bias=False
    )
    assert isinstance(made.first, Experiment)
    assert len(made.first.source) == 4
    assert made.source.labels is None
    assert len(made.source) == 600, "none is kept of samples that judge nothing"
    run = train(made, tmp_path / "run", quiet=True)
    checkpoint.load(run.checkpoints, made.method)
    rss = made.method
    assert isinstance(rss, RSS)
    ours, theirs = (exact_accuracy(part.weight.detach(), mean) for part in (rss.classifier, rss.start))
    assert ours > theirs + 0.02
    assert not ClassifierGain().lacks(rss, made.source)
    found = ClassifierGain().evaluate(rss, data, test=mixture(400, mean, generator)).figures
    assert found["accuracy"].value == pytest.approx(ours, abs=0.06)
    assert found["accuracy at the start"].value == pytest.approx(theirs, abs=0.06)
    assert found["gain"].value == found["accuracy"].value - found["accuracy at the start"].value


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"labels": 0}, ConfigError, "labels must be at least 1"),
        ({"labels": 40}, DataError, "40 samples a class"),
        ({"labels": 24}, DataError, "none is left"),
        ({"labels": 2, "unlabelled": ArraySource(torch.rand(5, 3))}, DataError, "have shape"),
    ],
)
def test_data_that_are_refused(changed: dict[str, object], error: type[Exception], said: str) -> None:
    data = mixture(60, *means())
    with pytest.raises(error, match=said):
        experiment(replace(SETUP, data=data, **changed))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="have none"):
        experiment(replace(SETUP, data=ArraySource(torch.rand(20, 3))))
    with pytest.raises(DataError, match="only one class"):
        experiment(replace(SETUP, data=ArraySource(torch.rand(20, 3), torch.zeros(20, dtype=torch.int64)), labels=2))


def test_data_that_are_their_own_unlabelled_ones_keep_what_judges() -> None:
    data = mixture(60, *means())
    made = experiment(replace(SETUP, data=data, unlabelled=data, labels=2))
    assert made.test is not None
    assert len(made.source) == 48
    free, judged = (part[range(len(part))].x for part in (made.source, made.test))
    assert not (free[:, None] == judged).all(2).any()


def test_the_bounds_rate_falls_with_unlabelled_samples_and_rises_with_the_shift() -> None:
    assert robust_rate(200, 10, 5000, 0.0, 1.0) < robust_rate(200, 10, 100, 0.0, 1.0)
    assert robust_rate(200, 10, 5000, 0.5, 1.0) > robust_rate(200, 10, 5000, 0.0, 1.0)
