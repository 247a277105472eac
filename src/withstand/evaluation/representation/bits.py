"""Codes of signs: how many bits say anything, and how many flip when the input is changed a little."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Check, Finding, Measure
from withstand.core.part import describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.threat import parse_eps
from withstand.core.victims.victim import Victim
from withstand.evaluation.small import small_pictures

_AT_ONCE = 256
ACTIVE = "active bits"


@runtime_checkable
class Coded(Protocol):
    """A network that has a code of signs."""

    def code(self, x: Tensor) -> Tensor:
        """Return the signs `(B, K)`, -1 or 1, of inputs in [0, 1]."""
        ...


@dataclass(frozen=True)
class Bits(Evaluator):
    """The bits of a purifier's code: which say anything, and which flip under random signs of a radius.

    Args:
        eps: of the random signs, Linf.
        samples: most samples that are looked at, drawn by (seed, index).
        seed: of samples and signs.
    """

    eps: str | float = "8/255"
    samples: int = 1000
    seed: int = 0

    product = "purifier"

    def __post_init__(self) -> None:
        parse_eps(self.eps)
        if self.samples < 2:
            raise ConfigError(f"samples must be at least 2, not {self.samples}: a bit says something where two differ")

    @classmethod
    def example(cls) -> Self:
        return cls(samples=8)

    def example_trial(self) -> Trial:
        from withstand.methods.restoration.lq_vae import LQVAE

        return Trial(LQVAE.example().product("purifier"), small_pictures(), LQVAE.example().product("purifier"))

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the subject has no code."""
        return "" if isinstance(subject, Coded) else f"{type(subject).__name__} has no code of signs"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "bits".

        Args:
            subject: a network with a code.
            source: samples, where there is no test.
            test: samples that are looked at.
            control: an untrained one.

        Raises:
            ConfigError: the subject has no code.
            DataError: fewer than two samples.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise ConfigError(lacking)
        if len(judged) < 2:
            raise DataError("a code's bits are told of two samples at least")
        found = self._told(subject, judged)
        beside = self._told(control, judged) if isinstance(control, Coded) else None
        figures = {
            name: replace(measure, control=None if beside is None else beside[name]) for name, measure in found.items()
        }
        share, count = found[ACTIVE].value, found[ACTIVE].of
        told = f"{share:.1%} of {count} bits differ between samples"
        return Finding(
            name="bits",
            figures=figures,
            headline=ACTIVE,
            checks=(Check("the code is not constant", share > 0, told),),
            protocol={"evaluator": describe(self), "samples": min(self.samples, len(judged)), "bits": count},
        )

    def _told(self, subject: Any, source: Source) -> dict[str, Measure]:
        """Return the share of bits that differ between samples, their entropy, and the share that flips."""
        rows = Draws(derive(self.seed, "bits"), torch.arange(len(source))).bits(1)[:, 0].argsort(stable=True)
        eps, clean, moved = parse_eps(self.eps), [], []
        with Victim(subject).held(), torch.no_grad():
            for some in torch.split(rows[: self.samples], _AT_ONCE):
                x = unit_range(source[some].x).to(device_of_network(subject))
                signs = Draws(derive(self.seed, "signs"), some.to(x.device)).uniform(*x.shape[1:]).sub(0.5).sign()
                clean.append(subject.code(x).cpu() > 0)
                moved.append(subject.code((x + eps * signs).clamp(0, 1)).cpu() > 0)
        one, other = torch.cat(clean), torch.cat(moved)
        often = one.double().mean(0)
        entropy = (torch.special.entr(often) + torch.special.entr(1 - often)).mean()
        active = (one.any(0) & ~one.all(0)).double().mean()
        flipped = float((one != other).double().mean())
        return {
            ACTIVE: Measure(float(active), "share", "higher", of=one.shape[1]),
            "entropy of a bit": Measure(float(entropy), "nats", "higher"),
            "bits lost to noise": Measure(flipped, "share", "lower", of=one.numel()),
        }
