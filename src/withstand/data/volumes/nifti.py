"""NIfTI files, read by nibabel (extra `medical`)."""

from pathlib import Path

import numpy as np

from withstand.core.errors import DataError, MissingExtra
from withstand.core.files import printable
from withstand.data.volumes.volume import Volume, as_intensities, oriented

ENDINGS = (".nii", ".nii.gz")


def is_nifti(path: Path) -> bool:
    """Return whether a file is called like a NIfTI file."""
    return path.name.lower().endswith(ENDINGS)


def stem_of(path: Path) -> str:
    """Return a file's name without its ending."""
    name, low = path.name, path.name.lower()
    return name[: -len(next(end for end in sorted(ENDINGS, key=len, reverse=True) if low.endswith(end)))]


def read_nifti(path: Path) -> Volume:
    """Return the volume in a NIfTI file, turned to the nearest axes, scaled as its header says.

    Raises:
        MissingExtra: there is no nibabel.
        DataError: a damaged file, one that is no volume, or values that are not finite.
    """
    try:
        import nibabel
    except ImportError:
        raise MissingExtra("reading NIfTI files", "nibabel", "medical") from None
    name = repr(printable(path.name))
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Pair):
            raise DataError(f"{name} is no NIfTI file, but {type(image).__name__}")
        told = int(image.header["qform_code"]) > 0 or int(image.header["sform_code"]) > 0
        affine = np.asarray(image.affine, dtype=np.float64)
        raw = np.asanyarray(image.dataobj)
    except DataError:
        raise
    except Exception as error:
        # nibabel, zlib and NumPy fail in a dozen ways on damaged files: all mean the same here.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} cannot be read as NIfTI: {reason[:200]}") from None
    while raw.ndim > 3 and raw.shape[-1] == 1:
        raw = raw[..., 0]
    if raw.ndim != 3:
        as_intensities(raw, name)  # says what is wrong
    x, spacing, tilt, turned = oriented(raw, affine, name)
    return Volume(printable(stem_of(path)), as_intensities(x, name), None, spacing, tilt, turned, told)
