"""The audit of a bare encoder, without labels: how far an adversary moves its embeddings.

Sizes: `N` samples, `D` width. The shift is 1 - cosine similarity to the sample's own clean embedding.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from withstand.attacks.attack import InputAttack
from withstand.attacks.checks import believability, verdict
from withstand.attacks.noise import Noise
from withstand.attacks.objectives import EmbeddingDistance, pick
from withstand.attacks.problem import NoGradient
from withstand.core.finding import Finding, Table
from withstand.core.part import describe
from withstand.core.threat import Norm
from withstand.evaluation.under_attack import Case, ball_name, eps_cells, eps_columns, strips


@dataclass(frozen=True)
class _Moved:
    """At one radius: the worst inputs found, the shift there `(N,)`, and whose clean embedding is nearest."""

    x: Tensor
    shift: Tensor
    confused: Tensor


def displacement(case: Case) -> Finding:
    """Return the finding "audit" of an encoder.

    A victim without gradients is put to noise alone.

    Raises:
        DataError: inputs outside the range, NaN.
    """
    attack = case.climb(EmbeddingDistance(), case.ball.norm, drop_finished=False)
    clean = _embed(case, case.x)
    noise = {norm: _moved(case, Noise(case.ball, EmbeddingDistance()), clean, norm) for norm in case.radii}
    try:
        attacked = {
            norm: _moved(case, case.climb(EmbeddingDistance(), norm, drop_finished=False), clean, norm)
            for norm in case.radii
        }
    except NoGradient:
        attacked = {}
    few = case.few()
    checks = believability(attack, few.victim, few.x, generator=few.draws.child("checks"), batch=few.batch)
    head, place = ball_name(case.ball.norm, case.ball.eps), case.radii[case.ball.norm].index(case.ball.eps)
    numbers = {}
    for what, found in (("attack", attacked), ("noise", noise)):
        if found:
            one = found[case.ball.norm][place]
            numbers[f"mean cosine shift under {what}, {head}"] = one.shift.mean().item()
            numbers[f"share nearer to another sample under {what}, {head}"] = one.confused.double().mean().item()
    pictures = {}
    if attacked:
        rows = slice(case.pictures)
        pictures = strips(case.victim, case.x[rows], attacked[case.ball.norm][place].x[rows])
    return Finding(
        name="audit",
        numbers=numbers,
        tables={f"shift against eps, {norm}": _over_eps(case, norm, noise, attacked) for norm in case.radii},
        checks=checks,
        protocol={
            **case.protocol,
            "attacks": {"PGD, embedding distance": describe(attack)},
            "shift": "1 - cosine similarity to the sample's own clean embedding",
            "nearer to another": "the attacked embedding's nearest clean embedding is another sample's",
            "verdict": verdict(checks),
        },
        pictures=pictures,
    )


def _moved(case: Case, attack: InputAttack, clean: Tensor, norm: Norm) -> list[_Moved]:
    """Return what the attack finds at each radius, beginning where the smaller one ended."""
    found: list[_Moved] = []
    eps_before = 0.0
    for place, eps in enumerate(case.radii[norm]):
        start = case.x + (found[-1].x - case.x) * (eps / eps_before) if found else None
        one = attack.at(eps, norm)(
            case.victim,
            case.x,
            clean,
            generator=case.draws.child(norm).child(place),
            start=start,
            batch=case.batch,
        )
        x, shift = one.x, one.loss
        if found:  # what lies in the smaller ball lies in this one too
            worse = shift >= found[-1].shift
            x = torch.where(worse.view(-1, *[1] * (x.dim() - 1)), x, found[-1].x)
            shift = torch.where(worse, shift, found[-1].shift)
        own = torch.arange(len(x), device=x.device)
        nearest = (F.normalize(_embed(case, x).flatten(1)) @ F.normalize(clean.flatten(1)).T).argmax(1)
        found.append(_Moved(x, shift, nearest != own))
        eps_before = eps
    return found


def _embed(case: Case, x: Tensor) -> Tensor:
    """Return the victim's embeddings, `(N, D)`."""
    x = case.victim.check(x)
    with case.victim.held(), torch.no_grad():
        parts = (x[start : start + case.batch] for start in range(0, len(x), case.batch))
        return torch.cat([pick(case.victim(part.clone()), "embedding") for part in parts])


def _over_eps(case: Case, norm: Norm, noise: dict[Norm, list[_Moved]], attacked: dict[Norm, list[_Moved]]) -> Table:
    sides = {"under attack": attacked, "under noise": noise}
    sides = {name: found for name, found in sides.items() if found}
    rows: list[tuple[float | str, ...]] = [(*eps_cells(norm, 0.0), *[0.0] * (2 * len(sides)))]
    for place, eps in enumerate(case.radii[norm]):
        ones = [found[norm][place] for found in sides.values()]
        shifts = [one.shift.mean().item() for one in ones]
        rows.append((*eps_cells(norm, eps), *shifts, *(one.confused.double().mean().item() for one in ones)))
    names = [f"mean cosine shift {name}" for name in sides] + [f"share nearer to another {name}" for name in sides]
    return Table((*eps_columns(norm), *names), tuple(rows), x="eps")
