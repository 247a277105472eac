"""Minimal-norm attacks at equal budgets in L0, L1, L2 and Linf, beside their peers, after AttackBench's protocol.

Run: WITHSTAND_DATA=... python -m benchmarks.minimal_norm OUT.jsonl [--nets kw-cifar resnet20] [--pictures 30]
     [--norms linf l2 l1 l0] [--budget 2000] [--peers adv_lib foolbox torchattacks art] [--threads 1]
     [--attack-seconds 600] [--seconds 7200] [--table OUT.md] [--judged docs/benchmarks/minimal-norm.jsonl]

Every attack may ask each sample for `budget` passes, forward and backward ones counted alike (AttackBench, Cinà et al.,
2024). Distances are measured on what it returns, and count only where that is in the range and wrong. Local optimality
is its area over the security curve, of the best distances of all attacks in its norm: 1 says that no attack here found
a nearer point for any picture that is right when clean. Peers that cannot be imported are named and left out.

An attack that takes a tenth more passes than the budget is shown as over it, and is no reference for others. The time
is bounded: an attack that takes longer than `--attack-seconds` is stopped and stands in the table as stopped,
and none begins after `--seconds`. Each is a line of OUT.jsonl as soon as it is done, and the same command goes on where
it ended; the table is made of all lines of the same pictures and budget. `--judged` keeps what does not hang on the
machine, for the page of benchmarks: seconds are to be read where nothing else runs.
"""

import argparse
import importlib
import importlib.util
import json
import sys
import time
import types
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks._nets import NETS
from withstand.attacks.autoattack.fab import FAB
from withstand.attacks.inputs.ddn import DDN
from withstand.attacks.inputs.fmn import FMN
from withstand.attacks.inputs.hop_skip_jump import HopSkipJump
from withstand.attacks.inputs.nearest import MinimalNorm
from withstand.attacks.inputs.pdpgd import PDPGD
from withstand.attacks.inputs.sigma_zero import SigmaZero
from withstand.core.options import Norm
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

Side = Callable[[Tensor, Tensor], Tensor]
"""Clean pictures and labels to attacked pictures."""

PEERS = ("adv_lib", "foolbox", "torchattacks", "art")
ORDER: Mapping[Norm, float] = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}
SLACK = 1e-6
CELL = ("net", "norm", "pictures", "budget")
"""What tells lines that are compared."""


def ours(victim: Victim, norm: Norm, budget: int) -> dict[str, Side]:
    # A pass forward and one back a step, and some at the end, which look for the nearest point on the way found.
    steps, ball = max(1, (budget - 14) // 2), Ball(norm, 1)
    # FAB with one target at a time: a pass forward, one back and one to look at the step, for each of nine classes.
    attacks: dict[str, MinimalNorm] = {
        "FMN": FMN(ball, steps=steps),
        "FMN, growth 0.02": FMN(ball, steps=steps, growth=0.02),
    }
    if norm != "l0":
        attacks["FAB-T"] = FAB(ball, targets=9, steps=max(1, (budget - 11) // 27))
        attacks["PDPGD"] = PDPGD(ball, steps=steps)
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
    if "visdom" not in sys.modules and importlib.util.find_spec("visdom") is None:
        # adv-lib imports it for plots, which none are asked for here.
        plots = types.ModuleType("visdom")
        plots.__dict__["Visdom"] = object
        sys.modules["visdom"] = plots
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
            if norm == "l0":
                sides["adv-lib VFGA"] = lambda x, y, f=attacks.vfga: f(
                    model, x, y, targeted=False, max_iter=max(1, budget // 24)
                )
            if norm in ("l2", "linf"):
                sides["adv-lib TR"] = lambda x, y, f=attacks.tr: f(model, x, y, iter=steps, adaptive=True, p=order)
            if norm != "l0":
                fab_steps = max(1, budget // 12)  # a pass forward, nine back, and one to look at each step
                sides["adv-lib FAB"] = lambda x, y, f=attacks.fab, n=fab_steps: f(model, x, y, norm=order, n_iter=n)
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
            attacks_of = {"FMN": getattr(foolbox.attacks, kind)(steps=steps)}
            if norm == "l2":
                attacks_of["DDN"] = foolbox.attacks.DDNAttack(steps=steps)
            if norm == "l1":
                attacks_of["EAD"] = foolbox.attacks.EADAttack(steps=max(1, steps // 9), decision_rule="L1")
            for called, attack in attacks_of.items():
                sides[f"foolbox {called}"] = lambda x, y, attack=attack, wrapped=wrapped: attack(
                    wrapped, x, y, epsilons=None
                )[0]
        if name == "torchattacks" and norm in ("linf", "l2"):  # its FAB fails in L1
            library = importlib.import_module("torchattacks")
            fab = library.FAB(model, norm={"linf": "Linf", "l2": "L2"}[norm], eps=1e6, steps=budget // 12, n_classes=10)
            sides["torchattacks FAB"] = fab
        if name == "art" and norm != "l0":  # its attack in L0 is targeted, or asks for hours
            sides |= of_art(model, norm, steps)
    return sides


def of_art(model: nn.Module, norm: Norm, steps: int) -> dict[str, Side]:
    evasion = importlib.import_module("art.attacks.evasion")
    wrap = importlib.import_module("art.estimators.classification").PyTorchClassifier
    searches = 9  # of its constant, as published; each may take an equal share of the steps

    def side(x: Tensor, y: Tensor) -> Tensor:
        classes = int(model(x[:1]).shape[1])
        victim = wrap(model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), classes, clip_values=(0, 1), device_type="cpu")
        shared = {"batch_size": len(x), "verbose": False}
        if norm == "l2":
            attack = evasion.CarliniL2Method(
                victim, binary_search_steps=searches, max_iter=max(1, steps // searches), **shared
            )
        elif norm == "l1":
            attack = evasion.ElasticNet(
                victim,
                binary_search_steps=searches,
                max_iter=max(1, steps // searches),
                decision_rule="L1",
                **shared,
            )
        else:
            attack = evasion.CarliniLInfMethod(victim, max_iter=max(1, steps // 85), **shared)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))

    return {{"l2": "ART C&W", "l1": "ART EAD", "linf": "ART C&W"}[norm]: side}


def torch_penalty() -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    penalty: Callable[[Tensor, Tensor, Tensor], Tensor] = importlib.import_module(
        "adv_lib.utils.lagrangian_penalties.all_penalties"
    ).P2
    return penalty


class TimeIsUp(BaseException):
    """No Exception, which some peers catch."""


class Counted(nn.Module):
    """A network that counts the rows it is asked: passes forward, and passes back to its input; and ends on time.

    Count and time belong to the class: attacks may work on a copy of the network.
    """

    rows = 0
    ends = float("inf")

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        if time.perf_counter() > Counted.ends:
            raise TimeIsUp
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


def over(row: dict[str, object]) -> bool:
    """Return whether an attack took clearly more passes than it may: it then is no reference for others."""
    return float(row["passes"]) > 1.1 * float(row["budget"])


def judged(rows: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return the rows of one network, norm, choice of pictures and budget with their optimality, the best first."""
    done = [row for row in rows if not row["stopped"] and not over(row)]
    distances = {str(row["attack"]): torch.tensor(row["distances"], dtype=torch.float64) for row in done}
    best = torch.stack(list(distances.values())).amin(0) if distances else torch.zeros(0)
    known = bool(len(best)) and bool(best.isfinite().all())
    for row in done:
        away = distances[str(row["attack"])]
        row["success"] = round(away.isfinite().double().mean().item(), 4)
        row["median distance"] = round(away.median().item(), 5)
        row["optimality"] = round(optimality(away, best), 4) if known else None
    return sorted(rows, key=lambda row: (-float(row.get("optimality") or 0), float(row["seconds"])))


def table(rows: Sequence[dict[str, object]]) -> str:
    """Return the comparison as Markdown, a part for each network and norm."""
    heads = ("attack", "optimality", "success", "median distance", "seconds", "passes")
    text: list[str] = []
    for cell in dict.fromkeys((row["net"], row["norm"], row["pictures"], row["budget"]) for row in rows):
        some = judged([row for row in rows if (row["net"], row["norm"], row["pictures"], row["budget"]) == cell])
        text += [f"### {cell[0]}, {cell[1]}: {cell[2]} pictures, {cell[3]} passes", "", "| " + " | ".join(heads) + " |"]
        text += ["|" + "---|" * len(heads)]
        for row in some:
            why = "stopped" if row["stopped"] else "over the budget" if over(row) else row.get("optimality")
            told = [why if head == "optimality" else row.get(head) for head in heads]
            text.append("| " + " | ".join("-" if one is None else str(one) for one in told) + " |")
        text.append("")
    return "\n".join(text)


def keep_judged(rows: Sequence[dict[str, object]], path: Path) -> None:
    """Write a line for each attack on each network in each norm, without seconds."""
    names = (*CELL, "attack", "passes", "success", "median distance", "optimality")
    lines = []
    for cell in dict.fromkeys(tuple(row[key] for key in CELL) for row in rows):
        for row in judged([row for row in rows if tuple(row[key] for key in CELL) == cell]):
            lines.append(json.dumps({name: row.get(name) for name in names}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def kept(path: Path) -> list[dict[str, object]]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [row for row in map(json.loads, lines) if "distances" in row or row.get("stopped")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nets", nargs="+", default=["kw-cifar"], choices=sorted(NETS))
    parser.add_argument("--norms", nargs="+", default=list(ORDER), choices=list(ORDER))
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--budget", type=int, default=2000)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--attack-seconds", type=float, default=600.0)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--judged", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    began = time.perf_counter()
    cells: list[tuple[str, str, int, int]] = []
    for name in asked.nets:
        net, x, y = NETS[name].load(asked.pictures)
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        with torch.no_grad():
            right = net(x).argmax(1) == y
        x, y, model = x[right], y[right], Counted(net).eval()
        for norm in asked.norms:
            cell = (name, norm, len(x), asked.budget)
            cells.append(cell)
            done = {row["attack"] for row in kept(asked.out) if tuple(row[key] for key in CELL) == cell}
            sides = ours(Victim(model), norm, asked.budget) | peers(model, norm, asked.budget, asked.peers)
            for side, attack in sides.items():
                if side in done:
                    continue
                if time.perf_counter() - began > asked.seconds:
                    print(f"{name}, {norm}: {side} is left out: {asked.seconds:g} seconds are over")
                    continue
                row = dict(zip(CELL, cell, strict=True)) | {"benchmark": "minimal-norm", "attack": side}
                Counted.ends = time.perf_counter() + asked.attack_seconds
                try:
                    distance, seconds, passes = measured(model, attack, x, y, norm)
                    row |= {"stopped": False, "distances": [round(one, 7) for one in distance.tolist()]}
                except TimeIsUp:
                    seconds, passes = asked.attack_seconds, Counted.rows / len(x)
                    row |= {"stopped": True}
                except Exception as error:
                    if side.startswith("withstand"):
                        raise
                    print(f"{side} fails: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
                    continue
                finally:
                    Counted.ends = float("inf")
                row |= {"passes": round(passes, 1), "seconds": round(seconds, 2), "torch": torch.__version__}
                print(f"{name}, {norm}: {side}: {row['seconds']} s, {row['passes']} passes", flush=True)
                with asked.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    rows = [row for row in kept(asked.out) if tuple(row[key] for key in CELL) in cells]
    text = table(rows)
    print(text)
    if asked.judged is not None:
        keep_judged(rows, asked.judged)
    if asked.table is not None:
        asked.table.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
