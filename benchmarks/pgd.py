"""PGD-40 (Linf 2/255) on a trained ResNet-20 and 200 real CIFAR-10 test pictures, against foolbox and others.

Run: WITHSTAND_DATA=... python -m benchmarks.pgd OUT.jsonl [--pictures 200] [--rounds 3]

Each round runs every side once, in turn, and the best round counts. The plain loop is what a user writes:
one forward and backward a step, in batches of 100. Peers that cannot be imported are left out.
"""

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks._nets import NETS
from withstand.attacks.inputs.gradient import PGD
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

EPS, STEPS, STEP_SIZE, BATCH = 2 / 255, 40, 0.25, 100


def plain(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    attacked = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(STEPS):
        attacked = attacked.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(attacked), y), attacked)
        attacked = attacked.detach() + STEP_SIZE * EPS * gradient.sign()
        attacked = torch.clamp(x + (attacked - x).clamp(-EPS, EPS), 0, 1)
    return attacked


def peers(model: nn.Module) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    sides: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"plain loop": lambda x, y: plain(model, x, y)}
    if importlib.util.find_spec("foolbox"):
        import foolbox

        attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE * EPS, steps=STEPS)
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
        sides["foolbox"] = lambda x, y: attack(wrapped, x, y, epsilons=EPS)[1]
    if importlib.util.find_spec("torchattacks"):
        import torchattacks

        sides["torchattacks"] = torchattacks.PGD(model, eps=EPS, alpha=STEP_SIZE * EPS, steps=STEPS)
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model, x, y = NETS["resnet20"].load(options.pictures)
    victim = Victim(model)
    attack = PGD(Ball("linf", EPS), steps=STEPS, step_size=STEP_SIZE)
    dropping = PGD(Ball("linf", EPS), steps=STEPS, step_size=STEP_SIZE, drop_finished=True)
    ours = {"every step": attack, "finished samples dropped": dropping}
    sides = {name: (lambda attack=attack: attack(victim, x, y).x) for name, attack in ours.items()}
    for name, peer in peers(model).items():
        sides[name] = lambda peer=peer: torch.cat(
            [peer(x[i : i + BATCH], y[i : i + BATCH]) for i in range(0, len(x), BATCH)]
        )
    seconds = dict.fromkeys(sides, float("inf"))
    robust: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            attacked = side()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
            with torch.no_grad():
                robust[name] = (model(attacked).argmax(1) == y).float().mean().item()
    with options.out.open("a", encoding="utf-8") as file:
        for name in ours:
            record = {
                "work": f"PGD-{STEPS} on ResNet-20, {len(x)} pictures, Linf 2/255, {name}",
                "ours": seconds[name],
                "peers": {peer: seconds[peer] for peer in sides if peer not in ours},
                "ratio": {peer: seconds[name] / seconds[peer] for peer in sides if peer not in ours},
                "robust accuracy": {side: robust[side] for side in sides if side == name or side not in ours},
                "threads": torch.get_num_threads(),
            }
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
