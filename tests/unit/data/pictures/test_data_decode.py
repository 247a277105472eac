import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from withstand.data.pictures.decoding.decode import decode, decode_or_reason, is_picture
from withstand.data.pictures.decoding.forms import Square
from withstand.data.pictures.decoding.values import as_rgb

RNG = np.random.default_rng(0)
SMOOTH = np.add.outer(np.linspace(0, 120, 40), np.linspace(0, 120, 60)).astype(np.uint8)


def square(path, size):
    return decode(path, Square(size)).pixels


def square_or_reason(path, size):
    found = decode_or_reason(path, Square(size))
    return found if isinstance(found, str) else found.pixels


def pixels(picture):
    return np.asarray(as_rgb(picture).picture)


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
        found = square(path, 20)
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
        assert square(tmp_path / name, 4)[:, 0, 0].tolist() == [255, 0, 0]


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
    assert np.array_equal(square(tmp_path / "a.png", 8), np.asarray(upright).transpose(2, 0, 1))


def test_the_center_is_cropped_and_the_same_size_is_left_alone(tmp_path):
    x = RNG.integers(0, 256, (6, 10, 3), np.uint8)
    Image.fromarray(x).save(tmp_path / "a.png")
    assert np.array_equal(square(tmp_path / "a.png", 6), x[:, 2:8].transpose(2, 0, 1))


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    inner = square(tmp_path / "a.png", 8)[:, :, 1:-1].astype(int)
    assert np.abs(inner - 127).max() <= 2


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path):
    waves = 127 + 100 * np.sin(np.linspace(0, 20, 640))[:, None] * np.cos(np.linspace(0, 15, 800))[None]
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(waves.astype(np.uint8)).save(tmp_path / "a.png")
    difference = square(tmp_path / "a.jpg", 40).astype(int) - square(tmp_path / "a.png", 40)
    assert np.abs(difference).max() <= 6


def promising(form, sides, tmp_path):
    """Return a small picture file whose header says other sides."""
    path = tmp_path / "a"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).convert("P" if form == "GIF" else "RGB").save(
        path, form, **({"lossless": True} if form == "WEBP" else {})
    )
    data = bytearray(path.read_bytes())
    wide, high = sides
    if form == "PNG":
        data[16:24] = struct.pack(">II", wide, high)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif form == "JPEG":
        place = data.find(b"\xff\xc0")
        data[place + 5 : place + 9] = struct.pack(">HH", high, wide)
    elif form == "GIF":
        data[6:10] = struct.pack("<HH", wide, high)
    elif form == "BMP":
        data[18:26] = struct.pack("<ii", wide, high)
    else:
        data[21:25] = struct.pack("<I", (wide - 1) | (high - 1) << 14)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("form", "sides"),
    [
        ("PNG", (9000, 9000)),
        ("JPEG", (9000, 9000)),
        ("GIF", (9000, 9000)),
        ("BMP", (9000, 9000)),
        ("WEBP", (9000, 9000)),
    ],
)
def test_a_header_that_lies_is_refused_before_memory_is_taken(form, sides, tmp_path):
    path = promising(form, sides, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = square_or_reason(path, 8)
    assert "its header promises 9000 x 9000 pixels, more than" in said
    assert not is_picture(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    assert isinstance(square_or_reason(promising(form, (8, 8), tmp_path), 8), np.ndarray)


@pytest.mark.parametrize(("sides", "said"), [((255, 64), "its first frame is smaller"), ((4096, 16383), "promises")])
def test_an_animated_png_whose_header_promises_more_than_its_first_frame_is_refused(sides, said, tmp_path):
    path, numbers = tmp_path / "a.png", np.random.default_rng(0)
    first = Image.fromarray(numbers.integers(0, 256, (64, 64), np.uint8)).convert("P")
    first.save(path, save_all=True, append_images=[first.rotate(90)])
    assert isinstance(square_or_reason(path, 8), np.ndarray)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", *sides)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    assert said in square_or_reason(path, 8)
    assert not is_picture(path)


@pytest.mark.parametrize(("mode", "bits"), [("P", 8), ("RGB", 24), ("I;16", 16), ("LA", 16)])
def test_a_png_promises_as_many_bits_as_its_header_says(mode, bits, tmp_path):
    wide, high = 1024, 1024
    path = tmp_path / "a.png"
    blank = Image.new("L", (8, 8)).convert("P") if mode == "P" else Image.new(mode, (8, 8))  # 256 colors, 8 bits
    blank.save(path)
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", wide, high)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    for less, refused in ((1, True), (0, False)):
        path.write_bytes(data + bytes(-(-wide * high * bits // 8 // 1032) - less - len(data)))
        said = square_or_reason(path, 8)
        assert ("promises" in str(said)) == refused, (mode, said)


def test_what_compresses_best_is_read(tmp_path):
    """Blank pictures come nearest to what a byte of a file can hold."""
    for form, mode in (
        ("PNG", "1"),
        ("PNG", "RGB"),
        ("JPEG", "RGB"),
        ("JPEG", "L"),
        ("GIF", "P"),
        ("BMP", "1"),
        ("WEBP", "RGB"),
    ):
        path = tmp_path / f"a.{form}"
        options = {"JPEG": {"quality": 1, "progressive": True, "optimize": True}, "WEBP": {"lossless": True}}
        Image.new(mode, (2000, 1500)).save(path, form, **options.get(form, {}))
        assert isinstance(square_or_reason(path, 8), np.ndarray), (form, mode)


def test_a_picture_of_several_jpegs_is_read_by_its_first(tmp_path):
    first, second = (Image.new("RGB", (8, 8), shade) for shade in ("white", "black"))
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert square(tmp_path / "a.jpg", 8).min() == 255


def test_16_bit_grey_that_is_clear_is_white(tmp_path):
    deep = np.full((4, 4), 1234, np.uint16)
    deep[0] = 60000
    Image.fromarray(deep).save(tmp_path / "a.png", transparency=1234)
    assert square(tmp_path / "a.png", 4)[0, :2, 0].tolist() == [233, 255]
