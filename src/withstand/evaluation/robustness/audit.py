"""The robustness audit: what an adversary does to a classifier, or to a bare encoder, and whether to believe it.

Sizes: `N` audited samples, `C` classes.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.autoattack.ensemble import AttackProgress
from withstand.attacks.autoattack.ensemble import ProverFunction as EnsembleProver
from withstand.attacks.objectives import CrossEntropy, EmbeddingDistance
from withstand.attacks.single_passes import check_surrogate
from withstand.core.batch import as_structured
from withstand.core.devices.device import device_of_network, moved
from withstand.core.errors import ConfigError, DataError, nearest, require_at_least
from withstand.core.findings.finding import Finding, Table
from withstand.core.findings.pictures import drawn
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Outputs, Victim
from withstand.evaluation.provenance import traced
from withstand.evaluation.robustness.audit_case import Case, ball_facts, learnt_runs
from withstand.evaluation.robustness.classifiers.accuracy_audit import robust_accuracy
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids
from withstand.evaluation.robustness.classifiers.optional_prover import OptionalProver
from withstand.evaluation.robustness.classifiers.plausible import refuse_other_order
from withstand.evaluation.robustness.encoders.embedding_audit import audit_embeddings
from withstand.evaluation.robustness.stages import Stages, passes
from withstand.evaluation.small import digit_classifier, small_digits
from withstand.verification.prover import Prover

RADIUS = "the radius in each column"
"""The table of what the headline's radius is of each column, where samples have columns."""
_USUAL = (0.125, 0.25, 0.5, 1.0, 2.0)
"""L2 radii as shares of the width of the input range."""


@dataclass(frozen=True)
class RobustnessAudit(Evaluator):
    """Attack a victim over growing radii, beside random noise of the same size, and check the attacks.

    With labels, the victim gives logits and accuracy is audited: over all samples, whether clean right or
    not; at the headline's ball AutoAttack has the last word. Without, it is an encoder, and how far its
    embeddings move is audited.

    Args:
        ball: the threat model that headlines, in the victim's input units; its radius joins the list of its norm. None
            for Linf and 8/255 of the input range, of rows 5 %.
        linf: radii in input units; None for 1, 2, 4, 8 and 16/255 of the input range, of rows 1, 2, 5, 10 and 20 %.
        l2: radii in input units; None for 0.125, 0.25, 0.5, 1 and 2 times the width of the input range.
        l1: radii in input units.
        samples: how many samples are audited, drawn by the seed; robust accuracy is within about 4 points
            at 500.
        steps: gradient steps of each attack at each radius, which begins where the smaller radius ended.
        restarts: of each attack at each radius.
        ensemble: AutoAttack's version at the headline's ball: "standard", "plus", or "rand" for a victim that draws at
            random; "none" to let the curve's attacks decide, which is faster and tells less.
        search: of AutoAttack: "plain" takes every step of the published algorithms; "fast" leaves out those that
            hardly ever matter, which the finding then says.
        prove: let cheap bounds (IBP, CROWN-IBP) prove samples first, which AutoAttack then leaves alone; the protocol
            says so where they could not, because an operation has no bounds, say.
        goal: "labels" or "embedding"; None for labels where the source has them.
        pictures: how many attacked pictures are kept.
        seed: of the choice of samples and of every draw.
        batch: samples attacked at once.
    """

    ball: Ball | None = None
    linf: tuple[float, ...] | None = None
    l2: tuple[float, ...] | None = None
    l1: tuple[float, ...] = ()
    samples: int = 500
    steps: int = 10
    restarts: int = 1
    ensemble: Literal["standard", "plus", "rand", "none"] = "standard"
    search: Literal["plain", "fast"] = "plain"
    prove: bool = True
    goal: Literal["labels", "embedding"] | None = None
    pictures: int = 8
    seed: int = 0
    batch: int = 64

    product = "classifier"

    def __post_init__(self) -> None:
        if self.ball is not None and (self.ball.targeted or self.ball.eps == 0):
            raise ConfigError(f"an audit needs an untargeted ball with eps above 0, not {self.ball!r}")
        if self.ball is not None:
            self.ball.refuse_tokens("an audit")
            self.ball.refuse_l0("an audit")
        require_at_least(1, samples=self.samples, steps=self.steps, restarts=self.restarts, batch=self.batch)
        if self.ensemble not in (known := ("standard", "plus", "rand", "none")):
            raise ConfigError(f"ensemble {self.ensemble!r} is unknown: {nearest(str(self.ensemble), known)}")

    @classmethod
    def example(cls) -> Self:
        return cls(Ball("linf", 0.1), linf=(0.05, 0.1), l2=(0.5,), samples=16, steps=2, ensemble="none")

    def example_trial(self) -> Trial:
        return Trial(digit_classifier(), small_digits())

    def evaluate(
        self,
        subject: Victim | Callable[[Tensor], Outputs],
        source: Source,
        *,
        test: Source | None = None,
        control: Victim | Callable[[Tensor], Outputs] | None = None,
        aids: Aids | None = None,
    ) -> Finding:
        """Return the finding "audit".

        Args:
            subject: a victim, or a model that takes inputs in [0, 1].
            source: samples, with labels unless embeddings are audited; bytes are read as 0 to 1.
            test: samples to attack in place of the source's.
            control: not used: an attack is measured against the clean accuracy and against noise.
            aids: a surrogate, a learnt attack, a prover, a file to resume AutoAttack from, who is told how far it is.

        Raises:
            DataError: no samples, inputs outside the victim's range, labels that do not fit.
        """
        victim, source = subject if isinstance(subject, Victim) else Victim(subject), source if test is None else test
        if not len(source):
            raise DataError("an audit needs samples, and the source is empty")
        rows = permutation(len(source), self.seed, "audit")[: self.samples].sort().values
        batch = source[rows].to(device_of_network(victim.model))
        if as_structured(batch.x) is not None:
            kind = type(batch.x).__name__
            raise DataError(
                f"an audit moves tensors, and these samples are {kind}: graphs with labels and labelled nodes have an "
                "audit of their own, and of other samples, tensors that are made of them can be audited"
            )
        x = victim.ready(batch.x)
        ball, radii = self.ball_of(victim), self.radii(victim)
        goal = self.goal or ("embedding" if batch.y is None else "labels")
        if goal == "labels" and batch.y is None:
            raise DataError("an audit of accuracy needs labels and the source has none: goal='embedding' needs none")
        if goal == "embedding" and victim.notes:
            raise DataError("the network gives one number a sample: that is no embedding whose angle can be measured")
        given = aids or Aids()
        case = Case(
            victim=victim,
            x=x,
            y=batch.y if goal == "labels" else None,
            classes=source.classes,
            draws=Draws(derive(self.seed, "audit"), batch.index),
            ball=ball,
            radii=radii,
            steps=self.steps,
            restarts=self.restarts,
            pictures=self.pictures if drawn(source) else 0,
            batch=self.batch,
            stages=self._stages(given.progress, radii, len(rows), goal),
            protocol={
                "audit": describe(self),
                "ball": ball_facts(ball, victim),
                "goal": goal,
                **({} if self.ensemble == "none" else {"search": self.search}),
                **traced(victim, source, rows, x, batch.y, asked=self.samples),
            },
        )
        in_columns = source.radius_in_units(ball.eps) if ball.norm == "linf" else None
        _try_surrogate(case, given.surrogate)
        _try_learnt(case, given.learnt)
        ensemble = None if self.ensemble == "none" else AutoAttack(ball, self.ensemble, search=self.search)
        if goal == "embedding":
            return _in_units(audit_embeddings(case, ensemble, given), in_columns)
        prover = None if ensemble is None else _optional(given.prover, case, self.prove)
        finding = _in_units(robust_accuracy(case, ensemble, replace(given, prover=prover)), in_columns)
        if prover is None:
            return finding
        return replace(finding, protocol={**finding.protocol, "prover": prover.words()})

    def _stages(
        self,
        progress: Callable[[AttackProgress], None] | None,
        radii: Mapping[Norm, tuple[float, ...]],
        samples: int,
        goal: str,
    ) -> Stages | None:
        if progress is None:
            return None
        each = (2 if goal == "labels" else 1) * passes(self.steps, self.restarts) + passes(0, 1)
        return Stages(progress, samples, each * sum(map(len, radii.values())))

    def ball_of(self, victim: Victim) -> Ball:
        """Return the threat model that headlines, in the victim's input units."""
        if self.ball is None and math.isinf(victim.span):
            raise ConfigError("an audit of inputs of any size needs a ball, for no radius is a share of their range")
        return self.ball or Ball("linf", victim.radius(victim.scale.headline))

    def radii(self, victim: Victim) -> dict[Norm, tuple[float, ...]]:
        """Return the radii by norm, ascending, in the victim's input units, the headline's among them."""
        ball, usual = self.ball_of(victim), dict[Norm, tuple[float, ...]]()
        if math.isinf(victim.span):  # there are no usual radii: the headline's own norm alone, and round its radius
            usual = {"linf": (), "l2": ()}
            usual[ball.norm] = tuple(share * ball.eps for share in (0.25, 0.5, 1, 2))
        else:
            shares: dict[Norm, tuple[float, ...]] = {"linf": victim.scale.usual, "l2": _USUAL}
            usual = {norm: tuple(share * victim.span for share in some) for norm, some in shares.items()}
        chosen: dict[Norm, tuple[float, ...]] = {
            "linf": usual["linf"] if self.linf is None else self.linf,
            "l2": usual["l2"] if self.l2 is None else self.l2,
            "l1": self.l1,
        }
        chosen[ball.norm] = (*chosen[ball.norm], ball.eps)
        first = sorted(chosen, key=lambda norm: norm != ball.norm)  # the headline's norm comes first
        return {norm: tuple(sorted(set(chosen[norm]))) for norm in first if chosen[norm]}


def _in_units(finding: Finding, columns: Table | None) -> Finding:
    """Return a finding that also tells what the headline's radius is of each column."""
    return finding if columns is None else replace(finding, tables={**finding.tables, RADIUS: columns})


def _try_surrogate(case: Case, surrogate: Victim | None) -> None:
    """Refuse a surrogate that is none, before anything is run."""
    if surrogate is None:
        return
    attack = case.climb(EmbeddingDistance() if case.y is None else CrossEntropy(), case.ball.norm, drop_finished=False)
    with moved(device_of_network(case.victim.model), surrogate.model):
        check_surrogate(attack, case.victim, surrogate, case.x, case.y, case.draws)
        if case.y is not None:
            refuse_other_order(surrogate, case.x, case.y, case.classes, batch=case.batch)


def _try_learnt(case: Case, learnt: InputAttack | None) -> None:
    """Refuse a learnt attack that does not fit the samples, before anything is run."""
    if learnt is not None:
        first = replace(case, x=case.x[:1], y=None if case.y is None else case.y[:1], draws=case.draws[slice(1)])
        next(learnt_runs(first, learnt, EmbeddingDistance() if case.y is None else CrossEntropy()))


def _optional(given: EnsembleProver | None, case: Case, prove: bool) -> OptionalProver | None:
    """Return what proves samples before they are attacked: what was given, else cheap bounds where they are wanted."""
    if given is not None:
        return OptionalProver(given, "as given")
    if not prove:
        return None
    if case.x.device.type == "mps":
        return OptionalProver(None, "none: proofs need float64, which this device does not have")
    return OptionalProver(Prover("crown-ibp"), "IBP and CROWN-IBP, in exact arithmetic for the model's weights")
