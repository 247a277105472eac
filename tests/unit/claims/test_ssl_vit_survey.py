"""The survey: every masked and pretext recipe on one budget, beside one untrained encoder."""

import numpy as np
import pytest
import torch

from withstand.claims.protocol.compare import arms_of
from withstand.claims.protocol.measures import LINEAR
from withstand.claims.studies import ssl_vit_survey as survey
from withstand.core.part import describe
from withstand.data.arrays.source import ArraySource
from withstand.recipes.catalogue import entries
from withstand.recipes.setups.vision import pictures


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 256, (256, 3, 32, 32), dtype=np.uint8)
    source = ArraySource(x, np.arange(256) % 4, layout="NCHW")
    monkeypatch.setattr(pictures, "splits_or_all", lambda *_, **__: (source, source))
    monkeypatch.setattr(survey, "PICTURES", 128)
    monkeypatch.setattr(survey, "TEST", 40)
    monkeypatch.setattr(survey, "EPOCHS", 1)


def test_all_arms_have_one_budget_and_start_from_one_encoder() -> None:
    arms = arms_of(survey.claim(), 1)
    known = {item.slug for item in entries()}
    assert {"mae", "hpm", "simmim", "sit", "i-jepa", "data2vec", "ibot", "maskfeat", "beit", "rotation"} <= {
        *arms
    } & known
    assert "sla" not in arms
    assert "graphmae" not in arms
    assert [name for name, (_, train) in arms.items() if not train] == ["untrained"]
    first, _ = arms["untrained"]
    for trial, _ in arms.values():
        assert describe(trial.plan.optimizer) == describe(first.plan.optimizer)
        assert (trial.plan.epochs, trial.plan.batch, trial.plan.seed) == (1, 64, 1)
        assert torch.equal(trial.source[range(5)].index, first.source[range(5)].index)
        for one, other in zip(trial.method.encoder.parameters(), first.method.encoder.parameters(), strict=True):
            assert torch.equal(one, other)


def test_views_and_seconds_are_told_beside_accuracies() -> None:
    arms = arms_of(survey.claim(), 0)
    found = {name: survey.measure(arms[name]) for name in ("untrained", "simmim")}
    assert found["untrained"] == {LINEAR: found["untrained"][LINEAR], "views seen": 0, "seconds": 0}
    assert found["simmim"]["views seen"] == 128
    assert found["simmim"]["seconds"] > 0
    assert survey._views(arms["sit"][0]) == 2
    (table,) = survey.claim().tables([found]).values()
    assert {row[0]: row[1] for row in table.rows} == {"untrained": "none", "simmim": "masked"}


def test_what_is_two_points_above_counts() -> None:
    def at(*values: float) -> dict[str, dict[str, float]]:
        return {name: {LINEAR: value} for name, value in zip(("untrained", "a", "b", "c", "d"), values, strict=True)}

    assert survey.share_above(at(0.25, 0.5, 0.28, 0.26, 0.1)) == 0.5
    assert survey.claim().figures(at(0.25, 0.5, 0.5, 0.5, 0.5)) == (1.0, 0.8)
