"""Old module paths, so that runs and exports saved before a move still open."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

MOVED = {
    "withstand.certify": "withstand.verification",
    "withstand.data.graphs.source.Labelled": "withstand.data.subset.Labelled",
}
"""Where a part, a module, or a room with all its modules, lies now, by the path that it had."""


RETIRED_ARGUMENTS = {
    "withstand.methods": {"seed"},  # the engine draws for methods
}
"""Arguments that the parts of a room no longer take, and that saved descriptions may still name."""

RETIRED_STATE = {"steps", "epoch"}
"""Last names of buffers that methods no longer keep, and that saved checkpoints may still hold."""


def retired_arguments(path: str) -> set[str]:
    """Return the arguments that a part of this dotted path once took."""
    return {name for room, names in RETIRED_ARGUMENTS.items() if path.startswith(f"{room}.") for name in names}


def without_retired_state(state: Mapping[str, "Tensor"], known: Collection[str]) -> dict[str, "Tensor"]:
    """Return saved state without what is no longer kept; `known` are the names that are."""
    return {
        name: value for name, value in state.items() if name in known or name.rpartition(".")[2] not in RETIRED_STATE
    }


def current_path(name: str) -> str:
    """Return today's dotted path of what was once saved as `name`; the longest old path that fits decides."""
    for old in sorted(MOVED, key=len, reverse=True):
        if name == old or name.startswith(f"{old}."):
            return MOVED[old] + name[len(old) :]
    return name
