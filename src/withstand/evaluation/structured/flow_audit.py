"""The audit of networks that read flows: packets late, longer, lost and out of order, as they come and at their worst.

Sizes: `N` audited flows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.inputs.packets import LARGEST, PacketChange
from withstand.attacks.paired import little
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Check, Finding, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.flows.container import FlowBatch
from withstand.data.flows.source import Flows, flows_of, lacks_flows
from withstand.data.flows.table import TOTAL, FlowTable
from withstand.evaluation.features import place_of
from withstand.evaluation.robustness.classifiers.headline import BLACK_BOX, Headline
from withstand.evaluation.robustness.classifiers.plausible import skilled
from withstand.evaluation.statistics.intervals import Share, columns, shares
from withstand.models.tokens.flow_encoder import FlowEncoder

Holds = Callable[[Tensor], Tensor]
"""Whether each flow's output `(N, D)` still says what it should, bool `(N,)`."""

MEASURED: Final = {"jitter": "milliseconds", "padding": "bytes", "loss": "share", "reordering": "share"}
"""What strengths are measured in, as a `Measure` says it; `UNITS` says it in words."""
UNITS: Final = {"jitter": "ms", "padding": "bytes", "loss": "share of packets", "reordering": "share of packets"}
STRENGTHS: Final[Mapping[str, tuple[float, ...]]] = {
    "jitter": (1.0, 10.0, 100.0),
    "padding": (16.0, 128.0, 1024.0),
    "loss": (0.05, 0.1, 0.2),
    "reordering": (0.05, 0.1, 0.2),
}
TIE = 1e-6
"""Cosine similarities that differ by no more are the same."""


@dataclass(frozen=True)
class FlowAudit(Evaluator):
    """Change flows' packets within what networks and headers allow, over growing strengths, and count what holds.

    Each change is drawn several times: once as chance has it, and, for the worst case, as often as `steps` says; a flow
    that fell to a weaker change counts as fallen under stronger ones. No gradient is used, for packets come and go by
    whole numbers: what is left is an upper bound.

    Args:
        samples: audited flows, drawn by the seed.
        steps: draws of each change at each strength.
        strengths: of each kind of change, ascending, as `PacketChange` has them.
        seed: of the choice of flows and every draw.

    Raises:
        ConfigError: fewer than two draws, or strengths that do not ascend.
    """

    samples: int = 500
    steps: int = 10
    strengths: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: dict(STRENGTHS))
    seed: int = 0

    product = "classifier"

    def __post_init__(self) -> None:
        if self.steps < 2 or self.samples < 1:
            raise ConfigError(f"an audit needs 2 steps and 1 sample at least, not {self.steps} and {self.samples}")
        for kind, values in self.strengths.items():
            if not values or list(values) != sorted(set(values)):
                raise ConfigError(f"strengths of {kind} must ascend, not {tuple(values)!r}")
            for value in values:
                PacketChange(kind, value)

    @classmethod
    def example(cls) -> Self:
        return cls(4, 2, {"loss": (0.5,)})

    def example_trial(self) -> Trial:
        return Trial(_by_size, Flows.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the samples are no flows of captures, or have no labels."""
        unlabelled = "" if source.labels is not None else "an audit of a flow classifier needs labels"
        return lacks_flows(source) or unlabelled

    def evaluate(
        self,
        subject: nn.Module | Callable[[Tensor], Tensor],
        source: Source,
        *,
        test: Source | None = None,
        control: object = None,
    ) -> Finding:
        """Return the finding "audit".

        Args:
            subject: a classifier of flows.
            source: labelled flows.
            test: flows to change in place of the source's.
            control: not used: changes at their worst are read beside the same drawn once, and the clean flows.

        Raises:
            DataError: no labels, or samples that are no flows of captures.
        """
        source = source if test is None else test
        if lacking := self.lacks(subject, source):
            raise DataError(lacking)
        rows = permutation(len(source), self.seed, "audit")[: self.samples].sort().values
        whole, places = flows_of(source)
        flows = _Flows(whole, places[rows])
        answer = _Answers(subject, flows)
        clean = answer(flows.table)
        holds, checks, words = self._judge(clean, source, rows)
        found = {kind: self._change(kind, flows, answer, holds) for kind in self.strengths}
        first = holds(clean)
        left, once = first.clone(), first.clone()
        for one in found.values():
            left &= one.worst[-1]
            once &= one.once[-1]
        new = sum(one.new for one in found.values())
        changes = ", ".join(f"{kind} {self.strengths[kind][-1]:g} {UNITS[kind]}" for kind in found)
        headline = words(Share.of(left), once, first, f"{self.steps} draws of each change")
        settled = little(int(new), len(rows))
        checks = (
            *checks,
            Check("nothing shrank", all(one.lawful for one in found.values()), "headers and lengths were compared"),
            Check(
                "more draws find little more",
                settled,
                f"the last of {self.steps} draws of each change felled {int(new)} more of {len(rows)} flows",
            ),
            headline.last_word(),
        )
        of_codes = headline.bound == "a lower bound"
        by_chance = Share.of(~once if of_codes else once)
        beside = (
            {headline.against: by_chance.measure("lower")}
            if of_codes
            else {
                headline.against: Share.of(first).measure(),
                "accuracy under changes drawn once": by_chance.measure(),
            }
        )
        return Finding(
            name="audit",
            figures={**beside, headline.name: headline.measure()},
            headline=headline.name,
            tables={kind: one.tabled(kind, self.strengths[kind], headline.bound) for kind, one in found.items()},
            checks=checks,
            protocol={
                "audit": describe(self),
                "samples": len(rows),
                "samples given": len(source),
                "source": source.fingerprint(),
                "changes": changes,
                "what may change": "times, lengths, which kept packets come and in which order; no packet grows beyond "
                f"{LARGEST} bytes, lengths and TCP's numbers stay consistent, and bursts are made anew",
                "interval": "95 %, Wilson",
                "headline": headline.tree(checks),
                "verdict": headline.verdict(checks),
            },
        )

    def _judge(
        self, clean: Tensor, source: Source, rows: Tensor
    ) -> tuple[Holds, tuple[Check, ...], Callable[[Share, Tensor, Tensor, str], Headline]]:
        assert source.labels is not None
        y = source.labels[rows]

        def told(share: Share, once: Tensor, first: Tensor, attack: str) -> Headline:
            return Headline(
                name="accuracy under packet changes",
                against="clean accuracy",
                ball="packet",
                what="flows hold under each of the changes at its largest",
                share=share,
                attack=attack,
                access=BLACK_BOX,
                alone=attack,
            )

        return (lambda outputs: outputs.argmax(1) == y), (skilled(clean, y, source.classes),), told

    def _change(self, kind: str, flows: "_Flows", answer: "_Answers", holds: Holds) -> "_Found":
        clean = holds(answer(flows.table))
        worst, once = clean.clone(), clean.clone()
        found = _Found([], [], lawful=True, new=0)
        for level, strength in enumerate(self.strengths[kind]):
            change = PacketChange(kind, strength)
            for turn in range(self.steps):
                draws = Draws(derive(self.seed, "flow audit", kind, level, turn), flows.index)
                table = change(flows.table, draws, flows.rule)
                found.lawful &= lawful(flows.table, table)
                kept = holds(answer(table))
                if turn == 0:
                    # What falls to chance at one strength is not told to have stood at a larger one.
                    once = once & kept
                if turn == self.steps - 1:
                    found.new = int((worst & ~kept).sum())
                worst = worst & kept
            found.worst.append(worst.clone())
            found.once.append(once.clone())
        return found


@dataclass(frozen=True)
class FlowDrift(FlowAudit):
    """The same of an encoder: a flow holds while its features lie nearest to its own clean ones, by their cosine.

    Arguments as for `FlowAudit`.
    """

    product = "encoder"

    def example_trial(self) -> Trial:
        return Trial(FlowEncoder.example(), Flows.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the samples are no flows of captures, or that there is one alone."""
        alone = "" if len(source) > 1 else "features of one flow are nearest to themselves: give more flows"
        return lacks_flows(source) or alone

    def _judge(
        self, clean: Tensor, source: Source, rows: Tensor
    ) -> tuple[Holds, tuple[Check, ...], Callable[[Share, Tensor, Tensor, str], Headline]]:
        codes = F.normalize(clean, dim=1)

        def holds(outputs: Tensor) -> Tensor:
            likeness = F.normalize(outputs, dim=1) @ codes.T
            return likeness.diagonal() >= likeness.amax(1) - TIE

        def told(share: Share, once: Tensor, first: Tensor, attack: str) -> Headline:
            return Headline(
                name="share nearer to another flow under packet changes",
                against="share nearer to another flow under changes drawn once",
                ball="packet",
                what="flows get features nearer to another's under the changes at their largest",
                share=Share(share.count - share.hits, share.count),
                attack=attack,
                access=BLACK_BOX,
                alone=attack,
                bound="a lower bound",
            )

        spread = float(codes.std(0, correction=0).mean())
        differ = Check("flows get different features", spread > 1e-4, f"a spread of {spread:.2g} over flows")
        return holds, (differ,), told


def lawful(before: FlowTable, after: FlowTable) -> bool:
    """Return whether changed flows are ones that the packets of the others could have become.

    Headers' lengths and the flows' protocols are the same, no flow has more packets or a shorter longest packet than it
    can have, and none exceeds what an Ethernet carries unless it did before.
    """
    low, high = (int(before.values[:, TOTAL].min()), max(LARGEST, int(before.values[:, TOTAL].max())))
    lengths = after.values[:, TOTAL]
    return (
        bool((before.protocol == after.protocol).all())
        and bool((after.first[1:] - after.first[:-1] <= before.first[1:] - before.first[:-1]).all())
        and bool((after.first[1:] > after.first[:-1]).all())
        and int(lengths.min()) >= low
        and int(lengths.max()) <= high
        and set(after.values[:, 0].tolist()) <= set(before.values[:, 0].tolist())
    )


class _Flows:
    """The audited flows of a source."""

    def __init__(self, whole: Flows, places: Tensor) -> None:
        self.table, self.index = whole.table.take(places.numpy()), places
        self.rule, self.payload = whole.rule, whole.payload


class _Answers:
    """What a subject says of flows, `(N, D)` on the CPU."""

    def __init__(self, subject: nn.Module | Callable[[Tensor], Tensor], flows: _Flows, batch: int = 256) -> None:
        self.subject, self.payload, self.batch = subject, flows.payload, batch

    def __call__(self, table: FlowTable) -> Tensor:
        there, found = place_of(self.subject), []
        was = self.subject.training if isinstance(self.subject, nn.Module) else False
        if isinstance(self.subject, nn.Module):
            self.subject.eval()
        try:
            with torch.no_grad():
                for start in range(0, len(table), self.batch):
                    rows = torch.arange(start, min(start + self.batch, len(table))).numpy()
                    flows = Flows.batch_of(table.take(rows), self.payload)
                    found.append(self.subject(flows.to(there).as_samples()).float().cpu())
        finally:
            if isinstance(self.subject, nn.Module):
                self.subject.train(was)
        return torch.cat(found)


@dataclass
class _Found:
    """Which flows hold at each strength, at worst and under one draw; whether all was lawful; what came last."""

    worst: list[Tensor]
    once: list[Tensor]
    lawful: bool
    new: int

    def tabled(self, kind: str, strengths: tuple[float, ...], bound: str) -> Table:
        of_codes = bound != "an upper bound"
        name = "share nearer to another flow" if of_codes else "accuracy"
        worst, once = f"{name}, worst of the draws", f"{name}, one draw"
        rows: list[tuple[Cell, ...]] = []
        for strength, left, chance in zip(strengths, self.worst, self.once, strict=True):
            ends = [Share.of(~one if of_codes else one) for one in (left, chance)]
            rows.append((strength, *ends[0].cells, ends[1].value))
        x = f"{kind}, {UNITS[kind]}"
        units = shares(worst, once) | {x: MEASURED[kind]}
        return Table((x, *columns(worst), once), tuple(rows), x=x, units=units, controls={once: worst})


def _by_size(x: Tensor) -> Tensor:
    """Return logits by the size of a flow's first burst: the example's classifier."""
    size = FlowBatch.of(x).metadata[:, 0, 1]
    return torch.stack([300 - size, size - 300], 1)
