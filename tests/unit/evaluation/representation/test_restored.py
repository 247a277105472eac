"""What is shown of restored patches is what the method was given and told, by levels that give nothing away."""

import numpy as np
import pytest
import torch
from torch import Tensor

from toys import ToyPictures, toy_method, toy_rows
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.restoration.restored import OFF, ORDER, Restored
from withstand.methods.masked.hpm import HPM
from withstand.methods.masked.mae import MAE
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT

SOURCE = ToyPictures(12, size=16)


def made(kind: type[MAE] | type[HPM] = MAE, **settings: object) -> MAE | HPM:
    with isolated("restored"):
        encoder = Normalized(ViT(4, 24, 1, 3), (0.5,) * 3, (0.25,) * 3)
        return kind(encoder, depth=1, width=8, heads=2, **settings)  # type: ignore[arg-type]


class Knowing(MAE):
    """Tells exactly what is asked for."""

    def restored(self, x: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        patches = self.encoder.patches(x)
        target = patches.gather(1, hidden[:, :, None].expand(-1, -1, patches.shape[2]))
        if self.normalise:
            variance, mean = torch.var_mean(target, 2, keepdim=True)
            target = (target - mean) / (variance + 1e-6).sqrt()
        return target


def test_who_knows_the_pixels_restores_the_picture_without_error() -> None:
    finding = Restored(shown=3).evaluate(made(Knowing, normalise=False).double(), SOURCE)
    np.testing.assert_array_equal(finding.pictures["restored"], finding.pictures["picture"])
    assert finding.figures[OFF].value == pytest.approx(0, abs=1e-12)
    assert finding.protocol["levels of what is shown"] == "as told, in pixels"
    shown = {picture.tobytes() for picture in finding.pictures["picture"]}
    assert shown <= {picture.numpy().tobytes() for picture in SOURCE[range(12)].x.permute(0, 2, 3, 1)}


def test_levels_of_hidden_patches_come_from_seen_ones_alone() -> None:
    """All pixels of hidden patches are brightened: whoever tells shapes alone restores the same."""
    method, evaluator = made(Knowing), Restored(shown=4, samples=12)
    before = evaluator.evaluate(method, SOURCE)
    assert before.figures[OFF].value < 1e-9
    seen = before.pictures["seen"]
    x = SOURCE[range(12)].x.float() / 255
    keep, hidden = method.masks(Batch(x, torch.arange(12)))
    shifted = x.clone()
    for row in range(12):
        for place in hidden[row].tolist():
            top, left = 4 * (place // 4), 4 * (place % 4)
            shifted[row, :, top : top + 4, left : left + 4] = (
                0.5 * shifted[row, :, top : top + 4, left : left + 4] + 0.4
            )
    after = evaluator.evaluate(method, ArraySource(shifted.numpy()))
    np.testing.assert_array_equal(after.pictures["seen"], seen)
    difference = after.pictures["restored"].astype(int) - before.pictures["restored"].astype(int)
    assert abs(difference).max() <= 3, "rounding to bytes, at half the contrast"
    assert keep.shape == (12, 4)


def test_hidden_patches_are_grey_and_seen_ones_as_they_are() -> None:
    finding = Restored(shown=5).evaluate(made(), SOURCE)
    seen, whole, restored = (finding.pictures[name] for name in ("seen", "picture", "restored"))
    cells = (seen == 128).reshape(5, 4, 4, 4, 4, 3).all((2, 4, 5))
    assert cells.sum((1, 2)).tolist() == [12] * 5
    pixels = cells.repeat(4, 1).repeat(4, 2)
    np.testing.assert_array_equal(seen[~pixels], whole[~pixels])
    assert abs(restored[~pixels].astype(int) - whole[~pixels].astype(int)).max() <= 1


def test_a_flat_guess_costs_one() -> None:
    class Flat(MAE):
        def restored(self, x: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
            return torch.zeros(len(x), hidden.shape[1], 48)

    assert Restored().evaluate(made(Flat), SOURCE).figures[OFF].value == pytest.approx(1)


def test_difficulty_is_ranked_and_drawn() -> None:
    method, control = made(HPM), made(HPM)
    finding = Restored(shown=2).evaluate(method, SOURCE, control=control)
    greys = finding.pictures["difficulty"]
    assert greys.shape == (2, 16, 16, 3)
    scores = method.difficulty(torch.from_numpy(finding.pictures["picture"]).permute(0, 3, 1, 2))
    cells = torch.from_numpy(greys[:, ::4, ::4, 0].reshape(2, 16).astype(int))
    assert torch.equal(cells.argsort(1), scores.argsort(1))
    assert finding.figures[ORDER].control is not None
    assert finding.figures[ORDER].value == pytest.approx(finding.figures[ORDER].control.value)


@pytest.mark.parametrize("sign", [1, -1])
def test_told_difficulty_that_orders_the_errors_correlates_with_them(sign: int) -> None:
    class Known(HPM):
        def masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
            order = torch.arange(16).expand(len(batch), -1)
            return order[:, :4], order[:, 4:]

        def difficulty(self, x: Tensor) -> Tensor:
            order = torch.arange(16).expand(len(x), -1)
            off = self.restored(x, order[:, :4], order[:, 4:]) - self.encoder.patches(x)[:, 4:]
            return sign * torch.cat([torch.zeros(len(x), 4), off.square().mean(2)], 1)

    assert Restored().evaluate(made(Known), SOURCE).figures[ORDER].value == pytest.approx(sign)


def test_what_cannot_be_shown_is_refused() -> None:
    assert Restored().lacks(toy_method(), SOURCE) == "SimCLR restores no patches that could be shown"
    with pytest.raises(ConfigError, match="SimCLR restores no patches"):
        Restored().evaluate(toy_method(), SOURCE)
    with pytest.raises(DataError, match="patches are of pictures"):
        Restored().evaluate(made(), toy_rows(16))
    with pytest.raises(DataError, match="nothing to restore"):
        Restored().evaluate(made(), ArraySource(np.full((4, 3, 16, 16), 7, np.uint8)))
    with pytest.raises(ConfigError, match="shown must lie between 1 and samples, not 0"):
        Restored(shown=0)
