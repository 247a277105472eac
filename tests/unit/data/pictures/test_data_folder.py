import os
import pickle
import resource
import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from withstand.core.errors import DataError
from withstand.core.part import build, describe
from withstand.data import ImageFolder
from withstand.data.pictures.decoding import cache
from withstand.data.pictures.decoding.decode import decode
from withstand.data.pictures.decoding.forms import Square


def square(path, size):
    return decode(path, Square(size)).pixels


def picture(path, seed=0, side=24):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side + 8, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def flat(tmp_path):
    for number in range(6):
        picture(tmp_path / "pictures" / f"{number}.png", number, 20 + 3 * number)
    return tmp_path / "pictures"


@pytest.fixture
def decoded(monkeypatch):
    """The names of the files that were really decoded, in no particular order."""
    names = []
    whole = cache.decode_or_reason

    def noted(path, form, reading):
        names.append(path.name)
        return whole(path, form, reading)

    monkeypatch.setattr(cache, "decode_or_reason", noted)
    return names


def cache_file(home):
    (found,) = (home / "withstand" / "pictures").glob("*.pictures")
    return found


def test_decoding_together_equals_decoding_one_by_one(flat):
    source = ImageFolder(flat, 16)
    serial = torch.from_numpy(np.stack([square(path, 16) for path in sorted(flat.iterdir())]))
    assert torch.equal(source[range(6)].x, serial)
    assert torch.equal(source[[5, 1]].x, serial[[5, 1]])
    assert source[[5, 1]].x.is_contiguous()
    assert source[[5, 1]].index.tolist() == [5, 1]
    assert (len(source), source.shape, source.labels, source.classes) == (6, (3, 16, 16), None, ())
    assert source.names == tuple(f"{number}.png" for number in range(6))


def test_class_folders_give_labels(tmp_path):
    for name in ("bees/a.png", "ants/b.png", "ants/deep/c.png"):
        picture(tmp_path / name)
    (tmp_path / "empty").mkdir()
    source = ImageFolder(tmp_path, 8)
    assert source.classes == ("ants", "bees")
    assert source.names == ("ants/b.png", "ants/deep/c.png", "bees/a.png")
    assert source.labels.tolist() == [0, 0, 1]
    assert source[[2, 0]].y.tolist() == [1, 0]
    given = ImageFolder(tmp_path, 8, classes=("cats", "bees", "ants"))
    assert given.labels.tolist() == [2, 2, 1]
    assert ImageFolder(tmp_path, 8, classes=()).labels is None
    with pytest.raises(DataError, match="'bees', which is not among the classes ants"):
        ImageFolder(tmp_path, 8, classes=("ants",))


def test_a_stray_picture_costs_no_labels_and_is_named(tmp_path):
    for name in ("bees/a.png", "ants/b.png", "ants/c.png", "outside.png"):
        picture(tmp_path / name)
    with pytest.warns(UserWarning, match=r"1 of 4 pictures lie outside .* no label \(outside.png\)") as said:
        source = ImageFolder(tmp_path, 8)
    assert len(said) == 1
    assert source.labels.tolist() == [0, 0, 1, -1]
    assert source[[3, 2]].y.tolist() == [-1, 1]
    for number in range(4):
        picture(tmp_path / f"more-{number}.png")
    with pytest.warns(UserWarning, match=r"no labels are read from its 2 folders \(ants, bees\), as 5 of 8"):
        assert ImageFolder(tmp_path, 8).labels is None


def test_a_folder_for_each_picture_is_no_class(tmp_path):
    for number in range(21):
        picture(tmp_path / f"patient {number}" / "scan.png", side=8)
    with pytest.warns(UserWarning, match="no labels are read from its 21 folders, which hold 21 pictures"):
        assert ImageFolder(tmp_path, 8).classes == ()


def test_single_folders_are_passed_through(tmp_path):
    for name in ("bees/a.png", "ants/b.png"):
        picture(tmp_path / "archive" / "images" / name)
    source = ImageFolder(tmp_path, 8)
    assert source.classes == ("ants", "bees")
    assert source.labels.tolist() == [0, 1]
    assert source.names == ("archive/images/ants/b.png", "archive/images/bees/a.png")


def test_one_folder_within_is_no_class(tmp_path):
    picture(tmp_path / "images" / "a.png")
    assert ImageFolder(tmp_path, 8).labels is None
    assert len(ImageFolder(tmp_path, 8)) == 1


def test_unreadable_files_are_skipped_counted_and_listed(flat):
    (flat / "broken.jpg").write_bytes(b"no picture at all")
    whole = picture(flat / "z-cut.png").read_bytes()
    (flat / "z-cut.png").write_bytes(whole[: len(whole) // 2])
    (flat / "empty.webp").write_bytes(b"")
    (flat / "link.png").symlink_to(flat / "nowhere.png")
    Image.new("RGB", (9, 9)).save(flat / "photo.ico")
    for name in (".hidden.png", "notes.txt", "labels.CSV"):
        (flat / name).write_bytes(b"x")
    (flat / ".git").mkdir()
    picture(flat / ".git" / "a.png")
    os.mkfifo(flat / "pipe.png")
    with pytest.warns(
        UserWarning, match="5 of 11 files in .* are not readable pictures .*broken.jpg.* and 2 more"
    ) as said:
        source = ImageFolder(flat, 8)
    assert len(said) == 1
    assert "\n" not in str(said[0].message)
    assert len(source) == 6
    assert [name for name, _ in source.skipped] == ["broken.jpg", "empty.webp", "link.png", "photo.ico", "z-cut.png"]
    assert "truncated" in dict(source.skipped)["z-cut.png"]
    assert all(reason and str(flat) not in reason for _, reason in source.skipped)
    assert source.ignored == 4
    with pytest.raises(DataError, match=r"5 of 11 files .* repair or remove them"):
        ImageFolder(flat, 8, strict=True)


def test_a_truncated_jpeg_is_no_picture(flat):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(flat / "a.jpg")
    (flat / "a.jpg").write_bytes((flat / "a.jpg").read_bytes()[:-600])
    with pytest.warns(UserWarning, match=r"a\.jpg: .*truncated"):
        assert len(ImageFolder(flat, 8)) == 6


def test_folders_without_pictures(tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        ImageFolder(tmp_path / "missing", 8)
    with pytest.raises(DataError, match="a file, not a folder"):
        ImageFolder(picture(tmp_path / "a.png"), 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no pictures in .*: 0 other files"):
        ImageFolder(tmp_path / "empty", 8)
    (tmp_path / "empty" / "a.txt").write_text("a")
    (tmp_path / "empty" / "b.jpg").write_text("b")
    with pytest.raises(DataError, match=r"1 other files, 1 unreadable \(b.jpg: cannot identify") as caught:
        ImageFolder(tmp_path / "empty", 8)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="at least 1 pixel"):
        ImageFolder(tmp_path, 0)


def test_only_what_changed_is_decoded_again(flat, decoded):
    first = ImageFolder(flat, 16)
    assert len(decoded) == 6
    decoded.clear()
    assert ImageFolder(flat, 16).fingerprint() == first.fingerprint()
    assert not decoded

    before = (flat / "2.png").stat()
    picture(flat / "2.png", 99)
    os.utime(flat / "2.png", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    picture(flat / "7.png", 7)
    (flat / "0.png").unlink()
    changed = ImageFolder(flat, 16)
    assert sorted(decoded) == ["2.png", "7.png"]
    serial = torch.from_numpy(np.stack([square(path, 16) for path in sorted(flat.iterdir())]))
    assert torch.equal(changed[range(6)].x, serial)
    assert changed.fingerprint() != first.fingerprint()
    assert torch.equal(first[[1]].x, serial[[0]])  # what was open stays as it was

    decoded.clear()
    ImageFolder(flat, 8)
    assert len(decoded) == 6


def test_a_repaired_file_is_taken_up(flat, decoded):
    whole = (flat / "3.png").read_bytes()
    (flat / "3.png").write_bytes(whole[:60])
    with pytest.warns(UserWarning, match="1 of 6 files"):
        assert len(ImageFolder(flat, 8)) == 5
    (flat / "3.png").write_bytes(whole)
    decoded.clear()
    assert ImageFolder(flat, 8).skipped == ()
    assert decoded == ["3.png"]


@pytest.mark.parametrize("where", [0, 1000, -30, -4])
def test_a_damaged_cache_is_noticed_and_made_again(flat, cache_home, decoded, where):
    good = ImageFolder(flat, 16)
    expected, path = good[range(6)].x, cache_file(cache_home)
    content = bytearray(path.read_bytes())
    content[where] ^= 0x41
    path.write_bytes(content)
    decoded.clear()
    with pytest.warns(UserWarning, match="is damaged or of another version: made again"):
        again = ImageFolder(flat, 16)
    assert len(decoded) == 6
    assert torch.equal(again[range(6)].x, expected)
    assert again.fingerprint() == good.fingerprint()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFolder(flat, 16)


@pytest.mark.parametrize("length", [0, 5, 100, 3000])
def test_a_cut_cache_is_made_again(flat, cache_home, length):
    expected = ImageFolder(flat, 16)[range(6)].x.clone()
    path = cache_file(cache_home)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.warns(UserWarning, match="made again"):
        assert torch.equal(ImageFolder(flat, 16)[range(6)].x, expected)


def test_the_cache_lies_where_it_is_told(flat, tmp_path, cache_home):
    ImageFolder(flat, 8, cache=tmp_path / "elsewhere" / "deep")
    assert not cache_home.exists()
    assert len(list((tmp_path / "elsewhere" / "deep").glob("*.pictures"))) == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="name another folder with cache="):
        ImageFolder(flat, 8, cache=tmp_path / "file")


def test_a_full_disk_is_one_line_and_leaves_no_half_cache(flat, cache_home):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(DataError, match="cannot be kept in"):
            ImageFolder(flat, 16)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = [path.suffix for path in (cache_home / "withstand" / "pictures").iterdir()]
    assert left == [".lock"]
    assert len(ImageFolder(flat, 16)) == 6


def test_what_a_killed_process_left_is_removed(flat, cache_home):
    ImageFolder(flat, 16)
    path = cache_file(cache_home)
    left = path.with_name(f".{path.name}.123.part")
    left.write_bytes(b"half")
    (flat / "0.png").unlink()
    assert len(ImageFolder(flat, 16)) == 5
    assert not left.exists()


def test_two_at_once_decode_once(flat, decoded):
    found = []
    threads = [threading.Thread(target=lambda: found.append(ImageFolder(flat, 16))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({source.fingerprint() for source in found}) == 1
    assert sorted(decoded) == [f"{number}.png" for number in range(6)]


def test_more_files_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(Square, "together", 4)
    for number in range(11):
        picture(tmp_path / f"{number:02}.png", number, 8)
    (tmp_path / "05.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="1 of 11"):
        source = ImageFolder(tmp_path, 8)
    expected = [square(path, 8) for path in sorted(tmp_path.glob("*.png")) if path.name != "05.png"]
    assert torch.equal(source[range(10)].x, torch.from_numpy(np.stack(expected)))


def test_links_in_a_circle_end(flat):
    (flat / "deep").mkdir()
    (flat / "deep" / "up").symlink_to(flat)
    assert len(ImageFolder(flat, 8)) == 6


def test_pickle_describe_and_build(flat):
    source = ImageFolder(flat, 8, classes=())
    sent = pickle.dumps(source)
    assert len(sent) < 1000
    for copy in (pickle.loads(sent), build(describe(source))):
        assert copy.fingerprint() == source.fingerprint()
        assert describe(copy) == describe(source)
