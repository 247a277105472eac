"""Which members of a shard are one sample, and what is known of it beside its picture.

As WebDataset has it: a sample's members share a key, their name up to the first dot behind the last slash, and the
rest of the name says what a member is: `0001.jpg` is a picture, `0001.cls` its class, `0001.txt` a caption, `0001.json`
facts.
"""

import json
import mmap
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from withstand.core.errors import DataError
from withstand.core.files import printable
from withstand.data.pictures.shards.tar import Member, members_of

PICTURES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "heic", "heif")
"""Suffixes of pictures, in any case."""
CLASSES = ("cls", "class")
"""Suffixes of members that hold a class: a whole number, or a name."""
CAPTIONS = ("txt", "text", "caption")
"""Suffixes of members that hold a caption."""
FACTS = "json"
_LABELS = ("label", "cls", "class", "target")
_SAYINGS = ("caption", "text", "txt")

_KEY = re.compile(r"^((?:.*/)?[^./][^./]*)\.([^/]+)$", re.DOTALL)
_LARGEST = 1 << 20
"""Bytes of a class, a caption or facts at most: more is no such thing."""


@dataclass
class Samples:
    """The samples of a shard, in its order.

    Attributes:
        keys: what each is called.
        starts: where the bytes of its picture begin.
        sizes: how many these are.
        labels: its class, as it is written; None without.
        captions: its caption; None without.
        aside: what is not read, and how often: members by their suffix, facts by their name.
        bare: keys of samples without a picture, which are left out.
    """

    keys: list[str] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    labels: list[int | str | None] = field(default_factory=list)
    captions: list[str | None] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)
    bare: list[str] = field(default_factory=list)


def samples_of(path: Path, picture: str | None = None) -> Samples:
    """Return the samples of a shard.

    Args:
        path: of the tar archive.
        picture: the suffix of the member that is the picture, where samples hold several; None where they hold one.

    Raises:
        DataError: no readable archive, a member that is there twice, several pictures in a sample, facts or classes
            that cannot be read.
    """
    members, others = members_of(path)
    found = Samples(aside=Counter({"links and devices": len(others)} if others else {}))
    groups: dict[str, dict[str, Member]] = {}
    for member in members:
        base = member.name.rpartition("/")[2]
        if base.startswith("__") and base.endswith("__"):
            continue  # WebDataset's own notes on a shard
        split = _KEY.match(member.name)
        if split is None:
            found.aside["files without a key and a suffix"] += 1
            continue
        key, suffix = split[1], split[2].lower()
        parts = groups.setdefault(key, {})
        if suffix in parts:
            raise DataError(f"{_shown(path)} holds {printable(member.name)!r} twice: a sample has one member of a kind")
        parts[suffix] = member
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for key, parts in groups.items():
            _add(found, key, parts, picture, content, path)
    return found


def _add(
    found: Samples, key: str, parts: dict[str, Member], picture: str | None, content: mmap.mmap, path: Path
) -> None:
    """Add a sample to those of its shard."""
    wanted = [suffix for suffix in parts if (suffix in PICTURES if picture is None else suffix == picture.lower())]
    if len(wanted) > 1:
        raise DataError(
            f"{printable(key)!r} in {_shown(path)} has several pictures, {' and '.join(wanted)}: say by picture= which "
            "is to be learnt from"
        )
    if not wanted:
        found.bare.append(key)
        return

    def text(suffix: str) -> str:
        member = parts[suffix]
        if member.size > _LARGEST:
            raise DataError(
                f"{printable(member.name)!r} in {_shown(path)} is too large for text: {member.size:,} bytes"
            )
        try:
            return content[member.start : member.start + member.size].decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{printable(member.name)!r} in {_shown(path)} is no UTF-8 text: {error}") from None

    facts: dict[str, Any] = {}
    if FACTS in parts:
        facts = _facts(text(FACTS), parts[FACTS].name, path)
    label = next((_label(text(suffix)) for suffix in CLASSES if suffix in parts), None)
    read = {*wanted, FACTS, *(suffix for suffix in (*CLASSES, *CAPTIONS) if suffix in parts)}
    if label is None:
        name = next((name for name in _LABELS if isinstance(facts.get(name), int | str)), None)
        label = None if name is None else facts.pop(name)
    caption = next((text(suffix) for suffix in CAPTIONS if suffix in parts), None)
    if caption is None:
        name = next((name for name in _SAYINGS if isinstance(facts.get(name), str)), None)
        caption = None if name is None else facts.pop(name)
    found.aside.update(f".{suffix}" for suffix in parts if suffix not in read)
    found.aside.update(f"{name} in .json" for name in facts)
    found.keys.append(key)
    found.starts.append(parts[wanted[0]].start)
    found.sizes.append(parts[wanted[0]].size)
    found.labels.append(label)
    found.captions.append(caption or None)


def _label(text: str) -> int | str | None:
    """Return a class as a number where it is one; nothing is none."""
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else text or None


def _facts(text: str, name: str, path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except ValueError as error:
        raise DataError(f"{printable(name)!r} in {_shown(path)} is no JSON: {error}") from None
    if not isinstance(facts, dict):
        raise DataError(f"{printable(name)!r} in {_shown(path)} holds a {type(facts).__name__}, and no facts by name")
    return facts


def _shown(path: Path) -> str:
    return repr(printable(path.name))
