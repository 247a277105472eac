"""SelfCon: one view of each picture, whose features at an early exit and at the end attract, and with them its kind.

paper: Self-Contrastive Learning (Bae et al., 2023), with the labels and weights of ImagiNet: A Multi-Content Dataset
  for Generalizable Synthetic Image Detection via Contrastive Learning (Boychev and Cholakov, 2024)
needs: labels, one view     modalities: pictures, by an encoder of stages
sizes: B samples, W encoder width, D projection width
differences: the encoder starts from new weights, not from those of ImageNet. Batches go through whole, where the
    official code cuts them in parts with a second pass for the gradient: the same numbers where no batch is normalised.
    With one generator the recipe leaves out the loss that tells generators apart: it would only pull all synthetic
    pictures together.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Self

import torch
from torch import nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Method, Model, Source, Terms
from withstand.data.derived.origins import GENERATOR
from withstand.losses.contrast.self_contrastive import self_contrastive
from withstand.methods.shared.masked_pictures import one_view
from withstand.methods.shared.pairs import pair_terms, require_positive
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.taps import with_maps
from withstand.models.pictures.normalized import Normalized


class SelfCon(Method):
    """Supervised contrast between two levels of a network, for real and synthetic pictures.

    Reads view 0 of a batch (its samples where there are no views), labels 0 for real and 1 for synthetic, and the extra
    "generator". Two losses are added: all pictures by their label, and the synthetic ones by their generator.

    Args:
        encoder: the network to train, one that has stages.
        shape: of the pictures, (C, H, W).
        stage: after which of `encoder.stages` the early exit is; the second one of a ResNet is 2, or 3 where its stem
            pools.
        hidden: width of the heads' hidden layer; None for the encoder's width.
        dim: width of the projections.
        temperature: tau.
        origin_weight: of the loss by label.
        generator_weight: of the loss by generator; 0 where there is one generator alone.
        batch_norm: normalise inside the heads. The published ones do not; from new weights, all rows came out alike
            without it when tried small, and the loss stayed at log(2B - 1).
    """

    taught_by = "labels"

    def __init__(
        self,
        encoder: Model,
        *,
        shape: Sequence[int],
        stage: int = 2,
        hidden: int | None = None,
        dim: int = 128,
        temperature: float = 0.07,
        origin_weight: float = 1.0,
        generator_weight: float = 1.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature)
        if min(origin_weight, generator_weight) < 0 or origin_weight + generator_weight == 0:
            raise ConfigError(
                "origin_weight and generator_weight must be at least 0, and one of them above, not "
                f"{origin_weight!r} and {generator_weight!r}"
            )
        self.encoder, self.stage, self.temperature = encoder, stage, temperature
        self.origin_weight, self.generator_weight = origin_weight, generator_weight
        width = encoder.width if hidden is None else hidden
        self.exit = nn.Linear(_channels(encoder, shape, stage), encoder.width)
        self.exit_head = ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=True)
        self.head = ProjectionHead(encoder.width, width, dim, batch_norm=batch_norm, bias=True)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), shape=(3, 8, 8), hidden=12, dim=10)

    def example_batch(self, rows: range = range(8)) -> Batch:
        """Return pictures of which every other one is real, and the others are of two generators."""
        batch = super().example_batch(rows)
        generator = torch.where(batch.index % 2 == 0, -1, batch.index // 2 % 2)
        return replace(batch, y=(generator >= 0).long(), extras={**batch.extras, GENERATOR: generator})

    def accept(self, source: Source, batch: int) -> None:
        labels = source.labels
        if labels is None or GENERATOR not in source.attributes or int(labels.max()) > 1:
            raise DataError("SelfCon learns from real and synthetic pictures: wrap the data in Origins")

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `origin` and `generator`, and the mean cosine of a picture's two levels."""
        if batch.y is None or GENERATOR not in batch.extras:
            raise DataError("SelfCon needs labels, 0 for real and 1 for synthetic, and the extra 'generator'")
        features, maps = with_maps(self.encoder, one_view(batch), self.stage)
        levels = (self.exit_head(self.exit(maps.mean((2, 3)))), self.head(features))
        origin = self_contrastive(levels, batch.y, self.temperature)
        made = batch.extras[GENERATOR]
        generator = self_contrastive(levels, made, self.temperature, kept=made >= 0)
        loss = self.origin_weight * origin + self.generator_weight * generator
        return {
            **pair_terms(loss, *levels),
            "origin": origin.detach(),
            "generator": generator.detach(),
        }


@torch.no_grad()
def _channels(encoder: Model, shape: Sequence[int], stage: int) -> int:
    """Return how many channels the maps of a stage have."""
    training = encoder.training
    try:
        weight = next(encoder.parameters())
        x = torch.zeros(1, *shape, dtype=weight.dtype, device=weight.device)
        return with_maps(encoder.eval(), x, stage)[1].shape[1]
    finally:
        encoder.train(training)
