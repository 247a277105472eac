"""Networks that `withstand export` wrote: a file of weights, and beside it the description to build them from."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from withstand.core.errors import DataError
from withstand.core.files import by_utf_8
from withstand.core.part import build
from withstand.core.random import isolated


def itself(made: object) -> object:
    """Return what was made."""
    return made


def exported(path: Path, allow: Sequence[str] = (), *, holder: Callable[[object], object] = itself) -> object:
    """Return what a file's description makes, with the file's weights.

    Args:
        path: `FILE.safetensors`; `FILE.json` lies beside it.
        allow: modules outside withstand that the description may name.
        holder: gives what of it holds the weights.

    Raises:
        DataError: a file is missing, or they do not fit.
    """
    tree = path.with_suffix(".json")
    for file in (path, tree):
        if not file.is_file():
            raise DataError(f"there is no {file}: weights and their description lie side by side (withstand export)")
    try:
        record = json.loads(tree.read_text(encoding="utf-8"))
        with isolated():
            made: object = build(record["tree"], allow=allow)
        network = holder(made)
        if isinstance(network, nn.Module):
            with by_utf_8(path) as readable:
                network.load_state_dict(load_file(readable))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} does not fit its description {tree.name}: {' '.join(str(error).split())}") from error
    return made


def classes_of(path: Path) -> tuple[str, ...]:
    """Return the names of the outputs of an exported classifier; () where its description names none, or is none."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    known = record.get("classes") if isinstance(record, dict) else None
    return tuple(map(str, known)) if isinstance(known, list) else ()
