"""Accuracy by groups: the table is about the right samples, and worst group and gap are what counting gives."""

import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from toys import ToyPictures
from withstand.core.errors import ConfigError, DataError
from withstand.core.threat import Ball
from withstand.data.shared.groups import read_groups
from withstand.evaluation.robustness.fairness import GroupGaps, gap
from withstand.evaluation.statistics.intervals import Share


class Named(ToyPictures):
    """Pictures with names in two folders; two pairs have the same last part."""

    def __init__(self, count: int = 80) -> None:
        super().__init__(count)
        self.names = tuple(f"{'ab'[place % 2]}/{place // 2 if place < 4 else place:03d}.png" for place in range(count))


class Even(nn.Module):
    """Right on the samples whose first pixel is even."""

    def forward(self, x: Tensor) -> Tensor:
        even = (x[:, 0, 0, 0] * 255).round() % 2 == 0
        return torch.eye(4)[torch.where(even, self.labels(x), (self.labels(x) + 1) % 4)] + 0 * x.sum((1, 2, 3))[:, None]

    def labels(self, x: Tensor) -> Tensor:
        whole = ToyPictures(80)[range(80)]
        flat, y = whole.x.flatten(1), whole.y
        assert y is not None
        given = (x.detach().flatten(1) * 255).round().to(torch.uint8)
        return y[torch.tensor([int((flat == row).all(1).nonzero()[0]) for row in given])]


def write(path: Path, rows: list[list[object]], names: list[str]) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return str(path)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(12)), st.sampled_from(["file", "Path", "id", "anything"]), st.booleans())
def test_each_sample_gets_its_own_row(tmp_path_factory, order, key, whole) -> None:  # type: ignore[no-untyped-def]
    source, path = Named(12), tmp_path_factory.mktemp("groups") / "groups.csv"
    rows = [[source.names[row] if whole or row < 4 else Path(source.names[row]).name, f"g{row % 3}", f"h{row}"]
            for row in order]  # fmt: skip
    found = read_groups(write(path, rows, [key, "camera", "own"]), source)
    assert [found["camera"].names[code] for code in found["camera"].codes] == [f"g{row % 3}" for row in range(12)]
    assert [found["own"].names[code] for code in found["own"].codes] == [f"h{row}" for row in range(12)]


def test_a_name_that_two_samples_share_stands_for_neither(tmp_path: Path) -> None:
    path = write(tmp_path / "groups.csv", [["000.png", "x"], ["a/000.png", "y"], ["b/005.png", "x"]], ["file", "kind"])
    with pytest.warns(UserWarning, match="10 of 12 samples"):
        found = read_groups(path, Named(12))
    assert found["kind"].codes[[0, 1, 5]].tolist() == [
        found["kind"].names.index("y"),
        -1,
        found["kind"].names.index("x"),
    ]


def test_samples_without_names_are_known_by_their_place(tmp_path: Path) -> None:
    path = write(tmp_path / "groups.csv", [[place, "ab"[place % 2]] for place in (3, 1, 0, 2)], ["index", "kind"])
    assert read_groups(path, ToyPictures(4))["kind"].codes.tolist() == [0, 1, 0, 1]


def test_tables_that_are_about_something_else(tmp_path: Path) -> None:
    source = Named(12)
    for rows, names, word in (
        ([["z.png", "x"]] * 3, ["file", "kind"], "names no sample"),
        ([["a/000.png", "x"], ["a/000.png", "y"]], ["file", "kind"], "two values for one sample"),
    ):
        with pytest.raises(DataError, match=word):
            read_groups(write(tmp_path / "groups.csv", rows, names), source)


def test_worst_group_and_gap_are_counted(tmp_path: Path) -> None:
    source = Named(80)
    path = write(tmp_path / "g.csv", [[name, "left" if place < 40 else "right"] for place, name in
                                     enumerate(source.names)], ["file", "side"])  # fmt: skip
    right = source[range(80)].x[:, 0, 0, 0] % 2 == 0
    shares = {"left": Share.of(right[:40]), "right": Share.of(right[40:])}
    worst = min(shares, key=lambda side: shares[side].value)
    found = GroupGaps(path).evaluate(Even(), source)
    assert found.figures[f"accuracy of the worst side ({worst})"].value == shares[worst].value
    difference = found.figures["accuracy gap between sides"]
    assert difference.value == pytest.approx(abs(shares["left"].value - shares["right"].value))
    assert difference.interval is not None
    assert difference.interval[0] <= difference.value <= difference.interval[1]
    rows = {row[0]: row[1:3] for row in found.tables["side"].rows}
    assert rows == {side: (40, share.value) for side, share in shares.items()}
    assert found.checks[0].passed


def test_samples_without_a_label_are_not_judged(tmp_path: Path) -> None:
    source = Named(80)
    path = write(tmp_path / "g.csv", [[name, "ab"[place % 2]] for place, name in enumerate(source.names)],
                 ["file", "kind"])  # fmt: skip
    source._y = torch.where(torch.arange(80) < 20, -1, source._y)
    found = GroupGaps(path).evaluate(Even(), source)
    right = source[range(20, 80)].x[:, 0, 0, 0] % 2 == 0
    assert found.protocol["samples"] == 60
    shares = [Share.of(right[start::2]) for start in (0, 1)]
    assert [row[1:3] for row in found.tables["kind"].rows] == [(30, share.value) for share in shares]
    source._y = torch.full((80,), -1)
    with pytest.raises(DataError, match="no sample has one"):
        GroupGaps(path).evaluate(Even(), source)


def test_small_groups_are_named_and_alike_groups_have_no_gap(tmp_path: Path) -> None:
    source = Named(80)
    path = write(tmp_path / "g.csv", [[name, "few" if place < 5 else "many"] for place, name in
                                     enumerate(source.names)], ["file", "size"])  # fmt: skip
    found = GroupGaps(path).evaluate(Even(), source)
    assert found.checks[0].passed is False
    assert "size 'few' (5)" in found.checks[0].detail
    low, high = gap(Share(20, 40), Share(20, 40))
    assert low == pytest.approx(-high)


def test_under_attack_no_group_gains(tmp_path: Path) -> None:
    source = Named(80)
    path = write(tmp_path / "g.csv", [[name, "ab"[place % 2]] for place, name in enumerate(source.names)],
                 ["file", "kind"])  # fmt: skip
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    found = GroupGaps(path, Ball("linf", 0.02), steps=3).evaluate(net, source)
    for _, _, clean, _, _, robust, *_ in found.tables["kind"].rows:
        assert robust <= clean
    assert "PGD, 3 steps" in str(found.protocol["attack"])
    with pytest.raises(ConfigError, match="at least 1"):
        GroupGaps(path, steps=0)
