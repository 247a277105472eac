"""Bounds on the Kolter-Wong CIFAR net: certified shares and seconds, 200 test pictures, Linf 2/255, all nine margins.

Run: WITHSTAND_DATA=... python -m benchmarks.certify OUT.jsonl [--net kw-cifar] [--eps 2] [--weights FILE]
    [--methods ibp crown]

Each round runs every side once, in turn, and the best round counts. A peer that cannot be imported is left out.
FILE may be any `cifar_small` file of convex_adversarial; the data folder's own is its L2-trained one.
Besides, boxes a second of input splitting on an ACAS-Xu network (5 inputs, six layers of 50 ReLUs).
"""

import argparse
import importlib.util
import json
import os
import resource
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks._nets import NETS
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.verification.bounds.margins import least_margin, margin_weights
from withstand.verification.exchange.instance import Instance
from withstand.verification.network.capture import capture
from withstand.verification.prover import Prover
from withstand.verification.search.input_split import box_bounds
from withstand.verification.specification.box import Region

DATA = Path(os.environ["WITHSTAND_DATA"])
METHODS = ("ibp", "crown-ibp", "crown", "alpha-crown")


def load(name: str, count: int, weights: Path | None) -> tuple[nn.Module, Tensor, Tensor]:
    """Return one of the shared nets; with `weights`, the CIFAR net with another file's."""
    model, x, y = NETS[name].load(count)
    if weights is not None:
        loaded = torch.load(weights, weights_only=True, map_location="cpu")
        loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
        model.model.load_state_dict(loaded[0] if isinstance(loaded, list) else loaded)
    return model.eval(), x, y


def peer(
    model: nn.Module, x: Tensor, y: Tensor, eps: float, methods: Sequence[str] = METHODS
) -> dict[str, Callable[[], Tensor]]:
    if importlib.util.find_spec("auto_LiRPA") is None:
        print("auto_LiRPA cannot be imported: left out")
        return {}
    from auto_LiRPA import BoundedModule, BoundedTensor, PerturbationLpNorm

    weight = margin_weights(y, 10).float()
    low, high = (x - eps).clamp_min(0), (x + eps).clamp_max(1)

    def side(method: str) -> Tensor:
        bounded = BoundedModule(model, torch.empty_like(x), bound_opts={"optimize_bound_args": {"iteration": 20}})
        perturbed = BoundedTensor(x, PerturbationLpNorm(norm=float("inf"), x_L=low, x_U=high))
        lower, _ = bounded.compute_bounds(x=(perturbed,), C=weight, method=method, bound_upper=False)
        return lower.amin(1)

    names = {"ibp": "IBP", "crown-ibp": "CROWN-IBP", "crown": "CROWN", "alpha-crown": "CROWN-Optimized"}
    return {f"auto_LiRPA {name}": (lambda method=names[name]: side(method)) for name in methods}


def boxes_a_second(batch: int = 1024, share: float = 0.1) -> float:
    """Return how many boxes of property 3, each side a `share` of the whole one's, are bounded in a second."""
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(DATA / "vnncomp/acasxu.zip") as archive:
        names = ("ACASXU_run2a_3_1_batch_2000.onnx", "prop_3.vnnlib")
        network_file, property_file = (archive.extract(name, folder) for name in names)
        instance = Instance.read(network_file, property_file)
    network = capture(instance.network, torch.zeros(1, *instance.network.shape))
    (case,) = instance.specification.cases
    whole = [side.view(1, *network.shape) for side in (case.low, case.high)]
    places = torch.rand(batch, *network.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low = whole[0] + (1 - share) * places * (whole[1] - whole[0])
    region = Region.box(low, low + share * (whole[1] - whole[0]))
    with torch.no_grad():
        box_bounds(network, region, case.wanted())
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < 2:
            box_bounds(network, region, case.wanted())
            count += batch
    return count / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--net", choices=sorted(NETS), default="kw-cifar")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--eps", type=float, default=2.0, help="in 1/255")
    parser.add_argument("--weights", type=Path, help="a cifar_small file of convex_adversarial")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", choices=METHODS, nargs="+", default=METHODS)
    parser.add_argument("--attack", action="store_true", help="also time AutoAttack with and without the prover")
    options = parser.parse_args()
    model, x, y = load(options.net, options.pictures, options.weights)
    eps = options.eps / 255
    network, weight, ball = capture(model, x), margin_weights(y, 10), Ball("linf", eps)
    sides: dict[str, Callable[[], Tensor]] = {
        name: (lambda name=name: least_margin(network, Region.around(x, ball), weight, name))
        for name in options.methods
    }
    sides |= peer(model, x, y, eps, options.methods)
    seconds = dict.fromkeys(sides, float("inf"))
    share: dict[str, float] = {}
    mean: dict[str, float] = {}
    for _ in range(options.rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            margin = side().detach()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
            share[name], mean[name] = (margin > 0).float().mean().item(), margin.mean().item()
    for name in sides:
        print(f"{name:28} {seconds[name]:8.3f} s  certified {share[name]:6.1%}  mean margin {mean[name]:+.4f}")
    boxes = boxes_a_second()
    print(f"input splits: {boxes / 1000:.1f} boxes a millisecond")
    record = {
        "work": f"bounds on {options.net}, {len(x)} pictures, Linf {options.eps:g}/255, nine margins",
        "seconds": seconds,
        "certified": share,
        "mean margin": mean,
        "boxes a millisecond": boxes / 1000,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": torch.get_num_threads(),
    }
    if options.attack:
        for name, prover in (("AutoAttack", None), ("AutoAttack after CROWN", Prover("crown"))):
            started = time.perf_counter()
            found = AutoAttack(ball)(Victim(model), x, y, batch=256, prover=prover, checks=False)
            record[name] = {"seconds": time.perf_counter() - started, "robust": found.accuracy}
            print(name, record[name], f"proven {found.proven_accuracy:.1%}")
    with options.out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
