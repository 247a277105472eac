"""MAE: hide most patches of a picture, and tell their pixels from the few that are seen.

paper: Masked Autoencoders Are Scalable Vision Learners (He et al., CVPR 2022)
needs: one view, or the pictures themselves      modalities: pictures, by an encoder that reads patches
sizes: B pictures, L patches of P x P pixels in C channels, M hidden ones, K seen ones, W encoder width
differences: decoded tokens are not put back into the order of the grid, and only hidden ones leave the decoder: the
    same numbers. With `ViT(pooling="cls")` the class token goes through both networks, as in the official code; with
    the mean of the patches as features there is none, which the paper found as good.
"""

from typing import Self

from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.roles import Method, Source, Terms
from withstand.losses.restoration.reconstruction import masked_patch_error
from withstand.methods.shared.masked_pictures import accept_pictures, one_view, values_of_a_patch
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.decoder import MaskedTokens, PatchDecoder
from withstand.models.pictures.transformers.patches import TokenEncoder
from withstand.models.pictures.transformers.vit import ViT
from withstand.views.masks import random_masks


class MAE(Method):
    """Masked autoencoder: the squared error of the hidden patches' pixels, told by a light decoder.

    Reads view 0 of a batch (its samples where there are no views). Masks hang on seed, step and index alone.

    Args:
        encoder: the network to train; it sees the patches that are not hidden alone.
        depth: blocks of the decoder.
        width: of its tokens, a multiple of 4 and of `heads`.
        heads: its attention heads.
        ratio: share of the patches that is hidden: L - int(L (1 - ratio)) of them.
        normalise: ask for each patch's pixels less their mean, over their deviation.
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
        normalise: bool = True,
    ) -> None:
        super().__init__()
        values = values_of_a_patch(encoder, ratio, normalise)
        self.encoder, self.ratio, self.normalise = encoder, ratio, normalise
        self.filler = MaskedTokens(encoder.width, width)
        self.decoder = PatchDecoder(values, width, depth, heads)

    @classmethod
    def example(cls) -> Self:
        encoder = Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3)
        return cls(encoder, depth=1, width=8, heads=2)

    def accept(self, source: Source, batch: int) -> None:
        accept_pictures("MAE", source)

    def masks(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return this step's seen patches `(B, K)` and hidden ones `(B, M)`, int64."""
        rows, columns = self.encoder.grid(one_view(batch))
        return random_masks(batch.draws("mask"), rows * columns, self.ratio)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, the mean of the hidden patches' errors; the mean token of each picture is gauged."""
        return self.terms(one_view(batch), *self.masks(batch))

    def terms(self, x: Tensor, keep: Tensor, hidden: Tensor) -> Terms:
        """Return the loss and what is gauged, for given masks.

        Args:
            x: pictures `(B, C, H, W)`.
            keep: the seen patches, int64 `(B, K)`.
            hidden: the hidden ones, int64 `(B, M)`.
        """
        tokens = self.encoder.tokens(x, keep)
        prediction = self._told(x, tokens, keep, hidden)
        errors = masked_patch_error(prediction, self.encoder.patches(x), hidden, self.normalise)
        return {"loss": errors.mean(), "embeddings": tokens[:, self.encoder.prefix :].detach().mean(1)[None]}

    def restored(self, x: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        """Return what the hidden patches are told to be, `(B, M, P*P*C)`, in the loss's own units."""
        return self._told(x, self.encoder.tokens(x, keep), keep, hidden)

    def _told(self, x: Tensor, tokens: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
        filled = self.filler(tokens, keep, hidden, self.encoder.grid(x))
        prediction: Tensor = self.decoder(filled, hidden.shape[1])
        return prediction
