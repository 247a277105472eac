"""AutoAttack standard (Linf) on real CIFAR-10 test pictures and the Kolter-Wong net, against its peers.

Run: WITHSTAND_DATA=... python benchmarks/autoattack.py OUT.jsonl [--pictures 200] [--eps 2]

Sides run one after the other on the same pictures, all with batches of --batch. torchattacks drags old
pins: install it with `pip install --no-deps torchattacks`, the official code as `pip install --no-deps pyautoattack`.
Peers that cannot be imported are named and left out.
"""

import argparse
import importlib.util
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from withstand.attacks.autoattack import AutoAttack
from withstand.core.threat import Ball
from withstand.core.victim import Victim


class Standardized(nn.Module):
    """The net's own normalization, inside the model for every side."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x - self.mean) / 0.225)


def load(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    root = Path(os.environ["WITHSTAND_DATA"])
    net = nn.Sequential(
        nn.Conv2d(3, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2048, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )
    state = torch.load(root / "pretrained/convexadv_models_scaled_l2_cifar_small_36px.pt", weights_only=True)
    state = state.get("state_dict", state)
    net.load_state_dict(state[0] if isinstance(state, list) else state)
    arrays = np.load(root / "cifar10/cifar10_5k_2k.npz")
    rows = slice(None, None, len(arrays["x_test"]) // count)
    x = torch.from_numpy(arrays["x_test"][rows][:count]).permute(0, 3, 1, 2).float().div(255).contiguous()
    return Standardized(net).eval(), x, torch.from_numpy(arrays["y_test"][rows][:count]).long()


def peers(model: nn.Module, eps: float, batch: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    sides: dict[str, Callable[[Tensor, Tensor], Tensor]] = {}
    if importlib.util.find_spec("torchattacks"):
        import torchattacks

        attack = torchattacks.AutoAttack(model, norm="Linf", eps=eps, version="standard", n_classes=10, seed=0)
        sides["torchattacks"] = lambda x, y: torch.cat(
            [attack(*part) for part in zip(x.split(batch), y.split(batch), strict=True)]
        )
    if importlib.util.find_spec("pyautoattack"):
        import pyautoattack

        official = pyautoattack.AutoAttack(model, norm="Linf", eps=eps, version="standard", device="cpu", seed=0)
        sides["pyautoattack"] = lambda x, y: official.run_standard_evaluation(x, y, batch_size=batch)[0]
    for name in {"torchattacks", "pyautoattack"} - sides.keys():
        print(f"{name} cannot be imported: left out")
    return sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--eps", type=float, default=2.0, help="in 1/255")
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    model, x, y = load(options.pictures)
    eps = options.eps / 255
    tallies: dict[str, tuple[int, int, float]] = {}

    def ours(x: Tensor, y: Tensor) -> Tensor:
        found = AutoAttack(Ball("linf", eps))(Victim(model), x, y, batch=options.batch, checks=False)
        tallies.update({tally.name: (tally.tried, tally.broken, round(tally.seconds, 2)) for tally in found.tallies})
        return found.x

    sides = {"ours": ours, **peers(model, eps, options.batch)}
    seconds: dict[str, float] = {}
    robust: dict[str, float] = {}
    for name, side in sides.items():
        started = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # peers warn of single zero gradients
            attacked = side(x, y)
        seconds[name] = time.perf_counter() - started
        assert (attacked - x).abs().max() <= eps + 1e-6
        with torch.no_grad():
            robust[name] = (model(attacked).argmax(1) == y).float().mean().item()
    record = {
        "work": f"AutoAttack standard on the Kolter-Wong net, {len(x)} pictures, Linf {options.eps:g}/255",
        "ours": seconds["ours"],
        "peers": {name: seconds[name] for name in sides if name != "ours"},
        "ratio": {name: seconds["ours"] / seconds[name] for name in sides if name != "ours"},
        "robust accuracy": robust,
        "tried, broken, seconds": tallies,
        "threads": torch.get_num_threads(),
    }
    with options.out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
