"""Well-known captioned pictures by name."""

import os
import shutil
import zipfile
from pathlib import Path

from withstand.core.errors import DataError
from withstand.data.captions.table import FILE
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.cache_folder import cache_folder

CAPTIONED = ("flickr8k-mini",)


def folder_of(name: str) -> Path:
    """Return the folder of a captioned set, unpacked once into the user's cache folder.

    It is read from `$WITHSTAND_DATA/flickr8k_mini/*.zip`: 1,000 photos of Flickr8k, five captions each.

    Raises:
        DataError: the set is not there.
    """
    base = os.environ.get(VARIABLE)
    files = sorted((Path(base) / name.replace("-", "_")).glob("*.zip")) if base else []
    if not files:
        raise DataError(
            f"{name} is not on this machine: set {VARIABLE} to a folder with {name.replace('-', '_')}/*.zip, or give a "
            f"folder of pictures with a {FILE}"
        )
    archive = max(files, key=lambda file: file.stat().st_size)
    place = cache_folder() / "datasets" / name / archive.stem
    if not (place / FILE).is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        half = place.with_name(f"{place.name}.{os.getpid()}.part")
        try:
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(half)
            half.replace(place)
        except (OSError, zipfile.BadZipFile) as error:
            shutil.rmtree(half, ignore_errors=True)
            if not (place / FILE).is_file():  # another process may have been first
                raise DataError(f"{str(archive)!r} cannot be unpacked: {error}") from None
    return place
