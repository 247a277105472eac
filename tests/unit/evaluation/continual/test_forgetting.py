"""Forgetting, against the plain formula, and losses on held-out samples."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toys import ToyPictures, toy_method
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Terms
from withstand.evaluation.continual.forgetting import ACCURACY, LOSS, StageOutcome, forgetting, held_out_loss
from withstand.methods.continual.continual_pretraining import ContinualPretraining
from withstand.methods.masked.mae import MAE
from withstand.views.presets import crop_and_flip


class Level(Model):
    """The mean of each channel, shifted."""

    width = 3

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(shift))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + self.shift


class Shifted(Method):
    """Its loss is its shift on pictures of seed 0, and twice that on others, told by their first byte."""

    def __init__(self, encoder: Level) -> None:
        super().__init__()
        self.encoder = encoder

    def step(self, batch: Batch) -> Terms:
        first = (batch.x[:, 0, 0, 0] > 127).float().mean()
        return {"loss": self.encoder.shift * (1 + first)}  # type: ignore[operator]


def dyed(first: int, seed: int) -> ToyPictures:
    source = ToyPictures(40, seed=seed)
    source._x[:, 0, 0, 0] = first
    return source


def outcomes(*shifts: float) -> list[StageOutcome]:
    sets = [dyed(255 * (place % 2), place) for place in range(len(shifts))]
    return [
        StageOutcome("set", Shifted(Level(shift)), source, source) for shift, source in zip(shifts, sets, strict=True)
    ]


def test_forgetting_is_what_the_last_stage_lost_on_earlier_sets() -> None:
    found = forgetting(outcomes(1.0, 2.0, 5.0))
    table = found.tables[LOSS]
    assert table.columns == ("after", "set (1)", "set (2)", "set (3)")
    losses = [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [5.0, 10.0, 5.0]]
    assert [list(row[1:]) for row in table.rows] == losses
    assert found.figures[f"forgetting, {LOSS}"].value == ((5 - 1) + (10 - 4)) / 2
    assert found.figures[f"mean {LOSS} over all sets"].value == pytest.approx(20 / 3)
    accuracies = [row[1:] for row in found.tables[ACCURACY].rows]
    lost = sum(accuracies[place][place] - accuracies[2][place] for place in range(2)) / 2  # type: ignore[operator]
    assert found.figures[f"forgetting, {ACCURACY}"].value == pytest.approx(lost)


def test_one_set_and_other_methods_are_refused() -> None:
    with pytest.raises(ConfigError, match="one set alone"):
        forgetting(outcomes(1.0))
    one, other = outcomes(1.0, 2.0)
    with pytest.raises(ConfigError, match="different methods have losses that cannot be compared: Shifted, SimCLR"):
        forgetting([one, replace(other, method=toy_method())])


def test_the_loss_is_the_innermost_methods_over_all_samples_and_changes_nothing() -> None:
    method, view = MAE.example(), crop_and_flip(8)
    source = ToyPictures(200, size=8)
    wrapped = ContinualPretraining(method, distil=1.0).train()
    loss = held_out_loss(wrapped, source, view)
    assert loss == held_out_loss(method, source, view)
    assert loss != held_out_loss(method, source, view, seed=1)
    assert wrapped.training
    whole = method.step(source[range(200)])["loss"].item()
    assert held_out_loss(method, source) == pytest.approx(whole, rel=1e-5)


def test_a_last_batch_too_small_for_a_method_goes_with_the_one_before() -> None:
    assert held_out_loss(toy_method(), ToyPictures(129), crop_pair()) > 0


def crop_pair():  # type: ignore[no-untyped-def]
    from withstand.views.presets import simclr_small

    return simclr_small(16)
