"""What shall hold of a network's outputs: no point of the region may satisfy any group of inequalities.

Sizes: `K` inequalities, `C` outputs, `B` points or boxes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.verification.bounds.margins import margin_weights

TIE = 1e-6
"""A margin that a float32 forward pass cannot tell from a tie; a proof has to exceed it."""


@dataclass(frozen=True, eq=False)
class Property:
    """The unsafe outputs f: those with `weight f + offset <= 0` in every row of some group.

    Attributes:
        weight: float64 `(K, C)`.
        offset: float64 `(K,)`.
        group: which group each row belongs to, int64 `(K,)`, counted from 0.
    """

    weight: Tensor
    offset: Tensor
    group: Tensor

    def __post_init__(self) -> None:
        rows = len(self.weight)
        if self.weight.dim() != 2 or not rows or self.offset.shape != (rows,) or self.group.shape != (rows,):
            raise DataError("a property needs weight (K, C), offset (K,) and group (K,) with at least one row")
        if set(self.group.tolist()) != set(range(int(self.group.max()) + 1)):
            raise DataError("a property's groups must be counted from 0 without gaps")

    @classmethod
    def margins(cls, y: int, classes: int) -> "Property":
        """Return that class y stands above each other one."""
        weight = margin_weights(torch.tensor([y]), classes)[0]
        return cls(weight, torch.zeros(len(weight), dtype=torch.float64), torch.arange(len(weight)))

    @property
    def groups(self) -> int:
        """The number of groups."""
        return int(self.group.max()) + 1

    def values(self, outputs: Tensor) -> Tensor:
        """Return `weight f + offset`, `(B, K)`, of outputs `(B, C)`."""
        return outputs.to(self.weight) @ self.weight.t() + self.offset

    def per_group(self, values: Tensor) -> Tensor:
        """Return each group's largest value, `(B, groups)`: above 0, the group is not satisfied."""
        found = values.new_full((len(values), self.groups), -torch.inf)
        return found.scatter_reduce(1, self.group.to(values.device).expand_as(values), values, "amax")

    def least(self, values: Tensor) -> Tensor:
        """Return the smallest of the groups' values, `(B,)`: above 0, the property holds."""
        return self.per_group(values).amin(1)
