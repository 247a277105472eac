"""The audit of accuracy: curves over radii, classes, which attack broke what, and whether to believe it.

Sizes: `N` samples, `C` classes. Accuracies are shares of all samples, clean errors included.
"""

from dataclasses import replace
from math import inf

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack import AutoAttack
from withstand.attacks.checks import believability, carried_over, gradients, logits, same_twice, verdict
from withstand.attacks.curve import Curve, curve
from withstand.attacks.noise import Noise
from withstand.attacks.objectives import CrossEntropy, Margin, pick
from withstand.attacks.problem import NoGradient
from withstand.core.device import home, moved
from withstand.core.finding import Cell, Check, Finding, Table
from withstand.core.part import describe
from withstand.core.threat import Norm
from withstand.core.victim import Victim
from withstand.evaluation.decisive import Aids, Attacked, Decided, decide
from withstand.evaluation.intervals import Share, columns
from withstand.evaluation.under_attack import Case, ball_name, eps_cells, eps_columns, strips


def robust_accuracy(case: Case, ensemble: AutoAttack | None, aids: Aids) -> Finding:
    """Return the finding "audit" of a classifier.

    PGD on two objectives draws the curves; at the headline's ball AutoAttack goes on with what it left. A victim
    without gradients is given no robust accuracy: only noise and black-box attacks were put to it.

    Args:
        case: what is audited.
        ensemble: AutoAttack on the headline's ball; None to let PGD decide.
        aids: surrogate, prover, state and progress.

    Raises:
        DataError: inputs outside the range, labels that do not fit, NaN.
    """
    noise = {norm: _curve(case, [Noise(replace(case.ball, norm=norm))], norm) for norm in case.radii}
    try:
        attacked = {norm: _attacked(case, norm) for norm in case.radii}
    except NoGradient:
        attacked = {}
    decided = None
    if ensemble is not None:
        head, decided = decide(case, ensemble, aids, attacked.get(case.ball.norm))
        attacked |= {} if head is None else {case.ball.norm: head}
    carried = None if aids.surrogate is None or not attacked else _carried(case, aids.surrogate)
    checks = (
        *_checks(case, attacked),
        *([] if ensemble is None else ensemble.form(case.victim, case.x)),
        *([] if decided is None else decided.checks()),
        *([] if carried is None else [carried]),
    )
    pictures, notes = _pictures(case, attacked)
    return Finding(
        name="audit",
        numbers=_numbers(case, noise, attacked, decided),
        tables={
            **{f"accuracy against eps, {norm}": _over_eps(case, norm, noise, attacked) for norm in case.radii},
            **_details(case, attacked),
            **({} if decided is None else {f"AutoAttack, {_head(case)}": decided.table()}),
            **notes,
        },
        checks=checks,
        protocol={
            **case.protocol,
            "attacks": {
                name: describe(attack) for norm in case.radii for name, attack in _climbers(case, norm).items()
            },
            "AutoAttack": None if ensemble is None else describe(ensemble),
            "robust accuracy": "share of all samples that are right on the clean input and under every attack at "
            "this radius and every smaller one",
            "interval": "95 %, Wilson",
            "verdict": verdict(checks),
        },
        pictures=pictures,
    )


def _climbers(case: Case, norm: Norm) -> dict[str, InputAttack]:
    """Return the attacks that draw the curve of one norm, by name."""
    name = "APGD" if norm == "l1" else "PGD"
    return {
        f"{name}, cross-entropy": case.climb(CrossEntropy(), norm, drop_finished=True),
        f"{name}, margin": case.climb(Margin(), norm, drop_finished=True),
    }


def _attacked(case: Case, norm: Norm) -> Attacked:
    attacks = _climbers(case, norm)
    return Attacked(_curve(case, list(attacks.values()), norm), tuple(attacks))


def _curve(case: Case, attacks: list[InputAttack], norm: Norm) -> Curve:
    draws = case.draws.child(norm)
    return curve(attacks, case.victim, case.x, case.y, eps=case.radii[norm], generator=draws, batch=case.batch)


def _checks(case: Case, attacked: dict[Norm, Attacked]) -> tuple[Check, ...]:
    """Check at the radius where the attack decides most: the accuracy nearest half of the clean one."""
    few = case.few()
    attack = case.pgd(CrossEntropy(), drop_finished=True)
    if case.ball.norm == "l1":  # in which PGD's gradients can be judged, its success cannot
        return (
            same_twice(few.victim, few.x),
            logits(attack, few.victim, few.x),
            gradients(attack, few.victim, few.x, few.y, few.draws.child("checks")),
        )
    if attacked:
        found = attacked[case.ball.norm].curve
        half = found.holds(0).double().mean().item() / 2
        attack = attack.at(min(found.eps, key=lambda eps: abs(found.holds(eps).double().mean().item() - half)))
    return believability(attack, few.victim, few.x, few.y, generator=few.draws.child("checks"), batch=few.batch)


def _carried(case: Case, surrogate: Victim) -> Check:
    """Check that attacks on a surrogate, carried over, break less than attacks on the victim itself."""
    few = case.few()
    attack = case.climb(CrossEntropy(), case.ball.norm, drop_finished=False)
    draws = few.draws.child("surrogate")
    with moved(home(few.victim.model), surrogate.model):
        return carried_over(attack, few.victim, surrogate, few.x, few.y, generator=draws, batch=few.batch)


def _head(case: Case) -> str:
    return ball_name(case.ball.norm, case.ball.eps)


def _numbers(
    case: Case, noise: dict[Norm, Curve], attacked: dict[Norm, Attacked], decided: Decided | None
) -> dict[str, float]:
    norm, eps, head = case.ball.norm, case.ball.eps, _head(case)
    right = noise[norm].holds(0)
    numbers = Share.of(right).numbers("clean accuracy")
    if attacked:
        holds = attacked[norm].curve.holds(eps)
        numbers |= {
            **Share.of(holds).numbers(f"robust accuracy, {head}"),
            f"worst class's robust accuracy, {head}": min(_by_class(case, holds).values()),
        }
    elif decided is not None:
        numbers[f"accuracy under black-box attacks alone, {head}"] = decided.worst.accuracy
    if decided is not None and bool(decided.worst.proven.any()):
        numbers[f"proven accuracy, {head}"] = decided.proven
    numbers |= {
        f"accuracy under noise, {head}": Share.of(noise[norm].holds(eps)).value,
        "worst class's clean accuracy": min(_by_class(case, right).values()),
    }
    for norm, found in attacked.items():
        for eps, accuracy in zip(found.curve.eps, found.curve.accuracy, strict=True):
            numbers.setdefault(f"robust accuracy, {ball_name(norm, eps)}", accuracy)
    return numbers


def _over_eps(case: Case, norm: Norm, noise: dict[Norm, Curve], attacked: dict[Norm, Attacked]) -> Table:
    """Return the curves of one norm, from the clean accuracy at eps 0 on."""
    rows = []
    for eps in (0.0, *case.radii[norm]):
        robust = Share.of(attacked[norm].curve.holds(eps)).cells if attacked else ()
        rows.append((*eps_cells(norm, eps), *robust, Share.of(noise[norm].holds(eps)).value))
    names = columns("robust accuracy") if attacked else ()
    return Table((*eps_columns(norm), *names, "accuracy under noise"), tuple(rows), x="eps")


def _details(case: Case, attacked: dict[Norm, Attacked]) -> dict[str, Table]:
    """Return the table of classes at the headline's ball, and of which attack broke what."""
    if not attacked:
        return {}
    found, eps = attacked[case.ball.norm].curve, case.ball.eps
    clean, robust = _by_class(case, found.holds(0)), _by_class(case, found.holds(eps))
    assert case.y is not None
    counts = case.y.bincount().tolist()
    classes = [(_class(case, label), counts[label], clean[label], robust[label]) for label in clean]
    names = dict.fromkeys(name for one in attacked.values() for name in one.names)
    broke: list[tuple[Cell, ...]] = [
        (norm, ball_name(norm, eps), *(_broken(one, eps, name) for name in names))
        for norm, one in attacked.items()
        for eps in one.curve.eps
    ]
    return {
        "classes": Table(("class", "samples", "clean accuracy", f"robust accuracy, {_head(case)}"), tuple(classes)),
        "which attack broke what": Table(("norm", "ball", *(f"broken by {name}" for name in names)), tuple(broke)),
    }


def _broken(found: Attacked, eps: float, name: str) -> float | None:
    """Return the share of samples that an attack broke at this radius, and none broke before."""
    if name not in found.names:
        return None
    place = found.names.index(name)
    return ((found.curve.radius == eps) & (found.curve.winner == place)).double().mean().item()


def _by_class(case: Case, holds: Tensor) -> dict[int, float]:
    """Return the share that holds by label, of the labels that occur."""
    assert case.y is not None
    return {label: holds[case.y == label].double().mean().item() for label in sorted(set(case.y.tolist()))}


def _pictures(case: Case, attacked: dict[Norm, Attacked]) -> tuple[dict[str, npt.NDArray[np.uint8]], dict[str, Table]]:
    """Return pictures under attack, each at the smallest radius that broke it, and what stands below them."""
    if not attacked:
        return {}, {}
    found = attacked[case.ball.norm].curve
    fell = (found.radius > 0) & found.radius.isfinite()
    rows = torch.cat([fell.nonzero().squeeze(1), (~fell).nonzero().squeeze(1)])[: case.pictures]
    pictures = strips(case.victim, case.x[rows], found.x[rows])
    if not pictures:
        return {}, {}
    assert case.y is not None
    with case.victim.held(), torch.no_grad():
        before, after = (pick(case.victim(x[rows].clone()), "logits").argmax(1).tolist() for x in (case.x, found.x))
    notes = [
        (
            _class(case, truth),
            _class(case, clean),
            _class(case, worse),
            ball_name(case.ball.norm, radius) if 0 < radius < inf else None,
        )
        for truth, clean, worse, radius in zip(
            case.y[rows].tolist(), before, after, found.radius[rows].tolist(), strict=True
        )
    ]
    return pictures, {
        "pictures": Table(("label", "predicted", "predicted under attack", "broken at eps"), tuple(notes))
    }


def _class(case: Case, label: int) -> str:
    return case.classes[label] if label < len(case.classes) else str(label)
