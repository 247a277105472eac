"""A network on the command line that is no run: how it is told from one, and what is said of its inputs."""

import re
from collections.abc import Sequence
from pathlib import Path

from withstand.core.errors import ConfigError


def is_network(run: Path) -> bool:
    """Return whether a word names a network of its own, and no run folder.

    >>> is_network(Path("net.onnx")), is_network(Path("nets.py:net")), is_network(Path("runs/dcl-digits"))
    (True, True, False)
    """
    return str(run).endswith((".safetensors", ".onnx", ".onnx.gz", ".py")) or (":" in str(run) and not run.is_dir())


def folder_of(what: str, run: Path) -> Path:
    """Return the folder of a finding on a network, where none is said.

    >>> str(folder_of("audit", Path("nets.py:net")))
    'audit-nets-py-net'
    """
    return Path(f"{what}-{re.sub(r'[^0-9A-Za-z]+', '-', str(run)).strip('-')}")


def normalization(words: Sequence[str]) -> tuple[list[float], list[float]] | None:
    """Return `(mean, std)` from the words of `--normalize`; None where there are none.

    >>> normalization(["0.5,0.25"]), normalization(["0.1,0.2", "0.3,0.4"])
    (([0.5], [0.25]), ([0.1, 0.2], [0.3, 0.4]))

    Raises:
        ConfigError: no numbers, or no deviation for each mean.
    """
    if not words:
        return None
    try:
        numbers = [float(number) for word in words for number in word.split(",") if number.strip()]
    except ValueError:
        numbers = []
    half = len(numbers) // 2
    if not numbers or len(numbers) != 2 * half:
        raise ConfigError(
            f"--normalize takes the channels' means and then their deviations, say 0.5,0.25 or "
            f"0.49,0.48,0.45 0.25,0.24,0.26, not {' '.join(words)!r}"
        )
    return numbers[:half], numbers[half:]


def refuse_for_runs(**options: object) -> None:
    """Refuse options that belong to a network that is no run.

    Raises:
        ConfigError: one of them is given.
    """
    for name, value in options.items():
        if value not in (None, ()):
            why = "its findings stay in its folder" if name == "out" else "its networks take inputs from 0 to 1"
            raise ConfigError(f"--{name} is for networks that are no runs: a run needs none, for {why}")
