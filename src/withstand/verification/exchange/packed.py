"""Files as they are, or as gzip packed them: competitions ship both."""

import gzip
import io
import zlib
from pathlib import Path

from withstand.core.errors import DataError

_MAGIC = b"\x1f\x8b"
_RATIO = 100
_ALWAYS = 16 << 20
"""How much a packed file may hold: so many times its size, and so many bytes in any case."""


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked where gzip packed it, whatever the file's name.

    Raises:
        DataError: it is missing, cannot be read, or is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    if content[:2] != _MAGIC:
        return content
    most = _ALWAYS + _RATIO * len(content)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            unpacked = packed.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is packed by gzip and damaged ({error})") from error
    if len(unpacked) > most:
        raise DataError(f"{path} unpacks to more than {most:,} bytes from {len(content):,}: unpack it yourself first")
    return unpacked
