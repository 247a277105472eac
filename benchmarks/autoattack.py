"""AutoAttack standard (Linf), step by step as published, on real CIFAR-10 test pictures, against its peers.

Run: WITHSTAND_DATA=... python -m benchmarks.autoattack OUT.jsonl [--pictures 200] [--cases kw-cifar:2 resnet20:0.5]
     [--peers torchattacks pyautoattack] [--threads 1] [--prove crown] [--fast]

Cases are networks with a radius in 1/255. Sides run one after the other on the same pictures, all with batches of
--batch. torchattacks' own "standard" takes 10 steps in its gradient attacks, where the paper, the official code and
ours take 100: it runs as it comes, and with 100. It drags old pins: install it with `pip install --no-deps
torchattacks`, the official code as `pip install --no-deps pyautoattack`. Peers that cannot be imported are named and
left out.
"""

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks._nets import NETS
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.margins import METHODS
from withstand.verification.prover import Prover

CASES = ("kw-cifar:2", "kw-svhn:1", "resnet20:0.5", "resnet20:1")
PEERS = ("torchattacks", "torchattacks, 100 steps", "pyautoattack")


def peers(model: nn.Module, eps: float, batch: int, chosen: list[str]) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    sides: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    for name in chosen:
        if not importlib.util.find_spec(name.split(",")[0]):
            print(f"{name} cannot be imported: left out")
            continue
        if name.startswith("torchattacks"):
            import torchattacks

            attack = torchattacks.AutoAttack(model, norm="Linf", eps=eps, version="standard", n_classes=10, seed=0)
            if name != "torchattacks":
                for part in attack._autoattack.attacks:
                    if hasattr(part, "steps"):
                        part.steps = 100
            sides[name] = lambda x, y, attack=attack: torch.cat(
                [attack(*part) for part in zip(x.split(batch), y.split(batch), strict=True)]
            )
        else:
            import pyautoattack

            official = pyautoattack.AutoAttack(model, norm="Linf", eps=eps, version="standard", device="cpu", seed=0)
            sides[name] = lambda x, y, official=official: official.run_standard_evaluation(x, y, batch_size=batch)[0]
    return sides


def measure(case: str, options: argparse.Namespace) -> dict[str, object]:
    name, size = case.split(":")
    eps = float(size) / 255
    model, x, y = NETS[name].load(options.pictures)
    tallies: dict[str, dict[str, tuple[int, int, float]]] = {}

    def attacked_by(attack: AutoAttack, x: Tensor, y: Tensor, prover: Prover | None = None) -> Tensor:
        found = attack(Victim(model), x, y, batch=options.batch, checks=False, prover=prover)
        tallies["proven" if prover else attack.search] = {
            tally.name: (tally.tried, tally.broken, round(tally.seconds, 2)) for tally in found.tallies
        }
        proven.append(int(found.proven.sum()))
        return found.x

    proven: list[int] = []
    attack = AutoAttack(Ball("linf", eps))
    further = {}
    if options.prove:
        further["ours, what is proven left alone"] = partial(attacked_by, attack, prover=Prover(options.prove))
    if options.fast:
        further["ours, fast"] = partial(attacked_by, AutoAttack(Ball("linf", eps), search="fast"))
    sides = {"ours": partial(attacked_by, attack), **further, **peers(model, eps, options.batch, options.peers)}
    seconds: dict[str, float] = {}
    processor: dict[str, float] = {}
    robust: dict[str, float] = {}
    for side, attack in sides.items():
        started, spent = time.perf_counter(), time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peers warn of single zero gradients
            attacked = attack(x, y)
        seconds[side], processor[side] = time.perf_counter() - started, time.process_time() - spent
        assert (attacked - x).abs().max() <= eps + 1e-6
        with torch.no_grad():
            robust[side] = (model(attacked).argmax(1) == y).float().mean().item()
    return {
        "work": f"AutoAttack standard on {name}, {len(x)} pictures, Linf {size}/255",
        "ours": seconds["ours"],
        "ours, what is proven left alone": seconds.get("ours, what is proven left alone"),
        "proven": max(proven),
        "peers": {side: seconds[side] for side in sides if not side.startswith("ours")},
        "ratio": {side: seconds["ours"] / seconds[side] for side in sides if side != "ours"},
        "ratio of processor time": {side: processor["ours"] / processor[side] for side in sides if side != "ours"},
        "robust accuracy": robust,
        "tried, broken, seconds": tallies,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--cases", nargs="+", default=CASES, metavar="NET:EPS")
    parser.add_argument("--peers", nargs="*", default=PEERS, choices=PEERS)
    parser.add_argument("--prove", choices=METHODS, help="also run ours with a prover of these bounds, as audits do")
    parser.add_argument("--fast", action="store_true", help="also run ours with the shortcuts")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, help="1 makes processor time a fair measure on a busy machine")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    importlib.import_module("torch.fx.experimental.proxy_tensor")  # peers are imported before the clock starts, too
    for case in options.cases:
        record = measure(case, options)
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
