"""CACR: pull far positives harder and push near negatives harder, each within their own group.

paper: Contrastive Attraction and Contrastive Repulsion for Representation Learning (2023)
needs: two or more views of one kind; five in the paper      modalities: any with an encoder
sizes: V views, B samples, W encoder width, D projection width
differences: the official code's form for small pictures, without queue or teacher. The loss may be negative and is not
    comparable with NT-Xent's.
"""

from typing import Self

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Model, Terms
from withstand.losses.contrast.hard_negatives.attraction import cacr_terms
from withstand.methods.shared.crops import each, several_views
from withstand.methods.shared.pairs import pair_terms, require_positive
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class CACR(Method):
    """Doubly contrastive learning.

    Args:
        encoder: the network to train; its `width` sizes the head.
        hidden: width of the head's hidden layer; None for the encoder's width.
        dim: width of the projection.
        positive_sharpness: t+; 0 weighs all positives alike, and with two views it does not matter.
        negative_sharpness: t-; 0 weighs all negatives alike.
        alpha: factor on the attraction.
        beta: factor on the repulsion.
        detach_weights: stop the gradient through the weights.
        batch_norm: normalise inside the head.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 128,
        positive_sharpness: float = 1.0,
        negative_sharpness: float = 0.9,
        alpha: float = 1.0,
        beta: float = 1.0,
        detach_weights: bool = False,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        require_positive(alpha=alpha, beta=beta)
        if positive_sharpness < 0 or negative_sharpness < 0:
            raise ConfigError(
                "positive_sharpness and negative_sharpness must be at least 0, "
                f"not {positive_sharpness!r} and {negative_sharpness!r}"
            )
        self.encoder, self.detach_weights = encoder, detach_weights
        self.sharpness, self.factors = (positive_sharpness, negative_sharpness), (alpha, beta)
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=not batch_norm)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `attraction` and `repulsion`, and the mean cosine of the first two views."""
        z = each(lambda views: self.head(self.encoder(views)), several_views(batch, max(2, len(batch.views))))
        terms = cacr_terms(
            z,
            positive_sharpness=self.sharpness[0],
            negative_sharpness=self.sharpness[1],
            alpha=self.factors[0],
            beta=self.factors[1],
            detach_weights=self.detach_weights,
        )
        named = {name: value.detach() for name, value in terms._asdict().items()}
        return pair_terms(terms.attraction + terms.repulsion, z[0], z[1]) | named
