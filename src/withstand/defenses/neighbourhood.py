"""The gauge of BEYOND: how samples stand to their own augmentations in a frozen self-supervised model.

paper: Be Your Own Neighborhood: Detecting Adversarial Example by the Neighborhood Relations Built on Self-Supervised
    Learning (2024)
sizes: N samples, k neighbours, C classes, D projection width
differences: the official code draws one augmentation for a whole batch, so that a score depends on who else is in it;
    here every sample draws its own.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.defenses.detector import Gauge, Reading
from withstand.views.compose import Compose
from withstand.views.pictures.colors.color_views import ColorJitter, Greyscale
from withstand.views.pictures.crop import RandomResizedCrop

Combine = Literal["mixed", "counts"]
LabelSource = Literal["classifier", "ssl"]


def picture_neighbours(size: int | tuple[int, int]) -> Compose:
    """Return the paper's augmentations of pictures: MoCo v2's without blur.

    Args:
        size: the pictures' height and width; one number for both.
    """
    return Compose((RandomResizedCrop(size, (0.2, 1.0), flip=0.5), ColorJitter(0.4, 0.4, 0.4, 0.1), Greyscale(0.2)))


@dataclass(frozen=True)
class Relations:
    """How samples and their neighbours stand to each other.

    Attributes:
        own: what the linear classifier says of the samples, `(N, C)`.
        votes: what it says of their neighbours, `(N, k, C)`.
        cosines: of each neighbour's projection to its sample's, `(N, k)`.
    """

    own: Tensor
    votes: Tensor
    cosines: Tensor


class Neighbourhood(Gauge):
    """Reads scores from the relations of samples to their neighbours; its arguments are the detector's.

    Attributes:
        similar: the cosine from which a neighbour counts as similar; None until it is known.
        least: the two counters' thresholds, as shares of k, `(2,)`.
    """

    least: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | None,
        labeller: nn.Module,
        *,
        view: View,
        neighbours: int,
        rank: int,
        alpha: float,
        combine: Combine,
        label_source: LabelSource,
        similar: float | None,
        at_once: int,
    ) -> None:
        super().__init__()
        self.encoder, self.labeller = encoder, labeller
        self.projector = nn.Identity() if projector is None else projector
        self.view, self.neighbours, self.rank, self.alpha = view, neighbours, rank, alpha
        self.combine, self.label_source, self.similar, self.at_once = combine, label_source, similar, at_once
        self.register_buffer("least", torch.zeros(2))

    def forward(self, x: Tensor, logits: Tensor, draws: Draws) -> Reading:
        relations = self.relations(x, draws)
        if relations.votes.shape[2] != logits.shape[1]:
            raise DataError(
                f"the detector's linear classifier knows {relations.votes.shape[2]} classes, "
                f"the classifier that it guards {logits.shape[1]}"
            )
        label = relations.own.argmax(1) if self.label_source == "ssl" else logits.argmax(1)
        return Reading(self.judge(relations, label), self.appeal(relations))

    def relations(self, x: Tensor, draws: Draws) -> Relations:
        """Return how samples `(N, ...)` stand to their neighbours; neighbour j draws from `draws.child(j)`.

        Neighbours pass the encoder in groups, so that no pass holds more than `at_once` samples, or one neighbour of
        each. With gradients a group is computed again on the way back, in place of being kept.
        """
        features = self.encoder(x)
        center = self.projector(features)
        size = max(1, self.at_once // len(x))
        groups = [range(first, min(first + size, self.neighbours)) for first in range(0, self.neighbours, size)]
        again = torch.is_grad_enabled() and x.requires_grad and len(groups) > 1
        parts = []
        for group in groups:
            if again:
                part = checkpoint(self._group, x, draws, group, use_reentrant=False, preserve_rng_state=False)
            else:
                part = self._group(x, draws, group)
            parts.append(part)
        votes, projections = (torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True))
        cosines = F.cosine_similarity(center[:, None], projections, dim=2)
        return Relations(self.labeller(features), votes, cosines)

    def _group(self, x: Tensor, draws: Draws, group: range) -> tuple[Tensor, Tensor]:
        """Return logits `(N, g, C)` and projections `(N, g, D)` of a group of g neighbours."""
        places = torch.arange(len(x), device=x.device)
        made = [self.view(Batch(x, places), draws.child(neighbour)).x for neighbour in group]
        features = self.encoder(torch.stack(made, dim=1).flatten(0, 1))
        votes, projections = self.labeller(features), self.projector(features)
        return votes.view(len(x), len(group), -1), projections.view(len(x), len(group), -1)

    def judge(self, relations: Relations, label: Tensor) -> Tensor:
        """Return the score of samples with these labels, `(N,)`."""
        if self.combine == "counts":
            return (self.counts(relations, label) - self.least.to(relations.cosines)).amin(1)
        parts = []
        if self.alpha > 0:
            parts.append(self.alpha * label_cosine(relations.votes, label))
        if self.alpha < 1:
            parts.append((1 - self.alpha) * relations.cosines)
        return sum(parts[1:], start=parts[0]).topk(self.rank, dim=1).values[:, -1]

    def counts(self, relations: Relations, label: Tensor) -> Tensor:
        """Return the shares of neighbours with the same label and of similar ones, `(N, 2)`."""
        if self.similar is None:
            raise ConfigError("similar is not known yet: give it, or fit the detector on clean inputs")
        same = relations.votes.argmax(2) == label[:, None]
        near = relations.cosines >= self.similar
        return torch.stack((same, near), dim=1).to(relations.cosines).mean(2)

    def appeal(self, relations: Relations) -> Tensor:
        """Return the stand-in for the score, `(N, C)`: mean log-probability of each class plus mean cosine.

        What the official adaptive attack climbs; alpha 0 or 1 leaves out the part that the score does not read.
        """
        votes = relations.votes
        appeal = votes.new_zeros(len(votes), votes.shape[2])
        if self.combine == "counts" or self.alpha > 0:
            agreement = votes.log_softmax(2).mean(1)
            if self.label_source == "ssl":
                agreement = agreement.gather(1, relations.own.argmax(1, keepdim=True)).expand_as(appeal)
            appeal = appeal + agreement
        if self.combine == "counts" or self.alpha < 1:
            appeal = appeal + relations.cosines.mean(1, keepdim=True)
        return appeal


def label_cosine(logits: Tensor, label: Tensor) -> Tensor:
    """Return the cosine of each label, as a one-hot vector, to logits: `logits[label] / |logits|`.

    Args:
        logits: `(N, k, C)`.
        label: `(N,)`.

    Returns:
        `(N, k)`, in [-1, 1]; 0 where the logits vanish.
    """
    own = logits.gather(2, label.view(-1, 1, 1).expand(-1, logits.shape[1], 1)).squeeze(2)
    length: Tensor = torch.linalg.vector_norm(logits, dim=2)
    return own / length.clamp_min(torch.finfo(logits.dtype).tiny)
