"""`.npy` and `.npz` files: mapped where possible, and never trusted in what they say of their own size.

A header that promises more than the file holds is refused before anything is allocated; a compressed member grows in
memory only as far as it really unpacks. Checksums of zip members are compared, of mapped ones too.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError
from withstand.core.files import printable

Array: TypeAlias = npt.NDArray[Any]
_CHUNK = 1 << 20
_LONGEST = 200
"""Characters of another library's reason that are shown: some quote the file."""


def read_npy(path: Path) -> Array:
    """Return the array of a `.npy` file, mapped.

    Raises:
        DataError: a damaged or pickled file.
    """
    with _readable(path), path.open("rb") as file:
        shape, fortran, dtype = _header(file)
        offset, size = file.tell(), path.stat().st_size
        _refuse_other_size(shape, dtype, size - offset, exact=False)
        if 0 in shape:
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")


def npz_names(path: Path) -> tuple[str, ...]:
    """Return the names of the arrays in a `.npz` file; other members by their whole name.

    Raises:
        DataError: it is damaged.
    """
    with _readable(path), zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist())


def read_member(path: Path, name: str) -> Array:
    """Return an array in a `.npz` file, mapped where it is stored without compression.

    Raises:
        DataError: it is damaged or pickled.
    """
    with _readable(path, name), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{name}.npy")
        with archive.open(info) as member:
            shape, fortran, dtype = _header(member)
            start, stored = member.tell(), info.compress_type == zipfile.ZIP_STORED
            _refuse_other_size(shape, dtype, info.file_size - start, exact=True)
            if not stored or 0 in shape:
                return _unpacked(member, dtype, shape, fortran)
            while member.read(_CHUNK):
                pass  # to its end, where the checksum is compared
        with path.open("rb") as file:
            file.seek(
                info.header_offset + 26
            )  # the local header's name and extra lengths: it may differ from the central
            lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
        offset = info.header_offset + 30 + lengths + start
        mapped: np.memmap[Any, Any] = np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C")
        return mapped if mapped.flags.aligned else np.array(mapped)


def words(array: Array, name: str) -> tuple[str, ...]:
    """Return text, bytes or numbers as words that can be shown.

    Raises:
        DataError: more than one axis, or something else.
    """
    if array.ndim != 1 or array.dtype.kind not in "USbiu":
        raise DataError(f"{name} has shape {array.shape} and type {array.dtype}: one word each is needed")
    try:
        values = array.tolist()
    except ValueError as error:
        raise DataError(f"{name} holds text that is no Unicode: {error}") from None
    return tuple(printable(value if isinstance(value, bytes | str) else str(value)) for value in values)


def _unpacked(member: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...], fortran: bool) -> Array:
    """Return what a member unpacks to; memory grows with what is there, not with what its header says."""
    size = math.prod(shape) * dtype.itemsize
    content = bytearray()
    while chunk := member.read(_CHUNK):
        content += chunk
        if len(content) > size:
            break
    if len(content) != size:
        raise DataError(f"its header promises {size:,} bytes, and there are {len(content):,}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether it lies in Fortran's order, and the type."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise DataError("it holds objects, which only a pickle can store")
    if not dtype.itemsize or any(type(side) is not int or side < 0 for side in shape):
        raise DataError(f"it holds {dtype} of shape {shape}")
    return shape, fortran, dtype


def _refuse_other_size(shape: tuple[int, ...], dtype: np.dtype[Any], there: int, *, exact: bool) -> None:
    size = math.prod(shape) * dtype.itemsize
    if size > there or (exact and size != there):
        raise DataError(f"its header promises {size:,} bytes, and there are {there:,}")


@contextmanager
def _readable(path: Path, name: str | None = None) -> Iterator[None]:
    """Make one line of whatever is wrong with a file."""
    try:
        yield
    except Exception as error:
        # NumPy, zipfile and the decompressors behind it fail in a dozen ways on damaged files: all mean the same here.
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} ..."
        where = f"{str(path)!r}" if name is None else f"{printable(name)!r} in {str(path)!r}"
        raise DataError(f"{where} cannot be read as an array (pickles and objects are refused): {reason}") from None
