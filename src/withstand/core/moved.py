"""Old module paths, so that runs and exports saved before a move still open."""

MOVED = {
    "withstand.certify": "withstand.verification",
    "withstand.data.graphs.source.Labelled": "withstand.data.subset.Labelled",
}
"""Where a part, a module, or a room with all its modules, lies now, by the path that it had."""


def current_path(name: str) -> str:
    """Return today's dotted path of what was once saved as `name`; the longest old path that fits decides."""
    for old in sorted(MOVED, key=len, reverse=True):
        if name == old or name.startswith(f"{old}."):
            return MOVED[old] + name[len(old) :]
    return name
