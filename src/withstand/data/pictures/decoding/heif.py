"""HEIC files, as phones write them, by pillow-heif (extra `heic`)."""

from io import BytesIO

from withstand.core.errors import MissingExtra
from withstand.core.files.reading import Reading
from withstand.data.pictures.decoding.headers import Content, Start, refuse_lies
from withstand.data.pictures.decoding.notes import PAGES, Told
from withstand.data.pictures.decoding.values import Plain, as_rgb


def read_heif(content: Content, start: Start, reading: Reading) -> tuple[Plain, int]:
    """Return the main picture of a HEIC file as 8-bit RGB, upright, and its shorter side.

    10 and 12 bits become 8, by the bits that the file says.

    Raises:
        MissingExtra: pillow-heif is not installed.
        ValueError: it has more pixels than are allowed, or promises more than it can hold.
    """
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtra("reading HEIC files", "pillow-heif", "heic") from error
    file = pillow_heif.open_heif(BytesIO(content) if isinstance(content, bytes) else content, convert_hdr_to_8bit=True)
    main = file[file.primary_index]
    wide, high = main.size
    reading.refuse_size(wide, high)
    refuse_lies("HEIC", (wide, high), 24, start.size)
    plain = as_rgb(main.to_pillow())
    notes = (*plain.told.notes, *((PAGES,) if len(file) > 1 else ()))
    return Plain(plain.picture, Told(notes)), min(wide, high)
