"""Accuracy group by group, on clean samples and under attack: how far the worst group falls behind.

Vision Models Are More Robust And Fair When Pretrained On Uncurated Images Without Supervision (Goyal et al., 2022) asks
it of pictures; any samples with a table of groups can be asked. Sizes: `N` judged samples.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from withstand.attacks.inputs.gradient import PGD
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Check, Finding, Measure, Table
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data.pictures.domains import DOMAIN
from withstand.data.shared.groups import Groups, groups_of
from withstand.evaluation.small import DigitsByDomain, digit_classifier
from withstand.evaluation.statistics.intervals import Share

FEW = 30
"""Samples below which a group's accuracy says little."""
_BATCH = 256
INTERVAL = "95 %, Wilson; of gaps Newcombe's"


@dataclass(frozen=True)
class GroupGaps(Evaluator):
    """A classifier's accuracy in each group of a table, the worst group's, and the gap to the best.

    Args:
        groups: the table, see `read_groups`, or one of the source's own attributes, as "domain".
        ball: attack within it too, by PGD; None for clean samples alone.
        steps: of PGD.
        samples: how many are judged, drawn by the seed; None for all.
        seed: of that choice and of the attack's starts.
    """

    groups: str
    ball: Ball | None = None
    steps: int = 40
    samples: int | None = None
    seed: int = 0

    product = "classifier"

    def __post_init__(self) -> None:
        if self.ball is not None:
            self.ball.refuse_l0("a comparison of groups")
        if self.steps < 1 or (self.samples is not None and self.samples < 1):
            raise ConfigError(f"steps and samples must be at least 1, not {self.steps} and {self.samples}")

    @classmethod
    def example(cls) -> Self:
        return cls(DOMAIN, Ball("linf", 0.1), steps=2)

    def example_trial(self) -> Trial:
        return Trial(digit_classifier(), DigitsByDomain())

    def evaluate(
        self,
        subject: nn.Module | Victim,
        source: Source,
        *,
        test: Source | None = None,
        control: nn.Module | Victim | None = None,
    ) -> Finding:
        """Return the finding "groups".

        Args:
            subject: gives logits.
            source: samples of which some have labels; those are judged.
            test: others to judge on, to which the table refers then.
            control: not used: groups are compared with one another.

        Raises:
            DataError: no labels, or a table that is about none of the samples.
        """
        data = source if test is None else test
        if data.labels is None:
            raise DataError("accuracy by group needs labels, and the data have none")
        grouped = groups_of(self.groups, data)
        known = (data.labels >= 0).nonzero()[:, 0]
        rows = known[permutation(len(known), self.seed, "groups")][: self.samples].sort().values
        if not len(rows):
            raise DataError("accuracy by group needs labels, and no sample has one")
        victim = subject if isinstance(subject, Victim) else Victim(subject)
        runs = torch.split(rows, _BATCH)
        right = {"accuracy": torch.cat([self._right(victim, data, some, None) for some in runs])}
        if self.ball is not None:
            held = torch.cat([self._right(victim, data, some, self.ball) for some in runs])
            right["robust accuracy"] = right["accuracy"] & held
        figures: dict[str, Measure] = {}
        tables, small = {}, []
        for name, groups in grouped.items():
            codes = groups.codes[rows]
            tables[name] = _table(groups, codes, right)
            counts = codes[codes >= 0].bincount(minlength=len(groups.names))
            small += [f"{name} {group!r} ({count})" for group, count in
                      zip(groups.names, counts.tolist(), strict=True) if 0 < count < FEW]  # fmt: skip
            for figure, holds in right.items():
                figures |= _figures(name, figure, groups, codes, holds)
        check = Check(
            "groups are large enough", not small,
            f"every group has {FEW} samples or more" if not small
            else f"fewer than {FEW} samples, whose accuracy says little: {', '.join(small)}",
        )  # fmt: skip
        attack = {} if self.ball is None else {"attack": f"PGD, {self.steps} steps, {self.ball}: an upper bound"}
        return Finding(
            "groups",
            figures,
            tables,
            (check,),
            {
                "samples": len(rows),
                "groups from": self.groups,
                "interval": INTERVAL,
                **attack,
            },
        )

    def _right(self, victim: Victim, data: Source, rows: Tensor, ball: Ball | None) -> Tensor:
        batch = data[rows].to(device_of_network(victim.model))
        x, y = victim.ready(batch.x), batch.y
        assert y is not None  # the source has labels
        if ball is not None:
            draws = Draws(derive(self.seed, "groups"), batch.index)
            return ~PGD(ball, steps=self.steps)(victim, x, y, generator=draws).success.cpu()
        with victim.held(), torch.no_grad():
            outputs = victim(x.clone())
        logits = outputs if isinstance(outputs, Tensor) else outputs["logits"]
        return (logits.argmax(1) == y).cpu()


def gap(best: Share, worst: Share) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two groups' shares (Newcombe, 1998, by Wilson's intervals).

    >>> low, high = gap(Share(56, 70), Share(48, 80))
    >>> round(low, 4), round(high, 4)
    (0.0524, 0.3339)
    """
    difference = best.value - worst.value
    (low, high), (least, most) = best.interval, worst.interval
    below = math.hypot(best.value - low, most - worst.value)
    above = math.hypot(high - best.value, worst.value - least)
    return difference - below, difference + above


def _shares(groups: Groups, codes: Tensor, holds: Tensor) -> Mapping[str, Share]:
    members = {name: holds[codes == place] for place, name in enumerate(groups.names)}
    return {name: Share.of(some) for name, some in members.items() if len(some)}


def _table(groups: Groups, codes: Tensor, right: Mapping[str, Tensor]) -> Table:
    columns: tuple[str, ...] = ("group", "samples")
    for figure in right:
        columns += (figure, f"{figure}, low", f"{figure}, high")
    every = {figure: _shares(groups, codes, holds) for figure, holds in right.items()}
    known = every["accuracy"]
    rows = tuple(_row(name, [shares[name] for shares in every.values()]) for name in groups.names if name in known)
    return Table(columns, rows, units=dict.fromkeys(columns[2:], "share"))


def _row(name: str, shares: list[Share]) -> tuple[str | int | float, ...]:
    return (name, shares[0].count, *(cell for share in shares for cell in share.cells))


def _figures(name: str, figure: str, groups: Groups, codes: Tensor, holds: Tensor) -> dict[str, Measure]:
    """Return the worst group's share and the gap to the best, among groups that are large enough where two are."""
    shares = _shares(groups, codes, holds)
    large = {group: share for group, share in shares.items() if share.count >= FEW}
    shares = large if len(large) > 1 else shares
    if len(shares) < 2:
        return {}
    worst, best = (pick(shares, key=lambda group: shares[group].value) for pick in (min, max))
    difference = shares[best].value - shares[worst].value
    return {
        f"{figure} of the worst {name} ({worst})": shares[worst].measure(),
        f"{figure} gap between {name}s": Measure(
            difference, "share", "lower", interval=gap(shares[best], shares[worst]), of=len(codes)
        ),
    }
