"""Tasks with known answers: what is asked is what the labels say, on pictures whose tiles tell which they are."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, isolated
from withstand.data.arrays.source import ArraySource
from withstand.methods.pretext.jigsaw import Jigsaw
from withstand.methods.pretext.relative_position import RelativePosition
from withstand.methods.pretext.rotation import Rotation
from withstand.methods.shared.pretext_pictures import PretextMethod
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.pretexts import cropped_tiles, tiles


def encoder() -> Normalized:
    with isolated("pretext"):
        return Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3)


def numbered(count: int, grid: int, side: int = 12) -> Tensor:
    """Pictures whose every tile has its number's color."""
    tile = side // grid
    cells = torch.arange(grid**2, dtype=torch.float32).view(1, 1, grid, grid) / 10
    return cells.repeat_interleave(tile, 2).repeat_interleave(tile, 3).expand(count, 3, -1, -1)


def streams(count: int) -> Draws:
    return Draws(0, torch.arange(count))


def test_rotations_are_clockwise_quarter_turns_told_by_one_layer() -> None:
    method = Rotation(encoder()).double()
    batch = ToyPictures(4, size=8)[range(4)]
    x = batch.x.double() / 255
    turned = torch.stack([torch.rot90(x, -turns, (2, 3)) for turns in range(4)], 1).flatten(0, 1)
    logits = torch.nn.functional.linear(method.encoder(turned), method.task.head[0].weight, method.task.head[0].bias)
    labels = torch.tensor([0, 1, 2, 3] * 4)
    terms = method.step(batch)
    torch.testing.assert_close(terms["loss"], cross_entropy(logits, labels))
    assert float(terms["accuracy"]) == pytest.approx(float((logits.argmax(1) == labels).float().mean()))


def test_the_second_tile_lies_where_the_label_says() -> None:
    made, labels = RelativePosition(encoder()).task.made(numbered(40, 3), streams(40))
    colors = made.mean((1, 2, 3)).view(40, 2) * 10
    torch.testing.assert_close(colors[:, 0], torch.full((40,), 4.0))
    neighbours = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8])
    torch.testing.assert_close(colors[:, 1], neighbours[labels].float())
    assert {*labels.tolist()} == {*range(8)}
    assert made.shape == (80, 3, 12, 12)


def test_tiles_are_laid_in_the_order_that_the_label_names() -> None:
    task = Jigsaw(encoder(), grid=2, orders=5, each=6, joint=8).task
    made, labels = task.made(numbered(30, 2), streams(30))
    torch.testing.assert_close(made.mean((1, 2, 3)).view(30, 4) * 10, task.orders[labels].float())


def test_parts_of_tiles_are_windows_each_at_its_own_place() -> None:
    places = torch.arange(144.0).view(1, 1, 12, 12).expand(60, 1, -1, -1)
    pieces = tiles(places, 2)
    parts = cropped_tiles(pieces, 0.67, streams(60))
    assert parts.shape == (60, 4, 1, 4, 4)
    torch.testing.assert_close(parts[..., 1:, :] - parts[..., :-1, :], torch.full((60, 4, 1, 3, 4), 12.0))
    torch.testing.assert_close(parts[..., 1:] - parts[..., :-1], torch.full((60, 4, 1, 4, 3), 1.0))
    corners = parts[:, 0, 0, 0, 0]
    assert {*corners.tolist()} == {12.0 * top + left for top in range(3) for left in range(3)}
    assert torch.equal(cropped_tiles(pieces, 1.0, streams(60)), pieces)


@pytest.mark.parametrize("cls", [Rotation, RelativePosition, Jigsaw])
def test_a_sample_is_asked_the_same_in_any_company(cls: type[PretextMethod]) -> None:
    method = cls(encoder())
    x = torch.rand(6, 3, 12, 12)
    whole, labels = method.task.made(x, streams(6))
    part, same = method.task.made(x[2:4], Draws(0, torch.arange(2, 4)))
    each = len(whole) // 6
    torch.testing.assert_close(part, whole[2 * each : 4 * each])
    assert torch.equal(same, labels[2 * len(labels) // 6 : 4 * len(labels) // 6])


def test_one_step_tells_right_answers_from_wrong_ones() -> None:
    """A head that knows the order of the labels is right every time."""
    method = Rotation(encoder())
    batch = Batch(torch.rand(5, 3, 8, 8), torch.arange(5))
    method.task.logits = lambda features: 100 * torch.eye(4)[torch.tensor([0, 1, 2, 3] * 5)]  # type: ignore[method-assign]
    terms = method.step(batch)
    assert float(terms["accuracy"]) == 1
    assert float(terms["loss"]) < 1e-6


def test_what_does_not_fit_is_refused() -> None:
    oblong = ArraySource(torch.zeros(4, 3, 8, 12, dtype=torch.uint8).numpy(), layout="NCHW")
    with pytest.raises(DataError, match="only square pictures"):
        Rotation(encoder()).accept(oblong, 2)
    with pytest.raises(DataError, match="cannot be cut into 3 x 3 tiles"):
        RelativePosition(encoder()).accept(ToyPictures(4, size=2), 2)
    with pytest.raises(DataError, match="Rotation learns from pictures"):
        Rotation(encoder()).accept(ArraySource(torch.zeros(4, 8).numpy()), 2)
    with pytest.raises(ConfigError, match="crop, a share"):
        Jigsaw(encoder(), crop=0.0)
    with pytest.raises(ConfigError, match=r"count must lie in \[2, 24\]"):
        Jigsaw(encoder(), grid=2)
