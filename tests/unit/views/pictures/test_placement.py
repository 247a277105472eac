"""Geometry that pictures, points and masks share."""

import math

import pytest
import torch

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws
from withstand.losses.agreement.heatmaps import heatmaps, highest
from withstand.views.pictures.geometry import rotate
from withstand.views.pictures.placement import (
    GEOMETRY,
    HIDDEN,
    Placement,
    inside,
    moved,
    painted,
    placed,
    placements,
    warped,
)

STILL = {"mirrored": 0.0, "turned": 0.0, "shifted": 0.0, "hidden": 0.0}


def matrix(*, mirrored: bool = False, degrees: float = 0.0, shift: tuple[float, float] = (0.0, 0.0),
           side: tuple[int, int] = (33, 41)) -> torch.Tensor:  # fmt: skip
    return placements(torch.tensor([mirrored]), torch.tensor([degrees]), torch.tensor([shift]), *side)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0.0, 30.0, -75.0])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (4.0, -3.0)])
def test_a_bump_goes_where_its_point_goes(mirrored: bool, degrees: float, shift: tuple[float, float]) -> None:
    point = torch.tensor([[[23.0, 14.0]]])
    one = matrix(mirrored=mirrored, degrees=degrees, shift=shift)
    seen = highest(warped(heatmaps(point, 33, 41, 2.0), one))[:, :, :2]
    assert inside(placed(point, one), 33, 41).all()
    assert (seen - placed(point, one)).abs().max() <= 0.75


def test_quarter_turns_are_seen_counter_clockwise_as_rotate_turns() -> None:
    x = torch.rand(1, 1, 9, 9)
    quarter = matrix(degrees=90.0, side=(9, 9))
    torch.testing.assert_close(warped(x, quarter), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)
    inner = slice(3, 6)
    turned = warped(x, matrix(degrees=30.0, side=(9, 9)))
    torch.testing.assert_close(turned[..., inner, inner], rotate(x, torch.tensor([30.0]))[..., inner, inner])


def test_mirrors_are_exact_and_undo_themselves() -> None:
    x, point = torch.rand(1, 2, 5, 8), torch.tensor([[[1.0, 2.0], [7.0, 4.0]]])
    one = matrix(mirrored=True, side=(5, 8))
    torch.testing.assert_close(warped(x, one), x.flip(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(placed(point, one), torch.tensor([[[6.0, 2.0], [0.0, 4.0]]]))
    torch.testing.assert_close(placed(placed(point, one), one), point)
    assert torch.linalg.det(one[:, :, :2]).item() == pytest.approx(-1)


def test_shifts_are_whole_pixels_to_the_right_and_down() -> None:
    x = torch.rand(1, 1, 6, 7)
    shifted = warped(x, matrix(shift=(2.0, 1.0), side=(6, 7)))
    torch.testing.assert_close(shifted[..., 1:, 2:], x[..., :-1, :-2], atol=1e-6, rtol=0)
    torch.testing.assert_close(shifted[..., 1:, :2], x[..., :-1, :2].flip(3), atol=1e-6, rtol=0)


def test_a_view_that_changes_nothing_is_the_picture_to_the_bit() -> None:
    batch = Batch(torch.rand(3, 3, 8, 8), torch.arange(3))
    made = Placement(2, **STILL)(batch, Draws(0, batch.index))
    assert all(torch.equal(view, batch.x) for view in made.views)
    assert torch.equal(made.extras[GEOMETRY], torch.eye(2, 3).expand(3, 2, 2, 3))
    assert not made.extras[HIDDEN].any()


def test_views_are_what_their_geometry_and_boxes_say() -> None:
    batch = Batch(torch.rand(40, 3, 16, 16), torch.arange(40))
    made = Placement(2, hidden=0.9)(batch, Draws(0, batch.index))
    for place, view in enumerate(made.views):
        again = moved(batch.x, made.extras[GEOMETRY][:, place])
        boxes = made.extras[HIDDEN][:, place]
        torch.testing.assert_close(view, painted(again, boxes, again.mean((1, 2, 3))), atol=1e-6, rtol=0)
    matrices, boxes = made.extras[GEOMETRY], made.extras[HIDDEN]
    turn = torch.atan2(matrices[..., 0, 1], matrices[..., 1, 1]).rad2deg()
    assert turn.abs().max() <= 45
    assert 0.1 < float((torch.linalg.det(matrices[..., :2]) < 0).float().mean()) < 0.55
    there = boxes[..., 2] > 0
    assert set(there.sum(2).flatten().tolist()) <= set(range(6))
    assert boxes[there][:, 2:].min() >= 1
    assert boxes[there][:, 2:].max() <= 3
    assert (boxes[there][:, :2] + boxes[there][:, 2:]).max() <= 16


def test_points_on_the_edge_are_inside_and_beyond_it_are_not() -> None:
    points = torch.tensor([[-0.4, 0.0], [-0.6, 0.0], [7.4, 4.4], [7.6, 0.0], [0.0, 4.6]])
    assert inside(points, 5, 8).tolist() == [True, False, True, False, False]


@pytest.mark.parametrize(
    "wrong",
    [{"count": 0}, {"mirrored": 1.5}, {"hidden": -0.1}, {"degrees": (10.0, -10.0)}, {"shift": (0.0, 2.0)},
     {"boxes": (0, 2)}, {"box_sides": (0.5, 0.2)}],
)  # fmt: skip
def test_settings_out_of_range_are_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Placement(**wrong)  # type: ignore[arg-type]


def test_colors_may_not_move_pixels() -> None:
    from withstand.views.pictures.geometry import Rotation

    with pytest.raises(ConfigError, match="Rotation"):
        Placement(colors=(Rotation(),))


def test_a_turn_by_an_oblong_picture_keeps_distances() -> None:
    points = torch.tensor([[[3.0, 4.0], [20.0, 9.0]]])
    after = placed(points, matrix(degrees=40.0, side=(12, 30)))
    assert math.dist(*after[0].tolist()) == pytest.approx(math.dist(*points[0].tolist()), rel=1e-5)
