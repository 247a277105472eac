"""KRR-ST: a few pictures and features, learnt so that a network trained on them tells what a trained encoder tells.

paper: Self-Supervised Dataset Distillation for Transfer Learning (Lee et al., 2024)
needs: one view             modalities: pictures
sizes: N pictures, M condensed ones, D features of the teacher, K networks in the pool, B pictures of a batch
differences: a network of the pool that is replaced starts at age 0, as the paper means it; in the official code the
  counter of a place stays at its end, so that a network there is never trained again. The regression is solved in
  float64, by Cholesky. The teacher, which sees no augmentation, is asked once for every picture.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Epoch, Model, Product, Source, Terms
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.paired import PairedSource
from withstand.losses.kernel_ridge import kernel_ridge
from withstand.methods.shared.wrappers.frozen_encoder import OnFrozenEncoder
from withstand.models.blocks.memory.pool import Pool
from withstand.models.pictures.convnets.pooled_convnet import PooledConvNet
from withstand.models.pictures.normalized import Normalized

TARGETS = "targets"
"""The extra of the condensed set that holds the features to learn."""


class KRRST(OnFrozenEncoder):
    """Learns M pictures and their targets, by ridge regression on features of networks that are trained on them.

    The inner training sees no augmentation and no masks: their randomness would bias the outer gradient.

    Args:
        encoder: the teacher, frozen; it takes the weights of the run's earlier stage.
        network: what is trained on the condensed set: reads normalised pictures. The pool holds networks of its kind.
        shape: of one picture.
        samples: N, whose teacher's features are kept.
        count: M.
        mean: each channel's mean in [0, 1], by which pictures are normalised for the networks.
        std: each channel's standard deviation.
        pool: K, of which each step takes one.
        oldest: steps of training after which a network of the pool gives way to a new one. At the start each is trained
            for 1 to `oldest` - 1 steps.
        ridge: lambda of the regression, as a share of the kernel's trace.
        bounded: keep the pictures in [0, 1] after each step; the paper lets them leave it.
    """

    start: Tensor
    answers: Tensor
    asked: Tensor

    def __init__(
        self,
        encoder: Model,
        network: Model,
        shape: tuple[int, ...],
        *,
        samples: int,
        count: int = 1000,
        mean: Sequence[float],
        std: Sequence[float],
        pool: int = 10,
        oldest: int = 1000,
        ridge: float = 1e-6,
        bounded: bool = False,
    ) -> None:
        super().__init__(encoder)
        if len(shape) != 3 or len(mean) != shape[0] or len(std) != shape[0] or not min(std) > 0:
            raise ConfigError(
                f"KRR-ST condenses pictures (C, H, W), with a mean and a std above 0 for each channel, not samples of "
                f"shape {tuple(shape)} with {tuple(mean)} and {tuple(std)}"
            )
        require_at_least(1, count=count, pool=pool, oldest=oldest)
        if count > samples:
            raise ConfigError(f"count {count} is more than the {samples} samples: use {samples} or fewer")
        if not 0 < ridge < float("inf"):
            raise ConfigError(f"ridge must be above 0 and finite, not {ridge!r}")
        self.shape, self.count, self.oldest, self.ridge = tuple(shape), count, oldest, ridge
        self.samples, self.bounded = samples, bounded
        self.pictures = nn.Parameter(torch.randn(count, *shape))
        self.targets = nn.Parameter(torch.randn(count, encoder.width))
        self.pool = Pool(network, encoder.width, pool)
        self._form = (network,)
        self.register_buffer("start", self.pictures.detach().clone())
        self.register_buffer("answers", torch.zeros(samples, encoder.width))
        self.register_buffer("asked", torch.tensor(False))
        # Part of the configuration, so not of the state.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self._chosen: tuple[int, int] | None = None

    mean: Tensor
    std: Tensor

    @classmethod
    def example(cls) -> Self:
        return cls(
            Normalized.example(), PooledConvNet.example(), (3, 8, 8),
            samples=8, count=3, mean=(0.5,) * 3, std=(0.25,) * 3, pool=2, oldest=3,
        )  # fmt: skip

    def products(self) -> dict[str, Product]:
        """Return the teacher, and the condensed set: pictures as they were learnt, which may leave [0, 1]."""
        pixels = ArraySource(self.pixels(self.pictures.detach()).float().cpu(), layout="rows")
        return {
            "encoder": self.encoder,
            "condensed": PairedSource(pixels, {TARGETS: self.targets.detach().float().cpu()}),
        }

    def accept(self, source: Source, batch: int) -> None:
        if len(source) != self.samples:
            raise ConfigError(f"samples is {self.samples}, but the data have {len(source)}")
        if source.shape != self.shape:
            raise DataError(f"this method condenses pictures of shape {self.shape}, and these have {source.shape}")

    def normalised(self, x: Tensor) -> Tensor:
        """Return what the networks are given of pictures in bytes or in [0, 1]."""
        return (unit_range(x, self.mean.dtype).to(self.mean.dtype) - self.mean) / self.std

    def pixels(self, x: Tensor) -> Tensor:
        """Return normalised pictures in units in which [0, 1] is what a picture can hold."""
        return x * self.std + self.mean

    def network(self) -> Model:
        """Return a network of the kind that is trained on the condensed set."""
        return self._form[0]

    def before_epoch(self, epoch: Epoch) -> None:
        """Before the first one, ask the teacher, begin with M random pictures, and train the pool on them."""
        if bool(self.asked):
            return
        chosen = permutation(self.samples, epoch.seed, "condensed")[: self.count]
        first, pictures = 0, torch.empty_like(self.pictures)

        def read(x: Tensor) -> Tensor:
            nonlocal first
            here = ((chosen >= first) & (chosen < first + len(x))).nonzero()[:, 0]
            pictures[here.to(x.device)] = self.normalised(x[(chosen[here] - first).to(x.device)])
            first += len(x)
            answers: Tensor = self.encoder(x)
            return answers

        self.answers.copy_(epoch.pass_over(read))
        self.asked.fill_(True)
        with torch.no_grad():
            self.pictures.copy_(pictures)
            self.targets.copy_(self.answers[chosen.to(self.answers.device)])
            self.start.copy_(pictures)
        ages = Draws(derive(epoch.seed, "ages"), torch.arange(self.pool.size)).integers(1, max(2, self.oldest))
        for place, age in enumerate(ages.tolist()):
            for _ in range(age):
                self.pool.learn(place, self.pictures, self.targets)

    def step(self, batch: Batch) -> Terms:
        """Return the mean squared error of what the regression tells of a batch, and its share of the features' spread.

        Gradients reach the pictures and targets alone.
        """
        place = int(batch.draws_for_all("pool").integers(0, self.pool.size))
        self._chosen = place, batch.seed
        wanted = self.wanted(batch).double()
        support = self.pool.features(place, self.pictures)
        with torch.no_grad():
            queries = self.pool.features(place, self.normalised(batch.x))
        told = kernel_ridge(support, self.targets, queries, self.ridge)
        loss = (told - wanted).square().mean()
        return {
            "loss": loss.to(self.pictures.dtype),
            "age": self.pool.ages[place].to(self.pictures.dtype),
            "embeddings": told.detach().to(self.pictures.dtype)[None],
        }

    def wanted(self, batch: Batch) -> Tensor:
        """Return the teacher's features of a batch, `(B, D)`."""
        if bool(self.asked):
            return self.answers[batch.index]
        with torch.no_grad():
            features: Tensor = self.encoder(unit_range(batch.x))
            return features

    def after_step(self, step: int) -> None:
        """Train the chosen network on for one step, or put a new one in its place."""
        if self.bounded:
            with torch.no_grad():
                self.pictures.copy_(self.normalised(self.pixels(self.pictures).clamp(0, 1)))
        if self._chosen is None:
            return
        place, seed = self._chosen
        if int(self.pool.ages[place]) >= self.oldest:
            self.pool.renew(place, seed, "pool", step)
        else:
            self.pool.learn(place, self.pictures, self.targets)
