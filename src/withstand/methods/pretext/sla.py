"""SLA: a classifier that tells the class and the change it is shown under at once, by one softmax over the pairs.

paper: Self-supervised Label Augmentation via Input Transformations (Lee, Hwang, Shin; ICML 2020)
needs: labels, one view     modalities: any with an encoder and a set of changes
sizes: B samples, M changes, N classes
differences: with `distill` the single head's cross-entropy weighs 1, as in the official code, where the paper's formula
    has `beta`; here that is the divergence's weight, 1 in the code. `large_loss` is the code's `with_large_loss`: the
    sum over changes in place of the mean, which its authors advise for large sets.
"""

from typing import Literal, Self, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Model, Source, Terms
from withstand.losses.agreement.label_augmentation import distilled, joint_cross_entropy, version_logits
from withstand.losses.temperature import checked_temperature
from withstand.methods.shared.changes import accept_changes
from withstand.methods.shared.labelled import LabelledMethod, accuracy
from withstand.models.blocks.classifiers.aggregated import Aggregated
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.blocks.transforms import TransformSet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transforms import Rotations

Inference = Literal["aggregate", "single", "distilled"]

_ROTATION = Rotations()


class SLA(LabelledMethod):
    """Self-supervised label augmentation.

    All versions of a picture share the view that was drawn for it. `classifier` is the joint head, `single` the head
    that self-distillation trains on unchanged samples.

    Args:
        encoder: the network to train.
        classes: N.
        transforms: the changes; of one alone this is plain training.
        distill: train a single head besides, towards the aggregated prediction, which costs an M-th of it at test time.
        inference: how the run's classifier predicts: "aggregate", the mean of all versions' logits; "single", the
            unchanged version's; "distilled", the single head's. None for the last with `distill`, else the first.
        large_loss: sum the joint loss over changes in place of the mean.
        temperature: T of the distillation.
        beta: the distillation's weight.
    """

    def __init__(
        self,
        encoder: Model,
        *,
        classes: int,
        transforms: TransformSet = _ROTATION,
        distill: bool = False,
        inference: Inference | None = None,
        large_loss: bool = False,
        temperature: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        super().__init__(encoder, classes)
        inference = inference or ("distilled" if distill else "aggregate")
        if inference not in get_args(Inference):
            raise ConfigError(f"inference {inference!r} is unknown: {nearest(str(inference), get_args(Inference))}")
        if inference == "distilled" and not distill:
            raise ConfigError(
                "inference distilled needs the head that distill=True trains: aggregate and single do not"
            )
        if not 0 <= beta < float("inf"):
            raise ConfigError(f"beta must be at least 0 and finite, not {beta!r}")
        self.transforms, self.inference, self.large_loss = transforms, inference, large_loss
        self.temperature, self.beta = float(checked_temperature(temperature)), beta
        self.classifier = nn.Linear(encoder.width, classes * len(transforms))
        self.single = nn.Linear(encoder.width, classes) if distill else None

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), classes=4)

    def accept(self, source: Source, batch: int) -> None:
        accept_changes(self.transforms, source)

    def network(self) -> nn.Module:
        """Return what predicts as `inference` says, as one network, inputs in [0, 1] to logits; weights are shared."""
        if self.inference == "distilled":
            assert self.single is not None
            return Classifier.joining(self.encoder, self.single)
        return Aggregated.joining(self.encoder, self.classifier, self.transforms, self.inference)

    def logits(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network()(x)
        return scores

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the aggregated prediction's accuracy; with `distill` the parts of the loss too."""
        x, y, count = self.samples(batch), self.labels(batch), len(self.transforms)
        features = self.encoder(self.transforms.every(x))
        joint = self.classifier(features)
        aggregated = version_logits(joint, count).mean(1)
        loss = joint_cross_entropy(joint, y, count) * (count if self.large_loss else 1)
        terms = {"loss": loss, "accuracy": accuracy(aggregated, y)}
        if self.single is not None:
            alone = self.single(features[::count])
            towards = distilled(aggregated, alone, self.temperature)
            wide = alone if alone.dtype == self.classifier.weight.dtype else alone.float()
            terms["loss"] = loss + F.cross_entropy(wide, y) + self.beta * towards
            terms |= {"joint_loss": loss.detach(), "divergence": towards.detach(), "single": accuracy(alone, y)}
        return terms
