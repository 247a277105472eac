"""Detector: a guard that scores how clean an input looks and rejects what lies below a threshold.

A kind of detector is only its gauge, a network that reads scores; what is shared is here: the threshold from clean data
alone, the victim held still, memory, and the surface that an attacker meets who knows the detector.

Draws hang on a sample's own content unless they are given. So a score is a fixed function of the sample: it does not
depend on the batch, and asking twice gives nothing new.

Sizes: `N` samples, `C` classes.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, content_draws, derive
from withstand.core.roles import Defense, Gradient, Outcome
from withstand.core.victims.victim import Outputs, Victim
from withstand.defenses.small import small_victim


class Reading(NamedTuple):
    """What a gauge reads: the score `(N,)`, higher is cleaner, and its smooth stand-in for each class `(N, C)`."""

    score: Tensor
    appeal: Tensor


class Gauge(nn.Module):
    """What tells one kind of detector from another."""

    @abstractmethod
    def forward(self, x: Tensor, logits: Tensor, draws: Draws) -> Reading:
        """Read the scores of inputs `(N, ...)` to which the victim gave these logits; row i draws from stream i."""


class Confidence(Gauge):
    """The classifier's largest probability."""

    def forward(self, x: Tensor, logits: Tensor, draws: Draws) -> Reading:
        return Reading(logits.softmax(1).amax(1), logits.log_softmax(1))


class Detector(Defense):
    """A classifier, a gauge and a threshold; subclasses bring their own gauge.

    Args:
        victim: the classifier that is guarded.
        gauge: reads the scores.
        seed: of what the gauge draws, with each sample's content.

    Attributes:
        threshold: the least score that is accepted; None before `fit`.
    """

    threshold: float | None = None

    def __init__(self, victim: Victim | nn.Module | Callable[[Tensor], Outputs], gauge: Gauge, seed: int = 0) -> None:
        self.victim = victim if isinstance(victim, Victim) else Victim(victim)
        self.seed = seed
        self._gauge = gauge

    @classmethod
    def example(cls) -> Self:
        return cls(small_victim(), Confidence())

    def fit(self, clean: Tensor, *, fpr: float = 0.05) -> Self:
        """Set the threshold so that a share `fpr` of clean inputs is rejected, up to one of them.

        Args:
            clean: inputs that neither the detector nor the victim learnt from, `(N, ...)`.
            fpr: the false-positive rate, in [0, 1).

        Raises:
            ConfigError: `fpr` is no such share.
            DataError: no inputs.
        """
        if not 0 <= fpr < 1:
            raise ConfigError(f"fpr is the share of clean inputs to reject, in [0, 1), not {fpr!r}")
        if not len(clean):
            raise DataError("a threshold needs clean inputs, and there are none")
        self._calibrate(clean, fpr)
        return self

    def _calibrate(self, clean: Tensor, fpr: float) -> None:
        ordered = self.score(clean).sort().values
        self.threshold = float(ordered[int(fpr * len(ordered) + 1e-9)])

    def score(self, x: Tensor, draws: Draws | None = None) -> Tensor:
        """Return how clean each input looks, `(N,)`, higher is cleaner.

        Args:
            x: inputs in the victim's range, `(N, ...)`.
            draws: N streams; None for each sample's own, which hang on its content.
        """
        return self._read(x, draws)[1]

    def predict(self, x: Tensor, draws: Draws | None = None) -> Tensor:
        """Return which inputs are accepted, bool `(N,)`."""
        score = self.score(x, draws)
        return score >= self._least()

    def __call__(self, x: Tensor) -> Outcome:
        logits, score = self._read(x, None)
        return Outcome(logits, score, x, None if self.threshold is None else score >= self.threshold)

    def exposed(self, gradient: Gradient | None = None) -> Victim:
        """Return classifier, gauge and threshold as one; the victim gets the input that came, however one looks at it.

        Raises:
            ConfigError: there is no threshold yet.
        """
        network = Exposed(self.victim, self._gauge, self._least(), derive(self.seed, "attacker"))
        return Victim(network, low=self.victim.low, high=self.victim.high)

    def _least(self) -> float:
        if self.threshold is None:
            raise ConfigError(f"this {type(self).__name__} has no threshold yet: fit it on clean inputs first")
        return self.threshold

    def _read(self, x: Tensor, draws: Draws | None) -> tuple[Tensor, Tensor]:
        """Return the victim's logits `(N, C)` and the scores `(N,)`."""

        def both(network: "Exposed", x: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
            logits, reading = network.read(x, draws)
            return logits, reading.score

        logits, score = self._passes(both, x, draws)
        return logits, score

    def _passes(
        self,
        read: Callable[["Exposed", Tensor, Draws], tuple[Tensor, ...]],
        x: Tensor,
        draws: Draws | None,
    ) -> tuple[Tensor, ...]:
        """Return what `read` gives for all inputs, with victim and gauge held still."""
        x = self.victim.check(x.detach())
        if not len(x):
            raise DataError("there are no inputs to judge")
        network = Exposed(self.victim, self._gauge, 0.0, self.seed)
        draws = content_draws(self.seed, x) if draws is None else draws
        if len(draws) != len(x):
            raise ConfigError(f"draws holds streams for {len(draws)} samples, x has {len(x)}")
        with Victim(network).held(), torch.no_grad():
            starts = range(0, len(x), _ROWS)
            parts = [read(network, x[start : start + _ROWS], draws[slice(start, start + _ROWS)]) for start in starts]
        return tuple(map(torch.cat, zip(*parts, strict=True)))


_ROWS = 256
"""Samples that are read at once."""


class Exposed(nn.Module):
    """A victim and a gauge as one network that can be differentiated, for who knows both.

    Args:
        victim: what is guarded.
        gauge: what scores.
        threshold: least accepted score.
        seed: of the draws.
    """

    def __init__(self, victim: Victim, gauge: Gauge, threshold: float, seed: int) -> None:
        super().__init__()
        self.victim, self.threshold, self.seed = victim, threshold, seed
        self.gauge = gauge
        self.model = victim.model if isinstance(victim.model, nn.Module) else None  # held and moved with this one

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return "logits" and "appeal" `(N, C)`, and "lead" `(N,)`."""
        logits, reading = self.read(x, content_draws(self.seed, x))
        return {"logits": logits, "lead": reading.score - self.threshold, "appeal": reading.appeal}

    def read(self, x: Tensor, draws: Draws) -> tuple[Tensor, Reading]:
        """Return the victim's logits and what the gauge reads."""
        logits = self.victim.output(x)
        if logits.dim() != 2:
            raise DataError(f"a detector guards a classifier, logits (N, C), not outputs {tuple(logits.shape)}")
        reading: Reading = self.gauge(x, logits, draws)
        return logits, reading
