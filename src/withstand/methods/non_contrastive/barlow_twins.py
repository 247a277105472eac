"""Barlow Twins: two views' projections shall correlate dimension by dimension and not across dimensions.

paper: Barlow Twins: Self-Supervised Learning via Redundancy Reduction (2021)
needs: two views            modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: the official code has lambda 0.0051 where the paper has 5e-3, and no loss scale; ports scale by 0.1,
    1/32 or 0.024, which matters with SGD, weight decay and LARS with clipping. Ports often take the unbiased
    variance; the official code, and this one, the biased.
"""

from typing import Self

import torch

from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Terms
from withstand.losses.agreement.redundancy import barlow_twins_terms
from withstand.methods.shared.pairs import view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class BarlowTwins(Method):
    """Redundancy reduction on the cross-correlation matrix.

    Args:
        encoder: the network to train; its `width` sizes the head.
        head: in place of the usual head; then `hidden` and the like are not used.
        hidden: width of the head's hidden layers; None for `dim`, as in the paper.
        dim: width of the projection. Accuracy grows with it; 2,048 is usual for CIFAR.
        layers: linear layers in the head.
        redundancy_weight: lambda. About 1/dim suits small dims.
        scale: factor on the loss.
        unbiased: standardise with the unbiased variance.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        head: Model | None = None,
        hidden: int | None = None,
        dim: int = 2048,
        layers: int = 3,
        redundancy_weight: float = 5e-3,
        scale: float = 1.0,
        unbiased: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.redundancy_weight, self.scale, self.unbiased = redundancy_weight, scale, unbiased
        width = dim if hidden is None else hidden
        self.head = (
            ProjectionHead(encoder.width, width, dim, layers, bias=False, last_bias=False) if head is None else head
        )

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and its two sums, `invariance` and `redundancy` (unweighted)."""
        # Two passes: each view has its own batch statistics, and one pass over both is another method.
        z1, z2 = (self.head(self.encoder(view)) for view in view_pair(batch))
        terms = barlow_twins_terms(z1, z2, unbiased=self.unbiased)
        return {
            "loss": self.scale * (terms.invariance + self.redundancy_weight * terms.redundancy),
            "invariance": terms.invariance.detach(),
            "redundancy": terms.redundancy.detach(),
            "embeddings": torch.stack([z1, z2]).detach(),
        }
