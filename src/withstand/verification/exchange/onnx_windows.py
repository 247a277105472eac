"""ONNX's convolutions and pooling in torch. See `onnx_operators` for what each function is given."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from withstand.core.errors import ConfigError


def _padding(attributes: Mapping[str, Any], dims: int) -> tuple[list[int], list[int] | None]:
    """Return the padding on both sides, or no such and what `F.pad` is to put round before."""
    pads = [int(pad) for pad in attributes.get("pads", [0] * 2 * dims)]
    if attributes.get("auto_pad", "NOTSET") == "VALID":
        pads = [0] * 2 * dims
    if len(pads) != 2 * dims or min(pads) < 0:
        raise ConfigError(f"pads {pads} for {dims} dimensions")
    before, after = pads[:dims], pads[dims:]
    if before == after:
        return before, None
    return [0] * dims, [side for place in reversed(range(dims)) for side in (before[place], after[place])]


def _sizes(attributes: Mapping[str, Any], name: str, dims: int) -> list[int]:
    """Return one number a dimension, at least 1 each."""
    found = [int(size) for size in attributes.get(name, [1] * dims)]
    if len(found) != dims or min(found) < 1:
        raise ConfigError(f"{name} {found} for {dims} dimensions")
    return found


def conv(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Convolve in 1 or 2 dimensions."""
    x, weight = inputs[0], inputs[1]
    dims = weight.dim() - 2
    if dims not in (1, 2):
        raise ConfigError(f"a Conv in {dims} dimensions: only 1 and 2 can be read")
    if _sizes(attributes, "kernel_shape", dims) != list(weight.shape[2:]) and "kernel_shape" in attributes:
        raise ConfigError(f"a Conv whose kernel_shape {attributes['kernel_shape']} is not its weight's")
    padding, before = _padding(attributes, dims)
    if before is not None:
        x = F.pad(x, before)
    bias = inputs[2] if len(inputs) > 2 else None
    strides, dilations = (_sizes(attributes, name, dims) for name in ("strides", "dilations"))
    function = F.conv1d if dims == 1 else F.conv2d
    return function(x, weight, bias, strides, padding, dilations, int(attributes.get("group", 1)))


def max_pool(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take the largest entry of each window, in 2 dimensions."""
    padding, before = _padding(attributes, _pooled(attributes, inputs[0]))
    if before is not None:
        raise ConfigError("a MaxPool with uneven pads: only even ones can be read")
    kernel, strides, dilations = (_sizes(attributes, name, 2) for name in ("kernel_shape", "strides", "dilations"))
    return F.max_pool2d(inputs[0], kernel, strides, padding, dilations, bool(attributes.get("ceil_mode", 0)))


def average_pool(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take the mean of each window, in 2 dimensions."""
    x: Tensor = inputs[0]
    dims = _pooled(attributes, x)
    padding, before = _padding(attributes, dims)
    counted = bool(attributes.get("count_include_pad", 0))
    if before is not None and not counted:
        raise ConfigError("an AveragePool with uneven pads: only even ones can be read")
    kernel, strides = (_sizes(attributes, name, dims) for name in ("kernel_shape", "strides"))
    if before is not None:
        x = F.pad(x, before)
    if attributes.get("ceil_mode", 0) and any(
        (side + 2 * pad - size) % stride
        for side, pad, size, stride in zip(x.shape[2:], padding, kernel, strides, strict=True)
    ):
        raise ConfigError("an AveragePool whose ceil_mode adds windows that end outside: only whole ones can be read")
    return F.avg_pool2d(x, kernel, strides, padding, False, counted)


def _pooled(attributes: Mapping[str, Any], x: Tensor) -> int:
    """Return over how many dimensions a pooling goes."""
    if x.dim() != 4:
        raise ConfigError(f"pooling in {x.dim() - 2} dimensions: only 2 can be read")
    return x.dim() - 2


def global_average_pool(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take the mean of each channel."""
    x: Tensor = inputs[0]
    return x.mean(list(range(2, x.dim())), keepdim=True)


def global_max_pool(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take the largest entry of each channel."""
    x: Tensor = inputs[0]
    if x.dim() != 4 or not math.prod(x.shape[2:]):
        raise ConfigError(f"pooling in {x.dim() - 2} dimensions: only 2 can be read")
    return F.max_pool2d(x, list(x.shape[2:]))
