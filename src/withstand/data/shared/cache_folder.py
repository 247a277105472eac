"""Where this package keeps what it can make or fetch again."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder for this package: `$XDG_CACHE_HOME/withstand`, or `~/.cache/withstand`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "withstand"
