"""Tar shards: what an archive holds is what arrives, at any place, again and again; what cannot be read is said."""

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from toys import weights
from withstand.api.front import train
from withstand.cli.main import main
from withstand.core.errors import DataError
from withstand.data.load import load, parts_of, splits
from withstand.data.pictures.folder import ImageFolder
from withstand.data.pictures.shards import source as shards_module
from withstand.data.pictures.shards.index import index_of, list_shards
from withstand.data.pictures.shards.parts import is_shards
from withstand.data.pictures.shards.samples import samples_of
from withstand.data.pictures.shards.source import Shards
from withstand.data.pictures.shards.tar import members_of

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def write(path: Path, members: list[tuple[str, bytes | None]], form: int = tarfile.GNU_FORMAT) -> Path:
    """Write an archive of files, and of folders where the content is None."""
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, BytesIO(content))
    return path


def picture(seed: int, sides: tuple[int, int] = (20, 14)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*sides, 3), dtype=np.uint8)
    content = BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def labelled(folder: Path, shards: int = 3, each: int = 8, stem: str = "set") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        members: list[tuple[str, bytes | None]] = []
        for place in range(each):
            number = each * shard + place
            members += [(f"{number:05d}.png", picture(number)), (f"{number:05d}.cls", str(number % 3).encode())]
        write(folder / f"{stem}-{shard:03d}.tar", members)
    return folder


NAMES = st.text("ab.é_/", min_size=1, max_size=120).map(lambda name: f"d/{name.strip('/')}x")


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(NAMES, st.none() | st.binary(max_size=1500), max_size=8), st.sampled_from(FORMATS))
def test_members_lie_where_tarfile_finds_them(members: dict[str, bytes | None], form: int) -> None:
    with TemporaryDirectory() as folder:
        try:
            path = write(Path(folder) / "a.tar", list(members.items()), form)
        except ValueError:  # a name that the oldest of the formats cannot hold
            return
        with tarfile.open(path) as archive:
            expected = [(one.name, one.offset_data, one.size) for one in archive if one.isfile()]
        found, others = members_of(path)
        assert [tuple(one) for one in found] == expected
        assert others == []
        content = path.read_bytes()
        for one in found:
            assert content[one.start : one.start + one.size] == members[one.name]


def test_common_headers_need_no_tarfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("tarfile was asked")

    paths = [write(tmp_path / f"{form}.tar", [("d", None), ("d/1.png", b"abc")], form) for form in FORMATS]
    monkeypatch.setattr(tarfile, "open", refuse)
    assert [[one.name for one in members_of(path)[0]] for path in paths] == [["d/1.png"]] * 3


def test_links_are_named_and_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("1.png")
        member.size = 3
        archive.addfile(member, BytesIO(b"abc"))
        link = tarfile.TarInfo("2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    found, others = members_of(tmp_path / "a.tar")
    assert ([one.name for one in found], others) == (["1.png"], ["2.png"])


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.tar", [("1.png", picture(0)), ("2.png", picture(1))]).read_bytes()
    broken = tmp_path / "b.tar"
    for content, said in (
        (whole[:1000], "is cut off in '1.png'"),
        (whole[:1636], "is cut off in a header, after '1.png'"),
        (b"\x1f\x8b" + whole, "is compressed \\(gzip\\)"),
        (b"x" * 2000, "is no whole tar archive"),
        (whole[:10], "less than one block"),
        (whole[:5] + b"!" + whole[6:], "does not match its sum"),
    ):
        broken.write_bytes(content)
        with pytest.raises(DataError, match=said):
            members_of(broken)


def test_samples_are_told_by_their_keys(tmp_path: Path) -> None:
    facts = {"label": "tabby", "caption": "a cat", "width": 4}
    path = write(tmp_path / "a.tar", [
        ("__meta__", b"not a sample"), ("x/1.JPG", b"p1"), ("x/1.json", json.dumps(facts).encode()), ("x/2.png", b"p2"),
        ("x/2.seg.png", b"mask"), ("x/2.cls", b" 7 "), ("x/2.txt", b"two\n"), ("y/2.png", b"p3"), ("3.cls", b"1"),
        ("README", b"?"),
    ])  # fmt: skip
    found = samples_of(path)
    assert found.keys == ["x/1", "x/2", "y/2"]
    assert found.labels == ["tabby", 7, None]
    assert found.captions == ["a cat", "two", None]
    assert found.bare == ["3"]
    assert found.aside == {"width in .json": 1, ".seg.png": 1, "files without a key and a suffix": 1}
    content = path.read_bytes()
    spans = zip(found.starts, found.sizes, strict=True)
    assert [content[start : start + size] for start, size in spans] == [b"p1", b"p2", b"p3"]
    for members, said in (
        ([("1.png", b""), ("1.jpg", b"")], "has several pictures, png and jpg: say by picture="),
        ([("1.png", b""), ("1.png", b"")], "holds '1.png' twice"),
        ([("1.png", b""), ("1.json", b"[1]")], "holds a list, and no facts"),
        ([("1.png", b""), ("1.json", b"{")], "is no JSON"),
        ([("1.png", b""), ("1.cls", b"\xff")], "is no UTF-8 text"),
    ):
        with pytest.raises(DataError, match=said):
            samples_of(write(tmp_path / "b.tar", members))
    write(tmp_path / "b.tar", [("1.png", b"a"), ("1.jpg", b"b"), ("2.png", b"c")])
    chosen = samples_of(tmp_path / "b.tar", "jpg")
    assert (chosen.keys, chosen.bare, chosen.aside) == (["1"], ["2"], {".png": 1})


def test_pictures_are_those_of_a_folder_in_the_shards_order(tmp_path: Path) -> None:
    source = Shards(labelled(tmp_path / "shards"), 12, cache=tmp_path / "cache")
    plain = tmp_path / "plain"
    plain.mkdir()
    for number in range(24):
        (plain / f"{number:05d}.png").write_bytes(picture(number))
    folder = ImageFolder(plain, 12, cache=tmp_path / "cache")
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    for _ in range(2):  # decoded, and then kept
        assert torch.equal(source[order].x, folder[order].x)
    assert source.labels is not None
    assert source.labels.tolist() == [number % 3 for number in range(24)]
    assert source.names[9] == "set-001.tar/00009"
    assert source.names[-2:] == ["set-002.tar/00022", "set-002.tar/00023"]
    assert torch.equal(source.attributes["shard"], torch.arange(24) // 8)


def test_a_picture_is_decoded_once_and_one_that_was_damaged_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    plain = shards_module.decode_or_reason
    monkeypatch.setattr(
        shards_module,
        "decode_or_reason",
        lambda content, form, reading: decoded.append(1) or plain(content, form, reading),
    )
    folder = labelled(tmp_path / "shards")
    before = Shards(folder, 12, cache=tmp_path / "cache")[range(24)].x
    assert len(decoded) == 24
    again = Shards(folder, 12, cache=tmp_path / "cache")
    assert torch.equal(again[range(24)].x, before)
    assert len(decoded) == 24
    pixels = next((tmp_path / "cache").glob("*.pixels"))
    content = bytearray(pixels.read_bytes())
    content[5 * 3 * 12 * 12] ^= 1
    pixels.write_bytes(bytes(content))
    assert torch.equal(Shards(folder, 12, cache=tmp_path / "cache")[range(24)].x, before)
    assert len(decoded) == 25
    assert torch.equal(Shards(folder, 12, cache=tmp_path / "cache", keep=False)[range(24)].x, before)
    assert len(decoded) == 49


def test_a_full_disk_ends_keeping_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Shards(labelled(tmp_path / "shards"), 12, cache=tmp_path / "cache")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.warns(UserWarning, match="cannot be kept any more"):
        before = source[range(24)].x
    assert torch.equal(source[range(24)].x, before)


def test_a_shard_is_gone_through_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = labelled(tmp_path / "shards")
    cache = tmp_path / "cache"
    first = index_of(folder, list_shards(folder), cache)
    read: list[str] = []
    plain = samples_of
    monkeypatch.setattr(
        "withstand.data.pictures.shards.index.samples_of", lambda path, picture: read.append(path.name) or plain(path)
    )
    again = index_of(folder, list_shards(folder), cache)
    assert read == []
    assert again.digest() == first.digest()
    source = Shards(folder, 12, cache=cache)
    write(folder / "set-001.tar", [("new.png", picture(99))])
    assert index_of(folder, list_shards(folder), cache).counts == (8, 1, 8)
    assert read == ["set-001.tar"]
    with pytest.raises(DataError, match=r"set-001\.tar' was changed while it was read from"):
        source[[9]]
    next(cache.glob("*.npz")).write_bytes(b"damaged")
    assert index_of(folder, list_shards(folder), cache).counts == (8, 1, 8)


def test_what_cannot_be_decoded_is_named_or_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    write(folder / "a.tar", [("1.png", picture(1)), ("2.png", b"no picture"), ("3.png", picture(3))])
    source = Shards(folder, 12, cache=tmp_path / "cache")
    assert len(source[[0, 2]].x) == 2
    with pytest.raises(DataError, match=r"a\.tar/2 is no readable picture \(cannot identify image file\)"):
        source[[0, 1]]
    with pytest.warns(UserWarning, match="1 of 3 pictures in shards cannot be read"):
        sound = Shards(folder, 12, cache=tmp_path / "cache", check=True)
    assert list(sound.names) == ["a.tar/1", "a.tar/3"]
    assert sound.skipped == (("a.tar/2", "cannot identify image file"),)
    assert torch.equal(sound[range(2)].x, source[[0, 2]].x)


def test_parts_by_the_names_of_shards_and_of_folders(tmp_path: Path) -> None:
    by_name = labelled(tmp_path / "named", stem="set-train", shards=2)
    labelled(by_name, stem="set-val", shards=1)
    assert {part: len(source) for part, source in parts_of(by_name, size=12).items()} == {"train": 16, "validation": 8}
    labelled(tmp_path / "folders" / "train", shards=2)
    labelled(tmp_path / "folders" / "val", shards=1)
    one, other = splits(tmp_path / "folders", size=12)
    assert (len(one), len(other)) == (16, 8)
    plain = labelled(tmp_path / "plain")
    assert [len(part) for part in splits(plain, size=12)] == [19, 5]
    assert len(load(plain / "set-001.tar", size=12)) == 8


def test_crops_are_taken_from_whole_photos_as_in_a_folder(tmp_path: Path) -> None:
    source = Shards(labelled(tmp_path / "shards", shards=1), 8, cache=tmp_path / "cache", cache_size=16)
    plain = tmp_path / "plain"
    plain.mkdir()
    for number in range(8):
        (plain / f"{number:05d}.png").write_bytes(picture(number))
    folder = ImageFolder(plain, 8, cache=tmp_path / "cache", cache_size=16)
    for _ in range(2):  # decoded, and then kept
        one, other = source.for_views([3, 1, 1]), folder.for_views([3, 1, 1])
        assert torch.equal(one.x, other.x)
        assert one.whole is not None
        assert other.whole is not None
        mine, theirs = one.whole.tensors(), other.whole.tensors()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    assert Shards(tmp_path / "shards", 8, cache=tmp_path / "cache").for_views([0]).whole is None
    with pytest.raises(DataError, match="cache_size=4 must be at least size=8"):
        Shards(tmp_path / "shards", 8, cache_size=4)


def test_a_photo_that_was_damaged_behind_its_shards_back_is_named(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "shards", shards=1)
    source = Shards(folder, 8, cache=tmp_path / "cache", cache_size=16)
    kept = source[range(8)].x
    (shard,) = list_shards(folder)
    member = members_of(folder / shard.name)[0][0]
    with (folder / shard.name).open("r+b") as file:
        file.seek(member.start)
        file.write(bytes(member.size))
    os.utime(folder / shard.name, ns=(shard.mtime_ns, shard.mtime_ns))
    batch = source.for_views(range(8))
    assert torch.equal(batch.x, kept)
    assert batch.whole is not None
    with pytest.raises(DataError, match="is no readable picture"):  # or the other photos would be taken for its
        batch.whole.tensors()


def test_what_is_taken_for_shards(tmp_path: Path) -> None:
    folder = labelled(tmp_path / "shards", shards=1)
    assert is_shards(folder)
    (folder / "beside.png").write_bytes(picture(0))
    assert not is_shards(folder)
    (folder / "beside.png").rename(tmp_path / "beside.png")
    (folder / "class a").mkdir()
    assert not is_shards(folder)
    assert not is_shards(tmp_path)
    assert not is_shards(tmp_path / "beside.png")
    with pytest.raises(DataError, match="size=0"):
        Shards(folder, 0)
    with pytest.raises(DataError, match="no tar shards of part 'test'"):
        Shards(folder, 12, part="test")


@pytest.mark.filterwarnings("ignore:the embeddings are collapsing")
def test_a_run_on_shards_goes_on_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, out = str(labelled(tmp_path / "shards")), tmp_path / "cut"
    words = ["train", "simclr", "--data", data, "--size", "12", "--batch", "8", "--width", "4", "--quiet"]
    assert main([*words, "--epochs", "2", "--out", str(tmp_path / "whole")]) == 0

    class Stop(Exception):
        pass

    options = {"size": 12, "batch": 8, "width": 4}
    plain, seen = Shards.for_views, []

    def get(source: Shards, indices: Any) -> Any:
        seen.append(1)
        if len(seen) == 4:
            raise Stop
        return plain(source, indices)

    with monkeypatch.context() as patch:
        patch.setattr(Shards, "for_views", get)
        often = {"plan.save_every": 0.0}
        with pytest.raises(Stop):
            train("simclr", data, out=out, epochs=2, options=options, settings=often, quiet=True)
    assert [path.name for path in (out / "checkpoint").iterdir()] not in ([], ["step-00000004"])
    train("simclr", data, out=out, epochs=2, options=options, quiet=True)
    one, other = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
