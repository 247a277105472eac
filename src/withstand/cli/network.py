"""A network on the command line that is no run: how it is told from one, and what is said of its inputs."""

import re
from dataclasses import asdict
from pathlib import Path

from withstand.api.settings import Inputs
from withstand.core.errors import ConfigError
from withstand.core.files.reading import PLAIN


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


def refuse_for_runs(inputs: Inputs, *, out: Path | None = None) -> None:
    """Refuse options that belong to a network that is no run.

    Raises:
        ConfigError: one of them is given.
    """
    why = {
        "out": "its findings stay in its folder",
        **dict.fromkeys(("size", "white", "bands", "most_pixels"), "it reads other pictures as it read its own"),
    }
    said, plain = {"out": out, **asdict(inputs)}, asdict(PLAIN)
    said |= {name: None if value == plain[name] else value for name, value in said.pop("reading").items()}
    for name, value in said.items():
        if value not in (None, ()):
            because = why.get(name, "it knows what its networks take")
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is for networks that are no runs: a run needs none, for {because}")
