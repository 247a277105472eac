"""Prototypes: K directions that embeddings are compared with, and DINO's head, which ends in them."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from withstand.core.errors import ConfigError
from withstand.core.roles import Model
from withstand.losses.agreement.clustering import prototype_scores
from withstand.losses.precision import full_precision, unit_rows


class Prototypes(nn.Module):
    """K directions, compared with embeddings by their cosine.

    Args:
        width: D, of the embeddings.
        count: K.
        inside: normalise the rows inside the forward pass, as DINO's weight normalisation with a fixed norm does;
            else `renormalise` brings them back to unit length after each step, as SwAV does.
    """

    def __init__(self, width: int, count: int, *, inside: bool = False) -> None:
        super().__init__()
        if count < 2:
            raise ConfigError(f"prototypes must be at least 2, not {count!r}")
        self.inside = inside
        self.weight = nn.Parameter(unit_rows(torch.randn(count, width)))

    def forward(self, z: Tensor, *, frozen: bool = False) -> Tensor:
        """Return cosines `(B, K)` of embeddings `(B, D)` of any length; where `frozen`, prototypes' gradients are 0."""
        # Zero and not none: process groups wait for the gradient of every parameter.
        weight = self.weight.detach() + 0 * self.weight if frozen else self.weight
        return prototype_scores(_unit(z), _unit(weight) if self.inside else weight)

    @torch.no_grad()
    def renormalise(self) -> None:
        """Bring the prototypes back to unit length."""
        self.weight.copy_(unit_rows(self.weight))


class DINOHead(Model):
    """Three linear layers with GELU, a bottleneck of unit length, and prototypes.

    Args:
        width_in: features that come in.
        hidden: width of the hidden layers.
        bottleneck: width of the embedding that is compared with prototypes.
        prototypes: K.
        batch_norm: normalise after the hidden layers, as the paper does for convolutional networks.
    """

    def __init__(
        self, width_in: int, hidden: int, bottleneck: int, prototypes: int, *, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.width = prototypes
        self.layers = nn.ModuleList(nn.Linear(width, hidden, bias=not batch_norm) for width in (width_in, hidden))
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden) for _ in range(2 * batch_norm))
        self.last = nn.Linear(hidden, bottleneck)
        self.prototypes = Prototypes(bottleneck, prototypes, inside=True)
        for layer in (*self.layers, self.last):
            nn.init.trunc_normal_(layer.weight, std=0.02)

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """Return logits `(B, K)` of features `(B, width_in)`, cosines in [-1, 1]."""
        logits: Tensor = self.prototypes(self.embed(x), frozen=frozen)
        return logits

    def embed(self, x: Tensor) -> Tensor:
        """Return the bottleneck's embeddings `(B, bottleneck)`."""
        for place, layer in enumerate(self.layers):
            x = layer(x)
            if len(self.norms):
                x = self.norms[place](x)
            x = gelu(x)
        embeddings: Tensor = self.last(x)
        return embeddings


_unit = full_precision(unit_rows)
