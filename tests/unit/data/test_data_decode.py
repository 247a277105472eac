import numpy as np
import pytest
from PIL import Image

from withstand.data.decode import decode, to_rgb

RNG = np.random.default_rng(0)
SMOOTH = np.add.outer(np.linspace(0, 120, 40), np.linspace(0, 120, 60)).astype(np.uint8)


def pixels(picture):
    return np.asarray(to_rgb(picture))


def test_grey_palette_and_bits_are_repeated_exactly():
    grey = Image.fromarray(SMOOTH)
    assert np.array_equal(pixels(grey), np.repeat(SMOOTH[..., None], 3, 2))
    color = Image.fromarray(RNG.integers(0, 4, (8, 8, 3), np.uint8) * 60)
    assert np.array_equal(pixels(color.quantize(256)), np.asarray(color))
    bits = RNG.integers(0, 2, (8, 8)).astype(bool)
    assert np.array_equal(pixels(Image.fromarray(bits)), np.repeat(bits[..., None] * np.uint8(255), 3, 2))


def test_16_bits_become_8(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(values).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "I;16"
        assert np.array_equal(pixels(picture)[..., 1], np.rint(values / 257).astype(np.uint8))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_lies_over_white(mode):
    picture = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 0, 255))
    picture.putpixel((2, 0), (0, 0, 0, 128))
    if mode == "P":
        flat = Image.new("P", (3, 1), 1)
        flat.putpalette([0, 0, 0, 0, 0, 0])
        flat.putpixel((0, 0), 0)
        flat.info["transparency"] = 0
        assert pixels(flat)[0].tolist() == [[255] * 3, [0] * 3, [0] * 3]
        return
    found = pixels(picture.convert(mode))[0]
    assert found[0].tolist() == [255] * 3
    assert found[1].tolist() == [0] * 3
    assert abs(int(found[2, 0]) - 127) <= 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif"])
def test_formats_and_modes_end_as_rgb(tmp_path, suffix):
    color = Image.fromarray(np.stack([SMOOTH, SMOOTH, SMOOTH], 2))
    modes = {
        "jpg": ["L", "RGB", "CMYK"],
        "png": ["1", "L", "LA", "P", "RGB", "RGBA"],
        "webp": ["RGB", "RGBA"],
        "bmp": ["RGB", "L", "P"],
        "gif": ["P", "L"],
    }
    for mode in modes[suffix]:
        path = tmp_path / f"{mode}.{suffix}"
        color.convert(mode).save(path)
        found = decode(path, 20)
        assert found.shape == (3, 20, 20)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        if mode != "1":
            wanted = np.asarray(color.resize((20, 20), Image.Resampling.BICUBIC, box=(10, 0, 50, 40)))
            assert np.abs(found.astype(int).transpose(1, 2, 0) - wanted).mean() < 6, (suffix, mode)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (10, 10), color) for color in ("red", "green", "blue")]
    for name in ("a.gif", "a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert decode(tmp_path / name, 4)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_respected(tmp_path, orientation):
    upright = Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8))
    # What a camera stores so that the tag turns it upright again: the inverse of the tag's operation.
    turn = Image.Transpose
    stored = {
        1: upright,
        2: upright.transpose(turn.FLIP_LEFT_RIGHT),
        3: upright.transpose(turn.ROTATE_180),
        4: upright.transpose(turn.FLIP_TOP_BOTTOM),
        5: upright.transpose(turn.TRANSPOSE),
        6: upright.transpose(turn.ROTATE_90),
        7: upright.transpose(turn.TRANSVERSE),
        8: upright.transpose(turn.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(decode(tmp_path / "a.png", 8), np.asarray(upright).transpose(2, 0, 1))


def test_the_center_is_cropped_and_the_same_size_is_left_alone(tmp_path):
    x = RNG.integers(0, 256, (6, 10, 3), np.uint8)
    Image.fromarray(x).save(tmp_path / "a.png")
    assert np.array_equal(decode(tmp_path / "a.png", 6), x[:, 2:8].transpose(2, 0, 1))


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    inner = decode(tmp_path / "a.png", 8)[:, :, 1:-1].astype(int)
    assert np.abs(inner - 127).max() <= 2


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path):
    waves = 127 + 100 * np.sin(np.linspace(0, 20, 640))[:, None] * np.cos(np.linspace(0, 15, 800))[None]
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / "a.png")
    difference = decode(tmp_path / "a.jpg", 40).astype(int) - decode(tmp_path / "a.png", 40)
    assert np.abs(difference).max() <= 6
