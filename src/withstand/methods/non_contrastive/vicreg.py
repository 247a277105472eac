"""VICReg: views agree, every dimension varies over the batch, and dimensions do not correlate.

paper: VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning (2021)
needs: two views            modalities: any with an encoder
sizes: B samples, W encoder width, D projection width
differences: the official code takes the mean of both branches' variance terms, solo-learn their sum: see
    `sum_branches`.
"""

from typing import Self

from withstand.core.batch import Batch
from withstand.core.roles import Method, Model, Terms
from withstand.losses.agreement.variance import vicreg_terms
from withstand.methods.shared.pairs import pair_terms, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class VICReg(Method):
    """Learning from agreement, kept from collapse by variance and covariance.

    Args:
        encoder: the network to train; its `width` sizes the head.
        head: in place of the usual head; then `hidden` and the like are not used.
        hidden: width of the head's hidden layers; None for `dim`, as in the paper.
        dim: width of the projection.
        layers: linear layers in the head.
        invariance_weight: of the mean squared difference of both views.
        variance_weight: of the hinge on standard deviations below 1.
        covariance_weight: of the squared covariances.
        sum_branches: sum the branches' variance terms in place of their mean.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        head: Model | None = None,
        hidden: int | None = None,
        dim: int = 2048,
        layers: int = 3,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        sum_branches: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.sum_branches = encoder, sum_branches
        self.weights = (invariance_weight, variance_weight, covariance_weight)
        width = dim if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, layers, last_bias=False) if head is None else head

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and its terms, unweighted: `invariance`, `variance` and `covariance`."""
        z1, z2 = (self.head(self.encoder(view)) for view in view_pair(batch))
        terms = vicreg_terms(z1, z2, sum_branches=self.sum_branches)
        one, two, three = (weight * term for weight, term in zip(self.weights, terms, strict=True))
        named = {name: value.detach() for name, value in terms._asdict().items()}
        return pair_terms(one + two + three, z1, z2) | named
