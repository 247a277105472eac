"""A small variational autoencoder of features."""

from itertools import pairwise
from typing import Self

from torch import Tensor, nn

from withstand.core.errors import ConfigError, require_at_least
from withstand.core.part import Part

_HIDDEN = (128, 32)


class FeatureVAE(Part, nn.Module):
    """Features `(B, D)` to a few latent numbers and back, by perceptrons with ReLU.

    Args:
        width: D.
        latent: how many latent numbers.
        hidden: widths of the encoder's layers; the decoder has them the other way round.
        sigmoid: end in a sigmoid, as the code of label-agnostic forgetting does; it cannot give features outside
            (0, 1).
    """

    def __init__(
        self, width: int, latent: int = 8, *, hidden: tuple[int, ...] = _HIDDEN, sigmoid: bool = False
    ) -> None:
        super().__init__()
        sizes = {"width": width, "latent": latent} | {f"hidden[{place}]": size for place, size in enumerate(hidden)}
        require_at_least(1, **sizes)
        if not hidden:
            raise ConfigError("hidden must name a layer at least")
        self.encoder = _layers((width, *hidden))
        self.mean, self.log_variance = (nn.Linear(hidden[-1], latent) for _ in range(2))
        last = [nn.Linear(hidden[0], width), *([nn.Sigmoid()] if sigmoid else [])]
        self.decoder = nn.Sequential(*_layers((latent, *reversed(hidden))), *last)
        self.latent = latent

    @classmethod
    def example(cls) -> Self:
        return cls(16, 2, hidden=(8, 4))

    def forward(self, features: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return restored features `(B, D)`, and the latent law's mean and log-variance, `(B, latent)`.

        Args:
            features: `(B, D)`.
            noise: standard normal, `(B, latent)`.
        """
        inside = self.encoder(features)
        mean, log_variance = self.mean(inside), self.log_variance(inside)
        restored: Tensor = self.decoder(mean + (log_variance / 2).exp() * noise)
        return restored, mean, log_variance


def _layers(widths: tuple[int, ...]) -> nn.Sequential:
    steps: list[nn.Module] = []
    for here, there in pairwise(widths):
        steps += [nn.Linear(here, there), nn.ReLU()]
    return nn.Sequential(*steps)
