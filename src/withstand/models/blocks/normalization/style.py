"""Style layers: in training they give maps other channel means and deviations; otherwise they are the identity.

AdvStyle: Adversarial Style Augmentation for Domain Generalization (2023). DSU: Uncertainty Modeling for
Out-of-Distribution Generalization (2022). MixStyle: Domain Generalization with MixStyle (2021).

sizes: B samples of the global batch, C channels of a map
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from scipy.special import betaincinv
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from withstand.core.batch import Batch
from withstand.core.devices.distributed import first_row, gather, world_size
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.core.random import Draws
from withstand.models.blocks.reversal import reversed_gradient

EPS = 1e-6
"""Added to every variance before its root, as in the official code."""


class StyleLayer(Part, nn.Module):
    """Base of style layers: maps `(B, C, H, W)` in, maps of that shape, type and layout out.

    In training mode a layer draws, and must be inside `perturbed`; in eval mode it gives back what it is given.
    """

    channels: int

    def __init__(self) -> None:
        super().__init__()
        self._draws: tuple[Draws, Draws] | None = None

    def sized(self, channels: int) -> Self:
        """Return a new layer with the same settings, for other maps."""
        return type(self)(**{**self._init_args, "channels": channels})

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps, with the styles that are drawn for them.

        Raises:
            DataError: maps of one place, a batch of one sample, or other channels.
            ConfigError: in training mode outside `perturbed`.
        """
        if not self.training:
            return x
        if self._draws is None:
            raise ConfigError(
                f"{type(self).__name__} draws a style for each sample in training mode: call the network inside "
                "`with perturbed(network, batch):`, or in eval mode, where it is the identity"
            )
        each, whole = self._draws
        if x.dim() != 4 or x.shape[1] != self.channels or len(x) != len(each):
            raise DataError(
                f"{type(self).__name__} was made for maps ({len(each)}, {self.channels}, H, W), not {tuple(x.shape)}"
            )
        if x.shape[2] * x.shape[3] < 2:
            raise DataError(
                f"maps of 1 x 1 have a mean and no deviation to change: {type(self).__name__} belongs after an earlier "
                "layer, or the pictures should be larger"
            )
        if len(x) * world_size() < 2:
            raise DataError(f"{type(self).__name__} compares the styles of a batch's samples: give it two or more")
        return self.changed(x, each, whole)

    @abstractmethod
    def changed(self, x: Tensor, each: Draws, whole: Draws) -> Tensor:
        """Return the maps in other styles.

        Args:
            x: maps `(B / P, C, H, W)` of this process's samples.
            each: a stream for each of them.
            whole: one stream, the same on all processes.
        """


@contextmanager
def perturbed(network: nn.Module, batch: Batch) -> Iterator[None]:
    """Let the style layers of a network draw for this batch; they hang on its seed, step and indices alone."""
    layers = [module for module in network.modules() if isinstance(module, StyleLayer)]
    each, whole = batch.draws("style"), batch.draws_for_all("style")
    for place, layer in enumerate(layers):
        layer._draws = each.child(place), whole.child(place)
    try:
        yield
    finally:
        for layer in layers:
            layer._draws = None


class AdvStyle(StyleLayer):
    """Noise on channel means and deviations, as large as raises the loss most.

    A map is left alone, gets noise of learnt sizes, or noise of the sizes that the batch shows (DSU); one choice for
    the whole batch at each call. The learnt sizes start at what the batch shows when they are first used. Their
    gradient is turned round, so that the optimizer that lowers the loss by the network raises it by them.

    The sizes are vectors, which optimizers here spare weight decay (but Adam, whose decay is part of the gradient).
    Under Adam and AdamW, which divide by a gradient's size, `weight` changes next to nothing.

    Args:
        channels: C.
        weight: w, how many times the network's rate the sizes learn at. Rate times weight is what counts: the official
            code has 10 at a rate of 0.001, and 10 at 0.05 diverges.
        adversarial: how often the noise has learnt sizes.
        batch: how often it has the batch's.
    """

    start: Tensor

    def __init__(
        self, channels: int = 1, *, weight: float = 1.0, adversarial: float = 1 / 3, batch: float = 1 / 3
    ) -> None:
        super().__init__()
        if not 0 <= weight < float("inf"):
            raise ConfigError(f"weight must be at least 0 and finite, not {weight!r}")
        if not (adversarial >= 0 and batch >= 0 and adversarial + batch <= 1):
            raise ConfigError(
                f"adversarial and batch are probabilities whose sum is at most 1, not {adversarial!r} and {batch!r}"
            )
        self.channels, self.weight, self.adversarial, self.batch = _checked(channels), weight, adversarial, batch
        self.mean_sizes = nn.Parameter(torch.full((channels,), 0.1))
        self.deviation_sizes = nn.Parameter(torch.full((channels,), 0.1))
        self.register_buffer("start", torch.zeros(()))
        self._begun = False

    def changed(self, x: Tensor, each: Draws, whole: Draws) -> Tensor:
        left_alone = 1 - self.adversarial - self.batch
        choice = float(whole.uniform(1))
        if choice < left_alone:
            return x
        mean, deviation = style(x)
        if choice >= left_alone + self.adversarial:
            return _noisy(x, mean, deviation, spread(mean), spread(deviation), each)
        self._begin(mean.detach(), deviation.detach())
        on_mean, on_deviation = (
            reversed_gradient(some, self.weight).view(1, -1, 1, 1).to(mean) for some in self.sizes()
        )
        return _noisy(x, mean, deviation, on_mean, on_deviation, each)

    def sizes(self) -> tuple[nn.Parameter, nn.Parameter]:
        """Return the learnt sizes of the noise on means and on deviations, `(C,)` each."""
        return self.mean_sizes, self.deviation_sizes

    def growth(self) -> float:
        """Return how large the learnt sizes are on average, over what they were at the start; 1 before it."""
        start = float(self.start)
        return 1.0 if not start else float(torch.cat(self.sizes()).detach().abs().mean()) / start

    def _begin(self, mean: Tensor, deviation: Tensor) -> None:
        """Take the batch's sizes when they are first used. What is known is not asked again: asking waits for a GPU."""
        if self._begun:
            return
        if not bool(self.start):
            with torch.no_grad():
                for sizes, shown in zip(self.sizes(), (mean, deviation), strict=True):
                    sizes.copy_(spread(shown).flatten())
                self.start.copy_(torch.cat(self.sizes()).mean())
        self._begun = True

    def _load_from_state_dict(self, *args: Any) -> None:
        self._begun = False
        super()._load_from_state_dict(*args)


class DSU(StyleLayer):
    """Noise on channel means and deviations, as large as they differ within the batch.

    Args:
        channels: C.
        probability: how often, one choice for the whole batch at each call.
    """

    def __init__(self, channels: int = 1, *, probability: float = 0.5) -> None:
        super().__init__()
        self.channels, self.probability = _checked(channels), _probability(probability)

    def changed(self, x: Tensor, each: Draws, whole: Draws) -> Tensor:
        if float(whole.uniform(1)) >= self.probability:
            return x
        mean, deviation = style(x)
        return _noisy(x, mean, deviation, spread(mean), spread(deviation), each)


class MixStyle(StyleLayer):
    """Channel means and deviations between a sample's and another's of the batch; no gradient goes through them.

    Args:
        channels: C.
        probability: how often, one choice for the whole batch at each call.
        alpha: the sample's own share is drawn from Beta(alpha, alpha).
    """

    def __init__(self, channels: int = 1, *, probability: float = 0.5, alpha: float = 0.1) -> None:
        super().__init__()
        if not 0 < alpha < float("inf"):
            raise ConfigError(f"alpha must be above 0 and finite, not {alpha!r}")
        self.channels, self.probability, self.alpha = _checked(channels), _probability(probability), alpha

    def changed(self, x: Tensor, each: Draws, whole: Draws) -> Tensor:
        if float(whole.uniform(1)) >= self.probability:
            return x
        mean, deviation = (some.detach() for some in style(x))
        share = torch.from_numpy(betaincinv(self.alpha, self.alpha, each.uniform(1).double().cpu().numpy()))
        share = share.view(-1, 1, 1, 1).to(mean)
        first, rows = first_row(len(x)), len(x)
        others = whole.permutations(rows * world_size())[0, first : first + rows].to(x.device)
        mixed = (share * own + (1 - share) * gather(own)[others] for own in (mean, deviation))
        return restyled(x, mean, deviation, *mixed)


def style(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return each map's mean and deviation `(B, C, 1, 1)`, in float32 at least; the variance's divisor is HW - 1."""
    mean, deviation = _Statistics.apply(x if x.dtype == torch.float64 else x.float())
    return mean, deviation


class _Statistics(torch.autograd.Function):
    """Mean and deviation in plain sums: torch's own variance, forward and backward, takes several times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = x.mean((2, 3), keepdim=True)
        squares = (x - mean).square_().sum((2, 3), keepdim=True)
        deviation = (squares / (x.shape[2] * x.shape[3] - 1) + EPS).sqrt()
        ctx.save_for_backward(x, mean, deviation)
        return mean, deviation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_mean: Tensor, to_deviation: Tensor) -> Tensor:
        x, mean, deviation = ctx.saved_tensors
        places = x.shape[2] * x.shape[3]
        slope = to_deviation / (deviation * (places - 1))
        return torch.addcmul(to_mean / places - mean * slope, x, slope)


def spread(values: Tensor) -> Tensor:
    """Return how far values `(B / P, C, 1, 1)` differ within the batch of all processes, `(1, C, 1, 1)`.

    The variance's divisor is B - 1.
    """
    return (gather(values).var(0, keepdim=True) + EPS).sqrt()


def restyled(x: Tensor, mean: Tensor, deviation: Tensor, new_mean: Tensor, new_deviation: Tensor) -> Tensor:
    """Return (x - mean) / deviation * new_deviation + new_mean, in one pass over the maps, of `x`'s type."""
    scale = new_deviation / deviation
    return torch.addcmul(new_mean - mean * scale, x.to(scale.dtype), scale).to(x.dtype)


def _noisy(
    x: Tensor, mean: Tensor, deviation: Tensor, mean_sizes: Tensor, deviation_sizes: Tensor, each: Draws
) -> Tensor:
    """Return the maps with normal noise of these sizes on their means and deviations."""
    noise = each.normal(2, x.shape[1], 1, 1).to(mean)
    return restyled(x, mean, deviation, mean + noise[:, 0] * mean_sizes, deviation + noise[:, 1] * deviation_sizes)


def _checked(channels: int) -> int:
    if channels < 1:
        raise ConfigError(f"channels must be at least 1, not {channels!r}")
    return channels


def _probability(value: float) -> float:
    if not 0 <= value <= 1:
        raise ConfigError(f"probability must lie in [0, 1], not {value!r}")
    return value
