"""The operations of a captured network that are not linear. Shapes: batches `(B, *shape)`."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.verification.operation import Operation


@dataclass(frozen=True, eq=False)
class Activation(Operation):
    """An increasing function of each entry."""


@dataclass(frozen=True, eq=False)
class ReLU(Activation):
    """max(x, slope * x): ReLU for slope 0, else leaky.

    Args:
        slope: at least 0, at most 1.
    """

    slope: float = 0.0

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.leaky_relu(inputs[0], self.slope) if self.slope else inputs[0].clamp_min(0)


@dataclass(frozen=True, eq=False)
class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].sigmoid()


@dataclass(frozen=True, eq=False)
class Tanh(Activation):
    """The hyperbolic tangent."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0].tanh()


@dataclass(frozen=True, eq=False)
class MaxPool2d(Operation):
    """The largest entry of each window; padding never wins."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.max_pool2d(inputs[0], self.kernel, self.stride, self.padding, self.dilation, self.ceil)

    def windows(self, shape: tuple[int, ...]) -> Tensor:
        """Return each output's inputs as flat places, int64 `(outputs, kernel size)`; -1 for padding."""
        channels, height, width = shape
        places = torch.arange(channels * height * width, dtype=torch.float64).view(1, *shape) + 1
        (down, right), (top, left) = self.kernel, self.padding
        out = self.forward(places).shape[2:]
        far = [
            max(0, (out[d] - 1) * self.stride[d] + self.dilation[d] * (self.kernel[d] - 1) + 1 - side - pad)
            for d, (side, pad) in enumerate(((height, top), (width, left)))
        ]
        padded = F.pad(places, (left, far[1], top, far[0]))
        patches = F.unfold(padded, self.kernel, self.dilation, 0, self.stride)
        rows = (padded.shape[2] - self.dilation[0] * (down - 1) - 1) // self.stride[0] + 1
        columns = (padded.shape[3] - self.dilation[1] * (right - 1) - 1) // self.stride[1] + 1
        patches = patches.view(channels, down * right, rows, columns)[:, :, : out[0], : out[1]]
        return patches.permute(0, 2, 3, 1).reshape(-1, down * right).long() - 1
