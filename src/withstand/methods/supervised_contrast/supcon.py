"""SupCon: all views of one class attract, all others repel.

paper: Supervised Contrastive Learning (2020), the form with the mean over positives outside the logarithm
needs: two views, labels    modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: the official code multiplies the loss by the temperature over a base temperature of 0.07; here no factor.
"""

from typing import Self

import torch

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class SupCon(Method):
    """Contrastive learning from labels.

    Args:
        encoder: the network to train; its `width` sizes the head.
        classes: how many labels there are.
        head: in place of the usual head; then `hidden` and the like are not used.
        hidden: width of the head's hidden layer; None for the encoder's width.
        dim: width of the projection.
        temperature: tau.
        batch_norm: normalise inside the head.
    """

    taught_by = "labels"

    def __init__(
        self,
        encoder: Model,
        *,
        classes: int,
        head: Model | None = None,
        hidden: int | None = None,
        dim: int = 128,
        temperature: float = 0.1,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature)
        if classes < 2:
            raise ConfigError(f"classes must be at least 2, not {classes!r}: all samples would attract")
        self.encoder, self.classes, self.temperature = encoder, classes, temperature
        width = encoder.width if hidden is None else hidden
        usual = ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=not batch_norm)
        self.head = usual if head is None else head

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), classes=4, hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the mean cosine of a sample's two views, `positive`.

        Raises:
            DataError: the data have no labels, or other labels than 0 to `classes` - 1.
        """
        y = batch.y
        if y is None:
            raise DataError(
                "SupCon learns from labels, and the data have none: SimCLR (withstand train simclr) does not"
            )
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < self.classes:
            raise DataError(f"labels lie in [{int(y.min())}, {int(y.max())}], outside 0 to {self.classes - 1}")
        z = self.head(self.encoder(torch.cat(view_pair(batch))))
        return pair_terms(supervised_contrastive(z, y.repeat(2), self.temperature), *z.chunk(2))
