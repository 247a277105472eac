"""Hard contrastive learning: an anchor is pushed away from its most similar negatives alone.

paper: Understanding the Behaviour of Contrastive Loss (2021)
needs: two views            modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: no official code was found. The paper compares with a memory bank of all samples and keeps 4,095 of 50,000
    on CIFAR (alpha 0.0819); here negatives are the other views of the batch, 2(B - 1), and alpha is a share of these.
"""

from typing import Self

import torch

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.hard_negatives.hardness import hard_contrastive, simple_contrastive
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class HardContrastive(Method):
    """SimCLR on each anchor's hardest negatives, at any temperature, and beyond: the simple loss.

    Args:
        encoder: the network to train; its `width` sizes the head.
        head: in place of the usual head; then `hidden` and the like are not used.
        hidden: width of the head's hidden layer; None for the encoder's width.
        dim: width of the projection.
        temperature: tau; the higher, the more alike are the pushes on the negatives that are kept.
        alpha: share of an anchor's negatives that is kept, the most similar; 1 is SimCLR.
        simple: push all that are kept alike, as an infinite temperature would; `temperature` is not used.
        weight: lambda of the simple loss, on the sum over negatives; None for 1 over their number.
        batch_norm: normalise inside the head.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        head: Model | None = None,
        hidden: int | None = None,
        dim: int = 128,
        temperature: float = 0.7,
        alpha: float = 0.1,
        simple: bool = False,
        weight: float | None = None,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, weight=1.0 if weight is None else weight)
        if not 0 < alpha <= 1:
            raise ConfigError(f"alpha must lie in (0, 1], not {alpha!r}")
        self.encoder, self.temperature, self.alpha = encoder, temperature, alpha
        self.simple, self.weight = simple, weight
        width = encoder.width if hidden is None else hidden
        usual = ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=not batch_norm)
        self.head = usual if head is None else head

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the mean cosine of positive pairs, `positive`."""
        z1, z2 = self.head(self.encoder(torch.cat(view_pair(batch)))).chunk(2)
        if self.simple:
            loss = simple_contrastive(z1, z2, self.weight, alpha=self.alpha)
        else:
            loss = hard_contrastive(z1, z2, self.temperature, alpha=self.alpha)
        return pair_terms(loss, z1, z2)
