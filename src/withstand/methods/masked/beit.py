"""BEiT: tell, of hidden patches, which token each is, out of a vocabulary that was made before.

paper: BEiT: BERT Pre-Training of Image Transformers (Bao et al., ICLR 2022)
needs: one view, or the pictures themselves      modalities: pictures, by an encoder that reads patches
sizes: B pictures, L patches of P x P pixels in C channels, n hidden ones in all pictures together, K tokens
differences: the paper's tokenizer is DALL-E's, a network trained on many millions of pictures; here tokens are the K
    clusters (k-means) of the training set's own patches, found before the first epoch. The smallest block of hidden
    patches is the code's share of the grid, 16 of 196, on any grid. Positions are fixed, and layers start as the
    library's ViT does.
"""

from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from withstand.core.batch import Batch
from withstand.core.devices.distributed import mean_of_all
from withstand.core.errors import ConfigError
from withstand.core.random import derive
from withstand.core.roles import Epoch, Source, Terms
from withstand.losses.precision import full_precision
from withstand.methods.shared.clusters import k_means_labels
from withstand.methods.shared.masked_pictures import FilledMethod, blocks_of_patches, one_view, values_of_a_patch
from withstand.models.blocks.pick import pick
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.patches import TokenEncoder
from withstand.models.pictures.transformers.vit import ViT

_EACH = 4
"""Patches that each picture gives to the search for tokens."""
_A_TOKEN = 32
"""Patches a token that the search goes through at most."""


class BEiT(FilledMethod):
    """Masked prediction of tokens: their cross-entropy.

    Reads view 0 of a batch (its samples where there are no views). Masks hang on seed, step and index alone.

    Args:
        encoder: the network to train; it sees all places, hidden ones as one learnt token.
        vocabulary: K, the number of tokens.
        ratio: share of the patches that blocks of them hide, or somewhat less.
    """

    codes: Tensor

    def __init__(self, encoder: TokenEncoder, *, vocabulary: int = 8192, ratio: float = 0.4) -> None:
        values = values_of_a_patch(encoder, ratio, False)
        if vocabulary < 2:
            raise ConfigError(f"vocabulary must be at least 2 tokens, not {vocabulary!r}")
        super().__init__(encoder, vocabulary)
        self.ratio = ratio
        self.register_buffer("codes", torch.randn(vocabulary, values))

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3), vocabulary=5)

    def accept(self, source: Source, batch: int) -> None:
        super().accept(source, batch)
        if len(source) * _EACH < len(self.codes):
            raise ConfigError(
                f"vocabulary {len(self.codes)} is more than {_EACH} patches of each of the {len(source)} samples: use "
                f"{len(source) * _EACH} or fewer"
            )

    def before_epoch(self, epoch: Epoch) -> None:
        """Find the tokens, before the first epoch."""
        if epoch.number:
            return
        seed = derive(epoch.seed, "tokens")
        generator = torch.Generator().manual_seed(seed)

        def some(x: Tensor) -> Tensor:
            patches = self.encoder.patches(x)
            places = torch.randint(patches.shape[1], (len(x), _EACH), generator=generator)
            return pick(patches, places.to(patches.device))

        found = epoch.pass_over(some).flatten(0, 1).to(self.codes.dtype)
        order = torch.randperm(len(found), generator=generator)[: _A_TOKEN * len(self.codes)]
        found = found[order.to(found.device)]
        labels = k_means_labels(found, len(self.codes), seed)
        sums = torch.zeros_like(self.codes).index_add_(0, labels, found)
        counts = labels.bincount(minlength=len(self.codes))[:, None]
        self.codes.copy_(torch.where(counts > 0, sums / counts.clamp_min(1), self.codes))

    def masks(self, batch: Batch) -> Tensor:
        """Return which patches are hidden, bool `(B, L)`."""
        return blocks_of_patches(batch.draws("mask"), self.encoder.grid(one_view(batch)), self.ratio)

    def step(self, batch: Batch) -> Terms:
        """Return the loss and the share of right tokens, `accuracy`; the mean token of each picture is gauged."""
        return self.terms(one_view(batch), self.masks(batch))

    def terms(self, x: Tensor, hidden: Tensor) -> Terms:
        """Return what `step` returns, for given hidden patches, bool `(B, L)`."""
        told, tokens = self.told(x, hidden)
        wanted = nearest_code(self.encoder.patches(x)[hidden], self.codes)
        return {
            "loss": mean_of_all(_errors(told, wanted)),
            "accuracy": mean_of_all((told.detach().argmax(1) == wanted).to(self.codes.dtype)),
            "embeddings": tokens.detach().mean(1)[None],
        }


@full_precision
@torch.no_grad()
def nearest_code(patches: Tensor, codes: Tensor) -> Tensor:
    """Return which of the codes `(K, F)` is nearest to each patch `(n, F)`, int64 `(n,)`."""
    codes = codes.to(patches.dtype)
    return (codes.square().sum(1) - 2 * patches @ codes.T).argmin(1)


@full_precision
def _errors(logits: Tensor, wanted: Tensor) -> Tensor:
    return cross_entropy(logits, wanted, reduction="none")
