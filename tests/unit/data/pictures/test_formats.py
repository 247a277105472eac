"""TIFF, HEIC, deep and many-channel pictures: what other writers wrote is what arrives, or one line says why not."""

import struct
import sys
import warnings
from io import BytesIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from withstand.api.front import experiment
from withstand.api.settings import Audit, Inputs, both
from withstand.cli.network import refuse_for_runs
from withstand.core.errors import ConfigError, DataError
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.part import build, describe
from withstand.data.derived.origins import Origins
from withstand.data.load import judged, load, reading_of, splits, splits_like
from withstand.data.pictures.decoding.decode import Decoded, decode, decode_or_reason, is_picture, sides_of
from withstand.data.pictures.decoding.forms import Whole
from withstand.data.pictures.files import PictureFiles
from withstand.data.pictures.folder import ImageFolder
from withstand.data.pictures.whole import WholePictures
from withstand.data.shared.rows import rows_like

tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")
heif = pytest.importorskip("pillow_heif")

RNG = np.random.default_rng(0)
HIGH, WIDE = 24, 40
Values = npt.NDArray[Any]


def values(channels: int, dtype: type = np.uint8, top: int | None = None) -> Values:
    """Return a picture `(H, W)` or `(H, W, C)` that uses all values up to the top."""
    most = np.iinfo(dtype).max if top is None else top
    made = RNG.integers(0, most + 1, (HIGH, WIDE, channels)).astype(dtype)
    made[0, 0] = most
    return made[..., 0] if channels == 1 else made


def found(path: Path, reading: Reading = PLAIN) -> Decoded:
    return decode(path, Whole(), reading)


def pixels(path: Path, reading: Reading = PLAIN) -> Values:
    return found(path, reading).pixels.transpose(1, 2, 0)


def reason(path: Path, reading: Reading = PLAIN) -> str:
    said = decode_or_reason(path, Whole(), reading)
    assert isinstance(said, str), "it was read"
    assert "\n" not in said
    return said


def as_told(given: Values, white: float) -> Values:
    made = np.rint(given.astype(np.float64) * 255 / white).astype(np.uint8)
    return np.repeat(made[..., None], 3, 2) if made.ndim == 2 else made


LAYOUTS = [
    {},
    {"byteorder": ">"},
    {"compression": "zlib"},
    {"compression": "lzw", "predictor": True},
    {"tile": (16, 16)},
    {"bigtiff": True},
    {"rowsperstrip": 5, "compression": "packbits"},
]


KINDS = [
    (dtype, channels, order, big, compression, tile, predictor)
    for dtype, channels, order, big, compression, tile, predictor in product(
        ("u1", "u2", "u4", "i2", "f2", "f4", "f8"), (1, 3, 4, 6), "<>", (False, True),
        (None, "zlib", "lzw", "packbits"), (None, (16, 16)), (False, True),
    )
    if not predictor or (compression in ("zlib", "lzw") and dtype not in ("f2", "f8"))
]  # fmt: skip


@pytest.mark.parametrize("first", range(7))
def test_tiff_files_of_every_kind_hold_what_was_written(first: int) -> None:
    for dtype, channels, order, big, compression, tile, predictor in KINDS[first::7]:
        kind = np.dtype(dtype)
        top = 1 if kind.kind == "f" else {1: 255, 2: 30_000, 4: 65_535}[kind.itemsize]
        given = (RNG.random((20, 24) if channels == 1 else (20, 24, channels)) * top).astype(kind)
        beside = ["unspecified"] * (channels - (3 if channels == 4 else 1)) if channels > 3 else None
        file = BytesIO()
        with tifffile.TiffWriter(file, bigtiff=big, byteorder=order) as writer:
            writer.write(
                given, photometric="rgb" if channels in (3, 4) else "minisblack", compression=compression, tile=tile,
                predictor=predictor or None, extrasamples=beside,
            )  # fmt: skip
        said = Reading(white=None if dtype == "u1" else float(top), bands=(1, 2, 3) if channels == 6 else ())
        found = decode(file.getvalue(), Whole(), said).pixels.transpose(1, 2, 0)
        wanted = as_told(given if channels == 1 else given[..., :3], top)
        told = (dtype, channels, order, big, compression, tile, predictor)
        assert int(np.abs(found.astype(int) - wanted.astype(int)).max()) <= 1, told


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_tiff_files_of_another_writer_arrive_as_they_are(layout: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for channels, dtype, top in (
        (1, np.uint8, 255),
        (3, np.uint8, 255),
        (1, np.uint16, 65535),
        (3, np.uint16, 65535),
    ):
        given = values(channels, dtype)
        if dtype is np.uint8 and channels == 1:
            assert layout.get("predictor") is None or layout["predictor"]
        tifffile.imwrite(path, given, photometric="rgb" if channels == 3 else "minisblack", **layout)
        apart = np.abs(pixels(path).astype(int) - as_told(given, top))
        assert apart.max() <= (channels == 3 and dtype is np.uint16)  # Pillow keeps the upper byte of deep colors
        told = pixels(path, Reading(white=top))
        assert np.array_equal(told, as_told(given, top))
        assert is_picture(path)
        assert sides_of(path) == ("TIFF", WIDE, HIGH)
        assert found(path).short == HIGH
        assert np.array_equal(pixels(path), decode(path.read_bytes(), Whole()).pixels.transpose(1, 2, 0))


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
@pytest.mark.parametrize("by", ["tag 281", "tag 341", "told", "bits"])
def test_12_bits_are_scaled_by_what_the_file_or_the_user_says(photometric: str, by: str, tmp_path: Path) -> None:
    path, channels = tmp_path / "a.tif", 1 if photometric == "minisblack" else 3
    given = values(channels, np.uint16, 4095)
    tags = [(int(by[-3:]), "H", 1, 4095, True)] if by.startswith("tag") else []
    if by == "bits" and channels == 1:
        path.write_bytes(packed_12_bits(given))
    elif by == "bits":
        tifffile.imwrite(path, given, photometric=photometric, bitspersample=12)
    else:
        tifffile.imwrite(path, given, photometric=photometric, extratags=tags)
    reading = Reading(white=4095) if by == "told" else PLAIN
    assert np.array_equal(pixels(path, reading), as_told(given, 4095))
    assert found(path, reading).told.peak is None


def packed_12_bits(given: Values) -> bytes:
    """Return a TIFF file of grey values, two in three bytes."""
    one, two = given.reshape(-1, 2).T.astype(np.uint32)
    data = np.stack([one >> 4, (one & 15) << 4 | two >> 8, two & 255], 1).astype(np.uint8).tobytes()
    entries = [(256, 4, given.shape[1]), (257, 4, given.shape[0]), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    entries += [(277, 3, 1), (278, 4, given.shape[0]), (279, 4, len(data))]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def test_a_largest_value_that_is_no_number_of_bits_is_no_scale(tmp_path: Path) -> None:
    given = values(1, np.uint16, 3000)
    tifffile.imwrite(tmp_path / "a.tif", given, extratags=[(281, "H", 1, 3000, True)])
    assert np.array_equal(pixels(tmp_path / "a.tif"), as_told(given, 65535))
    assert found(tmp_path / "a.tif").told.peak == 3000


def test_white_that_nobody_told_is_never_guessed_but_named(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        Image.fromarray(values(1, np.uint16, 4095)).save(folder / f"{number}.png")
    with pytest.warns(
        UserWarning, match=r"5 of 5 16-bit pictures hold no value above 4095 \(0.png, 1.png, 2.png and 2"
    ):
        plain = ImageFolder(folder, 8, cache=tmp_path / "cache")
    assert plain[range(5)].x.max() <= 15
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = ImageFolder(folder, 8, cache=tmp_path / "cache", reading=Reading(white=4095))
    assert told[range(5)].x.max() > 100
    assert told.fingerprint() != plain.fingerprint()
    with pytest.warns(UserWarning, match="no value comes near the white that was told in 5 of 5 pictures"):
        ImageFolder(folder, 8, cache=tmp_path / "cache", reading=Reading(white=1e6))
    for number in range(5, 9):
        Image.fromarray(values(1, np.uint16)).save(folder / f"{number}.png")
    with pytest.warns(
        UserWarning, match="5 of 9 16-bit pictures hold no value above 4095 .* white=4095 reads them as of"
    ):
        ImageFolder(folder, 8, cache=tmp_path / "cache")
    said = reason(folder / "7.png", Reading(white=4095))
    assert "holds values from" in said
    assert "do not lie between 0 and white=4095" in said


def test_14_bits_in_all_of_a_folder_are_named_and_full_16_are_not(tmp_path: Path) -> None:
    for name, top in (("low", 16383), ("full", 65535)):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.fromarray(values(1, np.uint16, top)).save(tmp_path / name / f"{number}.tif")
    with pytest.warns(UserWarning, match="white=16383 reads them as of 14 bits"):
        ImageFolder(tmp_path / "low", 8, cache=tmp_path / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ImageFolder(tmp_path / "full", 8, cache=tmp_path / "cache")


def test_floats_need_a_white(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for shape in ((HIGH, WIDE), (HIGH, WIDE, 3)):
        given = RNG.random(shape).astype(np.float32)
        tifffile.imwrite(path, given, photometric="rgb" if len(shape) == 3 else "minisblack")
        assert "does not say which is white: say white=1" in reason(path)
        assert np.array_equal(pixels(path, Reading(white=1)), as_told(given, 1))
    given[0, 0, 0] = np.nan
    tifffile.imwrite(path, given, photometric="rgb")
    assert "NaN or infinity" in reason(path, Reading(white=1))
    tifffile.imwrite(path, values(1, np.int16) - 9999, photometric="minisblack")
    assert "do not lie between 0 and white=32767" in reason(path, Reading(white=32767))


def test_white_as_zero_is_turned(tmp_path: Path) -> None:
    for given, top in ((values(1), 255), (values(1, np.uint16), 65535)):
        tifffile.imwrite(tmp_path / "a.tif", given, photometric="miniswhite")
        assert np.array_equal(pixels(tmp_path / "a.tif"), 255 - as_told(given, top))


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_many_channels_are_refused_or_chosen(planar: str, dtype: type, tmp_path: Path) -> None:
    path, given, top = tmp_path / "a.tif", values(5, dtype), np.iinfo(dtype).max
    stored = given if planar == "contig" else given.transpose(2, 0, 1)
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planar)
    assert reason(path) == "it has 5 channels and does not say which are red, green and blue: say bands=(3, 2, 1)"
    assert np.array_equal(pixels(path, Reading(bands=(4, 3, 1))), as_told(given[..., [3, 2, 0]], top))
    assert np.array_equal(pixels(path, Reading(bands=(5,))), as_told(given[..., 4], top))
    assert reason(path, Reading(bands=(3, 2, 6))) == "bands names channel 6, and it has 5"
    Image.fromarray(values(3)).save(tmp_path / "b.png")
    assert np.array_equal(
        pixels(tmp_path / "b.png", Reading(bands=(4, 3, 1))), np.asarray(Image.open(tmp_path / "b.png"))
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fourth_channel_is_transparency_only_where_the_file_says_so(dtype: type, tmp_path: Path) -> None:
    path, given, top = tmp_path / "a.tif", values(4, dtype), np.iinfo(dtype).max
    for extra in ([], ["unspecified"]):
        tifffile.imwrite(path, given, photometric="rgb", extrasamples=extra or None)
        if not extra:
            with Image.open(path) as written:  # tifffile says unassalpha of four channels by itself
                written_extra = written.tag_v2.get(338)
            if written_extra:
                path.write_bytes(
                    path.read_bytes().replace(struct.pack("<HHI", 338, 3, 1), struct.pack("<HHI", 65000, 3, 1))
                )
        apart = np.abs(pixels(path).astype(int) - as_told(given[..., :3], top))
        assert apart.max() <= (dtype is np.uint16)
        assert found(path).told.notes == ("channels",)
        assert np.array_equal(pixels(path, Reading(bands=(4, 1, 2))), as_told(given[..., [3, 0, 1]], top))
    tifffile.imwrite(path, given, photometric="rgb", extrasamples=["unassalpha"])
    color, seen = (as_told(given[..., place], top).astype(float) for place in (slice(3), slice(3, None)))
    over = color * seen / 255 + 255 - seen
    assert np.abs(pixels(path) - over).max() <= 3
    assert found(path).told.notes == ("alpha",)
    given[..., 3] = top
    tifffile.imwrite(path, given, photometric="rgb", extrasamples=["unassalpha"])
    assert found(path).told.notes == ()


def test_cmyk_palettes_and_jpeg_in_tiff_are_as_pillow_has_them(tmp_path: Path) -> None:
    smooth = Image.fromarray(np.add.outer(np.arange(HIGH), np.arange(WIDE)).astype(np.uint8) * 3).convert("RGB")
    for mode, options in (("CMYK", {}), ("P", {}), ("1", {}), ("LA", {}), ("RGB", {"compression": "jpeg"})):
        path = tmp_path / f"{mode}.tif"
        smooth.convert(mode).save(path, **options)
        with Image.open(path) as theirs:
            assert np.array_equal(pixels(path), np.asarray(theirs.convert("RGB"))), mode
    deep = values(4, np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="separated")
    with Image.open(tmp_path / "deep.tif") as theirs:
        assert np.array_equal(pixels(tmp_path / "deep.tif"), np.asarray(theirs.convert("RGB")))
    told = pixels(tmp_path / "deep.tif", Reading(white=65535))
    inks = as_told(deep, 65535)
    merged = Image.merge("CMYK", [Image.fromarray(inks[..., ink].copy()) for ink in range(4)]).convert("RGB")
    assert np.array_equal(told, np.asarray(merged))


def test_the_first_page_is_read_and_the_others_are_told(tmp_path: Path) -> None:
    first, second = values(3), values(3)
    tifffile.imwrite(tmp_path / "a.tif", np.stack([first, second]), photometric="rgb")
    assert np.array_equal(pixels(tmp_path / "a.tif"), first)
    assert found(tmp_path / "a.tif").told.notes == ("pages",)
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:  # a pyramid: the same at less resolution
        file.write(first, photometric="rgb", subifds=0)
        file.write(first[::2, ::2], photometric="rgb", subfiletype=1)
    assert found(tmp_path / "b.tif").told.notes == ()
    with pytest.warns(UserWarning, match=r"the first of several pages alone is read of 1 of 1 pictures \(.*a.tif\)"):
        PictureFiles([str(tmp_path / "a.tif")], 8)


@pytest.mark.parametrize("form", ["gif", "png", "webp"])
def test_the_first_frame_is_read_and_the_others_are_told(tmp_path: Path, form: str) -> None:
    first, second = Image.new("RGB", (16, 16), (200, 10, 10)), Image.new("RGB", (16, 16), (10, 10, 200))
    how = {"lossless": True} if form == "webp" else {}
    first.save(tmp_path / f"a.{form}", save_all=True, append_images=[second], duration=40, **how)
    first.save(tmp_path / f"b.{form}", **how)
    assert np.array_equal(pixels(tmp_path / f"a.{form}"), np.asarray(first))
    assert found(tmp_path / f"a.{form}").told.notes == ("frames",)
    assert found(tmp_path / f"b.{form}").told.notes == ()
    with pytest.warns(UserWarning, match=r"the first of several frames alone is read of 1 of 1 pictures"):
        PictureFiles([str(tmp_path / f"a.{form}")], 8)
    if form == "gif":  # a second frame that is cut off is no reason to lose the first
        whole = (tmp_path / "a.gif").read_bytes()
        (tmp_path / "c.gif").write_bytes(whole[: len(whole) - 12])
        assert np.array_equal(pixels(tmp_path / "c.gif"), np.asarray(first))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_respected_whoever_reads(orientation: int, tmp_path: Path) -> None:
    for channels, name, reading in ((3, "rgb", PLAIN), (5, "minisblack", Reading(bands=(1, 2, 3)))):
        stored = values(channels)
        tifffile.imwrite(
            tmp_path / "a.tif", stored, photometric=name, planarconfig="contig",
            extratags=[(274, "H", 1, orientation, True)],
        )  # fmt: skip
        turns = Image.Transpose
        turn = [
            None, turns.FLIP_LEFT_RIGHT, turns.ROTATE_180, turns.FLIP_TOP_BOTTOM,
            turns.TRANSPOSE, turns.ROTATE_270, turns.TRANSVERSE, turns.ROTATE_90,
        ][orientation - 1]  # fmt: skip
        upright = Image.fromarray(stored[..., :3].copy())
        upright = upright if turn is None else upright.transpose(turn)
        assert np.array_equal(pixels(tmp_path / "a.tif", reading), np.asarray(upright))


def test_previews_of_raw_files_are_not_taken_for_pictures(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.NEF", values(3), photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", values(3), photometric="rgb", extratags=[(50706, "B", 4, (1, 4, 0, 0), True)])
    tifffile.imwrite(tmp_path / "c.tif", values(3), photometric="rgb", subfiletype=1)
    for name, words in (("a.NEF", "RAW file"), ("b.tif", "RAW file"), ("c.tif", "a smaller copy of another")):
        assert words in reason(tmp_path / name)


def test_sizes_beyond_what_is_allowed_are_told_with_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit does not decide
    Image.fromarray(values(3)).save(tmp_path / "a.png")
    Image.fromarray(values(3)).save(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "a.heic.tif", values(3), photometric="rgb")
    heif.from_pillow(Image.fromarray(values(3))).save(tmp_path / "a.heic")
    some = Reading(most_pixels=HIGH * WIDE - 1)
    for name in ("a.png", "a.jpg", "a.heic"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found(tmp_path / name)
        said = f"it has {WIDE} x {HIGH} pixels, more than the {HIGH * WIDE - 1} that are allowed"
        assert reason(tmp_path / name, some) == f"{said}: most_pixels={HIGH * WIDE} allows it"
        found(tmp_path / name, Reading(most_pixels=HIGH * WIDE))
    assert "more than the 959 that are allowed" in reason(tmp_path / "a.heic.tif", some)


def test_tiff_headers_that_lie_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for layout in ({}, {"tile": (16, 16)}, {"compression": "zlib"}, {"compression": "zstd"}):
        tifffile.imwrite(path, values(3), photometric="rgb", **layout)
        content = bytearray(path.read_bytes())
        tags = (256, 257) if "tile" not in layout else (322, 323)
        for tag in tags:
            place = min(content.find(struct.pack("<HHI", tag, kind, 1)) % (1 << 40) for kind in (3, 4))
            content[place + 2 : place + 12] = struct.pack("<HII", 4, 1, 12_000)
        path.write_bytes(content)
        assert "its header promises" in reason(path), layout
        assert not is_picture(path)


def test_heic_files_are_as_another_opener_has_them(tmp_path: Path) -> None:
    smooth = np.stack([np.add.outer(np.arange(HIGH), np.arange(WIDE)) * step for step in (1, 2, 3)], 2).astype(np.uint8)
    heif.from_pillow(Image.fromarray(smooth)).save(tmp_path / "a.heic", quality=90)
    theirs = np.asarray(heif.read_heif(tmp_path / "a.heic"))
    assert np.array_equal(pixels(tmp_path / "a.heic"), theirs)
    assert np.abs(theirs.astype(int) - smooth).mean() < 4
    assert sides_of(tmp_path / "a.heic") == ("HEIC", WIDE, HIGH)
    clear = np.dstack([smooth, np.where(np.arange(WIDE) < 9, 0, 255) * np.ones((HIGH, 1))]).astype(np.uint8)
    heif.from_pillow(Image.fromarray(clear)).save(tmp_path / "b.heic", quality=90)
    made = found(tmp_path / "b.heic")
    assert made.told.notes == ("alpha",)
    assert made.pixels[:, :, 2].min() > 240
    deep = heif.from_bytes("RGB;16", (WIDE, HIGH), (smooth.astype(np.uint16) * 257).tobytes())
    deep.save(tmp_path / "c.heic", quality=90)
    assert np.abs(pixels(tmp_path / "c.heic").astype(int) - smooth).mean() < 4
    exif = Image.Exif()
    exif[0x0112] = 6
    heif.from_pillow(Image.fromarray(smooth)).save(tmp_path / "d.heic", quality=90, exif=exif.tobytes())
    assert np.abs(pixels(tmp_path / "d.heic").astype(int) - np.rot90(smooth, -1)).mean() < 4


def test_what_an_extra_reads_is_named_without_it_and_read_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    heif.from_pillow(Image.fromarray(values(3))).save(folder / "a.heic")
    tifffile.imwrite(folder / "b.tif", values(5), photometric="minisblack", planarconfig="contig")
    imagecodecs.imwrite(folder / "c.png", values(3, np.uint16, 4095))
    Image.fromarray(values(3)).save(folder / "d.png")
    reading = Reading(white=4095, bands=(1, 2, 3))
    with monkeypatch.context() as patch:
        for name in ("pillow_heif", "tifffile", "imagecodecs"):
            patch.setitem(sys.modules, name, None)
        patch.setattr("withstand.data.pictures.decoding.cache.readers", list)
        with pytest.warns(UserWarning, match="3 of 4 files"):
            bare = ImageFolder(folder, 8, cache=tmp_path / "cache", reading=reading)
    assert dict(bare.skipped) == {
        "a.heic": "reading HEIC files needs pillow-heif: pip install 'withstand[heic]'",
        "b.tif": "reading TIFF files of 5 channels with 8 bits needs tifffile and imagecodecs: pip install "
        "'withstand[deep]'",
        "c.png": "white in 16-bit colors needs imagecodecs: pip install 'withstand[deep]'",
    }
    assert len(ImageFolder(folder, 8, cache=tmp_path / "cache", reading=reading)) == 4


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_deep_colors_of_png_are_all_read_where_white_is_told(channels: int, tmp_path: Path) -> None:
    given = values(channels, np.uint16)
    if channels in (2, 4):
        given[..., -1] = 65535
    imagecodecs.imwrite(tmp_path / "a.png", given)
    color = given[..., :3] if channels > 2 else np.repeat(given[..., :1], 3, 2)
    assert np.abs(pixels(tmp_path / "a.png").astype(int) - as_told(color, 65535)).max() <= 1
    assert np.array_equal(pixels(tmp_path / "a.png", Reading(white=65535)), as_told(color, 65535))
    low = color // 16
    if channels == 3:
        imagecodecs.imwrite(tmp_path / "b.png", low)
        assert np.array_equal(pixels(tmp_path / "b.png", Reading(white=4095)), as_told(low, 4095))
        assert found(tmp_path / "b.png").told.peak == 4095


def test_whole_pictures_are_read_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    given = values(5, np.uint16, 1023)
    tifffile.imwrite(tmp_path / "photos" / "a.tif", given, photometric="minisblack", planarconfig="contig")
    with pytest.raises(DataError, match="does not say which are red, green and blue"):
        WholePictures(tmp_path / "photos", cache=tmp_path / "cache")
    source = WholePictures(tmp_path / "photos", cache=tmp_path / "cache", reading=Reading(1023, (2, 3, 4)))
    assert np.array_equal(source[[0]].x[0].permute(1, 2, 0).numpy(), as_told(given[..., 1:4], 1023))


def test_readings_that_make_no_sense_are_refused() -> None:
    for wrong, words in (
        ({"white": 0}, "white must be above 0"),
        ({"bands": (1, 2)}, "one or three channels"),
        ({"bands": (0, 1, 2)}, "counted from 1"),
        ({"most_pixels": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=words):
            Reading(**wrong)


def dark(folder: Path, count: int = 8) -> Path:
    """Write pictures of 12 bits in files of 16, of two classes."""
    for place in range(count):
        path = folder / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values(1, np.uint16, 4095)).save(path)
    return folder


def test_what_is_said_of_files_holds_wherever_they_are_opened(tmp_path: Path) -> None:
    said, folder = Reading(white=4095), dark(tmp_path / "deep")
    with pytest.warns(UserWarning, match="white=4095"):
        plain = load(folder, size=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bright = load(folder, size=8, reading=said)
        train, test = splits(folder, size=8, reading=said)
        assert reading_of(Origins(train, ("a",))) == said
        again = [*splits_like(train, folder), *(rows.source for rows in rows_like(train, folder))]
        only = rows_like(train, folder / "a" / "0.png")[0].source
    assert plain[range(8)].x.float().mean() < 20 < 100 < bright[range(8)].x.float().mean()
    for part in (train, test, *again, only):
        assert part[range(len(part))].x.float().mean() > 100
    assert torch.equal(again[-1][range(8)].x, bright[range(8)].x)


def test_what_is_said_of_files_is_refused_where_there_are_none(tmp_path: Path) -> None:
    for data in ("digits", np.zeros((4, 3, 8, 8), np.uint8)):
        for opened in (load, splits, judged):
            with pytest.raises(ConfigError, match="white, bands and most_pixels are of picture files"):
                opened(data, reading=Reading(white=4095))
    folder = dark(tmp_path / "told")
    (folder / "captions.csv").write_text("image,caption\na/0.png,a picture\n")
    with pytest.raises(ConfigError, match="pictures with captions are read as they stand"):
        experiment("clip-rocket", {"data": str(folder), "white": 4095.0})


def test_recipes_and_networks_say_it_too(tmp_path: Path) -> None:
    folder = dark(tmp_path / "deep", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = experiment("simclr", {"data": str(folder), "size": 8, "batch": 8, "white": 4095.0})
        enlarged = experiment("srresnet", {"data": str(folder), "tile": 16, "batch": 8, "white": 4095.0})
    assert reading_of(made.source) == reading_of(enlarged.source) == Reading(white=4095)
    assert reading_of(build(describe(made.source))) == Reading(white=4095)
    asked, inputs = both(Audit(), Inputs(), {"white": 4095.0, "eps": "1/255"})
    assert (asked.eps, inputs.reading) == ("1/255", Reading(white=4095))
    with pytest.raises(ConfigError, match="--most-pixels is for networks that are no runs"):
        refuse_for_runs(Inputs(reading=Reading(most_pixels=9)))
