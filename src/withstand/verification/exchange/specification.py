"""What a competition's file asks: boxes of inputs, and the outputs that may not come out of them.

Sizes: `D` inputs, `K` outputs, flat in the network's own order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.verification.specification.property import Property


@dataclass(frozen=True, eq=False)
class Polytope:
    """Outputs y `(K,)` with `weight @ y <= bound` in every row.

    Attributes:
        weight: float64 `(M, K)`.
        bound: float64 `(M,)`.
    """

    weight: Tensor
    bound: Tensor

    def excess(self, y: Tensor) -> Tensor:
        """Return how far outputs `(N, K)` are from lying inside, `(N,)`: at most 0 inside."""
        over: Tensor = (y.double() @ self.weight.T - self.bound).amax(1)
        return over


@dataclass(frozen=True, eq=False)
class Case:
    """One box of inputs, and the outputs that may not come out of it.

    Attributes:
        low: float64 `(D,)`.
        high: float64 `(D,)`.
        unsafe: a counterexample's outputs lie in one of these.
    """

    low: Tensor
    high: Tensor
    unsafe: tuple[Polytope, ...]

    def met(self, y: Tensor) -> bool:
        """Return whether an output `(K,)` is one that may not come out."""
        value = y.double().flatten()[None]
        return any(float(polytope.excess(value)) <= 0 for polytope in self.unsafe)

    def wanted(self) -> Property:
        """Return what shall hold of the outputs over the box, as bounds and branch and bound are asked it."""
        sizes = [len(polytope.bound) for polytope in self.unsafe]
        return Property(
            torch.cat([polytope.weight for polytope in self.unsafe]),
            -torch.cat([polytope.bound for polytope in self.unsafe]),
            torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
        )


@dataclass(frozen=True, eq=False)
class Specification:
    """A property in disjunctive normal form: a counterexample breaks one of the cases.

    Attributes:
        inputs: D.
        outputs: K.
        cases: one a box; none when no input satisfies the file.
    """

    inputs: int
    outputs: int
    cases: tuple[Case, ...]

    def broken(self, x: Tensor, y: Tensor, *, slack: float = 0.0) -> bool:
        """Return whether an input `(D,)` with the output `(K,)` that the real model gives is a counterexample.

        Args:
            x: the input, flat.
            y: its output, flat.
            slack: by how much inputs may leave the box: the competition allows 1e-4, the default nothing.
        """
        point = x.double().flatten()
        inside = (((point >= case.low - slack) & (point <= case.high + slack)).all() for case in self.cases)
        return any(bool(within) and case.met(y) for within, case in zip(inside, self.cases, strict=True))

    def outside(self, x: Tensor) -> float:
        """Return how far an input `(D,)` is from the closest box, in its worst entry: at most 0 inside."""
        point = x.double().flatten()
        return min(
            (torch.maximum(case.low - point, point - case.high).max().item() for case in self.cases),
            default=float("inf"),
        )
