"""Tones: short sounds in two pitches, and a method that predicts a sound's second half from its first."""

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from withstand.core.batch import Batch
from withstand.core.random import Draws
from withstand.core.roles import Indices, Method, Model, Source, Terms, View


class Tones(Source):
    """`count` tones of 32 numbers in [0, 1], high or low."""

    kind = "tone"

    def __init__(self, count: int = 96, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        phase = torch.rand(count, 1, generator=generator) * 6.28
        self._y = torch.arange(count) % 2
        time = torch.arange(32) / 32 * 6.28
        self._x = 0.5 + 0.4 * torch.sin(time * (1 + self._y[:, None]) + phase)
        self.seed = seed

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, indices: Indices) -> Batch:
        rows = torch.as_tensor(indices)
        return Batch(self._x[rows], rows, self._y[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        return (32,)

    @property
    def labels(self) -> Tensor:
        return self._y

    @property
    def classes(self) -> tuple[str, ...]:
        return ("low", "high")

    def fingerprint(self) -> str:
        return f"tones-{len(self)}-{self.seed}"


class Hiss(View):
    """Noise on every number."""

    def __init__(self, std: float = 0.02) -> None:
        self.std = std

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        noise = draws.normal(*batch.x.shape[1:])
        return batch.with_views((batch.x + self.std * noise).clamp(0, 1))


class Ear(Model):
    """Two layers."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, width))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layers(x)
        return features


class Continue(Method):
    """Tell the second half of a tone from its first."""

    def __init__(self, encoder: Ear) -> None:
        super().__init__()
        self.encoder = encoder
        self.tell = nn.Linear(encoder.width, 16)

    @classmethod
    def example(cls) -> "Continue":
        return cls(Ear())

    def example_batch(self, rows: range = range(8)) -> Batch:
        return Hiss()(Tones(8)[rows], Draws(0, torch.arange(8)[list(rows)]))

    def step(self, batch: Batch) -> Terms:
        (seen,) = batch.views
        first = torch.cat([seen[:, :16], torch.zeros_like(seen[:, 16:])], 1)
        return {"loss": mse_loss(self.tell(self.encoder(first)), batch.x[:, 16:])}
