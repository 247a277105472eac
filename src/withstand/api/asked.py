"""What is asked for, as the parts that do it: an audit, a certificate or an attack of one victim."""

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import torch

from withstand.api.settings import Audit, Certification, NamedAttack, unusual
from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.nearest import MinimalNorm
from withstand.attacks.learnt.perturbations import unit
from withstand.attacks.named import ANY, named, own_norm
from withstand.attacks.objectives import CrossEntropy, EmbeddingDistance
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Evaluator
from withstand.core.threat import Ball, parse_eps
from withstand.core.victims.victim import Victim
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.certificates.certificate import Certificate
from withstand.evaluation.robustness.certificates.smoothed import SmoothedCertificate
from withstand.verification.smoothing import Smoothing
from withstand.verification.solvers import SOLVERS, Certifier


def audit_of(victim: Victim, asked: Audit) -> RobustnessAudit:
    """Return the audit of a victim that is asked for."""
    norm = asked.norm or "linf"
    eps = victim.scale.headline if asked.eps is None else asked.eps
    radii = tuple(victim.radius(one, norm) for one in radii_of(eps))
    audit = RobustnessAudit(
        ball=Ball(norm, max(radii)),
        samples=asked.samples,
        steps=asked.steps,
        ensemble=asked.ensemble,
        search=asked.search,
        seed=asked.seed,
    )
    if len(radii) == 1:
        return audit
    curves = {"linf": replace(audit, linf=radii), "l2": replace(audit, l2=radii), "l1": replace(audit, l1=radii)}
    return curves[norm]


def own_audit_of(own: Evaluator, asked: Audit) -> Evaluator:
    """Return the audit that a run's experiment names, with what is asked for.

    Radii are in its own units, as shares of a node's length; one alone joins its smaller ones.

    Raises:
        ConfigError: a setting that it does not have.
    """
    changes, has = unusual(asked), own._init_args
    takes = [name for name in ("norm", "eps", "samples", "steps", "seed") if name in has]
    refused = [name for name in changes if name not in takes]
    if refused:
        raise ConfigError(
            f"this run has an audit of its own, which takes {', '.join(takes) or 'no settings'}: "
            f"{', '.join(refused)} {'is' if len(refused) == 1 else 'are'} set when it is trained"
        )
    if asked.eps is not None:
        told = sorted({parse_eps(one) for one in radii_of(asked.eps)})
        changes["eps"] = (*(radius for radius in has["eps"] if len(told) == 1 and radius < told[0]), *told)
    return type(own)(**{**has, **changes})


def radii_of(eps: Sequence[str | float] | str | float) -> tuple[str | float, ...]:
    """Return one radius or several as they were given, refusing what is none before anything else is done."""
    radii = (eps,) if isinstance(eps, str | float | int) else tuple(eps)
    for one in radii:
        parse_eps(one)
    if not radii:
        raise ConfigError("eps holds no radius: give one or more, say 8/255")
    return radii


def certificate_of(victim: Victim, asked: Certification) -> Certificate | SmoothedCertificate:
    """Return the certificate of a victim that is asked for."""
    radius = victim.radius(asked.eps, asked.norm)
    if asked.method == "smoothing":
        noise = Smoothing(victim.span / 4 if asked.sigma is None else asked.sigma)
        return SmoothedCertificate(radius, noise, samples=asked.samples, seed=asked.seed)
    if asked.method not in get_args(Certifier):
        allowed = (*get_args(Certifier), "smoothing")
        raise ConfigError(f"method {asked.method!r} is unknown: {nearest(asked.method, allowed)}")
    return Certificate(
        Ball(asked.norm, radius),
        asked.method,
        samples=asked.samples,
        timeout=asked.timeout,
        features=asked.features,
        spans=asked.spans,
        seed=asked.seed,
    )


def attack_of(
    victim: Victim,
    asked: NamedAttack,
    *,
    embedding: bool,
    learnt: InputAttack | None = None,
    aimed: bool = False,
) -> InputAttack:
    """Return the attack on a victim that is asked for, on embeddings or on predictions.

    Args:
        victim: whose input range radii are of.
        asked: which attack, within what.
        embedding: move embeddings away from the clean ones, in place of predictions from the labels.
        learnt: what `asked.attack` names, where that is no attack's name.
        aimed: lead embeddings towards a wanted one.

    Raises:
        ConfigError: an unknown attack, or something that it does not have.
    """
    if learnt is None:
        norm = asked.norm or own_norm(asked.attack)
        if aimed and isinstance(named(asked.attack, Ball(norm, 0), embedding=True), MinimalNorm):
            raise ConfigError(f"{asked.attack} seeks the nearest success, which a target has none of: aim pgd or apgd")
        if aimed and asked.eps == ANY:
            raise ConfigError("an attack that is aimed at a sample needs a radius: eps any has none")
        if asked.eps == ANY:
            made = named(asked.attack, Ball(norm, 0), steps=asked.steps, restarts=asked.restarts, embedding=embedding)
            if not isinstance(made, MinimalNorm):
                raise ConfigError(f"{asked.attack} needs a radius: eps any is for attacks that seek the nearest point")
            return made.everywhere()
        if norm == "l0" and asked.eps is None:
            raise ConfigError("l0 counts entries, and has no usual radius: give eps, a whole number, or any")
        eps = victim.radius(victim.scale.headline if asked.eps is None else asked.eps, norm)
        ball = Ball(norm, eps, targeted=aimed)
        return named(asked.attack, ball, steps=asked.steps, restarts=asked.restarts, embedding=embedding or aimed)
    for name in ("steps", "restarts"):
        if getattr(asked, name) is not None:
            raise ConfigError(f"{asked.attack} was learnt beforehand, and has no {name}")
    norm = asked.norm or learnt.ball.norm
    if asked.eps is None and norm != learnt.ball.norm:
        raise ConfigError(f"{asked.attack} was learnt within {learnt.ball}: another norm needs eps too")
    eps = learnt.ball.eps * unit(victim)[1] if asked.eps is None else victim.radius(asked.eps, norm)
    if aimed:
        if not learnt.ball.targeted:
            raise ConfigError(f"{asked.attack} learnt to lead samples away, and cannot be aimed: leave the target out")
        return replace(learnt, ball=Ball(norm, eps, targeted=True), objective=EmbeddingDistance())
    return replace(aimless(learnt, embedding=embedding), ball=Ball(norm, eps))


def aimless(learnt: InputAttack, *, embedding: bool) -> InputAttack:
    """Return a learnt attack whose success is any wrong prediction, or any large move of an embedding.

    Raises:
        ConfigError: it aims at wanted outputs.
    """
    if learnt.ball.targeted:
        raise ConfigError(
            f"this {type(learnt).__name__} aims at another sample: withstand attack RUN --attack ITS-RUN --target FILE "
            "names one"
        )
    return replace(learnt, objective=EmbeddingDistance() if embedding else CrossEntropy())


def solver_device(method: str, device: torch.device) -> torch.device:
    """Return where a certificate's network has to be: solvers know the CPU alone, and proofs need float64."""
    return torch.device("cpu") if method in SOLVERS or device.type == "mps" else device
