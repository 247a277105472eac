"""Tracers: small networks beside one classifier, one for each copy of it that is handed out.

Tracing the Origin of Adversarial Attack for Forensic Investigation and Deterrence (2022). A copy is the classifier with
its tracer in parallel; the tracers of all copies are one network with a leading axis, so that all learn, and all are
asked, in one pass.
Sizes: N pictures (C, H, W), K classes, M copies, W channels of a tracer.
"""

import math
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.pictures.convnets.convnet import ConvNet

_LEAST = 1e-6
"""Below which the deviation of a sample's logits counts as none."""
_AT_ONCE = 1 << 21
"""Numbers of the first maps that a processor works on at once: more do not stay in its caches."""


class Tracers(Part, nn.Module):
    """M tracers side by side: two convolutions of side 3, squeeze and excite, a linear map, and tanh.

    Each draws its first weights after those of the one before, so that the first ones do not hang on how many there
    are.

    Args:
        shape: one picture's (C, H, W); sides of at least 2.
        classes: K, at least 3.
        count: M.
        width: W, channels of both convolutions.
    """

    def __init__(self, shape: tuple[int, ...], classes: int, count: int = 1, width: int = 8) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape[1:]) < 2:
            raise ConfigError(f"tracers read pictures (C, H, W) of at least 2 x 2 pixels, not {tuple(shape)}")
        if classes < 3:
            raise ConfigError(
                f"tracers need at least 3 classes, not {classes!r}: of two, logits of one scale are always the same"
            )
        if count < 1 or width < 1:
            raise ConfigError(f"count and width must be at least 1, not {count!r} and {width!r}")
        self.shape, self.classes, self.count, self.width = tuple(shape), classes, count, width
        channels, height, within = shape[0], (shape[1] + 1) // 2, (shape[2] + 1) // 2
        narrow = max(1, width // 2)
        sizes = {
            "first": (width, channels, 3, 3),
            "second": (width, width, 3, 3),
            "squeeze": (narrow, width),
            "excite": (width, narrow),
            "head": (classes, width * height * within),
        }
        drawn = [[_drawn(size) for size in sizes.values()] for _ in range(count)]
        for place, (name, size) in enumerate(sizes.items()):
            weights, biases = zip(*(each[place] for each in drawn), strict=True)
            join = torch.cat if len(size) == 4 else torch.stack  # maps of all tracers are those of one convolution
            self.register_parameter(f"{name}_weight", nn.Parameter(join(weights)))
            self.register_parameter(f"{name}_bias", nn.Parameter(join(biases)))

    first_weight: Tensor
    first_bias: Tensor
    second_weight: Tensor
    second_bias: Tensor
    squeeze_weight: Tensor
    squeeze_bias: Tensor
    excite_weight: Tensor
    excite_bias: Tensor
    head_weight: Tensor
    head_bias: Tensor

    @classmethod
    def example(cls) -> Self:
        return cls((3, 8, 8), 4, count=3, width=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return what every tracer says of every picture in [0, 1], `(M, N, K)`, in (-1, 1)."""
        if x.shape[1:] != self.shape:
            raise DataError(f"these tracers read pictures of shape {self.shape}, not {tuple(x.shape[1:])}")
        x = x.to(self.first_weight.dtype)
        numbers = self.count * self.width * math.prod(self.shape[1:])  # of a picture's first maps
        if x.device.type != "cpu" or len(x) * numbers <= _AT_ONCE:
            return self._said(x)
        return torch.cat([self._said(part) for part in torch.split(x, max(1, _AT_ONCE // numbers))], 1)

    def _said(self, x: Tensor) -> Tensor:
        count, width = self.count, self.width
        maps = F.relu(F.conv2d(x, self.first_weight, self.first_bias, padding=1))
        maps = F.conv2d(maps, self.second_weight, self.second_bias, stride=2, padding=1, groups=count)
        maps = F.relu(maps).view(len(x), count, width, maps.shape[2:].numel()).transpose(0, 1)
        gate = torch.baddbmm(self.squeeze_bias[:, None], maps.mean(3), self.squeeze_weight.transpose(1, 2))
        gate = torch.baddbmm(self.excite_bias[:, None], F.relu(gate), self.excite_weight.transpose(1, 2)).sigmoid()
        features = (maps * gate[..., None]).flatten(2)
        return torch.baddbmm(self.head_bias[:, None], features, self.head_weight.transpose(1, 2)).tanh()

    def only(self, place: int) -> "Tracers":
        """Return one tracer, with copies of its weights.

        Raises:
            ConfigError: there is none of that number.
        """
        if not 0 <= place < self.count:
            raise ConfigError(f"there is no tracer {place!r}: they are numbered from 0 to {self.count - 1}")
        with torch.device("meta"):
            made = Tracers(self.shape, self.classes, 1, self.width)
        one = {name: value.chunk(self.count)[place].clone() for name, value in self.state_dict().items()}
        made.load_state_dict(one, assign=True)
        return made.train(self.training)


def _drawn(size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return a weight and its bias, drawn as torch's own layers draw theirs."""
    bound = math.prod(size[1:]) ** -0.5
    return torch.empty(size).uniform_(-bound, bound), torch.empty(size[0]).uniform_(-bound, bound)


def common_scale(logits: Tensor) -> Tensor:
    """Return each sample's logits `(..., K)` less their mean and over their standard deviation.

    Equal logits become zeros.
    """
    centred = logits - logits.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    return centred / deviation.clamp_min(_LEAST)


class TracedCopy(Part, nn.Module):
    """What one buyer gets: pictures in [0, 1] in, logits `(N, K)` out, of the classifier and a tracer in parallel.

    Args:
        classifier: of all copies, its logits are brought to mean 0 and deviation 1.
        tracer: of this copy alone.
        alpha: what the tracer weighs.
    """

    def __init__(self, classifier: nn.Module, tracer: Tracers, alpha: float = 0.3) -> None:
        super().__init__()
        _check(tracer, alpha)
        if tracer.count != 1:
            raise ConfigError(f"a copy has one tracer, not {tracer.count}")
        self.classifier, self.tracer, self.alpha = classifier, tracer, alpha

    @classmethod
    def example(cls) -> Self:
        return cls(Classifier(ConvNet(2, (3, 8, 8), hidden=4), 4), Tracers((3, 8, 8), 4, width=2))

    def forward(self, x: Tensor) -> Tensor:
        told: Tensor = self.tracer(x)[0]
        return common_scale(self.classifier(x)) + self.alpha * told


class TracedCopies(Part, nn.Module):
    """All copies of one classifier at once, those that are handed out first.

    Args:
        classifier: pictures in [0, 1] in, logits out.
        tracers: of all copies.
        alpha: what a tracer weighs.
        reserve: how many of the last copies are never handed out: they stand for sources that nobody registered.
    """

    def __init__(self, classifier: nn.Module, tracers: Tracers, alpha: float = 0.3, reserve: int = 0) -> None:
        super().__init__()
        _check(tracers, alpha)
        if not 0 <= reserve <= tracers.count - 2:
            raise ConfigError(
                f"of {tracers.count} copies at most {tracers.count - 2} can be kept back, not {reserve!r}"
            )
        self.classifier, self.tracers, self.alpha, self.reserve = classifier, tracers, alpha, reserve

    @classmethod
    def example(cls) -> Self:
        return cls(Classifier(ConvNet(2, (3, 8, 8), hidden=4), 4), Tracers.example())

    @property
    def registered(self) -> int:
        """How many copies are handed out: numbers 0 to this."""
        return self.tracers.count - self.reserve

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of every copy, `(M, N, K)`, from one pass."""
        scaled, told = self.both(x)
        return scaled + self.alpha * told

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classifier's logits on the common scale, `(N, K)`, and what every tracer says, `(M, N, K)`."""
        return common_scale(self.classifier(x)), self.tracers(x)

    def copy(self, place: int) -> TracedCopy:
        """Return one copy; it shares the classifier, and has its tracer's weights for itself.

        Raises:
            ConfigError: there is none of that number.
        """
        return TracedCopy(self.classifier, self.tracers.only(place), self.alpha).train(self.training)


def _check(tracers: Tracers, alpha: float) -> None:
    if not isinstance(tracers, Tracers):
        raise ConfigError(f"tracers must be Tracers, not {type(tracers).__name__}")
    if not 0 <= alpha < 1:
        raise ConfigError(f"alpha, what a tracer weighs, must be at least 0 and below 1, not {alpha!r}")
