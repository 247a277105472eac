"""The audit of a bare encoder, without labels: how far an adversary moves its embeddings, and whether to believe it.

Sizes: `N` samples, `D` width. The shift is 1 - cosine similarity to the sample's own clean embedding. What an attack
finds is a lower bound of what could be done.
"""

from dataclasses import replace

import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.checks import believability, carried_over, verdict
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import EmbeddingDistance, pick
from withstand.attacks.problem import NoGradient
from withstand.attacks.single_passes import Found
from withstand.core.devices.device import device_of_network, moved
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.part import Tree, describe
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.evaluation.representation.collapse import collapse_check
from withstand.evaluation.robustness.audit_case import (
    LEARNT,
    Case,
    ball_name,
    eps_cells,
    eps_columns,
    eps_units,
    learnt_runs,
    radius_check,
    strips,
)
from withstand.evaluation.robustness.classifiers.autoattack_stage import Aids
from withstand.evaluation.robustness.classifiers.headline import BLACK_BOX, WHITE_BOX, Headline, called, listed
from withstand.evaluation.robustness.encoders.nearest_code import FARTHEST, confuse, farthest
from withstand.evaluation.robustness.encoders.shifts import Shifts
from withstand.evaluation.statistics.intervals import columns, shares

FAR = "APGD-100 (5 restarts)"
"""What `farthest` runs, in words."""


def audit_embeddings(case: Case, ensemble: AutoAttack | None, aids: Aids) -> Finding:
    """Return the finding "audit" of an encoder.

    PGD draws the curves; at the headline's ball APGD goes on with the distances, and AutoAttack with the question whose
    clean code is nearest. All that is found, by whatever way, is counted together.

    Args:
        case: what is audited.
        ensemble: AutoAttack on the headline's ball; None to let PGD decide.
        aids: a surrogate, whose attacks are carried over, a learnt attack, state and progress; a prover has no part
            here.

    Raises:
        DataError: inputs outside the range, NaN.
    """
    found, noise = (Shifts(lambda x: _embed(case, x), case.x, case.radii) for _ in range(2))
    ran: dict[str, dict[str, Tree]] = {}
    for kind, radii in case.radii.items():
        random = Noise(replace(case.ball, norm=kind), EmbeddingDistance())
        ran[kind] = {"eps": list(radii), "noise": describe(random)}
        for ball, x in _climb(case, random, kind):
            noise.add(ball, x)
            found.add(ball, x)
    worst = _climbed(case, found, ran)
    checks = [*radius_check(case.ball, case.victim), collapse_check(found.clean.flatten(1).float())]
    decided = None
    if ensemble is not None:
        if worst is not None:
            worst, searched = farthest(case, found, worst)
            checks.append(searched)
            ran[case.ball.norm][FAR] = describe(replace(FARTHEST, ball=case.ball))
        decided = confuse(case, ensemble, aids, found)
    if decided is not None:
        checks += decided.checks()
        ran[case.ball.norm]["AutoAttack"] = [tally.name for tally in decided.worst.tallies if tally.tried]
    few = case.few()
    if case.stages is not None:
        case.stages.checks(len(few.x))
    attack = case.climb(EmbeddingDistance(), case.ball.norm, drop_finished=False)
    draws = few.draws.child("checks")
    checks += believability(attack, few.victim, few.x, generator=draws, batch=few.batch, found=_teller(found))
    if aids.surrogate is not None:
        checks.append(_carried(case, aids.surrogate, found))
        ran[case.ball.norm]["a surrogate's attack"] = describe(attack)
    if aids.learnt is not None:
        for one, x, _ in learnt_runs(case, aids.learnt, EmbeddingDistance()):
            found.add(one.ball, x)
        ran[case.ball.norm][LEARNT] = describe(aids.learnt)
    headline = _headline(case, found, ensemble, aids, gradients=worst is not None)
    if headline is not None:
        checks.append(headline.last_word())
    under = "black-box attacks alone" if worst is None else "attack"
    sides = {"noise": noise} if headline is None else {under: found, "noise": noise}
    rows = slice(case.pictures)
    return Finding(
        name="audit",
        figures=_figures(case, sides),
        headline=None if headline is None else headline.name,
        tables={
            **{f"shift against eps, {kind}": _over_eps(case, kind, sides) for kind in case.radii},
            **(
                {}
                if decided is None
                else {f"AutoAttack, {ball_name(case.ball.norm, case.ball.eps, case.victim.scale)}": decided.table()}
            ),
        },
        checks=tuple(checks),
        protocol={
            **case.protocol,
            "attacks": {norm: dict(attacks) for norm, attacks in ran.items()},
            "shift": "1 - cosine similarity to the sample's own clean embedding; the farthest that anything in this "
            "audit found within the radius, so that the true one is no smaller",
            "nearer to another": "an attacked embedding's nearest clean embedding is another sample's",
            "AutoAttack": None if ensemble is None else describe(ensemble),
            "what AutoAttack is asked": "that a sample's code be nearest to another one's clean code, in cosine",
            "interval": "95 %, Wilson",
            "headline": None if headline is None else headline.tree(checks),
            "verdict": verdict(checks) if headline is None else headline.verdict(checks),
        },
        pictures={} if worst is None else strips(case.victim, case.x[rows], worst[rows]),
    )


def _climbed(case: Case, found: Shifts, ran: dict[str, dict[str, Tree]]) -> Tensor | None:
    """Count what the curves' attack finds, and return it at the headline's ball; None where there are no gradients."""
    worst = None
    for kind in case.radii:
        attack = case.climb(EmbeddingDistance(), kind, drop_finished=False)
        try:
            points = _climb(case, attack, kind)
        except NoGradient:
            return None
        ran[kind][case.quick(kind)] = describe(attack)
        for ball, x in points:
            found.add(ball, x)
            worst = x if ball == case.ball else worst
    return worst


def _teller(found: Shifts) -> Found:
    """Return what counts the inputs of a check's runs, whether they reach a goal or not."""
    return lambda ball, x, success: found.add(ball, x)


def _climb(case: Case, attack: InputAttack, norm: Norm) -> list[tuple[Ball, Tensor]]:
    """Return what an attack finds at each radius, beginning where the smaller one ended."""
    found: list[tuple[Ball, Tensor]] = []
    for place, eps in enumerate(case.radii[norm]):
        start = None
        if found:
            ball, x = found[-1]
            start = case.x + (x - case.x) * (eps / ball.eps)
        draws = case.draws.child(norm).child(place)
        at = attack.at(eps, norm)
        if case.stages is not None:
            name = "noise" if isinstance(attack, Noise) else case.quick(norm)
            case.stages.begin(attack, name, ball_name(norm, eps, case.victim.scale), len(case.x))
        found.append((at.ball, at(case.victim, case.x, generator=draws, start=start, batch=case.batch).x))
    return found


def _embed(case: Case, x: Tensor) -> Tensor:
    """Return the victim's embeddings, `(N, D)`."""
    x = case.victim.check(x)
    with case.victim.held(), torch.no_grad():
        return torch.cat([pick(case.victim(part.clone()), "embedding") for part in torch.split(x, case.batch)])


def _carried(case: Case, surrogate: Victim, found: Shifts) -> Check:
    with moved(device_of_network(case.victim.model), surrogate.model):
        return carried_over(
            case.climb(EmbeddingDistance(), case.ball.norm, drop_finished=False),
            case.victim,
            surrogate,
            case.x,
            generator=case.draws.child("surrogate"),
            radii=case.radii[case.ball.norm],
            batch=case.batch,
            found=_teller(found),
        )


def _headline(
    case: Case, found: Shifts, ensemble: AutoAttack | None, aids: Aids, *, gradients: bool
) -> Headline | None:
    """Return the number that counts; an encoder that only noise was put to has none."""
    if not gradients and ensemble is None and aids.surrogate is None and aids.learnt is None:
        return None
    head, quick = ball_name(case.ball.norm, case.ball.eps, case.victim.scale), case.quick(case.ball.norm)
    attacks = [
        *([quick] if gradients else []),
        *([FAR] if gradients and ensemble is not None else []),
        *(["attacks carried over from another model"] if aids.surrogate is not None else []),
        *([LEARNT] if aids.learnt is not None else []),
        *([called(ensemble)] if ensemble is not None else []),
    ]
    under = "attack" if gradients else "black-box attacks alone"
    return Headline(
        name=f"share nearer to another sample under {under}, {head}",
        against=f"share nearer to another sample under noise, {head}",
        ball=head,
        what=f"samples get an embedding nearer to another's within {head}",
        share=found.confused(case.ball.norm, case.ball.eps),
        attack=listed(attacks),
        access=WHITE_BOX if gradients else BLACK_BOX,
        alone="" if ensemble is not None else listed(attacks),
        bound="a lower bound",
    )


def _figures(case: Case, sides: dict[str, Shifts]) -> dict[str, Measure]:
    norm, eps, head = case.ball.norm, case.ball.eps, ball_name(case.ball.norm, case.ball.eps, case.victim.scale)
    figures = {}
    for what, shifts in sides.items():
        shift = Measure(shifts.mean(norm, eps), "cosine distance", "lower", of=len(case.x))
        figures[f"mean cosine shift under {what}, {head}"] = shift
        confused = shifts.confused(norm, eps).measure("lower")
        figures[f"share nearer to another sample under {what}, {head}"] = confused
    if len(case.x) > 1:
        apart = Measure(sides["noise"].apart, "cosine distance", None, of=len(case.x))
        figures["mean cosine distance of two samples"] = apart
    return figures


def _over_eps(case: Case, norm: Norm, sides: dict[str, Shifts]) -> Table:
    nothing = [0.0] * (4 * len(sides))  # a shift, and a share with both ends
    rows: list[tuple[Cell, ...]] = [(*eps_cells(norm, 0.0, case.victim.scale), *nothing)]
    for eps in case.radii[norm]:
        shifts = [one.mean(norm, eps) for one in sides.values()]
        nearer_cells = [cell for one in sides.values() for cell in one.confused(norm, eps).cells]
        rows.append((*eps_cells(norm, eps, case.victim.scale), *shifts, *nearer_cells))
    moved, nearer = "mean cosine shift under", "share nearer to another under"
    names = [f"{moved} {what}" for what in sides]
    names += [column for what in sides for column in columns(f"{nearer} {what}")]
    first = next(iter(sides))
    return Table(
        (*eps_columns(norm, case.victim.scale), *names),
        tuple(rows),
        x="eps",
        units=eps_units(norm, case.victim.scale)
        | {f"{moved} {what}": "cosine distance" for what in sides}
        | shares(*(f"{nearer} {what}" for what in sides)),
        controls={f"{start} noise": "" if first == "noise" else f"{start} {first}" for start in (moved, nearer)},
    )
