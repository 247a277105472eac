"""Which paths hold tar shards, and the parts that they come in."""

import os
import re
from pathlib import Path

from withstand.data.pictures.folder_parts import find_parts, role_of
from withstand.data.pictures.shards.index import is_shard, list_shards
from withstand.data.pictures.shards.samples import PICTURES


def is_shards(path: Path) -> bool:
    """Return whether a path is a tar file, or a folder of tar files: without pictures or folders beside them."""
    if path.is_file():
        return path.suffix.lower() == ".tar"
    found = False
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name.lower()
                if name.startswith("."):
                    continue
                if name.endswith(PICTURES) or entry.is_dir():
                    return False
                found = found or is_shard(Path(entry.name))
    except OSError:
        return False
    return found


def shard_parts(path: Path) -> dict[str, tuple[Path, str | None]]:
    """Return where each part of a set of shards lies: its folder, and the part that the shards' names must say.

    Parts are told by the names of folders (`train/`, `val/`) or of shards (`set-train-000.tar`), where one is for
    training and all have one; else all is "train". Nothing where a path holds no shards.
    """
    if is_shards(path):
        told = {part_of(shard.name) for shard in list_shards(path)} if path.is_dir() else set()
        parts = [part for part in ("train", "test", "validation") if part in told]
        return (
            {part: (path, part) for part in parts} if "train" in parts and told == {*parts} else {"train": (path, None)}
        )
    if not path.is_dir():
        return {}
    folders = [one.name for one in path.iterdir() if one.is_dir() and not one.name.startswith(".") and is_shards(one)]
    found = find_parts(sorted(folders))
    return {} if found is None else {part: (path / name, None) for part, name in found.items().items()}


def part_of(name: str) -> str | None:
    """Return the part that a shard's name says it belongs to.

    >>> part_of("imagenet-train-000012.tar"), part_of("val_3.tar"), part_of("0001.tar")
    ('train', 'validation', None)
    """
    words = re.split(r"[^A-Za-z]+", name.partition(".")[0])
    return next((role for word in words if word and (role := role_of(word)[0]) is not None), None)
