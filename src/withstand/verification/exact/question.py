"""A question to an exact solver: can any input of a box give outputs in one of some polytopes?

Sizes: `D` inputs, `K` outputs, flat in the network's own order.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.verification.exchange.specification import Case, Polytope
from withstand.verification.exchange.vnnlib_write import margin_specification
from withstand.verification.network.network import Network
from withstand.verification.specification.box import inward
from withstand.verification.specification.property import TIE, Property


@dataclass(frozen=True, eq=False)
class Question:
    """A network, a box of inputs, and the outputs that may not come out of it.

    Attributes:
        network: captured, in float64.
        low: smallest inputs, float64, one sample's shape.
        high: largest inputs.
        unsafe: a counterexample's outputs lie in one of these.
        model: the real network, `(N, *shape)` in, `(N, K)` out; counterexamples are shown to it.
        dtype: the precision of the inputs that it is shown.
        label: the class that is to win, where that is the property: only what the real network ranks otherwise is a
            counterexample then, and a tie that it ranks rightly is none.
        tie: what a margin has to exceed to be a proof; None for nothing in float64, and else for `TIE`.
        show: makes of points `(B, *shape)` those that the real network is shown; None to round inside the box.
    """

    network: Network
    low: Tensor
    high: Tensor
    unsafe: tuple[Polytope, ...]
    model: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.float64
    label: int | None = None
    tie: float | None = None
    show: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high)):
            if value.shape != self.network.shape or value.dtype != torch.float64:
                raise DataError(f"{name} must be float64 {self.network.shape}, not {value.dtype} {tuple(value.shape)}")
        if bool((self.low > self.high).any()):
            raise DataError(f"the box is empty: low is above high in {int((self.low > self.high).sum())} places")
        if self.network.dtype != torch.float64:
            raise DataError(f"exact solvers take the network in float64, not {self.network.dtype}")

    @classmethod
    def wins(
        cls,
        network: Network,
        low: Tensor,
        high: Tensor,
        label: int,
        *,
        model: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype = torch.float64,
        margin: float = 0.0,
        tie: float | None = None,
        show: Callable[[Tensor], Tensor] | None = None,
    ) -> "Question":
        """Return the question whether class `label` wins by more than `margin` in the whole box."""
        (case,) = margin_specification(low, high, label, network.classes, margin=margin).cases
        ranked = None if margin else label
        return cls(network, low.double(), high.double(), case.unsafe, model or network, dtype, ranked, tie, show)

    @classmethod
    def of(
        cls, network: Network, case: Case, *, model: Callable[[Tensor], Tensor] | None = None, dtype: torch.dtype
    ) -> "Question":
        """Return the question that one case of a property asks."""
        low, high = case.low.view(network.shape), case.high.view(network.shape)
        return cls(network, low, high, case.unsafe, model or network, dtype)

    @property
    def wanted(self) -> Property:
        """What shall hold of the outputs, as bounds are asked it."""
        return Case(self.low.flatten(), self.high.flatten(), self.unsafe).wanted()

    @property
    def needed(self) -> float:
        """What a margin has to exceed to be a proof of what the real network does."""
        if self.tie is not None:
            return self.tie
        return 0.0 if self.dtype == torch.float64 else TIE

    def margins(self, x: Tensor) -> Tensor:
        """Return by how much the real network's outputs at inputs `(B, *shape)` miss breaking the property, `(B,)`.

        At most 0 where they break it. What the network ranks rightly stays above 0, be it by a tie.
        """
        with torch.no_grad():
            output = self.model(x.to(self.dtype)).flatten(1)
        excess = torch.stack([polytope.excess(output) for polytope in self.unsafe]).amin(0)
        if self.label is None:
            return excess
        return torch.where(output.argmax(1) == self.label, excess.clamp_min(torch.finfo(excess.dtype).tiny), excess)

    def replayed(self, x: Tensor) -> tuple[Tensor, float]:
        """Return a solver's point as the real network is shown it, and by how much it misses being a counterexample.

        The point is rounded to the real network's precision, inside the box; at most 0 is a counterexample.
        """
        point = x.view(self.low.shape)
        shown = inward(point, self.low, self.high, self.dtype) if self.show is None else self.show(point[None])[0]
        return shown, float(self.margins(shown[None]))
