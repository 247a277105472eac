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


def conv_transpose(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Convolve in 1 or 2 dimensions, transposed."""
    x, weight = inputs[0], inputs[1]
    dims = weight.dim() - 2
    if dims not in (1, 2):
        raise ConfigError(f"a ConvTranspose in {dims} dimensions: only 1 and 2 can be read")
    if _sizes(attributes, "kernel_shape", dims) != list(weight.shape[2:]) and "kernel_shape" in attributes:
        raise ConfigError(f"a ConvTranspose whose kernel_shape {attributes['kernel_shape']} is not its weight's")
    pads = [int(pad) for pad in attributes.get("pads", [0] * 2 * dims)]
    if attributes.get("auto_pad", "NOTSET") == "VALID":
        pads = [0] * 2 * dims
    more = [int(size) for size in attributes.get("output_padding", [0] * dims)]
    if len(pads) != 2 * dims or min(pads) < 0 or len(more) != dims:
        raise ConfigError(f"pads {pads} and output_padding {more} for {dims} dimensions")
    bias = inputs[2] if len(inputs) > 2 else None
    strides, dilations = (_sizes(attributes, name, dims) for name in ("strides", "dilations"))
    function = F.conv_transpose1d if dims == 1 else F.conv_transpose2d
    whole = function(x, weight, bias, strides, 0, more, int(attributes.get("group", 1)), dilations)
    # Padding cuts off what reaches out.
    return F.pad(whole, [-pads[place + side] for place in reversed(range(dims)) for side in (0, dims)])


def max_pool(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take the largest entry of each window, in 1 or 2 dimensions."""
    dims = _pooled(attributes, inputs[0])
    padding, before = _padding(attributes, dims)
    if before is not None:
        raise ConfigError("a MaxPool with uneven pads: only even ones can be read")
    kernel, strides, dilations = (_sizes(attributes, name, dims) for name in ("kernel_shape", "strides", "dilations"))
    function = F.max_pool1d if dims == 1 else F.max_pool2d
    return function(inputs[0], kernel, strides, padding, dilations, bool(attributes.get("ceil_mode", 0)))


def average_pool(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take the mean of each window, in 1 or 2 dimensions."""
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
    function = F.avg_pool1d if dims == 1 else F.avg_pool2d
    return function(x, kernel, strides, padding, False, counted)


def _pooled(attributes: Mapping[str, Any], x: Tensor) -> int:
    """Return over how many dimensions a pooling goes."""
    if x.dim() not in (3, 4):
        raise ConfigError(f"pooling in {x.dim() - 2} dimensions: only 1 and 2 can be read")
    return x.dim() - 2


def global_average_pool(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take the mean of each channel."""
    x: Tensor = inputs[0]
    return x.mean(list(range(2, x.dim())), keepdim=True)


def global_max_pool(attributes: Mapping[str, Any], inputs: Sequence[Any]) -> Tensor:
    """Take the largest entry of each channel."""
    x: Tensor = inputs[0]
    if x.dim() < 3 or not math.prod(x.shape[2:]):
        raise ConfigError(f"a GlobalMaxPool of {x.dim()} dimensions")
    return x.amax(list(range(2, x.dim())), keepdim=True)
