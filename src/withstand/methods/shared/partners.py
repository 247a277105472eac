"""What joins CLIP's loss: agreement of pictures and texts without negatives.

Improved baselines for vision-language pre-training (Fini et al., 2023).
Sizes: B pairs on this process, K strong views beside the weak one, W widths of features, D projection width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, nearest
from withstand.losses.agreement.distillation import byol
from withstand.losses.agreement.redundancy import barlow_twins
from withstand.losses.contrast.cross_modal import swapped_batches
from withstand.losses.temperature import Temperature
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.tokens.text_tower import TextTower

Partner: TypeAlias = Literal["none", "barlip", "siamlip", "byolip", "swalip"]
"""None; Barlow Twins, SimSiam and BYOL between the two kinds; SwAV with the other kind's batch as prototypes."""


@dataclass(frozen=True)
class Seen:
    """What both towers made of a batch, the weak view first.

    Attributes:
        pictures: the views as they came, 1 + K of them.
        texts: ids, one a view.
        picture_features: `(B, W)` of each view.
        text_features: `(B, W)` of each view.
    """

    pictures: Sequence[Tensor]
    texts: Sequence[Tensor]
    picture_features: Sequence[Tensor]
    text_features: Sequence[Tensor]

    def pairs(self) -> list[tuple[int, int]]:
        """Return which views of both are compared: the weak ones, and every strong one with every strong one."""
        strong = range(1, len(self.pictures))
        return [(0, 0), *((one, other) for one in strong for other in strong)]


def check_partner(partner: str, views: int) -> None:
    """Refuse a partner that does not exist, or that needs other views.

    Raises:
        ConfigError: names what is allowed.
    """
    if partner not in get_args(Partner):
        raise ConfigError(f"partner {partner!r} is unknown: {nearest(partner, get_args(Partner))}")
    if partner == "swalip" and views != 2:
        raise ConfigError(f"swalip swaps two strong views: views must be 2, not {views!r}")


class Correlated(nn.Module):
    """BarLIP: what a picture's and its text's projections tell is the same, and each number tells another thing.

    Args:
        widths: W of pictures and of texts.
        hidden: of the projectors.
        dim: D.
        weight: of the entries off the diagonal.
        scale: of the loss.
    """

    def __init__(
        self, widths: tuple[int, int], hidden: int = 3000, dim: int = 8192, weight: float = 5e-3, scale: float = 0.025
    ) -> None:
        super().__init__()
        # The closing normalisation stands in the loss, which makes columns standard over all processes.
        self.picture, self.text = (
            ProjectionHead(width, hidden, dim, 3, bias=True, last_bias=False) for width in widths
        )
        self.weight, self.scale = weight, scale

    def forward(self, seen: Seen) -> Tensor:
        """Return the mean over pairs of views, 0-d."""
        pictures = [self.picture(features) for features in seen.picture_features]
        texts = [self.text(features) for features in seen.text_features]
        terms = [barlow_twins(pictures[i], texts[j], self.weight, scale=self.scale) for i, j in seen.pairs()]
        return torch.stack(terms).mean()


class Projected(nn.Module):
    """Both towers with a projector each: what a teacher of BYOLIP copies."""

    def __init__(self, encoder: nn.Module, text: TextTower, picture_head: nn.Module, text_head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.text, self.picture_head, self.text_head = encoder, text, picture_head, text_head

    def forward(self, pictures: Tensor, texts: Tensor) -> Tensor:
        """Return projections of pictures and of texts, `(2, B, D)`."""
        return torch.stack([self.picture_head(self.encoder(pictures)), self.text_head(self.text(texts))])


class Predicted(nn.Module):
    """SiamLIP and BYOLIP: from a picture's projection its text's is told, and the other way round.

    Args:
        widths: W of pictures and of texts.
        hidden: of the projectors and predictors.
        dim: D.
    """

    teacher: Teacher[Projected] | None

    def __init__(self, widths: tuple[int, int], hidden: int = 2048, dim: int = 128) -> None:
        super().__init__()
        self.picture, self.text = (
            ProjectionHead(width, hidden, dim, last_batch_norm=True, last_bias=False) for width in widths
        )
        self.from_picture, self.from_text = (ProjectionHead(dim, hidden, dim, bias=True) for _ in range(2))
        self.teacher = None

    def taught(self, encoder: nn.Module, text: TextTower, momentum: Momentum) -> None:
        """Take a teacher of both towers: its projections are what is told, in place of the student's own."""
        self.teacher = Teacher(self.student(encoder, text), momentum)

    def student(self, encoder: nn.Module, text: TextTower) -> Projected:
        """Return what the teacher follows."""
        return Projected(encoder, text, self.picture, self.text)

    def forward(self, seen: Seen) -> Tensor:
        """Return the mean over pairs of views and both directions, 0-d, in [0, 4]."""
        pictures = [self.picture(features) for features in seen.picture_features]
        texts = [self.text(features) for features in seen.text_features]
        told_texts = [self.from_picture(one) for one in pictures]
        told_pictures = [self.from_text(one) for one in texts]
        if self.teacher is not None:
            targets = [self.teacher(*views) for views in zip(seen.pictures, seen.texts, strict=True)]
            pictures, texts = [one[0] for one in targets], [one[1] for one in targets]
        terms = [byol(told_texts[i], texts[j]) + byol(told_pictures[j], pictures[i]) for i, j in seen.pairs()]
        return torch.stack(terms).mean() / 2


def swalip(pictures: Tensor, texts: Tensor, temperature: Temperature, weight: float = 0.2) -> Tensor:
    """Return SwALIP's weighted loss of local embeddings `(2, B, D)` each, 0-d."""
    return weight * swapped_batches(pictures, texts, temperature)
