"""One epoch of PGD-7 adversarial training (Linf 8/255) of a small ResNet on CIFAR-size pictures, against plain loops.

    WITHSTAND_DATA=... python benchmarks/adversarial_training.py [results.jsonl] [--width 16] [--pictures 1280]

Ours is `withstand train` in float32: loading, padded crops, the engine and its log. The peers are what a user writes,
without loading or augmentation: one with the attack spelt out, one with torchattacks' PGD where it can be imported.
All train copies of one network on the same pictures, attack it in eval mode, and take turns; each side's best round
counts. The mean cross-entropy that each attack reaches on one trained network shows that they are equally strong.
"""

import argparse
import copy
import importlib.util
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.inputs.gradient import PGD
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data import ArraySource
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD
from withstand.engine.schedules import Constant
from withstand.methods.robust.adversarial_training import AdversarialTraining
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.views.compose import MultiCrop
from withstand.views.pictures.padded_crop import PaddedCrop

EPS, STEPS, BATCH, RATE = 8 / 255, 7, 128, 0.05
STEP_SIZE = 2.5 * EPS / STEPS
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Attack = Callable[[nn.Module, Tensor, Tensor], Tensor]


def data(count: int) -> tuple[Tensor, Tensor]:
    """Return uint8 pictures `(count, 3, 32, 32)` and labels: CIFAR-10's where WITHSTAND_DATA says, else random ones."""
    folder = os.environ.get("WITHSTAND_DATA")
    if folder is None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return x, torch.arange(count) % 10
    with np.load(Path(folder) / "cifar10" / "cifar10_5k_2k.npz") as arrays:
        x = torch.from_numpy(arrays["x_train"][:count]).permute(0, 3, 1, 2).contiguous()
        return x, torch.from_numpy(arrays["y_train"][:count]).long()


def spelt_out(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    network.eval()
    attacked = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(STEPS):
        attacked = attacked.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(attacked), y), attacked)
        attacked = attacked.detach() + STEP_SIZE * gradient.sign()
        attacked = torch.clamp(x + (attacked - x).clamp(-EPS, EPS), 0, 1)
    network.train()
    return attacked


def torchattacks(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    from torchattacks import PGD as Peer

    found: Tensor = Peer(network, eps=EPS, alpha=STEP_SIZE, steps=STEPS)(x, y)
    return found


def plain_epoch(network: nn.Module, x: Tensor, y: Tensor, attack: Attack) -> float:
    """Return a plain loop's seconds for an epoch."""
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    network.train()
    started = time.perf_counter()
    for rows in torch.randperm(len(x)).split(BATCH):
        pictures, labels = x[rows].float() / 255, y[rows]
        loss = F.cross_entropy(network(attack(network, pictures, labels)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


def our_epoch(method: AdversarialTraining, x: Tensor, y: Tensor, precision: str) -> float:
    """Return the seconds of `withstand train` for an epoch, its start left out: log lines stand a batch apart."""
    count = len(x) // BATCH
    plan = Plan(epochs=2, batch=BATCH, optimizer=SGD(RATE, 5e-4), schedule=Constant(), log_every=1, precision=precision)
    view = MultiCrop((PaddedCrop(4),), (1,))
    with TemporaryDirectory() as folder:
        experiment = Experiment("bench", ArraySource(x, y, layout="NCHW"), view, method, plan)
        run = train(experiment, Path(folder) / "run", quiet=True)
        lines = [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
    first = next(line for line in lines if line["step"] == count)
    return (lines[-1]["seconds"] - first["seconds"]) * count / (lines[-1]["step"] - first["step"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=1280)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    x, y = data(options.pictures // BATCH * BATCH)
    torch.manual_seed(0)
    attack = PGD(Ball("linf", EPS), steps=STEPS, keep_best=False)
    fresh = AdversarialTraining(Normalized(ResNet(options.width, 10), MEAN, STD), classes=10, attack=attack)
    peers: dict[str, Attack] = {"plain loop": spelt_out}
    if importlib.util.find_spec("torchattacks"):
        peers["torchattacks"] = torchattacks
    sides: dict[str, Callable[[AdversarialTraining], float]] = {
        "ours": partial(our_epoch, x=x, y=y, precision="float32"),
        "ours, bfloat16": partial(our_epoch, x=x, y=y, precision="bfloat16"),
    }
    for name, peer in peers.items():
        sides[name] = lambda method, peer=peer: plain_epoch(method.network(), x, y, peer)
    seconds = dict.fromkeys(sides, float("inf"))
    for _ in range(options.rounds):
        for name, side in sides.items():
            method = copy.deepcopy(fresh)
            seconds[name] = min(seconds[name], side(method))
    network, sample, labels = method.network().eval(), x[:256].float() / 255, y[:256]
    reached = {"ours": attack(Victim(network), sample, labels).loss.mean().item()}
    for name, peer in peers.items():
        found = peer(network, sample, labels)
        with torch.no_grad():
            reached[name] = F.cross_entropy(network.eval()(found), labels).item()
    for name in ("ours", "ours, bfloat16"):
        record = {
            "work": f"an epoch of PGD-{STEPS} training, ResNet-10 of width {options.width}, {name}",
            "ours": seconds[name],
            "peers": {peer: seconds[peer] for peer in peers},
            "ratio": {peer: seconds[name] / seconds[peer] for peer in peers},
            "loss under attack": reached,
            "threads": torch.get_num_threads(),
        }
        print(json.dumps(record))
        if options.results is not None:
            with options.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
