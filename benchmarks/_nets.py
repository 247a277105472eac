"""Trained networks and real test pictures that benchmarks of attacks share; WITHSTAND_DATA says where they lie.

ResNets of the CIFAR kind (akamaster/pytorch_resnet_cifar10), and the certifiably trained networks of Kolter and Wong
(locuslab/convex_adversarial). All take pictures in [0, 1]; their normalisation is inside.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

CIFAR_MEAN, CIFAR_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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


class CifarResNet(nn.Module):
    """6 * blocks + 2 layers."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16) for _ in range(blocks)))
        self.layer2 = nn.Sequential(*(Block(32 if place else 16, 32) for place in range(blocks)))
        self.layer3 = nn.Sequential(*(Block(64 if place else 32, 64) for place in range(blocks)))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))


class Standardized(nn.Module):
    """Peers differ in how they take a normalization; here it is inside the model for all of them."""

    def __init__(self, model: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model((x - self.mean) / self.std)


@dataclass(frozen=True)
class Net:
    """A network, the pictures to attack it on, and radii (Linf) at which some of them fall and some hold.

    Networks without pictures of their own kind here are attacked on others, with their own predictions as labels.
    """

    model: Callable[[], nn.Module]
    pictures: str
    eps: tuple[float, ...]
    own_labels: bool = False

    def load(self, count: int) -> tuple[nn.Module, Tensor, Tensor]:
        """Return the network in eval mode, pictures `(count, C, H, W)` in [0, 1] and labels."""
        model = self.model().eval()
        x, y = pictures(self.pictures, count)
        if self.own_labels:
            with torch.no_grad():
                y = model(x).argmax(1)
        return model, x, y


def resnet(blocks: int, name: str) -> nn.Module:
    model = CifarResNet(blocks)
    model.load_state_dict({key.removeprefix("module."): value for key, value in state(name).items()})
    return Standardized(model, CIFAR_MEAN, CIFAR_STD)


def kolter_wong(name: str, channels: int, features: int) -> nn.Module:
    model = nn.Sequential(
        nn.Conv2d(channels, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(features, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )
    model.load_state_dict(state(f"convexadv_models_{name}.pt"))
    return Standardized(model, CIFAR_MEAN, (0.225,) * 3) if name.startswith("scaled_l2_cifar") else model


def state(name: str) -> dict[str, Tensor]:
    loaded = torch.load(Path(os.environ["WITHSTAND_DATA"]) / "pretrained" / name, weights_only=True)
    loaded = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
    return loaded[0] if isinstance(loaded, list) else loaded


def pictures(kind: str, count: int) -> tuple[Tensor, Tensor]:
    """Return test pictures, evenly taken from all classes."""
    name = {"cifar10": "cifar10/cifar10_5k_2k.npz", "mnist": "mnist/mnist_10k_2k.npz"}[kind]
    with np.load(Path(os.environ["WITHSTAND_DATA"]) / name) as arrays:
        rows = slice(None, None, len(arrays["x_test"]) // count)
        x = torch.from_numpy(arrays["x_test"][rows][:count]).float().div(255)
        y = torch.from_numpy(arrays["y_test"][rows][:count]).long()
    x = x[:, None] if x.dim() == 3 else x.permute(0, 3, 1, 2)
    return x.contiguous(), y


NETS = {
    "resnet20": Net(partial(resnet, 3, "resnet20-12fca82f.pt"), "cifar10", (0.5 / 255, 1 / 255)),
    "resnet32": Net(partial(resnet, 5, "resnet32-d509ac18.pt"), "cifar10", (0.5 / 255, 1 / 255)),
    "kw-cifar": Net(partial(kolter_wong, "scaled_l2_cifar_small_36px", 3, 2048), "cifar10", (2 / 255, 8 / 255)),
    "kw-mnist-0.1": Net(partial(kolter_wong, "mnist", 1, 1568), "mnist", (0.1, 0.15)),
    "kw-mnist-0.3": Net(partial(kolter_wong, "scaled_mnist_small_0_3", 1, 1568), "mnist", (0.2, 0.3)),
    "kw-fashion": Net(partial(kolter_wong, "fashion_mnist", 1, 1568), "mnist", (0.05, 0.1), own_labels=True),
    "kw-svhn": Net(partial(kolter_wong, "svhn", 3, 2048), "cifar10", (1 / 255, 2 / 255), own_labels=True),
}
