"""RAW frames: levels and patterns of npz, arrays and DNG files, tiles beside packed RAW, and what nobody says."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.data.pictures.raw.raw_frames import RAW, RawFrames
from withstand.models.restoration.bayer import demosaic, packed
from withstand.models.restoration.camera import process


def frame(height: int = 17, width: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(64, 1024, (height, width)).astype(np.uint16)


def test_tiles_hold_the_recorded_values_and_the_pictures_they_render_to() -> None:
    values = frame()
    source = RawFrames(values, pattern="GRBG", black=64, white=1023, tile=8)
    assert (len(source), source.shape) == (6, (3, 8, 8)), "the odd row is left out"
    batch = source[[0, 4]]
    wanted = torch.from_numpy((values.astype(np.float32) - 64) / (1023 - 64))[None, None]
    assert torch.equal(batch.extras[RAW], packed(torch.cat([wanted[..., :8, :8], wanted[..., 8:16, 8:16]])))
    whole = process(demosaic(wanted[..., :16, :], "GRBG"), source.camera.colors())
    bytes_ = whole.mul(255).round().to(torch.uint8)
    assert torch.equal(batch.x, torch.cat([bytes_[..., :8, :8], bytes_[..., 8:16, 8:16]]))


def test_white_balance_makes_means_equal_and_what_is_saturated_white() -> None:
    values = np.full((8, 8), 800, np.uint16)
    values[0::2, 0::2] = 400  # red
    values[1::2, 1::2] = 200  # blue
    source = RawFrames(values, pattern="RGGB", black=0, white=1000, tile=8)
    assert source.camera.red == pytest.approx(2)
    assert source.camera.blue == pytest.approx(4)
    picture = source[[0]].x
    assert (picture == picture[:, :1]).all(), "grey"
    values[:] = 1000
    saturated = RawFrames(np.concatenate([values, frame(8, 8) // 2]), pattern="RGGB", black=0, white=1000, tile=8)
    assert (saturated[[0]].x[..., :6, :] == 255).all()


def test_an_npz_says_levels_and_pattern_or_the_user_does(tmp_path: Path) -> None:
    told = tmp_path / "told.npz"
    np.savez(told, one=frame(seed=1), two=frame(seed=2), pattern="BGGR", black=64, white=1023)
    source = RawFrames(str(told), tile=8)
    assert len(source) == 12
    alone = RawFrames(str(told), frame="two", tile=8)
    same = RawFrames(frame(seed=2), pattern="BGGR", black=64, white=1023, tile=8)
    assert torch.equal(alone[[3]].extras[RAW], same[[3]].extras[RAW])
    assert alone.fingerprint() == same.fingerprint() != source.fingerprint()
    with pytest.raises(DataError, match=r"no frame 'tow': did you mean 'two'|no frame 'tow'"):
        RawFrames(str(told), frame="tow", tile=8)


@pytest.mark.parametrize(
    ("missing", "said"), [("pattern", "RGGB"), ("black", "least value here is"), ("white", "largest value here is")]
)
def test_what_nobody_says_is_asked_for(missing: str, said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "frames.npz", one=frame())
    known: dict[str, object] = {"pattern": "RGGB", "black": 64, "white": 1023}
    del known[missing]
    with pytest.raises(DataError, match=f"{missing} is not known.*{said}"):
        RawFrames(str(tmp_path / "frames.npz"), tile=8, **known)  # type: ignore[arg-type]


def test_bad_input_is_refused_in_one_line(tmp_path: Path) -> None:
    known: dict[str, object] = {"pattern": "RGGB", "black": 64, "white": 1023}
    with pytest.raises(ConfigError, match="tile must be even"):
        RawFrames(frame(), tile=7, **known)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="as large as a tile of 32 x 32: 16 x 24"):
        RawFrames(frame(), tile=32, **known)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="black must lie below white"):
        RawFrames(frame(), tile=8, pattern="RGGB", black=1023, white=64)
    with pytest.raises(DataError, match="beyond white"):
        RawFrames(frame() * 16, tile=8, **known)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="one plane"):
        RawFrames(np.zeros((3, 8, 8), np.uint16), tile=8, **known)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="RGGB"):
        RawFrames(frame(), tile=8, pattern="RGBG", black=64, white=1023)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="there is no file"):
        RawFrames(str(tmp_path / "nowhere.dng"))


def dng(values: np.ndarray, *, black: int, white: int) -> bytes:
    """A minimal DNG file: one uncompressed Bayer plane, GRBG, with a neutral and a color matrix."""
    height, width = values.shape
    data = values.astype("<u2").tobytes()
    blocks: list[bytes] = []
    entries: list[tuple[int, int, int, bytes]] = []

    def tag(number: int, kind: int, *numbers: int) -> None:
        form = {1: "B", 3: "H", 4: "I", 5: "II", 10: "ii"}[kind]
        raw = struct.pack("<" + form * (len(numbers) // len(form)), *numbers)
        entries.append((number, kind, len(numbers) // len(form), raw))

    tag(254, 4, 0), tag(256, 4, width), tag(257, 4, height), tag(258, 3, 16), tag(259, 3, 1), tag(262, 3, 32803)
    entries.append((271, 2, 5, b"Test\0"))
    entries.append((272, 2, 5, b"Test\0"))
    tag(273, 4, 0), tag(274, 3, 1), tag(277, 3, 1), tag(278, 4, height), tag(279, 4, len(data)), tag(284, 3, 1)
    tag(33421, 3, 2, 2), tag(33422, 1, 1, 0, 2, 1), tag(50706, 1, 1, 4, 0, 0)
    entries.append((50708, 2, 5, b"Test\0"))
    tag(50714, 4, black), tag(50717, 4, white)
    matrix = (10234, -2969, -2266, -5625, 16328, -469, -703, 2188, 6406)
    tag(50721, 10, *(number for value in matrix for number in (value, 10000)))
    tag(50728, 5, 1, 2, 1, 1, 2, 3)
    tag(50778, 3, 21)
    place = 8 + 2 + 12 * len(entries) + 4
    table = b""
    for number, kind, count, raw in sorted(entries):
        if number == 273:
            raw = struct.pack("<I", place + sum(len(one) + len(one) % 2 for *_, one in entries if len(one) > 4))
        if len(raw) > 4:
            value = struct.pack("<I", place + sum(map(len, blocks)))
            blocks.append(raw + b"\0" * (len(raw) % 2))
        else:
            value = raw.ljust(4, b"\0")
        table += struct.pack("<HHI", number, kind, count) + value
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + table + struct.pack("<I", 0) + b"".join(blocks) + data


def test_a_dng_says_all_of_itself(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    values = frame(64, 96)
    (tmp_path / "photo.dng").write_bytes(dng(values, black=64, white=1023))
    source = RawFrames(str(tmp_path / "photo.dng"), tile=16)
    assert source.pattern == "GRBG"
    assert (source.camera.red, source.camera.blue) == pytest.approx((2, 1.5), rel=1e-3)
    wanted = torch.from_numpy((values[:16, :16].astype(np.float32) - 64) / (1023 - 64))[None, None]
    torch.testing.assert_close(source[[0]].extras[RAW], packed(wanted))
    assert source.camera.matrix is not None
    assert torch.tensor(source.camera.matrix).sum(1) == pytest.approx(1, abs=1e-5)
    assert source.camera.matrix[0] == pytest.approx((0.826, 0.295, -0.121), abs=0.01)
    (tmp_path / "broken.dng").write_bytes(b"no RAW file")
    with pytest.raises(DataError, match="cannot be read as a RAW file"):
        RawFrames(str(tmp_path / "broken.dng"))


def test_a_cameras_file_needs_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rawpy", None)
    (tmp_path / "photo.nef").write_bytes(b"anything")
    with pytest.raises(MissingExtra, match=r"withstand\[raw\]"):
        RawFrames(str(tmp_path / "photo.nef"))
