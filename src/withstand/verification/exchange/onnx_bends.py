"""ONNX's activations and norms over features, in torch. See `onnx_operators` for what each function is given."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError

Attributes = Mapping[str, Any]


def number(attributes: Attributes, name: str, default: float) -> float:
    """Return an attribute that is a number; the standard's defaults are float32, as the attributes in files are."""
    return float(np.float32(attributes.get(name, default)))


def of_several(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Attributes, Sequence[Any]], Tensor]:
    """Return what joins any number of inputs, two at a time."""

    def run(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
        found: Tensor = reduce(function, inputs)
        return found

    return run


def clip(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Bring each entry between two limits, of which each may be left out."""
    low, high = (
        float(inputs[place].item()) if len(inputs) > place and inputs[place] is not None else None for place in (1, 2)
    )
    most = torch.finfo(inputs[0].dtype).max
    low = None if low is not None and low <= -most else low
    high = None if high is not None and high >= most else high
    if low is None and high is None:
        found: Tensor = inputs[0]
        return found
    return torch.clamp(inputs[0], min=low, max=high)


def leaky_relu(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Multiply what is below 0 by a number."""
    return F.leaky_relu(inputs[0], number(attributes, "alpha", 0.01))


def prelu(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Multiply what is below 0 by slopes of their own."""
    x, slope = inputs
    return x.relu() - slope * (-x).relu() if slope.numel() > 1 else F.prelu(x, slope.reshape(1))


def elu(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Bend what is below 0 by an exponential."""
    return F.elu(inputs[0], number(attributes, "alpha", 1.0))


def selu(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Bend what is below 0 by an exponential, and scale all."""
    alpha = number(attributes, "alpha", 1.67326319217681884765625)
    return number(attributes, "gamma", 1.05070102214813232421875) * F.elu(inputs[0], alpha)


def celu(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Bend what is below 0 by an exponential, without a kink."""
    return F.celu(inputs[0], number(attributes, "alpha", 1.0))


def gelu(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Weigh each entry by the normal distribution's share below it, or by what stands for that."""
    return F.gelu(inputs[0], approximate=attributes.get("approximate", "none"))


def hard_sigmoid(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Scale each entry, and bring it into [0, 1]."""
    x: Tensor = inputs[0]
    return (number(attributes, "alpha", 0.2) * x + number(attributes, "beta", 0.5)).clamp(0, 1)


def power(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Raise each entry to one power."""
    x, exponent = inputs
    if exponent.size != 1:
        raise ConfigError(f"a Pow with {exponent.size} exponents: one can be read")
    found: Tensor = x.pow(float(exponent.item()))
    return found


def where(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Choose between two by a fixed mask."""
    chosen = torch.from_numpy(np.array(inputs[0])).to(inputs[1].device)
    return torch.where(chosen, inputs[1], inputs[2])


def layer_norm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Normalise each sample over its last dimensions."""
    x: Tensor = inputs[0]
    axis = int(attributes.get("axis", -1)) % x.dim()
    if axis == 0:
        raise ConfigError("a LayerNormalization over the samples of a batch")
    over = x.shape[axis:]
    weight, bias = (None if part is None else part.expand(over) for part in (*inputs[1:], None)[:2])
    return F.layer_norm(x, over, weight, bias, number(attributes, "epsilon", 1e-5))


def group_norm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Normalise groups of each sample's channels."""
    x, weight, bias = inputs
    groups = int(attributes["num_groups"])
    if len(weight) != x.shape[1]:
        raise ConfigError(f"a GroupNormalization with {len(weight)} weights for {x.shape[1]} channels")
    return F.group_norm(x, groups, weight, bias, number(attributes, "epsilon", 1e-5))


def instance_norm(attributes: Attributes, inputs: Sequence[Any]) -> Tensor:
    """Normalise each channel of each sample."""
    x, weight, bias = inputs
    return F.group_norm(x, x.shape[1], weight, bias, number(attributes, "epsilon", 1e-5))
