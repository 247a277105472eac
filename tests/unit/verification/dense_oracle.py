"""CROWN the slow way: every linear operation as a matrix from its Jacobian, one neuron at a time, in float64."""

import numpy as np
import torch
from torch import Tensor

from withstand.verification.network.activation import MaxPool2d, ReLU
from withstand.verification.network.network import Network
from withstand.verification.network.operation import Constant, LinearOperation


class Oracle:
    """Bounds of one box `low`, `high` (no batch)."""

    def __init__(self, network: Network, low: Tensor, high: Tensor, *, refine: bool = True) -> None:
        self.network, self.refine = network, refine
        self.matrices = [self._matrices(place) for place in range(len(network.nodes))]
        self.low, self.high = [low.flatten().numpy()], [high.flatten().numpy()]
        self.lines: dict[int, tuple[np.ndarray, ...]] = {}
        bent = {node.inputs[0] for node in network.nodes if isinstance(node.operation, ReLU | MaxPool2d)}
        for place in range(1, len(network.nodes)):
            self._interval(place)
            if place in bent and refine:
                self._refine(place)

    def _matrices(self, place: int) -> tuple[list[np.ndarray], np.ndarray]:
        node = self.network.nodes[place]
        operation = node.operation
        if isinstance(operation, Constant):
            return [], operation.value.flatten().numpy()
        if not isinstance(operation, LinearOperation):
            return [], np.zeros(0)
        shapes = [self.network.nodes[source].shape for source in node.inputs]
        zeros = [torch.zeros(1, *shape, dtype=torch.float64) for shape in shapes]
        offset = operation.forward(*zeros).flatten()
        found = []
        for which, shape in enumerate(shapes):
            size = int(torch.Size(shape).numel())
            unit = torch.eye(size, dtype=torch.float64).view(size, *shape)
            inputs = [unit if i == which else zero.expand(size, *zero.shape[1:]) for i, zero in enumerate(zeros)]
            found.append((operation.forward(*inputs).flatten(1) - offset).T.numpy())
        return found, offset.numpy()

    def _interval(self, place: int) -> None:
        node = self.network.nodes[place]
        if isinstance(node.operation, LinearOperation | Constant):
            matrices, offset = self.matrices[place]
            low, high = offset.copy(), offset.copy()
            for matrix, source in zip(matrices, node.inputs, strict=True):
                up, down = np.maximum(matrix, 0), np.minimum(matrix, 0)
                low += up @ self.low[source] + down @ self.high[source]
                high += up @ self.high[source] + down @ self.low[source]
        else:
            shape = self.network.nodes[node.inputs[0]].shape
            low, high = (
                node.operation.forward(torch.from_numpy(value[node.inputs[0]]).view(1, *shape)).flatten().numpy()
                for value in (self.low, self.high)
            )
            self._line(place)
        self.low.append(low)
        self.high.append(high)

    def _line(self, place: int) -> None:
        node = self.network.nodes[place]
        low, high = self.low[node.inputs[0]], self.high[node.inputs[0]]
        if not isinstance(node.operation, ReLU):
            return
        a = node.operation.slope
        below, above, shift = np.ones_like(low), np.ones_like(low), np.zeros_like(low)
        for i, (l, h) in enumerate(zip(low, high, strict=True)):  # noqa: E741
            if h <= 0:
                below[i] = above[i] = a
            elif l < 0:
                above[i] = (h - a * l) / (h - l)
                shift[i] = h * (1 - above[i])
                below[i] = 1.0 if h > -l else a
        self.lines[place] = below, above, shift

    def _refine(self, place: int) -> None:
        low, high = self.low[place], self.high[place]
        found_low, found_high = low.copy(), high.copy()
        for i in np.flatnonzero((low < 0) & (high > 0)):
            unit = np.zeros_like(low)
            unit[i] = 1
            found_low[i] = max(low[i], self.bound(unit, place))
            found_high[i] = min(high[i], -self.bound(-unit, place))
        self.low[place], self.high[place] = found_low, found_high

    def bound(self, coefficient: np.ndarray, place: int = -1) -> float:
        """Return the lower bound of a linear function of a node."""
        place %= len(self.network.nodes)
        pending = {place: coefficient.astype(float)}
        total = 0.0
        for now in range(place, 0, -1):
            c = pending.pop(now, None)
            if c is None:
                continue
            node = self.network.nodes[now]
            if isinstance(node.operation, LinearOperation | Constant):
                matrices, offset = self.matrices[now]
                total += c @ offset
                parts = [c @ matrix for matrix in matrices]
            else:
                below, above, shift = self.lines[now]
                total += np.minimum(c, 0) @ shift
                parts = [np.where(c > 0, below, above) * c]
            for source, part in zip(node.inputs, parts, strict=True):
                pending[source] = pending.get(source, 0) + part
        c = pending.get(0, np.zeros_like(self.low[0]))
        return float(total + np.maximum(c, 0) @ self.low[0] + np.minimum(c, 0) @ self.high[0])

    def interval(self, coefficient: np.ndarray) -> float:
        """Return what the box before the last matrix says of a linear function of the output."""
        (matrix,), offset = self.matrices[-1]
        (before,) = self.network.nodes[-1].inputs
        c = coefficient @ matrix
        return float(coefficient @ offset + np.maximum(c, 0) @ self.low[before] + np.minimum(c, 0) @ self.high[before])
