"""iBOT: tell, of hidden patches and of other views, to which prototypes a slow teacher assigns them in the clean view.

paper: iBOT: Image BERT Pre-Training with Online Tokenizer (Zhou et al., ICLR 2022)
needs: two or more views; the first two, whole ones, are hidden in part      modalities: pictures, by an encoder that
    reads patches
sizes: B pictures, L patches, K prototypes, W encoder width
differences: one head for pictures and patches, as in the paper's best setting, where the code's default has two in the
    student. Its prototypes keep their length, which the code frees in small networks. Without a class token, as in
    `ViT(pooling="mean")`, the mean of the patches stands in its place. There is no stochastic depth.
"""

from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Source, Terms
from withstand.losses.agreement.clustering import swapped_cross_entropy
from withstand.losses.precision import full_precision
from withstand.methods.shared.centering import check_center_momentum, follow_center, warmed
from withstand.methods.shared.crops import each, several_views
from withstand.methods.shared.masked_pictures import accept_pictures, summary
from withstand.methods.shared.pairs import pair_terms, require_positive
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.blocks.prototypes import DINOHead
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.patches import TokenEncoder, with_patches
from withstand.models.pictures.transformers.vit import ViT
from withstand.views.masks import blockwise_masks

MOMENTUM = Momentum(0.996, 1.0)


class IBOT(Method):
    """Self-distillation of pictures, as DINO's, and of hidden patches: the teacher is the patches' tokenizer.

    Masks hang on seed, step and index alone.

    Args:
        encoder: the network to train.
        hidden: width of the head's hidden layers.
        dim: width of the head's bottleneck.
        prototypes: K, the head's outputs.
        ratio: mean share of the patches that is hidden in a view.
        spread: the share is uniform, this far on either side.
        unhidden: probability that a view is left whole.
        patch_weight: what the patches' loss weighs.
        temperature: of the student.
        teacher_temperature: of the teacher, for pictures.
        patch_temperature: of the teacher, for patches, after the warm-up.
        warmup_temperature: of the teacher at first; both rise linearly.
        warmup_epochs: epochs of that rise.
        center_momentum: how much of themselves the teacher's two centers keep in a step; 1 for no centring.
        frozen_epochs: epochs in which prototypes stay as they are.
        momentum: of the teacher.
    """

    encoder: TokenEncoder
    center: Tensor
    patch_center: Tensor

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        hidden: int = 2048,
        dim: int = 256,
        prototypes: int = 8192,
        ratio: float = 0.3,
        spread: float = 0.2,
        unhidden: float = 0.5,
        patch_weight: float = 1.0,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        patch_temperature: float = 0.07,
        warmup_temperature: float = 0.04,
        warmup_epochs: int = 30,
        center_momentum: float = 0.9,
        frozen_epochs: int = 1,
        momentum: Momentum = MOMENTUM,
    ) -> None:
        super().__init__()
        require_positive(
            patch_weight=patch_weight,
            temperature=temperature,
            teacher_temperature=teacher_temperature,
            patch_temperature=patch_temperature,
            warmup_temperature=warmup_temperature,
        )
        check_center_momentum(center_momentum)
        if not 0 <= spread <= ratio or not ratio + spread < 1 or not ratio > 0:
            raise ConfigError(f"ratio and spread must give shares inside (0, 1), not {ratio!r} and {spread!r}")
        if not 0 <= unhidden < 1:
            raise ConfigError(f"unhidden, a probability, must lie in [0, 1), not {unhidden!r}")
        self.encoder, self.temperature, self.patch_weight = with_patches(encoder), temperature, patch_weight
        self.ratio, self.spread, self.unhidden = ratio, spread, unhidden
        self.course = (warmup_temperature, teacher_temperature, warmup_epochs)
        self.patch_course = (warmup_temperature, patch_temperature, warmup_epochs)
        self.center_momentum, self.frozen_epochs = center_momentum, frozen_epochs
        self.filler = nn.Parameter(torch.empty(encoder.width).normal_(std=0.02))
        self.head = DINOHead(encoder.width, hidden, dim, prototypes)
        self.teacher = Teacher(self._student(), momentum)
        self.register_buffer("center", torch.zeros(prototypes))
        self.register_buffer("patch_center", torch.zeros(prototypes))
        self._seen: tuple[Tensor, Tensor] | None = None

    @classmethod
    def example(cls) -> Self:
        encoder = Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3)
        return cls(encoder, hidden=12, dim=10, prototypes=6, warmup_epochs=0, frozen_epochs=0)

    def accept(self, source: Source, batch: int) -> None:
        accept_pictures("iBOT", source)

    def masks(self, batch: Batch) -> Tensor:
        """Return which patches of the first two views are hidden, bool `(2 B, L)`, first views first."""
        grid = self.encoder.grid(several_views(batch)[0])
        return torch.cat([self._masks(batch, grid, place) for place in range(2)])

    def _masks(self, batch: Batch, grid: tuple[int, int], place: int) -> Tensor:
        draws = batch.draws("mask").child(place)
        share = self.ratio + self.spread * (2 * draws.uniform(1)[:, 0].double() - 1)
        share = torch.where(draws.chance(self.unhidden, 1)[:, 0], 0.0, share)
        least = max(1, min(grid) // 3) ** 2
        return blockwise_masks(draws.child("blocks"), grid, share * (grid[0] * grid[1]), least=least)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `pictures` and `patches`, unweighted, and the whole views' embeddings."""
        return self.terms(batch, self.masks(batch))

    def terms(self, batch: Batch, hidden: Tensor) -> Terms:
        """Return what `step` returns, for given hidden patches, bool `(2 B, L)`."""
        views = several_views(batch)
        frozen = batch.epoch < self.frozen_epochs
        whole, parts = torch.cat(views[:2]), views[2:]
        prefix = self.encoder.prefix
        tokens = self.encoder.filled(whole, hidden, self.filler)
        z = list(self.head.embed(summary(tokens, prefix)).chunk(2))
        if parts:
            z += each(lambda some: self.head.embed(summary(self.encoder.tokens(some), prefix)), parts)
        scores = [self.head.prototypes(view, frozen=frozen) for view in z]
        told = self.head(tokens[:, prefix:][hidden], frozen=frozen)
        taught = self.teacher(whole)
        logits, patches = taught[:, 0], taught[:, 1:]
        temperature, patch_temperature = warmed(self.course, batch.epoch), warmed(self.patch_course, batch.epoch)
        targets = ((logits - self.center) / temperature).softmax(1).chunk(2)
        wanted = ((patches[hidden] - self.patch_center) / patch_temperature).softmax(1)
        if self.training:
            self._seen = logits.mean(0), patches.mean((0, 1))
        pictures = swapped_cross_entropy(scores, targets, self.temperature)
        hidden_patches = _by_picture(told / self.temperature, wanted, hidden)
        return pair_terms(pictures + self.patch_weight * hidden_patches, z[0], z[1]) | {
            "pictures": pictures.detach(),
            "patches": hidden_patches.detach(),
        }

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        if self._seen is not None:
            for center, seen in zip((self.center, self.patch_center), self._seen, strict=True):
                follow_center(center, seen, self.center_momentum)
        self._seen = None
        self.teacher.follow(self._student(), step)

    def _student(self) -> nn.Module:
        return _Logits(self.encoder, self.head)


class _Logits(nn.Module):
    """What makes of whole pictures logits `(B, 1 + L, K)`: the picture's, then its patches'."""

    def __init__(self, encoder: TokenEncoder, head: DINOHead) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        tokens, prefix = self.encoder.tokens(x), self.encoder.prefix
        every = torch.cat([summary(tokens, prefix)[:, None], tokens[:, prefix:]], 1)
        logits: Tensor = self.head(every.flatten(0, 1))
        return logits.view(*every.shape[:2], -1)


@full_precision
def _by_picture(logits: Tensor, wanted: Tensor, hidden: Tensor) -> Tensor:
    """Return the cross-entropy of hidden patches, mean over those of each picture, then over all pictures.

    Args:
        logits: of the hidden patches of all pictures, picture after picture, `(n, K)`.
        wanted: their targets, likewise.
        hidden: bool `(N, L)`; a picture of which nothing is hidden counts as 0, as in the official code.
    """
    errors = -(wanted * logits.log_softmax(1)).sum(1)
    share = 1 / hidden.sum(1, keepdim=True).clamp_min(1).to(errors.dtype)
    return (errors * share.expand_as(hidden)[hidden]).sum() / len(hidden)
