"""Real and synthetic pictures: labels, generators, formats, and pictures made anew."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.origins import GENERATOR, Generators, Origins
from withstand.data.derived.recompressed import Recompressed
from withstand.data.derived.synthetic.generated import PROCESSES, Generated
from withstand.data.pictures.decoding.formats import written
from withstand.data.pictures.folder import ImageFolder
from withstand.data.pictures.npz.kinds import Kinds, open_kinds

PICTURES = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), dtype=np.uint8)


def source(classes: tuple[str, ...] = ("dalle", "real_photos", "sd")) -> ArraySource:
    return ArraySource(PICTURES, np.arange(9) % 3, classes=classes)


def folder(path: Path, real: str = "jpg", synthetic: str = "png", side: int = 16) -> Path:
    for place in range(12):
        of = ("real", "gan", "dalle")[place % 3]
        target = path / of / f"{place}.{real if of == 'real' else synthetic}"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.kron(PICTURES[place % 9], np.ones((side // 8, side // 8, 1), np.uint8))).save(target)
    return path


def test_labels_and_generators() -> None:
    found = Origins(source())
    assert found.classes == ("real", "synthetic")
    assert found.labels is not None
    assert found.labels.tolist() == [1, 0, 1] * 3
    assert found.attributes[GENERATOR].tolist() == [0, -1, 1] * 3
    assert found.group_names[GENERATOR] == ("dalle", "sd")
    batch = found[[4, 2]]
    assert batch.y is not None
    assert batch.y.tolist() == [0, 1]
    assert batch.extras[GENERATOR].tolist() == [-1, 1]
    told = Generators(found)
    assert told.labels is not None
    assert told.labels.tolist() == [0, 1] * 3
    assert torch.equal(told[[1]].x, found[[2]].x)


def test_several_classes_can_be_real() -> None:
    found = Origins(source(), ("dalle", "sd"))
    assert found.attributes[GENERATOR].tolist() == [-1, 0, -1] * 3


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Origins(source(("a", "b", "c"))), DataError, "called real"),
        (lambda: Origins(source(), ("dale",)), ConfigError, "did you mean 'dalle'|dalle"),
        (lambda: Origins(ArraySource(PICTURES)), DataError, "class of each picture"),
        (lambda: Origins(ArraySource(PICTURES.reshape(9, -1))), DataError, "pictures"),
        (lambda: Origins(source(("real_a", "real2", "Real c"))), DataError, "all pictures are real"),
        (lambda: Origins(source(("real", "realistic-vision", "sd"))), DataError, "real, realistic-vision all begin"),
        (lambda: Origins(source(("real", "real-esrgan", "sd"))), DataError, "say by real which hold"),
        (lambda: Origins(source(("photos", "realistic-vision", "sd"))), DataError, "is called real"),
        (lambda: Generators(Origins(source(("real1", "real2", "gan")))), DataError, "no two generators"),
        (lambda: Generators(source()), DataError, "knows no generators"),
        (lambda: Generated(source(), ("upsampling",)), ConfigError, "unknown"),
        (lambda: Generated(source(), strength=0.0), ConfigError, "strength"),
        (lambda: Recompressed(source(), 0), ConfigError, "quality"),
    ],
)
def test_bad_data(make: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make()


def test_other_data_are_told_in_the_same_way(tmp_path: Path) -> None:
    found = Origins(source())
    other = found.like(folder(tmp_path / "new"))
    assert other is not None
    assert other.shape == (3, 8, 8)
    assert other.group_names[GENERATOR] == ("dalle", "gan")
    assert other.labels is not None
    assert int(other.labels.sum()) == 8
    assert Recompressed(found).like(tmp_path / "new") is not None


def test_pictures_of_unknown_origin_can_be_asked_about(tmp_path: Path) -> None:
    """What a detector is for: they come without labels, which nothing is judged by."""
    found = Origins(source())
    for place in range(4):
        (tmp_path / "plain").mkdir(exist_ok=True)
        (tmp_path / "albums" / "ab"[place % 2]).mkdir(parents=True, exist_ok=True)
        for target in (tmp_path / "plain", tmp_path / "albums" / "ab"[place % 2]):
            Image.fromarray(PICTURES[place]).save(target / f"{place}.png")
    one = Recompressed(found).like(tmp_path / "plain" / "0.png")
    assert one is not None
    assert one.shape == (3, 8, 8)
    plain = found.like(tmp_path / "plain")
    assert plain is not None
    assert plain.labels is None
    with pytest.warns(UserWarning, match="albums is read without origins: none of the classes a, b is called real"):
        albums = found.like(tmp_path / "albums")
    assert albums is not None
    assert albums.labels is None
    assert albums.classes == ()
    assert albums[range(4)].y is None
    assert len(albums.names) == 4
    for other in (Generators(found), Recompressed(found)):
        with pytest.warns(UserWarning, match="without origins"):
            read = other.like(tmp_path / "albums")
        assert read is not None
        assert read.labels is None


def test_generators_of_other_pictures_have_the_same_numbers(tmp_path: Path) -> None:
    told = Generators(Origins(source(("real", "sd", "gan"))))
    other = Generators(Origins(source(("sd", "real", "gan"))))
    assert told.classes == ("sd", "gan")
    np.savez(tmp_path / "other.npz", gan=PICTURES[:3], real=PICTURES[3:5], sd=PICTURES[5:])
    read = told.like(tmp_path / "other.npz")
    assert read is not None
    assert read.classes == told.classes
    assert read.labels is not None
    assert read.labels.tolist() == [1, 1, 1, 0, 0, 0, 0]
    np.savez(tmp_path / "strange.npz", dalle=PICTURES[:3], real=PICTURES[3:5], sd=PICTURES[5:])
    with pytest.warns(UserWarning, match="dalle is none of the generators sd, gan"):
        strange = other.like(tmp_path / "strange.npz")
    assert strange is not None
    assert strange.labels is None
    assert len(strange) == 9


def test_formats_that_give_origins_away_are_found(tmp_path: Path) -> None:
    apart = ImageFolder(folder(tmp_path / "apart"), 16, cache=tmp_path / "cache")
    labels = Origins(apart).labels
    found = written(apart)
    assert found is not None
    assert labels is not None
    assert found.told_by_format(labels) == 1
    assert found.counts(labels, 0) == {"JPEG": 4}
    assert set(found.sides) == {16}
    alike = ImageFolder(folder(tmp_path / "alike", "png", "png"), 16, cache=tmp_path / "cache")
    same = written(alike)
    assert same is not None
    assert same.told_by_format(labels) == 0.5
    assert written(source()) is None


def test_arrays_by_kind(tmp_path: Path) -> None:
    np.savez(tmp_path / "kinds.npz", real=PICTURES[:5], gan=PICTURES[5:])
    np.savez(tmp_path / "plain.npz", x=PICTURES, y=np.arange(9))
    found = open_kinds(tmp_path / "kinds.npz")
    assert found is not None
    assert found.classes == ("gan", "real")
    assert np.array_equal(found[range(9)].x.permute(0, 2, 3, 1).numpy(), np.concatenate([PICTURES[5:], PICTURES[:5]]))
    assert open_kinds(tmp_path / "plain.npz") is None
    np.savez(tmp_path / "odd.npz", real=PICTURES, gan=PICTURES[:, :4])
    with pytest.raises(DataError, match="of one size"):
        Kinds(tmp_path / "odd.npz")


def test_half_is_made_anew_and_the_rest_stays() -> None:
    x = torch.randint(0, 256, (600, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = Generated(ArraySource(x, layout="NCHW"), strength=0.5)
    counts = found.labels.bincount() if found.labels is not None else torch.zeros(4)
    assert counts.tolist() == pytest.approx([300, 100, 100, 100], abs=45)
    batch = found[range(600)]
    assert batch.y is not None
    changed = (batch.x != x).flatten(1).any(1)
    assert torch.equal(changed, batch.y > 0)
    whole = Generated(ArraySource(x, layout="NCHW"))[range(600)].x
    half = (batch.x.float() - (x.float() + whole.float()) / 2).abs().max()
    assert float(half) <= 1, "strength is a share of the way"


def test_processes_keep_what_has_no_detail_and_leave_traces() -> None:
    flat = torch.full((1, 1, 16, 16), 0.5)
    draws = Draws(0, torch.arange(1))
    torch.testing.assert_close(PROCESSES["resampled"](flat, draws), flat, atol=1e-5, rtol=0)
    board = PROCESSES["transposed"](flat, draws)[0, 0, 2:-2, 2:-2]
    assert sorted({round(float(value), 4) for value in board.flatten()}) == pytest.approx([0.5, 0.55, 0.605])
    fine = ((torch.arange(16)[:, None] + torch.arange(16)) % 2).float().expand(1, 1, 16, 16)
    assert float((PROCESSES["truncated"](fine, draws) - 0.5).abs().mean()) < 0.05


def test_everything_is_compressed_alike() -> None:
    smooth = np.repeat(np.linspace(0, 255, 8).astype(np.uint8)[None, :, None, None], 9, 0).repeat(8, 2).repeat(3, 3)
    once = Recompressed(ArraySource(smooth), 90)
    twice = Recompressed(once, 90)
    rows = range(9)
    assert float((once[rows].x.float() - torch.from_numpy(smooth).permute(0, 3, 1, 2)).abs().mean()) < 4
    assert float((once[rows].x.float() - twice[rows].x.float()).abs().mean()) < 1
