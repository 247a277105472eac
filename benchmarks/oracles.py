"""Robust accuracy under our attacks and under foolbox's, ART's and torchattacks', on trained networks: never weaker.

Run: WITHSTAND_DATA=... python -m benchmarks.oracles OUT.jsonl [--pictures 100] [--nets resnet20] [--attacks PGD-40]

Every side gets the same network, pictures, radius (Linf) and budget. A picture counts as broken where the network is
wrong on it, before the attack or after it, within the radius. Prints a table, and ends with 1 where an attack of ours
leaves more pictures right than a peer's; attacks that draw may leave one more, and what two standard errors of the
pictures that only one side breaks explain.
"""

import argparse
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks._nets import NETS
from withstand.attacks.attack import InputAttack
from withstand.attacks.autoattack.apgd import APGD
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.autoattack.square import Square
from withstand.attacks.inputs.gradient import FGSM, PGD
from withstand.attacks.inputs.momentum import MIFGSM
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

Side = Callable[[Tensor, Tensor], Tensor]

PGD_STEPS, PGD_SIZE, MI_STEPS, APGD_STEPS, FAB_STEPS, QUERIES = 40, 1 / 12, 10, 50, 20, 300
ATTACKS = ("FGSM", "MI-FGSM", "PGD-40", "APGD-CE", "FAB", "Square")
WITHOUT_CHANCE = ("FGSM", "MI-FGSM")


def ours(eps: float) -> dict[str, InputAttack]:
    ball = Ball("linf", eps)
    return {
        "FGSM": FGSM(ball),
        "PGD-40": PGD(ball, steps=PGD_STEPS, step_size=PGD_SIZE, drop_finished=True),
        "APGD-CE": APGD(ball, steps=APGD_STEPS, drop_finished=True),
        "MI-FGSM": MIFGSM(ball, steps=MI_STEPS),
        "FAB": FAB(ball, steps=FAB_STEPS, targets=9, drop_finished=True),
        "Square": Square(ball, queries=QUERIES),
    }


def foolbox_sides(model: nn.Module, eps: float) -> Iterator[tuple[str, Side]]:
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    for name, attack in (
        ("FGSM", foolbox.attacks.FGSM(random_start=False)),
        ("PGD-40", foolbox.attacks.LinfPGD(rel_stepsize=PGD_SIZE, steps=PGD_STEPS)),
    ):
        yield name, lambda x, y, attack=attack: attack(wrapped, x, y, epsilons=eps)[1]


def art_sides(model: nn.Module, eps: float, shape: tuple[int, ...]) -> Iterator[tuple[str, Side]]:
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    wrapped = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), input_shape=shape, nb_classes=10, clip_values=(0.0, 1.0), device_type="cpu"
    )
    step, quiet = PGD_SIZE * eps, {"verbose": False}
    for name, attack in (
        ("FGSM", evasion.FastGradientMethod(wrapped, eps=eps)),
        (
            "PGD-40",
            evasion.ProjectedGradientDescent(
                wrapped, eps=eps, eps_step=step, max_iter=PGD_STEPS, num_random_init=1, **quiet
            ),
        ),
        (
            "APGD-CE",
            evasion.AutoProjectedGradientDescent(
                wrapped,
                eps=eps,
                eps_step=2 * eps,
                max_iter=APGD_STEPS,
                nb_random_init=1,
                loss_type="cross_entropy",
                **quiet,
            ),
        ),
        (
            "MI-FGSM",
            evasion.MomentumIterativeMethod(wrapped, eps=eps, eps_step=eps / MI_STEPS, max_iter=MI_STEPS, **quiet),
        ),
        ("Square", evasion.SquareAttack(wrapped, eps=eps, max_iter=QUERIES, nb_restarts=1, **quiet)),
    ):
        yield (
            name,
            lambda x, y, attack=attack: torch.from_numpy(
                attack.generate(x.numpy(), nn.functional.one_hot(y, 10).numpy())
            ),
        )


def torchattacks_sides(model: nn.Module, eps: float) -> Iterator[tuple[str, Side]]:
    import torchattacks

    yield "FGSM", torchattacks.FGSM(model, eps=eps)
    yield "PGD-40", torchattacks.PGD(model, eps=eps, alpha=PGD_SIZE * eps, steps=PGD_STEPS)
    yield "APGD-CE", torchattacks.APGD(model, eps=eps, steps=APGD_STEPS)
    yield "MI-FGSM", torchattacks.MIFGSM(model, eps=eps, alpha=eps / MI_STEPS, steps=MI_STEPS)
    yield "FAB", torchattacks.FAB(model, eps=eps, steps=FAB_STEPS, multi_targeted=True, n_classes=10)
    yield "Square", torchattacks.Square(model, eps=eps, n_queries=QUERIES)


def left(model: nn.Module, clean: Tensor, found: Tensor, y: Tensor, eps: float) -> Tensor:
    """Return which pictures are right, before and after."""
    with torch.no_grad():
        right = model(clean).argmax(1) == y
        wrong = (model(found).argmax(1) != y) & ((found - clean).abs().flatten(1).amax(1) <= eps + 1e-6)
    return right & ~wrong


def is_weaker(ours: Tensor, theirs: Tensor, *, chance: bool) -> bool:
    only_theirs, only_ours = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    slack = 1 + 2 * (only_theirs + only_ours) ** 0.5 if chance else 0
    return only_theirs - only_ours > slack


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=100)
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # peers warn of single zero gradients
    makers = {"foolbox": foolbox_sides, "art": art_sides, "torchattacks": torchattacks_sides}
    for name in [name for name in makers if not importlib.util.find_spec(name)]:
        print(f"{name} cannot be imported: left out")
        del makers[name]
    print(f"| net | eps | attack | ours | {' | '.join(makers)} |\n|---|---|---|---|{'---|' * len(makers)}")
    weaker = []
    for net in options.nets:
        model, x, y = NETS[net].load(options.pictures)
        for eps in NETS[net].eps:
            sides: dict[str, dict[str, Side]] = {name: {} for name in options.attacks}
            for peer, maker in makers.items():
                extra = (tuple(x.shape[1:]),) if peer == "art" else ()
                for name, side in partial(maker, model, eps)(*extra):
                    if name in sides:
                        sides[name][peer] = side
            for name in options.attacks:
                held = {"ours": left(model, x, ours(eps)[name](Victim(model), x, y).x, y, eps)}
                held |= {peer: left(model, x, side(x, y).detach(), y, eps) for peer, side in sides[name].items()}
                peers = [theirs for peer, theirs in held.items() if peer != "ours"]
                if any(is_weaker(held["ours"], theirs, chance=name not in WITHOUT_CHANCE) for theirs in peers):
                    weaker.append(f"{name} on {net}, {eps:.4f}")
                shares = {side: right.float().mean().item() for side, right in held.items()}
                cells = [f"{shares[side]:.2f}" if side in shares else "" for side in ("ours", *makers)]
                print(f"| {net} | {eps:.4f} | {name} | {' | '.join(cells)} |", flush=True)
                record = {"work": f"{name} on {net}, {len(x)} pictures, Linf {eps:.4f}", "robust accuracy": shares}
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
    print("weaker than a peer: " + ", ".join(weaker) if weaker else "never weaker than a peer")
    return 1 if weaker else 0


if __name__ == "__main__":
    sys.exit(main())
