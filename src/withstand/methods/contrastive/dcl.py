"""DCL and DCLW: contrastive learning whose positives do not weaken the push from negatives.

paper: Decoupled Contrastive Learning (2022)
needs: two views            modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: no official code. The loss is the mean of both directions; some code takes their sum. The paper is
    silent on whether the gradient flows through DCLW's weight; see `detach_weight`. DCL's effective step is larger
    than SimCLR's at equal learning rate, as no coupling factor below 1 shrinks it: tune each on its own.
"""

from typing import Self

import torch
from torch.nn.functional import cosine_similarity

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.contrastive import dcl, dclw
from withstand.methods.shared.pairs import view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class DCL(Method):
    """Decoupled contrastive learning.

    Args:
        encoder: the network to train; its `width` sizes the head.
        head: in place of the usual head; then `hidden` and the like are not used.
        hidden: width of the head's hidden layer; None for the encoder's width.
        dim: width of the projection.
        temperature: tau.
        batch_norm: normalise inside the head.
        weighted: weight hard positives up (DCLW).
        sigma: width of that weight.
        detach_weight: stop the gradient through it.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        head: Model | None = None,
        hidden: int | None = None,
        dim: int = 128,
        temperature: float = 0.1,
        batch_norm: bool = True,
        weighted: bool = False,
        sigma: float = 0.5,
        detach_weight: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("temperature", temperature), ("sigma", sigma)):
            if not value > 0:
                raise ConfigError(f"{name} must be above 0, not {value!r}")
        self.encoder = encoder
        self.temperature = temperature
        self.weighted, self.sigma, self.detach_weight = weighted, sigma, detach_weight
        width = encoder.width if hidden is None else hidden
        self.head = (
            ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=not batch_norm)
            if head is None
            else head
        )

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the mean cosine of positive pairs, `positive`."""
        z1, z2 = self.head(self.encoder(torch.cat(view_pair(batch)))).chunk(2)
        if self.weighted:
            loss = dclw(z1, z2, self.temperature, sigma=self.sigma, detach_weight=self.detach_weight)
        else:
            loss = dcl(z1, z2, self.temperature)
        embeddings = torch.stack([z1, z2]).detach()
        return {
            "loss": loss,
            "positive": cosine_similarity(embeddings[0].float(), embeddings[1].float()).mean(),
            "embeddings": embeddings,
        }
