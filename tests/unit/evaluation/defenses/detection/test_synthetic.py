"""Detection of synthetic pictures: areas by generator, calibration, and what is refused."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.origins import Generators, Origins
from withstand.evaluation.defenses.detection.synthetic import AS_THEY_ARE, CLEAN, SyntheticBench, measured
from withstand.evaluation.statistics.calibration import expected_calibration_error


def test_areas_are_of_each_generator_against_the_real_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(60, 2, generator=generator)
    made = torch.arange(60) % 3 - 1
    found = measured(logits, made, [0, 1])
    score = (logits[:, 1] - logits[:, 0]).numpy()
    for code, area in enumerate(found.areas):
        rows = ((made == code) | (made < 0)).numpy()
        assert area == pytest.approx(roc_auc_score(made.numpy()[rows] == code, score[rows]))
    right = (score > 0) == (made.numpy() >= 0)
    y = made.numpy() >= 0
    assert found.balanced == pytest.approx((right[y].mean() + right[~y].mean()) / 2)


def test_calibration_error_is_a_mean_over_bins() -> None:
    confidence = torch.tensor([0.55, 0.58, 0.9, 0.95])
    right = torch.tensor([True, False, True, True])
    assert expected_calibration_error(confidence, right, 10) == pytest.approx((2 * 0.065 + 0.1 + 0.05) / 4, abs=1e-6)
    assert expected_calibration_error(torch.tensor([0.0, 1.0]), torch.tensor([False, True])) == 0
    assert expected_calibration_error(torch.ones(4), torch.tensor([True, False, False, True])) == 0.5
    with pytest.raises(ConfigError, match="bins"):
        expected_calibration_error(confidence, right, 0)
    with pytest.raises(DataError, match="confidences"):
        expected_calibration_error(confidence * 2, right)


class ByBrightness(nn.Module):
    """Says that bright pictures are synthetic."""

    def forward(self, x: Tensor) -> Tensor:
        level = 20 * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-level, level], 1)


def bright(classes: tuple[str, ...] = ("real", "gan", "vae")) -> ArraySource:
    rng = np.random.default_rng(0)
    y = np.arange(48) % 3
    level = np.where(y == 1, 200, 60)[:, None, None, None]
    x = (level + rng.integers(-20, 20, (48, 12, 12, 3))).astype(np.uint8)
    return ArraySource(x, y, classes=classes)


def test_the_finding_tells_generators_apart() -> None:
    found = SyntheticBench(batch=7).evaluate(ByBrightness(), Origins(bright()))
    rows = {row[0]: row[1:] for row in found.tables["AUC by generator and perturbation"].rows}
    assert found.tables["AUC by generator and perturbation"].columns[1:] == ("gan", "vae", "mean")
    assert rows[AS_THEY_ARE][0] == 1, "gan pictures are bright"
    assert 0.2 < float(rows[AS_THEY_ARE][1]) < 0.8, "vae pictures are as dark as real ones"  # type: ignore[arg-type]
    assert found.figures[CLEAN].value == pytest.approx(rows[AS_THEY_ARE][2])
    assert found.protocol["synthetic pictures"] == {"gan": 16, "vae": 16}
    assert found.numbers == SyntheticBench(batch=48).evaluate(ByBrightness(), Origins(bright())).numbers


def test_what_cannot_be_judged() -> None:
    assert SyntheticBench().lacks(None, bright())
    assert not SyntheticBench().lacks(None, Origins(bright()))
    assert SyntheticBench().lacks(None, Generators(Origins(bright()))), "two generators are not real and synthetic"
    with pytest.raises(DataError, match="which pictures are synthetic"):
        SyntheticBench().evaluate(ByBrightness(), bright())
    with pytest.raises(DataError, match="two logits"):
        measured(torch.zeros(4, 3), torch.tensor([-1, 0, -1, 0]), [0])
    with pytest.raises(ConfigError, match="samples"):
        SyntheticBench(samples=0)
