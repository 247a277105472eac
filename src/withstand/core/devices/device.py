"""Where networks run: the device that a user names, and the one where a network is."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import get_args

import torch
from torch import nn

from withstand.core.errors import ConfigError, nearest
from withstand.core.options import Device


def device_of(name: str) -> torch.device:
    """Return the device of a name; "auto" is a GPU where there is one.

    Raises:
        ConfigError: an unknown name, or a device that is not here.

    >>> device_of("cpu")
    device(type='cpu')
    """
    if name not in get_args(Device):
        raise ConfigError(f"device {name!r} is unknown: {nearest(name, get_args(Device))}")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[name]:
        raise ConfigError(f"device {name} is not available here: use cpu or auto")
    return torch.device(name)


def device_of_network(model: object) -> torch.device:
    """Return where a network's parameters are, or its buffers; the CPU for anything without."""
    if not isinstance(model, nn.Module):
        return torch.device("cpu")
    first = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if first is None else first.device


@contextmanager
def moved(device: torch.device, *models: object) -> Iterator[None]:
    """Move networks to a device, and back to where they were after; what is no network is let be."""
    networks = [model for model in models if isinstance(model, nn.Module)]
    homes = [device_of_network(network) for network in networks]
    try:
        for network in networks:
            network.to(device)
        yield
    finally:
        for network, before in zip(networks, homes, strict=True):
            network.to(before)
