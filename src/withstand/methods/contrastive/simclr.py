"""SimCLR: two views of a sample must find each other among all views of the batch.

paper: A Simple Framework for Contrastive Learning of Visual Representations (2020)
needs: two views            modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: the official head also normalises the projection (a last batch normalisation without shift) and
    solo-learn's CIFAR head has no normalisation at all; temperature is 0.1 to 0.5 in the paper, 0.5 best for its
    CIFAR-10 runs, 0.2 in solo-learn's tuned ones.
"""

from typing import Literal, Self, TypeAlias, get_args

import torch
from torch.nn.functional import cosine_similarity

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.contrastive import nt_xent, same_view_nt_xent
from withstand.methods.shared.pairs import view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized

Negatives: TypeAlias = Literal["all", "same-view"]


class SimCLR(Method):
    """Contrastive learning with NT-Xent.

    Args:
        encoder: the network to train; its `width` sizes the head.
        head: in place of the usual head; then `hidden` and the like are not used.
        hidden: width of the head's hidden layer; None for the encoder's width, as in the paper.
        dim: width of the projection.
        temperature: tau; lower looks harder at near negatives.
        batch_norm: normalise inside the head.
        negatives: "all" views of other samples, or those of the anchor's own view alone ("same-view"), for views that
            look unlike each other as a whole.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        head: Model | None = None,
        hidden: int | None = None,
        dim: int = 128,
        temperature: float = 0.2,
        batch_norm: bool = True,
        negatives: Negatives = "all",
    ) -> None:
        super().__init__()
        if negatives not in get_args(Negatives):
            raise ConfigError(f"negatives {negatives!r} is unknown: {nearest(negatives, get_args(Negatives))}")
        if not temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {temperature!r}")
        self.encoder = encoder
        self.temperature, self.negatives = temperature, negatives
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
        # Both views in one pass, so that they share batch statistics, as in the official code.
        z1, z2 = self.head(self.encoder(torch.cat(view_pair(batch)))).chunk(2)
        z = torch.stack([z1, z2])
        embeddings = z.detach()
        whole = self.negatives == "all"
        return {
            "loss": nt_xent(z1, z2, self.temperature) if whole else same_view_nt_xent(z, self.temperature),
            "positive": cosine_similarity(embeddings[0].float(), embeddings[1].float()).mean(),
            "embeddings": embeddings,
        }
