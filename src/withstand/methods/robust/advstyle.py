"""AdvStyle: a classifier whose maps get styles, in training, that raise its loss.

paper: Adversarial Style Augmentation for Domain Generalization (Zhang et al., 2023); with other layers, DSU (2022) and
    MixStyle (2021)
needs: labels, one view     modalities: pictures, by an encoder of maps
differences: whether the learnt sizes have been started is part of the state, where the official code forgets it and
    starts them anew after loading. The choice between no noise, learnt and batch-wide noise is drawn for a step and a
    layer from the run's seed, the same for all processes, where the code has Python's generator. Statistics are taken
    in float32 under mixed precision, and over the batch of all processes.
"""

import warnings
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from withstand.core.batch import Batch
from withstand.core.devices.distributed import rank
from withstand.core.roles import Epoch, Model, Terms
from withstand.losses.precision import full_precision
from withstand.methods.shared.labelled import LabelledMethod, accuracy
from withstand.models.blocks.normalization.style import AdvStyle, perturbed
from withstand.models.pictures.styled import Styled

_GROWN = 10.0
"""Times their start, from which on the noise's sizes are taken to run away."""


class StyleTraining(LabelledMethod):
    """Plain training of a classifier whose encoder has style layers; of one without them, plain training.

    Args:
        encoder: the network to train, as `Styled` makes it.
        classes: how many labels there are.
    """

    def __init__(self, encoder: Model, *, classes: int) -> None:
        super().__init__(encoder, classes)

    @classmethod
    def example(cls) -> Self:
        return cls(Styled.example(), classes=4)

    def adversaries(self) -> list[AdvStyle]:
        """Return the encoder's layers that learn the sizes of their noise."""
        return [module for module in self.encoder.modules() if isinstance(module, AdvStyle)]

    def step(self, batch: Batch) -> Terms:
        """Return the cross-entropy and the accuracy, both under the styles drawn, and the mean size of learnt noise."""
        y = self.labels(batch)
        with perturbed(self.encoder, batch):
            logits = self.logits(self.samples(batch))
        loss = full_precision(cross_entropy)(logits, y)
        terms = {"loss": loss, "accuracy": accuracy(logits, y)}
        sizes: list[Tensor] = [size for layer in self.adversaries() for size in layer.sizes()]
        if sizes:
            flat = torch.cat(sizes)
            # Layers sit out steps, and process groups want a gradient of every parameter: here it is 0.
            terms["loss"] = loss + 0 * flat.sum()
            terms["noise"] = flat.detach().abs().mean()
        return terms

    def before_epoch(self, epoch: Epoch) -> None:
        """Tell when learnt sizes run away."""
        grown = max((layer.growth() for layer in self.adversaries()), default=1.0)
        if grown > _GROWN and rank() == 0:
            warnings.warn(
                f"the sizes of the adversary's noise have grown {grown:.0f}-fold: a lower weight or learning rate "
                "keeps them in check",
                stacklevel=2,
            )
