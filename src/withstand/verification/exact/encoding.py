"""A network over a box as linear constraints with some binary variables: exact, given sound bounds of every node.

Linear operations leave nothing behind: each node is a linear function of the inputs and of the outputs of those
activations that bounds leave in doubt. A ReLU in doubt takes one binary (big-M with its own bounds), a maximum one for
each entry that may win.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.verification.bounds.interval import Box
from withstand.verification.bounds.receptive_field import rows_of
from withstand.verification.network.activation import MaxPool2d, ReLU
from withstand.verification.network.network import Network, Node
from withstand.verification.network.operation import Constant, Input, LinearOperation

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Form:
    """A node's value: `constant + sum of variables * factors`; factors are `(variables so far, *shape)`."""

    factors: Tensor
    constant: Tensor

    def widened(self, variables: int) -> Tensor:
        """Return the factors over more variables."""
        missing = variables - len(self.factors)
        return F.pad(rows_of(self.factors), (0, 0, 0, missing)).view(variables, *self.constant.shape)


@dataclass(eq=False)
class Encoding:
    """Variables with bounds, rows `low <= A v <= high`, and the network's output as a form.

    Attributes:
        low: smallest value of each variable; the inputs come first.
        high: largest values.
        binary: which variables are 0 or 1.
        output: the network's output.
        in_doubt: how many activations are not decided by the bounds.
    """

    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    binary: list[bool] = field(default_factory=list)
    output: Form | None = None
    in_doubt: int = 0
    _entries: list[tuple[int, int, float]] = field(default_factory=list)
    _rows: list[tuple[float, float]] = field(default_factory=list)

    def variable(self, low: float, high: float, *, binary: bool = False) -> int:
        """Add a variable and return its place."""
        self.low.append(low)
        self.high.append(high)
        self.binary.append(binary)
        return len(self.low) - 1

    def row(self, factors: dict[int, float], low: float, high: float) -> None:
        """Add `low <= sum of factors * variables <= high`."""
        self._entries += [(len(self._rows), place, factor) for place, factor in factors.items() if factor]
        self._rows.append((low, high))

    def matrix(self) -> tuple[sparse.csr_array, Array, Array]:
        """Return all rows as (A, low, high)."""
        shape = (len(self._rows), len(self.low))
        rows, columns, values = zip(*self._entries, strict=True) if self._entries else ((), (), ())
        low, high = zip(*self._rows, strict=True) if self._rows else ((), ())
        return sparse.csr_array((values, (rows, columns)), shape=shape), np.array(low, float), np.array(high, float)


def encode(network: Network, boxes: list[Box]) -> Encoding:
    """Return the encoding of a network over one box of inputs.

    Args:
        network: in float64, of linear operations, ReLUs and maxima.
        boxes: sound bounds of every node over one region, `(1, *shape)`, as `relax_network` gives them.

    Raises:
        ConfigError: an operation that has no exact encoding.
    """
    encoding = Encoding()
    forms: list[Form] = []
    for node, box in zip(network.nodes, boxes, strict=True):
        forms.append(_form(encoding, node, box, forms, boxes))
    encoding.output = forms[-1]
    return encoding


def _form(encoding: Encoding, node: Node, box: Box, forms: list[Form], boxes: list[Box]) -> Form:
    operation, count = node.operation, len(encoding.low)
    if isinstance(operation, Input):
        for low, high in zip(box.low.flatten().tolist(), box.high.flatten().tolist(), strict=True):
            encoding.variable(low, high)
        size = len(encoding.low)
        return Form(torch.eye(size, dtype=torch.float64).view(size, *node.shape), torch.zeros(node.shape).double())
    if isinstance(operation, Constant):
        return Form(torch.zeros(count, *node.shape, dtype=torch.float64), operation.value.expand(node.shape))
    before = [forms[place] for place in node.inputs]
    if isinstance(operation, LinearOperation):
        factors = operation.apply(*(form.widened(count) for form in before))
        constant = operation.forward(*(form.constant[None] for form in before))[0]
        return Form(factors.expand(count, *node.shape), constant.expand(node.shape))
    inside = boxes[node.inputs[0]]
    if isinstance(operation, ReLU):
        return _relu(encoding, operation, before[0], inside)
    if isinstance(operation, MaxPool2d):
        return _maximum(encoding, operation, before[0], inside, node)
    raise ConfigError(
        f"{type(operation).__name__} ({node.name}) has no exact encoding: use bounds, or branch and bound"
    )


def _relu(encoding: Encoding, operation: ReLU, form: Form, inside: Box) -> Form:
    count, shape = len(encoding.low), form.constant.shape
    factors, constant = rows_of(form.widened(count)).clone(), form.constant.flatten().clone()
    low, high = inside.low.flatten().tolist(), inside.high.flatten().tolist()
    slope, news = operation.slope, []
    for place, (least, most) in enumerate(zip(low, high, strict=True)):
        if least >= 0:
            continue
        if most <= 0:
            factors[:, place] *= slope
            constant[place] *= slope
            continue
        # With a slope below 0, as |x| has, values fall to 0 in between and rise to both sides.
        value = encoding.variable(min(slope * least, 0.0), max(slope * least, most))
        active = encoding.variable(0, 1, binary=True)
        terms = _terms(factors[:, place])
        shift = float(constant[place])
        plus = {key: -factor for key, factor in terms.items()} | {value: 1.0}  # y - z + shift
        scaled = {key: -slope * factor for key, factor in terms.items()} | {value: 1.0}  # y - slope z + slope shift
        encoding.row(plus, shift, np.inf)
        encoding.row(scaled, slope * shift, np.inf)
        encoding.row(plus | {active: -(1 - slope) * least}, -np.inf, shift - (1 - slope) * least)
        encoding.row(scaled | {active: -(1 - slope) * most}, -np.inf, slope * shift)
        news.append((place, value))
    encoding.in_doubt += len(news)
    return _with(encoding, factors, constant, news, shape)


def _maximum(encoding: Encoding, operation: MaxPool2d, form: Form, inside: Box, node: Node) -> Form:
    count = len(encoding.low)
    flat, constants = form.widened(count).flatten(1), form.constant.flatten()
    low, high = inside.low.flatten().tolist(), inside.high.flatten().tolist()
    windows = operation.windows(form.constant.shape).tolist()
    factors = torch.zeros(count, len(windows), dtype=torch.float64)
    constant, news = torch.zeros(len(windows), dtype=torch.float64), []
    for place, window in enumerate(windows):
        entries = [entry for entry in window if entry >= 0]
        best = max(low[entry] for entry in entries)
        rivals = [entry for entry in entries if high[entry] >= best]
        if len(rivals) == 1:
            factors[:, place], constant[place] = flat[:, rivals[0]], constants[rivals[0]]
            continue
        most = max(high[entry] for entry in rivals)
        value = encoding.variable(best, most)
        chosen = [encoding.variable(0, 1, binary=True) for _ in rivals]
        for entry, pick in zip(rivals, chosen, strict=True):
            over = {key: -factor for key, factor in _terms(flat[:, entry]).items()} | {value: 1.0}
            shift, room = float(constants[entry]), most - low[entry]
            encoding.row(over, shift, np.inf)
            encoding.row(over | {pick: room}, -np.inf, shift + room)
        encoding.row(dict.fromkeys(chosen, 1.0), 1, 1)
        news.append((place, value))
    encoding.in_doubt += len(news)
    return _with(encoding, factors, constant, news, node.shape)


def _with(
    encoding: Encoding, factors: Tensor, constant: Tensor, news: list[tuple[int, int]], shape: tuple[int, ...]
) -> Form:
    """Return a form in which some entries are variables of their own."""
    wide = F.pad(factors, (0, 0, 0, len(encoding.low) - len(factors)))
    for place, value in news:
        wide[:, place], constant[place] = 0, 0
        wide[value, place] = 1
    return Form(wide.view(-1, *shape), constant.view(shape))


def _terms(factors: Tensor) -> dict[int, float]:
    places = factors.nonzero()[:, 0]
    return dict(zip(places.tolist(), factors[places].tolist(), strict=True))
