"""Labels with changed samples, the usual ways: as augmentation, or with a second task that tells the changes.

paper: Self-supervised Label Augmentation via Input Transformations (Lee, Hwang, Shin; ICML 2020), its baselines DA
    and MT
needs: labels, one view     modalities: any with an encoder and a set of changes
sizes: B samples, M changes, N classes
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from withstand.core.batch import Batch
from withstand.core.roles import Model, Source, Terms
from withstand.losses.precision import full_precision
from withstand.methods.shared.changes import accept_changes
from withstand.methods.shared.labelled import LabelledMethod, accuracy
from withstand.models.blocks.transforms import TransformSet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transforms import Rotations

_ROTATION = Rotations()


class MultiTask(LabelledMethod):
    """A classifier that learns the class of every version of a sample, whatever the change.

    Args:
        encoder: the network to train.
        classes: N.
        transforms: the changes.
        tell: learn to tell the change too, by a head of its own; else this is augmentation.
    """

    def __init__(
        self, encoder: Model, *, classes: int, transforms: TransformSet = _ROTATION, tell: bool = True
    ) -> None:
        super().__init__(encoder, classes)
        self.transforms = transforms
        self.teller = nn.Linear(encoder.width, len(transforms)) if tell else None

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), classes=4)

    def accept(self, source: Source, batch: int) -> None:
        accept_changes(self.transforms, source)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the accuracy over all versions; with `tell` that of telling the change too."""
        x, y, count = self.samples(batch), self.labels(batch), len(self.transforms)
        features = self.encoder(self.transforms.every(x))
        logits, classes = self.classifier(features), y.repeat_interleave(count)
        terms = {"loss": _cross_entropy(logits, classes), "accuracy": accuracy(logits, classes)}
        if self.teller is not None:
            told, changes = self.teller(features), torch.arange(count, device=y.device).repeat(len(y))
            terms["loss"] = terms["loss"] + _cross_entropy(told, changes)
            terms["told"] = accuracy(told, changes)
        return terms


@full_precision
def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(logits, labels)
