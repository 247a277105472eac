"""PGD-40 (Linf 2/255) on a trained ResNet-20 and 200 real CIFAR-10 test pictures, against foolbox and others.

Run: WITHSTAND_DATA=... python benchmarks/pgd.py OUT.jsonl [--pictures 200] [--rounds 3]

Each round runs every side once, in turn, and the best round counts. The plain loop is what a user writes:
one forward and backward a step, in batches of 100. Peers that cannot be imported are left out.
"""

import argparse
import importlib.util
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.attacks.gradient import PGD
from withstand.core.threat import Ball
from withstand.core.victim import Victim

EPS, STEPS, STEP_SIZE, BATCH = 2 / 255, 40, 0.25, 100
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.grow = width - width_in
        self.conv1 = nn.Conv2d(width_in, width, 3, 2 if self.grow else 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.grow:  # the shortcut of the CIFAR ResNets: subsample, and pad the channels with zeros
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.grow // 2, self.grow // 2))
        return F.relu(x + y)


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
        self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


class Standardized(nn.Module):
    """Peers differ in how they take a normalization; here it is inside the model for all of them."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x - self.mean) / self.std)


def load(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    root = Path(os.environ["WITHSTAND_DATA"])
    state = torch.load(root / "pretrained/resnet20-12fca82f.pt", weights_only=True)
    model = ResNet20()
    model.load_state_dict({name.removeprefix("module."): v for name, v in state.get("state_dict", state).items()})
    arrays = np.load(root / "cifar10/cifar10_5k_2k.npz")
    rows = slice(None, None, len(arrays["x_test"]) // count)
    x = torch.from_numpy(arrays["x_test"][rows][:count]).permute(0, 3, 1, 2).float().div(255).contiguous()
    return Standardized(model).eval(), x, torch.from_numpy(arrays["y_test"][rows][:count]).long()


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
    model, x, y = load(options.pictures)
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
