"""Small models to attack; importable as `victims` (see pythonpath in pyproject.toml)."""

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from withstand.core.victims.victim import Victim


class Linear2(nn.Module):
    """Two classes with logits (0, w.x + b): every attack on it has a closed form."""

    def __init__(self, width: int = 12, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.w = nn.Parameter(torch.randn(width, generator=generator, dtype=dtype))
        self.b = nn.Parameter(torch.tensor(0.1, dtype=dtype))

    def score(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w + self.b

    def forward(self, x: Tensor) -> Tensor:
        score = self.score(x)
        return torch.stack([torch.zeros_like(score), score], 1)


class Touchy(nn.Module):
    """Refuses what careless callers do: no samples, train mode, gradients of its parameters; and flattens by `view`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        assert not any(module.training for module in self.modules())
        assert not any(parameter.requires_grad for parameter in self.parameters())
        flat = x.view(x.size(0), -1)  # torch cannot tell the width of nothing
        return self.net(flat.view(x.shape))


def small_net(classes: int = 5, channels: int = 1, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Return an untrained convolutional net with batch norm and dropout, the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Flatten(),
            nn.LazyLinear(classes),
        )
        net(torch.rand(4, channels, 6, 6))
    return net.to(dtype)


def random_pictures(count: int = 6, channels: int = 1, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(count, channels, 6, 6, generator=generator, dtype=dtype)
    return x, torch.randint(5, (count,), generator=generator)


@cache
def digits() -> tuple[Victim, Tensor, Tensor]:
    """Return a net trained on scikit-learn's digits, and 120 test pictures with labels."""
    bunch = load_digits()
    x = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None]
    y = torch.tensor(bunch.target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
        optimizer = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(150):
            rows = torch.randint(0, 1200, (128,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return Victim(net.eval()), x[1200:1320], y[1200:1320]


class Scored(nn.Module):
    """Two classes by the sign of `w.u + b`, u in [0, 1] what an input in [low, high] is of its range.

    What an adversary can do within a cube is known exactly: `worst`. Inputs too near the boundary for half precision
    are left out of `inputs`.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0, width: int = 12) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        weight = torch.randn(1, width, generator=generator)
        self.low, self.high = low, high
        self.layer = nn.Linear(width, 1)
        with torch.no_grad():
            self.layer.weight.copy_(weight / (high - low))
            self.layer.bias.copy_(0.1 - (weight.sum() / 2 + low * self.layer.weight.sum()))

    def forward(self, x: Tensor) -> Tensor:
        score = self.layer(x.flatten(1))
        return torch.cat([torch.zeros_like(score), score], 1)

    def worst(self, x: Tensor, y: Tensor, eps: float) -> Tensor:
        """Return the least margin of the label within a cube and the range, `(N,)`, in exact arithmetic."""
        weight, bias = self.layer.weight.detach().double()[0], self.layer.bias.detach().double()
        sign = (2 * y - 1).double()[:, None]
        moved = (x.double().flatten(1) - eps * sign * weight.sign()).clamp(self.low, self.high)
        return (2 * y - 1) * (moved @ weight + bias)

    def inputs(self, eps: float, count: int = 40) -> tuple[Tensor, Tensor]:
        """Return inputs `(count, width)` and labels, a tenth of them wrong, off the boundary with and without eps."""
        generator = torch.Generator().manual_seed(4)
        unit = torch.rand(20 * count, self.layer.in_features, generator=generator).mul(255).round().div(255)
        x = self.low + unit * (self.high - self.low)
        y = (self.worst(x, torch.ones(len(x), dtype=torch.int64), 0.0) > 0).long()
        clear = (self.worst(x, y, 0.0).abs() > 0.05) & (self.worst(x, y, eps).abs() > 0.05)
        x, y = x[clear][:count], y[clear][:count].clone()
        y[::10] = 1 - y[::10]
        return x, y
