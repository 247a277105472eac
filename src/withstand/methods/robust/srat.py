"""SRAT: adversarial training on classes of unequal size, with late class weights and features kept apart.

paper: Imbalanced Adversarial Training with Reweighting (2021)
needs: labels, one view     modalities: any with an encoder and inputs in [0, 1]
sizes: B samples, C classes, n_k training samples of class k, W features, K stored features a class
differences: there is no official code; the separation loss is the supervised contrastive one. A batch holds few rare
    samples, and without positives that loss only pushes them away: features of earlier steps are stored for each
    class as further positives and negatives. LDAM's classifier is a cosine one, as in its own code.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch
from withstand.core.devices.distributed import gather
from withstand.core.errors import ConfigError, nearest
from withstand.core.roles import Model, Terms
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive
from withstand.losses.robust.comp_sum import comp_sum
from withstand.losses.robust.imbalance import (
    balanced_softmax,
    cosine_logits,
    effective_number_weights,
    focal,
    ldam,
    ldam_margins,
)
from withstand.methods.shared.adversarial_training.attack_in_training import attack_in_training
from withstand.methods.shared.labelled import LabelledMethod, accuracy
from withstand.models.pictures.normalized import Normalized

ATTACK = PGD(steps=10, step_size=0.25, keep_best=False)
ImbalancedLoss = Literal["cross-entropy", "focal", "ldam", "balanced-softmax"]


class SeparableReweightedTraining(LabelledMethod):
    """A classifier trained against an attack, fair to rare classes.

    Args:
        encoder: the network to train.
        counts: n_k, training samples of each class; 0 for a label that no sample has.
        loss: on attacked samples: "cross-entropy", "focal", "ldam" or "balanced-softmax".
        attack: the inner attack; it knows no weights.
        beta: of the effective numbers; nearer 1 weighs rare classes up more.
        defer: class weights are 1 before this epoch, counted from 0.
        separation: lambda, weight of the separation loss. At 0.3 and more it lost the rare classes when tried small.
        temperature: its tau.
        stored: features kept for each class; 0 contrasts within the batch alone.
        gamma: of the focal loss.
    """

    class_weights: Tensor
    margins: Tensor
    class_counts: Tensor
    memory: Tensor
    memory_count: Tensor

    def __init__(
        self,
        encoder: Model,
        *,
        counts: Sequence[int],
        loss: ImbalancedLoss = "cross-entropy",
        attack: InputAttack = ATTACK,
        beta: float = 0.9999,
        defer: int = 0,
        separation: float = 0.1,
        temperature: float = 0.1,
        stored: int = 8,
        gamma: float = 1.0,
    ) -> None:
        super().__init__(encoder, len(counts))
        if loss not in get_args(ImbalancedLoss):
            raise ConfigError(f"loss {loss!r} is unknown: {nearest(str(loss), get_args(ImbalancedLoss))}")
        if not temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {temperature!r}")
        if min(separation, defer, stored, gamma) < 0:
            raise ConfigError(
                "separation, defer, stored and gamma must be at least 0, not "
                f"{separation!r}, {defer!r}, {stored!r} and {gamma!r}"
            )
        if not temperature > 0:
            raise ConfigError(f"temperature must be above 0, not {temperature!r}")
        if attack.ball.targeted:
            raise ConfigError("the inner attack must not be targeted: it makes the true label unlikely")
        self.loss, self.attack, self.defer, self.gamma = loss, attack, defer, gamma
        self.separation, self.temperature, self.stored = separation, temperature, stored
        if loss == "ldam":
            self.classifier = CosineClassifier(encoder.width, len(counts), bias=False)
        fixed = {
            "class_weights": effective_number_weights(counts, beta),
            "margins": ldam_margins(counts),
            "class_counts": torch.tensor(list(counts)),
        }
        for name, value in fixed.items():
            self.register_buffer(name, value, persistent=False)  # part of the configuration
        self.register_buffer("memory", torch.zeros(len(counts), stored, encoder.width))
        self.register_buffer("memory_count", torch.zeros(len(counts), dtype=torch.int64))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized.example(), counts=(3, 3, 1, 1))

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `classification` (weighted) and `separation`, and the accuracy under attack."""
        y = self.labels(batch)
        features = self.encoder(self.attacked(batch))
        logits = self.classifier(features)
        losses = self.losses(logits, y)
        if batch.epoch >= self.defer:
            losses = losses * self.class_weights[y].to(losses)
        classification = losses.mean()  # the sum over B: not over the weights, as torch's weighted mean
        rows, groups = self._remembered()
        separation = supervised_contrastive(features, y, self.temperature, stored=rows, stored_groups=groups)
        if self.training and self.stored:
            self._remember(gather(features.detach()), gather(y))
        return {
            "loss": classification + self.separation * separation if self.separation else classification,
            "classification": classification.detach(),
            "separation": separation.detach(),
            "robust_accuracy": accuracy(logits, y),
        }

    def attacked(self, batch: Batch) -> Tensor:
        """Return the batch's samples under the inner attack, which raises the unweighted cross-entropy."""
        x, y, draws = self.samples(batch), self.labels(batch), batch.draws("inner attack")
        return attack_in_training(self, self.network(), self.attack, x, y, draws)

    def losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """Return each sample's unweighted loss, `(B,)`."""
        if self.loss == "focal":
            return focal(logits, y, self.gamma)
        if self.loss == "ldam":
            return ldam(logits / CosineClassifier.scale, y, self.margins, CosineClassifier.scale)
        if self.loss == "balanced-softmax":
            return balanced_softmax(logits, y, self.class_counts)
        return comp_sum(logits, y)  # at tau = 1

    def _remembered(self) -> tuple[Tensor, Tensor]:
        """Return the stored features and their classes."""
        place = torch.arange(self.stored, device=self.memory.device)
        filled = place < self.memory_count.clamp(max=self.stored)[:, None]
        classes = torch.arange(self.classes, device=self.memory.device)[:, None].expand(-1, self.stored)
        return self.memory[filled].clone(), classes[filled]

    @torch.no_grad()
    def _remember(self, features: Tensor, y: Tensor) -> None:
        """Store features, each in place of its class's oldest."""
        for feature, label in zip(features, y.tolist(), strict=True):
            self.memory[label, int(self.memory_count[label]) % self.stored] = feature.to(self.memory.dtype)
            self.memory_count[label] += 1


class CosineClassifier(nn.Linear):
    """Cosines between features and class vectors, times 30: LDAM's classifier."""

    scale: ClassVar[float] = 30.0

    def forward(self, input: Tensor) -> Tensor:
        """Return scores `(B, C)` of features `(B, W)`."""
        return self.scale * cosine_logits(input, self.weight)
