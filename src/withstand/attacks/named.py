"""Attacks by the names that the field gives them, with the settings of their papers."""

from collections.abc import Callable
from dataclasses import fields
from typing import Literal, TypeAlias, get_args

from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.square import Square
from withstand.attacks.inputs.ddn import DDN
from withstand.attacks.inputs.deepfool import DeepFool
from withstand.attacks.inputs.fmn import FMN
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.hop_skip_jump import HopSkipJump
from withstand.attacks.inputs.momentum import MIFGSM
from withstand.attacks.inputs.noise import Noise
from withstand.attacks.inputs.pdpgd import PDPGD
from withstand.attacks.inputs.sigma_zero import SigmaZero
from withstand.attacks.objectives import DLR, EmbeddingDistance
from withstand.core.errors import ConfigError, nearest
from withstand.core.options import with_fields
from withstand.core.threat import Ball, Norm

Name: TypeAlias = Literal[
    "fgsm", "bim", "pgd", "mi-fgsm", "di-mi-fgsm", "ti-mi-fgsm", "apgd", "apgd-dlr", "apgd-t", "fab", "fab-t", "square",
    "deepfool", "ddn", "fmn", "pdpgd", "sigma-zero", "hop-skip-jump", "noise",
]  # fmt: skip

_MAKE: dict[str, Callable[[Ball], InputAttack]] = {
    "fgsm": FGSM,
    "bim": lambda ball: PGD(ball, steps=10, random_start=False),
    "pgd": PGD,
    "mi-fgsm": MIFGSM,
    "di-mi-fgsm": lambda ball: MIFGSM(ball, diversity=0.9),
    "ti-mi-fgsm": lambda ball: MIFGSM(ball, smoothing=3.0),
    "apgd": APGD,
    "apgd-dlr": lambda ball: APGD(ball, DLR()),
    "apgd-t": lambda ball: APGD(ball, DLR(), targets=9),
    "fab": FAB,
    "fab-t": lambda ball: FAB(ball, targets=9),
    "square": Square,
    "deepfool": DeepFool,
    "ddn": DDN,
    "fmn": FMN,
    "pdpgd": PDPGD,
    "sigma-zero": SigmaZero,
    "hop-skip-jump": HopSkipJump,
    "noise": Noise,
}
_ON_LOGITS = ("apgd-dlr", "apgd-t", "fab", "fab-t", "deepfool", "fmn", "pdpgd", "sigma-zero")
"""Those that compare classes, and have nothing to compare in an embedding."""


ANY = "any"
"""In place of a radius: the nearest point, wherever it is."""


def own_norm(name: str) -> Norm:
    """Return the norm in which a named attack is run when none is asked for: linf, or the first that it takes.

    >>> own_norm("pgd"), own_norm("ddn"), own_norm("sigma-zero")
    ('linf', 'l2', 'l0')
    """
    made = _MAKE.get(name)
    norms = type(made(Ball())).norms if made is not None else ("linf",)
    return "linf" if "linf" in norms else norms[0]


def named(
    name: str, ball: Ball, *, steps: int | None = None, restarts: int | None = None, embedding: bool = False
) -> InputAttack:
    """Return an attack.

    Args:
        name: one of `Name`.
        ball: how far an input may be moved.
        steps: in place of the attack's own number of steps, or of queries.
        restarts: in place of its own number of restarts.
        embedding: move embeddings away from the clean ones, in place of predictions from the labels.

    Raises:
        ConfigError: an unknown name, or something that the attack does not have.

    >>> named("pgd", Ball(), steps=7).steps
    7
    """
    if name not in _MAKE:
        raise ConfigError(f"attack {name!r} is unknown: {nearest(name, get_args(Name))}")
    if embedding and name in _ON_LOGITS:
        raise ConfigError(f"{name} compares classes, and an embedding has none: pgd, apgd or square move embeddings")
    attack = _MAKE[name](ball)
    known = {field.name for field in fields(attack)}
    changes: dict[str, object] = {"objective": EmbeddingDistance()} if embedding else {}
    for what, value in (("steps", steps), ("restarts", restarts)):
        place = "queries" if what == "steps" and "queries" in known else what
        if value is not None and place not in known:
            raise ConfigError(f"{name} has no {what}")
        changes |= {} if value is None else {place: value}
    attack = with_fields(attack, changes)
    attack.check_ball()
    return attack
