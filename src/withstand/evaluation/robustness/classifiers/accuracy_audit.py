"""The audit of accuracy: noise, curves over radii, another model's attacks, AutoAttack, and whether to believe it.

All that any of them breaks is counted together: the robust accuracy at a radius is the smallest that anything found.
Sizes: `N` samples. Accuracies are shares of all samples, clean errors included.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.attacks.checks import Climb, believability, carried_over, verdict
from withstand.attacks.curve import Curve, curve
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.objectives import CrossEntropy, Margin
from withstand.attacks.problem import NoGradient
from withstand.attacks.single_passes import Found, gradients, logits, same_twice
from withstand.core.devices.device import device_of_network, moved
from withstand.core.findings.finding import Check, Finding, Measure
from withstand.core.part import Tree, describe
from withstand.core.threat import Ball, Norm
from withstand.core.victims.victim import Victim
from withstand.evaluation.robustness.audit_case import LEARNT, Case, ball_name, learnt_runs, radius_check
from withstand.evaluation.robustness.classifiers.accuracy_tables import by_class, details, over_eps, pictures
from withstand.evaluation.robustness.classifiers.autoattack_stage import AGAIN, Aids, Decided, decide
from withstand.evaluation.robustness.classifiers.breaks import Breaks
from withstand.evaluation.robustness.classifiers.headline import BLACK_BOX, WHITE_BOX, Headline, called, listed
from withstand.evaluation.robustness.classifiers.plausible import plausible
from withstand.evaluation.statistics.intervals import Share

CLEAN = "clean accuracy"
NOISE, CARRIED, CHECKS = "noise", "a surrogate's attack", "a check's run"
"""What breaks samples besides the curves' attacks and AutoAttack's."""


def robust_accuracy(case: Case, ensemble: AutoAttack | None, aids: Aids) -> Finding:
    """Return the finding "audit" of a classifier.

    PGD on two objectives draws the curves; at the headline's ball AutoAttack goes on with what nothing broke. A victim
    without gradients is given no robust accuracy: only noise and black-box attacks were put to it.

    Args:
        case: what is audited.
        ensemble: AutoAttack on the headline's ball; None to let PGD decide.
        aids: surrogate, prover, state and progress.

    Raises:
        DataError: inputs outside the range, labels that do not fit, NaN.
    """
    noise = {norm: _curve(case, {NOISE: Noise(replace(case.ball, norm=norm))}, norm) for norm in case.radii}
    found = Breaks(case.x, noise[case.ball.norm].holds(0), case.radii)
    for norm, one in noise.items():
        found.add_curve((NOISE,), one, norm)
    climbed = _climb(case, found)
    carried = () if aids.surrogate is None else (_carried(case, aids.surrogate, found),)
    if aids.learnt is not None:
        for attack, x, success in learnt_runs(case, aids.learnt, CrossEntropy()):
            found.tried(LEARNT, attack.ball.norm, attack.ball.eps)
            _teller(found, LEARNT)(attack.ball, x, success)
    decided = None if ensemble is None else decide(case, ensemble, aids, found)
    checks = (
        *radius_check(case.ball, case.victim),
        plausible(case.victim, case.x, case.labels, case.classes, batch=case.batch),
        *_checks(case, ensemble, climbed, found),
        *(() if ensemble is None else ensemble.form(case.victim, case.x)),
        *(() if decided is None else (*decided.checks(), *_proofs(case, decided, found))),
        *carried,
    )
    headline = _headline(case, ensemble, aids, climbed, found)
    if headline is not None:
        checks = (*checks, headline.last_word())
    shown, notes = pictures(case, found)
    return Finding(
        name="audit",
        figures=_figures(case, noise, headline, decided, found),
        headline=None if headline is None else headline.name,
        tables={
            **{
                f"accuracy against eps, {norm}": over_eps(case, norm, noise[norm], found if climbed else None)
                for norm in case.radii
            },
            **details(case, found),
            **({} if decided is None else {f"AutoAttack, {_head(case)}": decided.table()}),
            **notes,
        },
        checks=checks,
        protocol={
            **case.protocol,
            "attacks": _ran(case, climbed, aids, decided),
            "AutoAttack": None if ensemble is None else describe(ensemble),
            "robust accuracy": "share of all samples that are right on the clean input and that nothing in this audit "
            "broke within the radius: no attack, in whatever norm, no noise, no other model's or learnt attack, no "
            "check's run",
            "interval": "95 %, Wilson",
            "headline": None if headline is None else headline.tree(checks),
            "verdict": verdict(checks) if headline is None else headline.verdict(checks),
        },
        pictures=shown,
    )


def _climbers(case: Case, norm: Norm) -> dict[str, Climb]:
    """Return the attacks that draw the curve of one norm, by name."""
    name = "APGD" if norm == "l1" else "PGD"
    return {
        f"{name}, cross-entropy": case.climb(CrossEntropy(), norm, drop_finished=True),
        f"{name}, margin": case.climb(Margin(), norm, drop_finished=True),
    }


def _climb(case: Case, found: Breaks) -> dict[Norm, Curve]:
    """Return the curves by norm, after counting what broke; none for a victim without gradients."""
    curves = {}
    for norm in case.radii:
        attacks = _climbers(case, norm)
        try:
            curves[norm] = _curve(case, attacks, norm)
        except NoGradient:
            return {}
        lost = (curves[norm].radius == 0).nonzero().squeeze(1)
        found.add(AGAIN, case.ball, lost, case.x[lost])
        found.add_curve(tuple(attacks), curves[norm], norm)
    return curves


def _curve(case: Case, attacks: Mapping[str, InputAttack], norm: Norm) -> Curve:
    return curve(
        list(attacks.values()),
        case.victim,
        case.x,
        case.y,
        eps=case.radii[norm],
        generator=case.draws.child(norm),
        batch=case.batch,
        before=case.before(attacks, norm),
    )


def _checks(case: Case, ensemble: AutoAttack | None, climbed: dict[Norm, Curve], found: Breaks) -> tuple[Check, ...]:
    """Return the checks of the curves' attack; what their runs break is counted too."""
    few = case.few()
    if case.stages is not None:
        case.stages.checks(len(few.x))
    draws, tell = few.draws.child("checks"), _teller(found, CHECKS)
    attack = case.climb(CrossEntropy(), case.ball.norm, drop_finished=True)
    if ensemble is not None and ensemble.version == "rand":  # made for victims that draw, whose runs differ anyway
        drawn = replace(same_twice(few.victim, few.x), passed=None)
        return drawn, logits(attack, few.victim, few.x), gradients(attack, few.victim, few.x, few.y, draws)
    if climbed:
        attack = attack.at(_telling(few, attack, climbed[case.ball.norm], tell))
    return believability(attack, few.victim, few.x, few.y, generator=draws, batch=few.batch, found=tell)


def _telling(few: Case, attack: Climb, drawn: Curve, tell: Found) -> float:
    """Return a radius at which checks can tell: where the attack breaks most nearly half of what was right.

    Where it breaks hardly anything at any radius of the curve, the radius grows until it does.
    """
    half = drawn.holds(0).double().mean().item() / 2
    eps = min(drawn.eps, key=lambda eps: abs(drawn.holds(eps).double().mean().item() - half))
    right = drawn.holds(0)[: len(few.x)]
    broken = right & ~drawn.holds(eps)[: len(few.x)]
    while 4 * int(broken.sum()) < int(right.sum()) and eps < (few.victim.high - few.victim.low) / 2:
        eps *= 2
        hit = attack.at(eps)(few.victim, few.x, few.y, generator=few.draws.child("telling"), batch=few.batch)
        tell(Ball(attack.ball.norm, eps), hit.x, hit.success)
        broken = right & hit.success
    return eps


def _carried(case: Case, surrogate: Victim, found: Breaks) -> Check:
    """Carry attacks on a surrogate over, count what they break, and check that attacks on the victim break more."""
    attack, radii = case.climb(CrossEntropy(), case.ball.norm, drop_finished=False), case.radii[case.ball.norm]
    for eps in radii:
        found.tried(CARRIED, case.ball.norm, eps)
    with moved(device_of_network(case.victim.model), surrogate.model):
        return carried_over(
            attack,
            case.victim,
            surrogate,
            case.x,
            case.y,
            generator=case.draws.child("surrogate"),
            radii=radii,
            batch=case.batch,
            found=_teller(found, CARRIED),
        )


def _teller(found: Breaks, name: str) -> Found:
    """Return what counts the successes of runs on the first samples."""

    def tell(ball: Ball, x: Tensor, success: Tensor) -> None:
        rows = success.nonzero().squeeze(1)
        found.add(name, ball, rows, x[rows])

    return tell


def _proofs(case: Case, decided: Decided, found: Breaks) -> tuple[Check, ...]:
    """Check that nothing broke what was proven."""
    proven = decided.proven
    if not len(proven):
        return ()
    broken = int((~found.holds(case.ball.norm, case.ball.eps)[proven]).sum())
    detail = f"{broken} of {len(proven)} proven samples were broken"
    return (Check("nothing breaks what is proven", not broken, detail),)


def _head(case: Case) -> str:
    return ball_name(case.ball.norm, case.ball.eps, case.victim.scale)


def _headline(
    case: Case, ensemble: AutoAttack | None, aids: Aids, climbed: dict[Norm, Curve], found: Breaks
) -> Headline | None:
    """Return the number that counts; a victim that only noise was put to has none."""
    if not climbed and ensemble is None and aids.surrogate is None and aids.learnt is None:
        return None
    quick = case.quick(case.ball.norm)
    attacks = [
        *([quick] if climbed else []),
        *(["attacks carried over from another model"] if aids.surrogate is not None else []),
        *([LEARNT] if aids.learnt is not None else []),
        *([called(ensemble)] if ensemble is not None else []),
    ]
    robust = "robust accuracy" if climbed else "accuracy under black-box attacks alone"
    return Headline(
        name=f"{robust}, {_head(case)}",
        against=CLEAN,
        ball=_head(case),
        what=f"samples hold within {_head(case)}",
        share=Share.of(found.holds(case.ball.norm, case.ball.eps)),
        attack=listed(attacks),
        access=WHITE_BOX if climbed else BLACK_BOX,
        alone="" if ensemble is not None else listed(attacks),
    )


def _figures(
    case: Case, noise: dict[Norm, Curve], headline: Headline | None, decided: Decided | None, found: Breaks
) -> dict[str, Measure]:
    norm, eps, head = case.ball.norm, case.ball.eps, _head(case)
    figures = {CLEAN: Share.of(found.right).measure()}
    if headline is not None:
        figures[headline.name] = headline.measure()
        figures[f"worst class's {headline.name}"] = _worst_class(case, found.holds(norm, eps))
    if decided is not None and len(decided.proven):
        figures[f"proven accuracy, {head}"] = Share(len(decided.proven), decided.total).measure()
    figures |= {
        f"accuracy under noise, {head}": Share.of(noise[norm].holds(eps)).measure(),
        "worst class's clean accuracy": _worst_class(case, found.right),
    }
    if headline is not None and headline.access == WHITE_BOX:
        for norm, radii in case.radii.items():
            for eps in radii:
                name = f"robust accuracy, {ball_name(norm, eps, case.victim.scale)}"
                figures.setdefault(name, Share.of(found.holds(norm, eps)).measure())
    return figures


def _worst_class(case: Case, holds: Tensor) -> Measure:
    worst = min(by_class(case, holds).values(), key=lambda share: share.value)
    return Measure(worst.value, "share", "higher", of=worst.count)  # an interval would not know that it was picked


def _ran(case: Case, climbed: dict[Norm, Curve], aids: Aids, decided: Decided | None) -> dict[str, Tree]:
    """Return the attacks that ran, by norm."""
    ran: dict[str, Tree] = {}
    for norm in case.radii:
        here: dict[str, Tree] = {NOISE: describe(Noise(replace(case.ball, norm=norm)))}
        if norm in climbed:
            here |= {name: describe(attack) for name, attack in _climbers(case, norm).items()}
        if norm == case.ball.norm:
            if aids.surrogate is not None:
                here[CARRIED] = describe(case.climb(CrossEntropy(), norm, drop_finished=False))
            if aids.learnt is not None:
                here[LEARNT] = describe(aids.learnt)
            if decided is not None:
                here["AutoAttack"] = [tally.name for tally in decided.worst.tallies if tally.tried]
        ran[norm] = {"eps": list(case.radii[norm]), **here}
    return ran
