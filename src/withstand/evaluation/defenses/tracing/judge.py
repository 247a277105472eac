"""How well adversarial examples are traced to the copy that they were made on, also where the attacker knows of it.

Sizes: N examples, M copies, R of them registered.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Better, Cell, Check, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes, drawn
from withstand.core.part import again, describe
from withstand.core.random import Draws, derive, isolated, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.derived.subset import labelled
from withstand.evaluation.defenses.tracing.attempts import (
    AVERAGED,
    AVOIDED,
    BACK,
    BARE,
    BEYOND,
    ERRORS,
    ONE,
    POOLED,
    Attempt,
    attempt,
    gathered,
)
from withstand.evaluation.defenses.tracing.calibration import Calibration
from withstand.evaluation.defenses.tracing.cases import RADII, Made, attacks, calibrate
from withstand.evaluation.defenses.tracing.evidence import Reference, every_copy
from withstand.evaluation.defenses.tracing.verdicts import verdicts
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import Share, columns, shares
from withstand.models.pictures.tracers import TracedCopies

TRACED, TRANSFER, AROUND = (
    "traced from one example",
    "attack success on another copy",
    "unregistered sources told, AUROC",
)
UNTRAINED = "untrained tracers"
KEPT, AGREED, SHAKEN = "right", "says what the classifier says", "right under noise"
CHANGE = "change under noise"
_LEAST = 1e-6
"""A tracer whose outputs change by less under noise is dead."""


@dataclass(frozen=True)
class OriginTracing(Evaluator):
    """Make adversarial examples on every copy, hand them to the tracing, and count how often it is right.

    What evidence is worth is learnt from the source's pictures, and judged on the test's. Beside the attack that it is
    learnt from stand attackers who go far beyond the boundary, pool two copies, avoid the tracer, average noise out, or
    never had a copy of these; and pictures that the classifier misreads without any attack.

    Args:
        samples: pictures that are attacked on each copy.
        calibrated: pictures that are attacked on each copy to learn what evidence is worth.
        steps: of each attack, within each radius of `RADII`.
        adaptive: how many attackers there are of each other kind.
        pooled: how many examples of one source are looked at together, beside one.
        alphas: other weights of the tracers, for the trade-off.
        noise: deviation of the noise under which copies are judged.
        confidence: from which a copy is named.
        level: of the corrected p-value up to which a copy is named.
        shown: pictures that are shown.
        seed: of pictures and draws.
    """

    samples: int = 40
    calibrated: int = 40
    steps: int = 10
    adaptive: int = 4
    pooled: tuple[int, ...] = (5, 20)
    alphas: tuple[float, ...] = (0.1, 0.2)
    noise: float = 0.05
    confidence: float = 0.9
    level: float = 0.05
    shown: int = 8
    seed: int = 0

    product = "copies"

    def __post_init__(self) -> None:
        for name, least in {"samples": 2, "calibrated": 2, "steps": 1, "adaptive": 1, "shown": 1}.items():
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, not {getattr(self, name)!r}")
        if any(count < 2 for count in self.pooled):
            raise ConfigError(f"pooled, examples beside one, must be at least 2 each, not {self.pooled!r}")
        if not all(0 < alpha < 1 for alpha in self.alphas):
            raise ConfigError(f"alphas must lie between 0 and 1, not {self.alphas!r}")
        for name in ("confidence", "level"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} must lie between 0 and 1, not {getattr(self, name)!r}")
        if not self.noise >= 0:
            raise ConfigError(f"noise must be at least 0, not {self.noise!r}")

    @classmethod
    def example(cls) -> Self:
        return cls(6, 6, 2, 1, (2,), (), shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.robust.attack_tracing import AttackTracing

        return Trial(AttackTracing.example().product("copies"), small_pictures())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the pictures are of another shape, or too few."""
        if isinstance(subject, TracedCopies) and source.shape != subject.tracers.shape:
            return f"the copies read pictures of shape {subject.tracers.shape}, and these have {source.shape}"
        return "" if len(source) >= 2 else f"tracing is judged on two pictures at least, and there are {len(source)}"

    def evaluate(
        self, subject: TracedCopies, source: Source, *, test: Source | None = None, control: Any = None
    ) -> Finding:
        """Return the finding "tracing".

        Args:
            subject: all copies.
            source: pictures from which it is learnt what evidence is worth.
            test: pictures that are attacked and traced; the source's if None.
            control: not read: the same copies with tracers that learnt nothing stand beside.

        Raises:
            ConfigError: pictures of another shape, or too few.
            DataError: no attack succeeds.
        """
        judging = source if test is None else test
        for some in (source, judging):
            if lacking := self.lacks(subject, some):
                raise ConfigError(lacking)
        with Victim(subject).held():
            return self._evaluated(subject, source, judging)

    def _evaluated(self, copies: TracedCopies, source: Source, judging: Source) -> Finding:
        rows = permutation(len(judging), self.seed, "judged")[: self.samples]
        x = Victim(copies.classifier).ready(judging[rows].x.to(device_of_network(copies)))
        reference, calibration = self._calibrated(copies, source)
        tried = {ONE: attempt(copies, reference, x, steps=self.steps, seed=self.seed)}
        for kind in (BEYOND, POOLED, AVOIDED, AVERAGED, BARE, *([BACK] if copies.reserve else [])):
            tried[kind] = attempt(copies, reference, x, kind, most=self.adaptive, steps=self.steps, seed=self.seed)
        if (errors := self._errors(copies, reference, judging)) is not None:
            tried[ERRORS] = errors
        blank = untrained(copies, self.seed)
        plain, bare = tried[ONE], attempt(blank, _reference(blank, x), x, steps=self.steps, seed=self.seed)
        if not len(plain.right) or not len(bare.right):
            raise DataError("no attack on any copy succeeded: there are no examples to trace")
        said = verdicts(tried, calibration, self.confidence, self.level, self.pooled)
        table, checks, kept = self._each(copies, judging, plain)
        chance = 1 / copies.registered
        if len(tried[AVOIDED].right):
            kept[f"{TRACED}, {AVOIDED}"] = _share(tried[AVOIDED].right, "higher", chance)
            checks = (*checks, _held(Share.of(tried[AVOIDED].right), chance))
        return Finding(
            name="tracing",
            figures={
                TRACED: _share(plain.right, "higher", chance),
                f"{TRACED}, {UNTRAINED}": _share(bare.right, "higher", chance),
                **{name: _share(hits, "higher", chance) for name, hits in said.together.items()},
                TRANSFER: _share(plain.transferred, "lower"),
                f"{TRANSFER}, {UNTRAINED}": _share(bare.transferred, "lower"),
                AROUND: Measure(_auroc(plain, tried[BACK if copies.reserve else BARE]), "share", "higher", chance=0.5),
                **said.figures,
                **kept,
            },
            headline=TRACED,
            tables={
                "attackers": said.table,
                "candidates": _by_candidates(plain),
                "alpha": self._by_alpha(copies, judging, x),
                "copies": table,
            },
            checks=(*checks, *said.checks),
            protocol={
                "evaluator": describe(self),
                "copies": copies.registered,
                "kept back": copies.reserve,
                "alpha": copies.alpha,
                "samples": len(x),
                "samples given": len(judging),
                "self-made attacks": [f"PGD on the margin, linf {eps * 255:g}/255" for eps in RADII],
                "what pictures show": "what the classifier says, where the attacked network says so too",
                "what it means": (
                    "a match is no proof; examples of pooled copies, or made round the tracer, may point at nobody or "
                    "at others"
                ),
            },
            pictures=self._pictures(judging, x, plain),
        )

    def _calibrated(self, copies: TracedCopies, source: Source) -> tuple[Reference, Calibration]:
        seed = derive(self.seed, "calibrated")
        return calibrate(copies, source, samples=self.calibrated, tries=attacks(steps=self.steps), seed=seed)

    def _some(self, copies: TracedCopies, judging: Source, word: str) -> tuple[Tensor, Tensor | None]:
        """Return ten times as many pictures in [0, 1] as are attacked, and their labels where there are some."""
        known = judging if judging.labels is None else labelled(judging)
        rows = permutation(len(known), self.seed, word)[: 10 * self.samples]
        batch = known[rows].to(device_of_network(copies))
        return unit_range(batch.x), batch.y

    def _errors(self, copies: TracedCopies, reference: Reference, judging: Source) -> Attempt | None:
        """Return pictures that the classifier misreads without attack; None without labels or errors."""
        x, y = self._some(copies, judging, "errors")
        if y is None:
            return None
        wrong = (every_copy(copies, x)[0] != y).nonzero()[:, 0]
        return gathered(copies, reference, [Made(x[wrong], y[wrong], wrong, len(x))], [()]) if len(wrong) else None

    def _each(
        self, copies: TracedCopies, judging: Source, plain: Attempt
    ) -> tuple[Table, tuple[Check, ...], dict[str, Measure]]:
        """Return what is known of each registered copy, what to think of it, and the mean of their accuracies."""
        x, y = self._some(copies, judging, "accuracy")
        count = copies.registered
        draws = Draws(derive(self.seed, "noise"), torch.arange(len(x), device=x.device))
        shaken = x + self.noise * draws.normal(*x.shape[1:]).to(x)
        label, logits, told = every_copy(copies, x)
        plainly, noisy, moved = every_copy(copies, shaken)
        change = (told - moved).abs().mean((1, 2)).cpu()
        said, under = logits.argmax(2), noisy.argmax(2)
        agreed = (said == label).cpu()
        hits = [plain.right[plain.source == place] for place in range(count)]
        traced = [Share.of(mine).value if len(mine) else None for mine in hits]
        heads: tuple[str, ...] = (TRACED, AGREED)
        rows: list[tuple[Cell, ...]] = [(place, traced[place], Share.of(agreed[place]).value) for place in range(count)]
        figures = {f"{AGREED}, copies": _share(agreed[:count].flatten(), "higher")}
        if y is not None:
            right, noised = (said == y).cpu(), (under == y).cpu()
            heads = (*heads, KEPT, SHAKEN)
            rows = [
                (*row, Share.of(right[place]).value, Share.of(noised[place]).value) for place, row in enumerate(rows)
            ]
            alone = ((label == y).cpu(), (plainly == y).cpu())
            for name, hits_of, bare in zip((KEPT, SHAKEN), (right, noised), alone, strict=True):
                figures[f"{name}, copies"] = _share(hits_of[:count].flatten(), "higher")
                figures[f"{name}, classifier"] = _share(bare, "higher")
        rows = [(*row, float(change[place])) for place, row in enumerate(rows)]
        dead = [str(place) for place in range(copies.tracers.count) if float(change[place]) < _LEAST]
        apart = float(agreed[:count].float().mean(1).min())
        checks = (
            Check(
                "tracers react",
                not dead,
                f"tracers {', '.join(dead)} say the same of everything: their copies cannot be traced"
                if dead
                else f"outputs change by {float(change.min()):.3f} or more on average under noise of {self.noise:g}",
            ),
            Check(
                "copies agree",
                apart >= 0.95,
                f"every copy says what the classifier says of {apart:.1%} of the pictures or more"
                + ("" if apart >= 0.95 else ": a smaller alpha brings them nearer"),
            ),
        )
        units = {**shares(*heads), CHANGE: "ratio"}
        return Table(("copy", *heads, CHANGE), tuple(rows), units=units), checks, figures

    def _by_alpha(self, copies: TracedCopies, judging: Source, x: Tensor) -> Table:
        """Return agreement, tracing and transfer by the tracers' weight, of two copies attacked."""
        rows: list[tuple[Cell, ...]] = []
        for alpha in sorted({*self.alphas, copies.alpha} - {0.0}):
            other = TracedCopies(copies.classifier, copies.tracers, alpha, copies.reserve).eval()
            found = attempt(other, _reference(other, x), x, most=2, steps=self.steps, seed=self.seed)
            some, y = self._some(other, judging, "accuracy")
            label, logits, _ = every_copy(other, some)
            right = logits[: other.registered].argmax(2) == (label if y is None else y)
            each = (right.cpu().flatten(), found.right, found.transferred)
            rows.append((alpha, *(Share.of(one).value if len(one) else None for one in each)))
        heads = (AGREED if judging.labels is None else KEPT, TRACED, TRANSFER)
        return Table(
            ("alpha", *heads),
            tuple(rows),
            x="alpha",
            note="what a tracer weighs: more is traced better, and costs accuracy; examples of two copies",
            units={"alpha": "ratio", **shares(*heads)},
        )

    def _pictures(self, judging: Source, x: Tensor, plain: Attempt) -> dict[str, npt.NDArray[np.uint8]]:
        """Return originals, what was made of them on the first two copies, and the changes, eight times as large."""
        if not drawn(judging):
            return {}
        places = [{row: place for place, row in enumerate(made.rows.tolist())} for made in plain.made[:2]]
        common = sorted(places[0].keys() & places[1].keys())[: self.shown]
        if not common:
            return {}
        found = {"original": as_bytes(x[common])}
        for copy, place in enumerate(places):
            made = plain.made[copy].x[[place[row] for row in common]]
            found[f"made on copy {copy}"] = as_bytes(made)
            found[f"change on copy {copy}, 8 times"] = as_bytes(0.5 + 8 * (made - x[common]))
        return found


def untrained(copies: TracedCopies, seed: int) -> TracedCopies:
    """Return copies of the same classifier with tracers that learnt nothing."""
    with isolated(derive(seed, "untrained tracers")):
        tracers = again(copies.tracers)
    tracers.to(device_of_network(copies))
    return TracedCopies(copies.classifier, tracers, copies.alpha, copies.reserve).eval()


def _reference(copies: TracedCopies, x: Tensor) -> Reference:
    label, _, told = every_copy(copies, x)
    return Reference.of(told, label)


def _share(hits: Tensor, better: Better, chance: float | None = None) -> Measure:
    share = Share.of(hits)
    return Measure(share.value, "share", better, interval=share.interval, of=share.count, chance=chance)


def _held(avoided: Share, chance: float) -> Check:
    """Return whether examples of attackers who know of the tracer, and avoid it, still point at their copy."""
    held = avoided.interval[0] > chance
    words = (
        f"{avoided} of those whose maker pushed his tracer the other way point at their copy, {chance:.0%} by chance"
    )
    return Check("attackers who know", held, words if held else f"{words}: who knows of the tracer is not traced")


def _auroc(registered: Attempt, others: Attempt) -> float:
    """Return how well the highest score tells examples of registered copies from those of other sources."""
    if not len(registered.score) or not len(others.score):
        return 0.5
    score = torch.cat([registered.score.amax(1), others.score.amax(1)])
    known = torch.cat([torch.ones(len(registered.score)), torch.zeros(len(others.score))])
    return float(roc_auc_score(known.numpy(), score.numpy()))


def _by_candidates(plain: Attempt) -> Table:
    """Return how often the source has the highest score among the first copies alone, by how many they are."""
    count = plain.score.shape[1]
    rows: list[tuple[Cell, ...]] = []
    for some in sorted({2, *(n for n in (5, 10, 20, 50) if n < count), count}):
        mine = plain.source < some
        hits = plain.score[mine, :some].argmax(1) == plain.source[mine]
        share = Share.of(hits)
        rows.append((some, share.value, *share.interval, 1 / some))
    return Table(
        ("candidates", *columns(TRACED), "by chance"),
        tuple(rows),
        x="candidates",
        note="one example at a time, among the first copies alone",
        units={"candidates": "count", **shares(*columns(TRACED), "by chance")},
        controls={"by chance": TRACED},
    )
