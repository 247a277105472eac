"""Temperatures: a number, or a tensor of one entry that may be learnt."""

from typing import TypeAlias

from torch import Tensor

from withstand.core.errors import ConfigError

Temperature: TypeAlias = float | Tensor
"""tau, above 0. A learnable tensor of one entry gets its gradient."""


def checked_temperature(temperature: Temperature) -> Temperature:
    """Return the temperature, a tensor without axes.

    Raises:
        ConfigError: it is not above 0, or has several entries.
    """
    if isinstance(temperature, Tensor):
        if temperature.numel() != 1:
            raise ConfigError(f"temperature must be one number, not a tensor of shape {tuple(temperature.shape)}")
        temperature = temperature.reshape(())
    if not temperature > 0:
        raise ConfigError(f"temperature must be above 0, not {float(temperature)!r}")
    return temperature
