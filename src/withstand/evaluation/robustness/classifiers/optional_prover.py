"""A prover that an audit can do without: what goes wrong in it proves nothing, and ends nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.attacks.autoattack.ensemble import ProverFunction
from withstand.core.errors import WithstandError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim


@dataclass
class OptionalProver:
    """Asks a prover until it fails for the first time, and tells how far that went.

    Args:
        prover: what is asked; None proves nothing.
        name: how a protocol puts it.
    """

    prover: ProverFunction | None
    name: str

    def __post_init__(self) -> None:
        self._asked = 0
        self._error = ""

    def __call__(self, victim: Victim, x: Tensor, y: Tensor, ball: Ball) -> Tensor:
        """Return which samples are proven to hold in all of the ball, bool `(N,)`."""
        none = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if self.prover is None or self._error:
            return none
        try:
            proven = self.prover(victim, x, y, ball)
        except Exception as error:  # whatever it is, the attacks need no proof
            said = " ".join(str(error).split())
            self._error = said if isinstance(error, WithstandError) else f"{type(error).__name__}: {said}"
            return none
        self._asked += len(x)
        return proven

    def words(self) -> str:
        """Return how a protocol puts it, with what went wrong."""
        if not self._error:
            return self.name
        if not self._asked:
            return f"none: {self._error}"
        return f"{self.name}; of the first {self._asked} samples alone, then {self._error}"
