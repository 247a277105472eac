"""Mixed Barlow Twins: Barlow Twins, and mixtures of pictures shall be embedded as mixtures of embeddings.

paper: Guarding Barlow Twins Against Overfitting with Mixed Samples (2023)
needs: two views            modalities: any with an encoder whose inputs can be averaged
sizes: B samples, W encoder width, D projection width
differences: where the paper and its two codes differ, the CIFAR code is followed: rows of unit length, unbiased
    variances, and the mixing term weighted by `mix_weight` times lambda (the ImageNet code halves it, and correlates
    one view with itself where the paper has both). The head's last layer has a bias, as in the official
    code: rows come to length 1 before the standardisation that would take it away. The official code keeps the best
    checkpoint by its test accuracy.
"""

from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.distributed import first_row, gather
from withstand.core.errors import ConfigError
from withstand.core.random import permutation
from withstand.core.roles import Method, Model, Terms
from withstand.losses.agreement.mixing import mixed_barlow_twins_terms
from withstand.methods.shared.pairs import pair_terms, view_pair
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized


class MixedBarlowTwins(Method):
    """Redundancy reduction, regularised by mixed samples.

    Args:
        encoder: the network to train; its `width` sizes the head.
        hidden: width of the head's hidden layer; None for the encoder's width, as in the paper.
        dim: width of the projection.
        layers: linear layers in the head.
        redundancy_weight: lambda.
        mix_weight: the mixing term's weight, times lambda; 0 is Barlow Twins, for two passes in place of three.
        scale: factor on the loss.
        unit_length: bring projections to length 1 before they are standardised.
        unbiased: standardise with the unbiased variance.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        hidden: int | None = None,
        dim: int = 1024,
        layers: int = 2,
        redundancy_weight: float = 1 / 128,
        mix_weight: float = 4.0,
        scale: float = 1.0,
        unit_length: bool = True,
        unbiased: bool = True,
    ) -> None:
        super().__init__()
        if redundancy_weight < 0 or mix_weight < 0:
            raise ConfigError(
                f"redundancy_weight and mix_weight must be at least 0, not {redundancy_weight!r} and {mix_weight!r}"
            )
        self.encoder, self.scale = encoder, scale
        self.redundancy_weight, self.mix_weight = redundancy_weight, mix_weight
        self.unit_length, self.unbiased = unit_length, unbiased
        width = encoder.width if hidden is None else hidden
        self.head = ProjectionHead(encoder.width, width, dim, layers)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), hidden=12, dim=10)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and its sums, unweighted: `invariance`, `redundancy` and `mixing`."""
        views = view_pair(batch)
        z1, z2 = (self.head(self.encoder(view)) for view in views)
        order, share, mixed = torch.arange(len(gather(batch.index)), device=z1.device), 1.0, z1
        if self.mix_weight:
            order, share = self._mixture(batch, len(order), z1.device)
            mixed = self.head(self.encoder(self._mix(views, order, share)))
        terms = mixed_barlow_twins_terms(
            z1, z2, mixed, order, share, unbiased=self.unbiased, unit_length=self.unit_length
        )
        others = terms.redundancy + self.mix_weight * terms.mixing
        loss = self.scale * (terms.invariance + self.redundancy_weight * others)
        return pair_terms(loss, z1, z2) | {name: value.detach() for name, value in terms._asdict().items()}

    def _mixture(self, batch: Batch, count: int, device: torch.device) -> tuple[Tensor, float]:
        """Return this step's partners, int64 `(N,)`, and the first view's share, one for the whole batch."""
        order = permutation(count, batch.seed, "mixture", batch.step).to(device)
        return order, float(batch.draws_for_all("mixture").uniform(1))

    def _mix(self, views: tuple[Tensor, Tensor], order: Tensor, share: float) -> Tensor:
        """Return the mixed pictures of this process, `(B, ...)`, floating."""
        one, two = (unit_range(view, next(self.head.parameters()).dtype) for view in views)
        first = first_row(len(one))
        return share * one + (1 - share) * gather(two)[order[first : first + len(one)]]
