"""I-JEPA: predict, from a context block, what a slow teacher that sees the whole picture makes of other blocks.

paper: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture (Assran et al., CVPR 2023)
needs: one view, or the pictures themselves      modalities: pictures, by an encoder that reads patches
sizes: B pictures, L patches, S target blocks of T patches, K patches in the context, W encoder width
differences: a context keeps at least a quarter of the patches where that is fewer than the code's 10, and target blocks
    may be of that size; contexts are cut to the smallest of the batch over all processes, where the code looks on its
    own. Layers start as the library's ViT does. Weight decay stays what it is, where the code's rises from 0.04 to 0.4.
"""

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, smooth_l1_loss

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Model, Source, Terms
from withstand.losses.precision import full_precision
from withstand.methods.shared.masked_pictures import accept_pictures, one_view
from withstand.methods.shared.wrappers.held_encoder import HeldEncoder
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.blocks.pick import pick
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.decoder import MaskedTokens, PatchDecoder
from withstand.models.pictures.transformers.patches import TokenEncoder, with_patches
from withstand.models.pictures.transformers.vit import ViT
from withstand.views.context_masks import Span, context_and_targets

MOMENTUM = Momentum(0.996, 1.0, "linear")


class IJEPA(HeldEncoder):
    """The joint-embedding predictive architecture of pictures. Its encoder, for users and probes, is the teacher.

    Reads view 0 of a batch (its samples where there are no views). Places of blocks hang on seed, step and index alone,
    their sizes on seed and step.

    Args:
        encoder: the student to train; it sees the context alone.
        depth: blocks of the predictor.
        width: of its tokens, a multiple of 4 and of `heads`.
        heads: its attention heads.
        context: the least and largest share of the patches in a context, before targets are taken out.
        targets: the least and largest share in a target block.
        aspect: the least and largest height of a target block over its width.
        count: S.
        least: a context keeps more patches than this; None for 10, as in the code, or a quarter of all if that is less.
        momentum: how slowly the teacher follows.
    """

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        depth: int = 12,
        width: int = 384,
        heads: int = 12,
        context: Span = (0.85, 1.0),
        targets: Span = (0.15, 0.2),
        aspect: Span = (0.75, 1.5),
        count: int = 4,
        least: int | None = None,
        momentum: Momentum = MOMENTUM,
    ) -> None:
        super().__init__()
        if least is not None and least < 0:
            raise ConfigError(f"least must be at least 0 patches, not {least!r}")
        self.student = with_patches(encoder)
        self.context, self.targets, self.aspect = context, targets, aspect
        self.count, self.least = count, least
        self.filler = MaskedTokens(encoder.width, width)
        self.predictor = PatchDecoder(encoder.width, width, depth, heads)
        self.teacher = Teacher(encoder, momentum)
        self.train(self.training)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3), depth=1, width=8, heads=2, count=2)

    def held_encoder(self) -> Model:
        """Return the teacher's network."""
        return self._taught

    @property
    def _taught(self) -> TokenEncoder:
        return self.teacher.network

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def accept(self, source: Source, batch: int) -> None:
        accept_pictures("I-JEPA", source)

    def masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return this step's contexts `(B, K)` and target blocks `(B, S, T)`, int64."""
        rows, columns = self.student.grid(one_view(batch))
        return context_and_targets(
            batch.draws("blocks"),
            batch.draws_for_all("sizes"),
            (rows, columns),
            context=self.context,
            targets=self.targets,
            aspect=self.aspect,
            count=self.count,
            least=min(10, rows * columns // 4) if self.least is None else self.least,
        )

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and the teacher's mean token of each picture, gauged."""
        return self.terms(one_view(batch), *self.masks(batch))

    def terms(self, x: Tensor, keep: Tensor, blocks: Tensor) -> Terms:
        """Return what `step` returns, for given blocks.

        Args:
            x: pictures `(B, C, H, W)`.
            keep: the context's patches, int64 `(B, K)`.
            blocks: the targets' patches, int64 `(B, S, T)`.
        """
        with torch.no_grad():
            whole = self._taught.tokens(x)[:, self._taught.prefix :]
        wanted = pick(whole, blocks.flatten(1)).view(*blocks.shape, -1)
        return {"loss": _error(self.predicted(x, keep, blocks), wanted), "embeddings": whole.mean(1)[None]}

    def predicted(self, x: Tensor, keep: Tensor, blocks: Tensor) -> Tensor:
        """Return what the targets' tokens are predicted to be, `(B, S, T, W)`."""
        filled = self.filler(self.student.tokens(x, keep), keep, blocks, self.student.grid(x))
        predicted: Tensor = self.predictor(filled, blocks.shape[2])
        return predicted.view(*blocks.shape, -1)

    def before_run(self, steps: int) -> None:
        self.teacher.before_run(steps)

    def after_step(self, step: int) -> None:
        self.teacher.follow(self.student, step - 1)  # its first move is by the first momentum


@full_precision
def _error(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Return the smooth L1 distance of predicted tokens from the teacher's, each normalised over its entries."""
    return smooth_l1_loss(predicted, layer_norm(wanted, wanted.shape[-1:]))
