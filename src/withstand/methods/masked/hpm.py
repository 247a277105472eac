"""HPM: a masked autoencoder that learns which patches are hard to restore, and hides those more and more.

paper: Bootstrap Masked Visual Modeling via Hard Patches Mining (Wang et al., 2023; CVPR 2023 as Hard Patches Mining for
    Masked Image Modeling)
needs: one view, or the pictures themselves      modalities: pictures, by an encoder that reads patches
sizes: B pictures, L patches of P x P pixels in C channels, M hidden ones, K seen ones
differences: the share of hard patches rises with every step, as the paper has it, where the code has a stair an epoch.
    While no patch is hidden for being hard, the teacher is not asked; it has no reconstructor. Log-sigmoids are exact,
    where the code adds 1e-6. There is no class token where the features are the mean of the patches, as in `mae`.
"""

from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method, Source, Terms
from withstand.losses.restoration.difficulty import ranking_error, standard_error
from withstand.losses.restoration.reconstruction import masked_patch_error
from withstand.methods.shared.masked_pictures import accept_pictures, one_view, values_of_a_patch
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.decoder import MaskedTokens, PatchDecoder
from withstand.models.pictures.transformers.patches import TokenEncoder
from withstand.models.pictures.transformers.vit import ViT
from withstand.views.masks import guided_masks, hidden_count, random_masks

MOMENTUM = Momentum(0.999, 0.9999, "linear")


class HPM(Method):
    """Hard patches mining: beside the pixels, a second decoder tells how badly each patch will be restored.

    A teacher, which follows slowly and sees whole pictures, picks the hard patches. Reads view 0 of a batch (its
    samples where there are no views). What is drawn of masks hangs on seed, step and index alone.

    Args:
        encoder: the network to train; it sees the patches that are not hidden alone.
        depth: blocks of either decoder.
        width: of their tokens, a multiple of 4 and of `heads`.
        heads: their attention heads.
        ratio: share of the patches that is hidden, M = L - int(L (1 - ratio)).
        hardest: alpha_T, the share of the hidden patches that are hidden for being hard at the end of the run; it rises
            from 0 in a line. 0 hides by chance alone.
        relative: learn the order of a picture's patches by their errors, in place of the errors, standardised.
        normalise: ask for each patch's pixels less their mean, over their deviation. Hard then means something else:
            contrast counts no more. The published runs ask for pixels.
        momentum: of the teacher, from `base` to `final` over the epochs of `settling`.
        settling: epochs in which the teacher's momentum rises.
    """

    encoder: TokenEncoder

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        depth: int = 8,
        width: int = 512,
        heads: int = 16,
        ratio: float = 0.75,
        hardest: float = 0.5,
        relative: bool = True,
        normalise: bool = False,
        momentum: Momentum = MOMENTUM,
        settling: int = 100,
    ) -> None:
        super().__init__()
        values = values_of_a_patch(encoder, ratio, normalise)
        if not 0 <= hardest <= 1:
            raise ConfigError(f"hardest, a share of the hidden patches, must lie in [0, 1], not {hardest!r}")
        if settling < 1:
            raise ConfigError(f"settling must be at least 1 epoch, not {settling!r}")
        self.encoder, self.ratio, self.hardest = encoder, ratio, hardest
        self.relative, self.normalise = relative, normalise
        self.filler = MaskedTokens(encoder.width, width)
        self.decoder = PatchDecoder(values, width, depth, heads)
        self.judge = PatchDecoder(values, width, depth, heads)
        self.teacher = Teacher(self._student(), momentum)
        self.teacher.before_run(settling)
        self.steps: int | None = None
        self._epoch = 0

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3), depth=1, width=8, heads=2)

    def accept(self, source: Source, batch: int) -> None:
        accept_pictures("HPM", source)

    def before_run(self, steps: int) -> None:
        self.steps = steps

    def hard_patches(self, step: int, hidden: int) -> int:
        """Return how many of `hidden` patches are hidden for being hard after `step` steps; 0 in runs of no length."""
        return int(hidden * self.hardest * min(1.0, (step + 1) / self.steps)) if self.steps else 0

    def masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return this step's seen patches `(B, K)` and hidden ones `(B, M)`, int64."""
        x = one_view(batch)
        rows, columns = self.encoder.grid(x)
        count = hidden_count(rows * columns, self.ratio)
        if count < 2:
            raise ConfigError(
                f"ratio {self.ratio!r} hides {count} of {rows * columns} patches: two are needed to compare"
            )
        hard = self.hard_patches(batch.step, count)
        draws = batch.draws("mask")
        if not hard:
            return random_masks(draws, rows * columns, self.ratio)
        return guided_masks(draws, self.difficulty(x), self.ratio, hard)

    def difficulty(self, x: Tensor) -> Tensor:
        """Return how hard the teacher holds each patch of whole pictures to be, `(B, L)`; only their order counts."""
        scores: Tensor = self.teacher(x)
        return scores

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `restoration` and `difficulty`, and the mean token of each picture, gauged."""
        self._epoch = batch.epoch
        return self.terms(one_view(batch), *self.masks(batch))

    def terms(self, x: Tensor, keep: Tensor, hidden: Tensor) -> Terms:
        """Return what `step` returns, for given masks.

        Args:
            x: pictures `(B, C, H, W)`.
            keep: the seen patches, int64 `(B, K)`.
            hidden: the hidden ones, int64 `(B, M)`.
        """
        tokens = self.encoder.tokens(x, keep)
        filled = self.filler(tokens, keep, hidden, self.encoder.grid(x))
        prediction = self.decoder(filled, hidden.shape[1])
        errors = masked_patch_error(prediction, self.encoder.patches(x), hidden, self.normalise)
        scores = self.judge.means(filled, hidden.shape[1])
        restoration = errors.mean()
        difficulty = (ranking_error if self.relative else standard_error)(scores, errors)
        return {
            "loss": restoration + difficulty,
            "restoration": restoration.detach(),
            "difficulty": difficulty.detach(),
            "embeddings": tokens[:, self.encoder.prefix :].detach().mean(1)[None],
        }

    def restored(self, x: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        """Return what the hidden patches are told to be, `(B, M, P*P*C)`, in the loss's own units."""
        filled = self.filler(self.encoder.tokens(x, keep), keep, hidden, self.encoder.grid(x))
        prediction: Tensor = self.decoder(filled, hidden.shape[1])
        return prediction

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the teacher stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def after_step(self, step: int) -> None:
        self.teacher.follow(self._student(), self._epoch)

    def _student(self) -> nn.Module:
        return _Scores(self.encoder, self.filler, self.judge)


class _Scores(nn.Module):
    """What makes of whole pictures a score for each patch."""

    def __init__(self, encoder: TokenEncoder, filler: MaskedTokens, judge: PatchDecoder) -> None:
        super().__init__()
        self.encoder, self.filler, self.judge = encoder, filler, judge

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.encoder.grid(x)
        everything = torch.arange(rows * columns, device=x.device).expand(len(x), -1)
        filled = self.filler(self.encoder.tokens(x), everything, everything[:, :0], (rows, columns))
        return self.judge.means(filled, rows * columns)
