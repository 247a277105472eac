"""What a run makes of pictures of another size lies where it lies in the pictures themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import withstand as ws
from withstand.api.runs import Run
from withstand.core.outputs import UNSEEN, Output, Seen
from withstand.data.derived.resized import as_shaped
from withstand.data.load import load
from withstand.data.volumes.slices import fitted, placed

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (24, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of 60 x 40, whose middle squares are of 40 pixels."""
    folder = tmp_path_factory.mktemp("photos")
    for place in range(2):
        Image.fromarray(RNG.integers(0, 256, (40, 60, 3), np.uint8)).save(folder / f"{place}.png")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_points_and_masks_by_the_formula() -> None:
    seen = Seen.middle(40, 60)
    assert (seen.left, seen.top, seen.wide, seen.cut) == (10, 0, 40, True)
    corner = torch.tensor([[-0.5, -0.5, 0.7], [15.5, 15.5, 0.1]])  # the edges of the square
    assert seen.points(corner, 16, 16).tolist() == [pytest.approx(row) for row in ([9.5, -0.5, 0.7], [49.5, 39.5, 0.1])]
    mask = torch.arange(4).view(2, 2)
    whole = seen.mask(mask)
    assert whole.shape == (40, 60)
    assert (whole[:, :10] == UNSEEN).all()
    assert (whole[:, 50:] == UNSEEN).all()
    assert [int(whole[y, x]) for y, x in ((0, 10), (19, 29), (0, 30), (20, 10), (39, 49))] == [0, 0, 1, 2, 3]
    assert not Seen(5, 7, -2, -1, 11, 7).cut
    told = Output(torch.zeros(1, 2), "columns")
    assert told.in_own_pixels([seen], 2, 2) is told


@pytest.mark.parametrize("sides", [(20, 44), (40, 10), (33, 32)])
def test_slices_come_back_as_they_were(sides: tuple[int, int]) -> None:
    stack = RNG.integers(0, 5, (3, *sides))
    seen = placed(*sides, 32)
    back = [seen.mask(torch.from_numpy(row)) for row in fitted(stack, 32)]
    for row, wanted in zip(back, torch.from_numpy(stack), strict=True):
        assert row.shape == wanted.shape
        assert torch.equal(row[row != UNSEEN], wanted[row != UNSEEN])
        assert bool((row == UNSEEN).any()) is (max(sides) > 32)


def test_masks_of_photos_are_as_large_as_the_photos(wide: Path, tmp_path: Path) -> None:
    masks = np.zeros((24, 16, 16), np.int64)
    masks[:, 4:8, 4:8] = 1
    np.savez(tmp_path / "scenes.npz", x=X, mask=masks)
    options = {"slots": 3, "batch": 12}
    out = tmp_path / "run"
    run = ws.train("slot-tta", tmp_path / "scenes.npz", out=out, epochs=1, options=options, quiet=True)
    squares = load(wide, size=16)
    found = run.apply(str(wide), steps=0)["masks"].values
    direct = run.apply(squares[range(2)].x, steps=0)["masks"].values
    for one, small in zip(found, direct, strict=True):
        assert isinstance(one, torch.Tensor)
        assert isinstance(small, torch.Tensor)
        assert torch.equal(one, Seen.middle(40, 60).mask(small))
    assert run.apply(str(wide / "0.png"), steps=0)["masks"].values[0].shape == (40, 60)
    assert run.apply(split="test", steps=0)["masks"].values[0].shape == (16, 16)
    told = run.apply_to(tmp_path / "written", str(wide), steps=0)
    assert "255 where a picture was cut off, and not looked at" in told.outputs[0]
    assert Image.open(tmp_path / "written/masks/1.png").size == (60, 40)


def test_points_lie_where_they_are_seen(wide: Path, tmp_path: Path) -> None:
    points = RNG.uniform(2, 13, (24, 3, 2))
    np.savez(tmp_path / "points.npz", x=X, keypoints=points)
    options = {"target": str(tmp_path / "points.npz"), "source_epochs": 1, "batch": 12}
    out = tmp_path / "run"
    run = ws.train("c-gac", str(tmp_path / "points.npz"), out=out, epochs=1, options=options, quiet=True)
    found = run.apply(str(wide))["keypoints"].values
    direct = run.apply(load(wide, size=16)[range(2)].x)["keypoints"].values
    for one, small in zip(found, direct, strict=True):
        assert isinstance(one, torch.Tensor)
        assert isinstance(small, torch.Tensor)
        wanted = (small[:, :2] + 0.5) * 40 / 16 - 0.5 + torch.tensor([10.0, 0.0])
        assert torch.allclose(one[:, :2], wanted)
        assert torch.equal(one[:, 2:], small[:, 2:])


def test_networks_of_one_size_are_given_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"model": "convnet", "width": 4, "depth": 1, "batch": 12, "steps": 1}
    np.savez(tmp_path / "large.npz", x=RNG.integers(0, 256, (5, 24, 24, 3), np.uint8))
    run = ws.train("pgd-at", (X, np.arange(24) % 2), out=tmp_path / "run", epochs=1, options=options, quiet=True)
    large = load(tmp_path / "large.npz")
    found = run.apply(large)["probability"].values
    assert torch.equal(
        torch.stack(list(found)), torch.stack(list(run.apply(as_shaped(large, (3, 16, 16)))["probability"].values))
    )
    told = run.apply_to(tmp_path / "told", large)
    assert told.notes == (("pictures of 24 x 24", "brought to 16 x 16, the only size that is taken"),)
    embedded = run.embed(large)
    assert embedded.notes == told.notes
    assert torch.equal(embedded.x, run.embed(as_shaped(large, (3, 16, 16))).x)
    any_size = ws.train("simclr", X, out=tmp_path / "any", epochs=1, options={"width": 4, "batch": 12}, quiet=True)
    assert Run(any_size.path, supply=any_size._supply).shape == (3, 16, 16)


def test_pictures_of_another_size_that_are_taken_are_told_by_every_verb(tmp_path: Path) -> None:
    options = {"width": 4, "batch": 12, "holdout": 0.25}
    run = ws.train("simclr", X, out=tmp_path / "run", epochs=1, options=options, quiet=True)
    np.savez(tmp_path / "large.npz", x=RNG.integers(0, 256, (10, 24, 24, 3), np.uint8), y=np.arange(10) % 2)
    large, told = str(tmp_path / "large.npz"), "pictures of 24 x 24 taken as they are, where 16 x 16 was learnt from"
    assert [" ".join(note) for note in run.embed(large).notes] == [told]
    assert run.embed().notes == ()
    with pytest.warns(UserWarning, match=told):
        finding = next(one for one in run.probe(large) if one.name == "knn")
    data = finding.protocol["data"]
    assert isinstance(data, dict)
    assert (data["shape"], data["learnt from"]) == ([3, 24, 24], [3, 16, 16])
    with pytest.warns(UserWarning, match=told):
        run.neighbors(large)
    with pytest.warns(UserWarning, match=told):
        run.attack(large, attack="noise", samples=2)
    with pytest.warns(UserWarning, match=told):
        run.judged(large)
