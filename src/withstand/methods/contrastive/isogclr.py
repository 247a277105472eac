"""iSogCLR: contrastive learning in which every sample finds a temperature of its own; SogCLR without `rate`.

paper: Not All Semantics are Created Equal: Contrastive Self-supervised Learning with Automatic Temperature
    Individualization (2023), on Provable Stochastic Optimization for Global Contrastive Learning (SogCLR, 2022)
needs: two views, samples by index      modalities: any with an encoder
sizes: B samples of a batch, S of the data, W encoder width, D projection width
differences: LibAUC averages partition functions of plain cosines where the papers subtract the positive's: see
    `subtract_positive`. It decides for a whole batch whether samples are new, here each is. Its temperatures' gradients
    keep a growing graph alive, here none. The first official code clips them to [-3, 3]: see `clip`.
"""

import math
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from withstand.core.batch import Batch
from withstand.core.devices.distributed import gather
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Model, Source, Terms
from withstand.losses.contrast.individual_temperatures import (
    contrasts,
    log_partition,
    moving_average,
    surrogate,
    temperature_gradient,
)
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class ISogCLR(Method):
    """Global contrastive learning with individual temperatures, which stand in the buffer `temperatures`, `(S,)`.

    Args:
        encoder: the network to train; its `width` sizes the head.
        samples: S, how many samples the data have; `batch.index` lies below it.
        hidden: width of the head's hidden layer; None for the encoder's width.
        dim: width of the projection.
        temperature: tau that every sample begins with.
        smallest: temperature that none falls below.
        largest: temperature that none exceeds.
        rho: how far from even a sample's weights on its negatives settle, in nats; large is cold.
        rate: of the temperatures' descent; 0 keeps them.
        new_share: gamma, of the batch's partition function in its moving average.
        new_gradient: beta, of the newest gradient in the temperatures' momentum.
        clip: bound on the temperatures' gradients; None for none.
        subtract_positive: average partition functions relative to the positive pair, as in the papers.
        batch_norm: normalise inside the head.
    """

    temperatures: Tensor
    log_u: Tensor
    momentum: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        samples: int,
        hidden: int | None = None,
        dim: int = 128,
        temperature: float = 0.1,
        smallest: float = 0.05,
        largest: float = 0.7,
        rho: float = 0.3,
        rate: float = 0.01,
        new_share: float = 0.9,
        new_gradient: float = 0.9,
        clip: float | None = None,
        subtract_positive: bool = True,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        require_positive(samples=samples, smallest=smallest)
        if not smallest <= temperature <= largest:
            raise ConfigError(
                f"temperature {temperature!r} must lie between smallest {smallest!r} and largest {largest!r}"
            )
        if rho < 0 or rate < 0:
            raise ConfigError(f"rho and rate must be at least 0, not {rho!r} and {rate!r}")
        for name, value in (("new_share", new_share), ("new_gradient", new_gradient)):
            if not 0 < value <= 1:
                raise ConfigError(f"{name} must lie in (0, 1], not {value!r}")
        self.encoder, self.subtract_positive = encoder, subtract_positive
        self.bounds, self.rho, self.rate, self.clip = (smallest, largest), rho, rate, clip
        self.new_share, self.new_gradient = new_share, new_gradient
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=not batch_norm)
        self.register_buffer("temperatures", torch.full((samples,), temperature))
        self.register_buffer("log_u", torch.full((samples,), -math.inf))
        self.register_buffer("momentum", torch.zeros(samples))
        self._found: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), samples=8, hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the robust objective as the loss (its gradient is the global one's), and the mean temperature."""
        index = self._checked(batch.index)
        z1, z2 = self.head(self.encoder(torch.cat(view_pair(batch)))).chunk(2)
        some = contrasts(z1, z2, subtract_positive=self.subtract_positive)
        tau, old = self.temperatures[index].repeat(2), self.log_u[index].repeat(2)
        log_u = moving_average(old, log_partition(some, tau), self.new_share)
        positive = None if self.subtract_positive else cosine_similarity(z1.to(tau.dtype), z2.to(tau.dtype))
        loss = surrogate(some, tau, log_u, positive)
        objective = 2 * (tau * (log_u + self.rho)).mean() - (0 if positive is None else 2 * positive.detach().mean())
        if self.training:
            slope = temperature_gradient(some, tau, log_u, self.rho).view(2, -1).mean(0)
            both = torch.logaddexp(*log_u.view(2, -1)) - math.log(2)
            self._found = (index, both.to(self.log_u.dtype), slope.to(self.log_u.dtype))
        # The surrogate's gradient, with a value that can be watched.
        terms = pair_terms(loss + (objective - loss).detach(), z1, z2)
        return terms | {"temperature": self.temperatures[index].mean()}

    def accept(self, source: Source, batch: int) -> None:
        if len(source) != len(self.temperatures):
            raise ConfigError(f"samples is {len(self.temperatures)}, but the data have {len(source)}")

    def after_step(self, step: int) -> None:
        if self._found is not None:
            index, log_u, slope = (gather(value) for value in self._found)
            self.log_u[index] = log_u
            if self.clip is not None:
                slope = slope.clamp(-self.clip, self.clip)
            momentum = self.momentum[index].lerp(slope, self.new_gradient)
            self.momentum[index] = momentum
            self.temperatures[index] = (self.temperatures[index] - self.rate * momentum).clamp(*self.bounds)
        self._found = None

    def sample_state(self) -> dict[str, Tensor]:
        return {"temperature": self.temperatures}

    def _checked(self, index: Tensor) -> Tensor:
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self.temperatures):
            known = len(self.temperatures)
            raise DataError(f"a sample has index {int(index.max())}, but there are temperatures for samples={known}")
        return index
