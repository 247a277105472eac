"""Noise-sensitive losses: outputs shall change with small noise on the input, not stay.

Tracing the Origin of Adversarial Attack for Forensic Investigation and Deterrence (2022).
"""

from typing import Literal, get_args

from torch import Tensor

from withstand.core.errors import ConfigError, nearest

Form = Literal["reciprocal", "difference"]


def sensitivity(clean: Tensor, noisy: Tensor) -> Tensor:
    """Return the mean absolute difference of outputs `(..., K)`, `(...)`."""
    return (clean.float() - noisy.float()).abs().mean(-1)


def noise_sensitive(change: Tensor, form: Form = "reciprocal", *, constant: float = 1e-3) -> Tensor:
    """Return what is lowered for each sensitivity, shaped like it.

    Args:
        change: as `sensitivity` gives it, at least 0.
        form: "reciprocal", 1 / (change + c), which is steepest where outputs hardly move; or "difference", -change.
        constant: c of the reciprocal, which a constant output then gives 1 / c of.

    Raises:
        ConfigError: another form.
    """
    if form not in get_args(Form):
        raise ConfigError(f"form {form!r} is unknown: {nearest(str(form), get_args(Form))}")
    return 1 / (change + constant) if form == "reciprocal" else -change
