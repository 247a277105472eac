"""Accuracy domain by domain: does what was learnt on some domains carry over to others?

In Search of Lost Domain Generalization (DomainBed; Gulrajani and Lopez-Paz, 2021): a classifier is fitted to a share of
every training domain, and judged on the rest of them and on a domain that training never had.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.roles import Source, Trial
from withstand.data.pictures.domains import DOMAIN
from withstand.evaluation.features import Features
from withstand.evaluation.probes.linear import fit_linear
from withstand.evaluation.probes.probe import CONTROL, Embedded, Probe, beside
from withstand.evaluation.probes.splits import hold_out
from withstand.evaluation.robustness.fairness import INTERVAL, gap
from withstand.evaluation.small import DigitsByDomain
from withstand.evaluation.statistics.intervals import Share, columns, shares

SEEN, UNSEEN = "accuracy on domains learnt from", "accuracy on domains left out"


@dataclass(frozen=True)
class DomainProbe(Probe):
    """A linear probe on the training domains, judged on samples of theirs that it was not fitted to, and on others.

    Args:
        held_out: share of each class of the training domains that is judged.
        seed: of that choice, and of the probe's.
    """

    held_out: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held_out must lie between 0 and 1, not {self.held_out!r}")

    def example_trial(self) -> Trial:
        return Trial(nn.Flatten(), DigitsByDomain(), nn.Flatten())

    def lacks(self, subject: object, source: Source) -> str:
        return super().lacks(subject, source) or ("" if DOMAIN in source.group_names else "the data know no domains")

    def measure(self, embedded: Embedded, control: Embedded | None = None) -> Finding:
        """Return the finding "domains": the accuracy in each, and of those learnt from and those left out."""
        names = embedded.source.group_names[DOMAIN]
        if embedded.test is None:
            raise DataError("domains are judged on samples that training did not have: give test samples")
        train, ours = self._judged(embedded)
        theirs = None if control is None else self._judged(control)[1]
        seen = set(embedded.source.attributes[DOMAIN][train.index].tolist())
        rows: list[tuple[Cell, ...]] = []
        for code, name in enumerate(names):
            of_it = ours.domain == code
            if not bool(of_it.any()):
                continue
            untrained = () if theirs is None else (Share.of(theirs.right[theirs.domain == code]).value,)
            told = "learnt from" if code in seen else "left out"
            rows.append((name, told, int(of_it.sum()), *Share.of(ours.right[of_it]).cells, *untrained))
        more = () if theirs is None else (CONTROL,)
        table = Table(
            ("domain", "training", "samples", *columns("accuracy"), *more),
            tuple(rows),
            units=shares(*columns("accuracy"), *more),
            controls=dict.fromkeys(more, "accuracy"),
        )
        figures = _figures(ours, seen)
        return Finding(
            "domains",
            figures if theirs is None else beside(figures, _figures(theirs, seen)),
            {"domains": table},
            protocol={
                "probe": describe(self),
                **embedded.protocol(),
                "fitted to": f"{1 - self.held_out:.0%} of each class of the domains learnt from",
                "interval": INTERVAL,
            },
        )

    def _judged(self, embedded: Embedded) -> tuple[Features, "_Judged"]:
        """Return what the probe was fitted to, and what it said of the rest and of test."""
        kept, rest = hold_out(embedded.train, self.held_out, self.seed, "domains")
        probe, test = fit_linear(kept, seed=self.seed), embedded.judged
        parts = [
            (part, source.attributes[DOMAIN][part.index])
            for part, source in ((rest, embedded.source), (test, embedded.test_source))
        ]
        right = torch.cat([probe.predict(part.x) == part.labels for part, _ in parts])
        return kept, _Judged(right, torch.cat([domain for _, domain in parts]))


@dataclass(frozen=True)
class _Judged:
    """Which samples the probe gets right, and which domain they are of, `(N,)` each."""

    right: Tensor
    domain: Tensor


def _figures(judged: _Judged, seen: set[int]) -> dict[str, Measure]:
    known = torch.isin(judged.domain, torch.tensor(sorted(seen)))
    parts = {UNSEEN: judged.right[~known], SEEN: judged.right[known]}
    found = {name: Share.of(right) for name, right in parts.items() if len(right)}
    figures = {name: share.measure() for name, share in found.items()}
    if len(found) == 2:
        figures["gap between domains learnt from and left out"] = Measure(
            found[SEEN].value - found[UNSEEN].value,
            "share",
            "lower",
            interval=gap(found[SEEN], found[UNSEEN]),
            of=len(judged.right),
        )
    return figures
