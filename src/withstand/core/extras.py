"""Extras: which optional packages this installation declares, and which of them are there."""

import re
from importlib.metadata import PackageNotFoundError, requires, version

NOT_FOR_USERS = ("all", "dev", "docs", "oracles")
"""Extras that gather others, or are for work on this library."""


USES: dict[str, tuple[tuple[str, ...], str]] = {
    "certify": (("certify", "audit", "attack"), "proofs by SMT, and networks that come as ONNX files"),
    "deep": (("train", "audit", "apply"), "TIFF files of more than three channels, and a told white of 16-bit colors"),
    "export": (("export",), "a run's networks as ONNX files"),
    "graph": (
        ("train", "audit"),
        "graphs and sets of torch-geometric, GraphML and the like; edge lists and node tables need nothing",
    ),
    "heic": (("train", "audit", "apply"), "HEIC files, as phones write them"),
    "hub": (("push", "pull"), "runs on the Hugging Face Hub"),
    "medical": (("train", "apply"), "volumes in NIfTI and DICOM files"),
    "raw": (("train", "defend"), "RAW frames of cameras, as DNG files"),
    "records": (("match",), "records that are one merged into sets"),
    "table": (("train", "match", "probe", "apply"), "CSV, Parquet and Feather files, and data frames"),
    "tensorboard": (("train",), "--tensorboard: events beside the run's own log"),
    "text": (("train", "apply", "audit"), "language models, and encoders of text"),
    "timm": (
        ("train", "audit", "attack", "certify", "defend"),
        "--model timm:NAME: any encoder of timm; timm:NAME as a classifier",
    ),
    "traffic": ((), "nothing when run: dpkt, with which tests compare our packet reader"),
    "video": (("train", "apply", "audit"), "video files, and the optical flow that clips are judged by"),
}
"""What each extra is for: the verbs that may ask for it, and when."""


def required() -> list[str]:
    """Return the packages without which nothing works, sorted."""
    return sorted(_name(line) for line in requires("withstand") or () if "extra ==" not in line)


def extras() -> dict[str, list[str]]:
    """Return the packages of each extra for users, by its name."""
    found: dict[str, list[str]] = {}
    for line in requires("withstand") or ():
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if extra is not None and extra[1] not in NOT_FOR_USERS:
            found.setdefault(extra[1], []).append(_name(line))
    return dict(sorted(found.items()))


def lacking(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed."""
    return [name for name in extras()[extra] if installed(name) is None]


def installed(name: str) -> str | None:
    """Return a package's version, or None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _name(line: str) -> str:
    return re.split(r"[<>=!~;\[ ]", line)[0]
