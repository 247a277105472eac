"""Minimal-norm attacks at equal budgets in L0, L1, L2 and Linf, beside their peers, after AttackBench's protocol.

Run: WITHSTAND_DATA=... python -m benchmarks.minimal_norm OUT.jsonl [--nets kw-cifar resnet20] [--pictures 20]
     [--norms linf l2 l1 l0] [--budget 2000] [--peers adv_lib foolbox torchattacks] [--threads 1]

Every attack may ask each sample for `budget` passes, forward and backward ones counted alike (AttackBench, Cinà et al.,
2024). Distances are measured on what it returns, and count only where that is in the range and wrong. Local optimality
is its area over the security curve, of the best distances of all attacks in its norm: 1 says that no attack here found
a nearer point for any picture that is right when clean. Peers that cannot be imported are named and left out.
"""

import argparse
import importlib
import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks._nets import NETS
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.inputs.ddn import DDN
from withstand.attacks.inputs.fmn import FMN
from withstand.attacks.inputs.hop_skip_jump import HopSkipJump
from withstand.attacks.inputs.nearest import MinimalNorm
from withstand.attacks.inputs.sigma_zero import SigmaZero
from withstand.core.options import Norm
from withstand.core.threat import Ball
from withstand.core.victim import Victim

Side = Callable[[Tensor, Tensor], Tensor]
"""Clean pictures and labels to attacked pictures."""

PEERS = ("adv_lib", "foolbox", "torchattacks")
ORDER: Mapping[Norm, float] = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}
SLACK = 1e-6


def ours(victim: Victim, norm: Norm, budget: int) -> dict[str, Side]:
    steps, ball = budget // 2, Ball(norm, 1)
    # FAB with one target at a time: a pass forward, one back and one to look at the step, for each of nine classes.
    attacks: dict[str, MinimalNorm] = {
        "FMN": FMN(ball, steps=steps),
        "FMN, growth 0.02": FMN(ball, steps=steps, growth=0.02),
    }
    if norm != "l0":
        attacks["FAB-T"] = FAB(ball, targets=9, steps=max(1, (budget - 11) // 27))
    if norm == "l0":
        attacks["sigma-zero"] = SigmaZero(ball, steps=steps)
    if norm == "l2":
        attacks["DDN"] = DDN(ball, steps=steps)
    if norm in ("l2", "linf"):
        attacks["HopSkipJump"] = HopSkipJump(ball, queries=budget)
    return {
        f"withstand {name}": lambda x, y, attack=attack: attack.nearest(victim, x, y, batch=len(x)).x
        for name, attack in attacks.items()
    }


def peers(model: nn.Module, norm: Norm, budget: int, chosen: list[str]) -> dict[str, Side]:
    sides: dict[str, Side] = {}
    steps, order = budget // 2, ORDER[norm]
    for name in chosen:
        try:
            importlib.import_module({"adv_lib": "adv_lib.attacks"}.get(name, name))
        except ImportError as error:
            print(f"{name} cannot be imported ({error}): left out")
            continue
        if name == "adv_lib":
            attacks = importlib.import_module("adv_lib.attacks")
            sides["adv-lib FMN"] = lambda x, y, f=attacks.fmn: f(model, x, y, norm=order, steps=steps)
            if norm == "l0":
                sides["adv-lib sigma-zero"] = lambda x, y, f=attacks.sigma_zero: f(model, x, y, num_steps=steps)
            if norm == "l2":
                sides["adv-lib DDN"] = lambda x, y, f=attacks.ddn: f(model, x, y, steps=steps, levels=None)
            if norm in ("l1", "l2"):
                sides["adv-lib ALMA"] = lambda x, y, f=attacks.alma: f(
                    model, x, y, penalty=torch_penalty(), distance=norm, num_steps=steps
                )
            if norm != "l0":  # its usual proximal operator is not made for L0
                sides["adv-lib PDPGD"] = lambda x, y, f=attacks.pdpgd: f(model, x, y, norm=order, num_steps=steps)
        if name == "foolbox":
            foolbox = importlib.import_module("foolbox")
            kind = {
                "linf": "LInfFMNAttack",
                "l2": "L2FMNAttack",
                "l1": "L1FMNAttack",
                "l0": "L0FMNAttack",
            }[norm]
            wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
            attack = getattr(foolbox.attacks, kind)(steps=steps)
            sides["foolbox FMN"] = lambda x, y, attack=attack, wrapped=wrapped: attack(wrapped, x, y, epsilons=None)[0]
        if name == "torchattacks" and norm in ("linf", "l2"):  # its FAB fails in L1
            library = importlib.import_module("torchattacks")
            fab = library.FAB(model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=1e6, steps=budget // 12, n_classes=10)
            sides["torchattacks FAB"] = fab
    return sides


def torch_penalty() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    penalty: Callable[[Tensor, Tensor, Tensor], Tensor] = importlib.import_module(
        "adv_lib.utils.lagrangian_penalties.all_penalties"
    ).P2
    return penalty


class Counted(nn.Module):
    """A network that counts the rows it is asked: passes forward, and passes back to its input.

    The count belongs to the class: attacks may work on a copy of the network.
    """

    rows = 0

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        Counted.rows += len(x)
        if x.requires_grad and torch.is_grad_enabled():
            x = x * 1  # a leaf has no place for a hook that counts each pass back
            x.register_hook(self._back)
        logits: Tensor = self.net(x)
        return logits

    def _back(self, slope: Tensor) -> None:
        Counted.rows += len(slope)


def measured(model: Counted, side: Side, x: Tensor, y: Tensor, norm: Norm) -> tuple[Tensor, float, float]:
    """Return each picture's distance, infinite where none was found, the seconds, and the passes a sample."""
    Counted.rows, began = 0, time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = side(x.clone(), y.clone()).detach()
    seconds, passes = time.perf_counter() - began, Counted.rows / len(x)
    with torch.no_grad():
        wrong = model.net(found).argmax(1) != y
    inside = (found >= -SLACK).flatten(1).all(1) & (found <= 1 + SLACK).flatten(1).all(1)
    away = found.double() - x.double()
    # Changes of a rounding are none: some peers leave them on every entry.
    away = torch.where(away.abs() <= SLACK, 0, away)
    size = torch.linalg.vector_norm(away.flatten(1), ORDER[norm], dim=1)
    return torch.where(wrong & inside, size, torch.inf), seconds, passes


def optimality(distance: Tensor, best: Tensor) -> float:
    """Return the local optimality of distances, of samples that are right when clean.

    Both areas lie under the robust accuracy over radii, up to the largest best distance, which is where the best
    attack has broken all; 1 is as good as the best, 0 is one that breaks nothing before that.
    """
    limit = float(best.max())
    area, least = (value.clamp_max(limit).mean().item() for value in (distance, best))
    if limit == least:  # all distances are alike, and there is no area between them
        return float((distance <= limit).double().mean())
    return (limit - area) / (limit - least)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nets", nargs="+", default=["kw-cifar"], choices=sorted(NETS))
    parser.add_argument("--norms", nargs="+", default=list(ORDER), choices=list(ORDER))
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--budget", type=int, default=2000)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for name in asked.nets:
        net, x, y = NETS[name].load(asked.pictures)
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        with torch.no_grad():
            right = net(x).argmax(1) == y
        x, y, model = x[right], y[right], Counted(net).eval()
        for norm in asked.norms:
            sides = ours(Victim(model), norm, asked.budget) | peers(model, norm, asked.budget, asked.peers)
            rows = {}
            for side, attack in sides.items():
                try:
                    rows[side] = measured(model, attack, x, y, norm)
                except Exception as error:
                    if side.startswith("withstand"):
                        raise
                    print(f"{side} fails: {error}")
            best = torch.stack([distance for distance, _, _ in rows.values()]).amin(0)
            best = best[best.isfinite()]
            for side, (distance, seconds, passes) in rows.items():
                found = distance.isfinite()
                row = {
                    "benchmark": "minimal-norm",
                    "net": name,
                    "norm": norm,
                    "attack": side,
                    "pictures": len(x),
                    "budget": asked.budget,
                    "passes": round(passes, 1),
                    "success": round(found.double().mean().item(), 4),
                    "median distance": round(distance.median().item(), 5),
                    "optimality": round(optimality(distance, best), 4) if len(best) == len(x) else None,
                    "seconds": round(seconds, 2),
                    "torch": torch.__version__,
                }
                print(json.dumps(row))
                with asked.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
