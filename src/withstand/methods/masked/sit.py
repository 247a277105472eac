"""SiT: restore pictures in which groups of blocks are replaced, and tell whose they are from what is left of them.

paper: SiT: Self-supervised vIsion Transformer (Atito, Awais, Kittler; 2021), in the second version of its official code
needs: two views            modalities: pictures, by an encoder that reads patches
sizes: B pictures on this process, N over all, of C channels, H x W pixels; L patches of P x P pixels, W encoder width
differences: the first version's turned pictures and learnt weights of tasks are not here. What is corrupted, and by
    what, hangs on seed, step and index; a donor may come from any process, where the code looks on its own. The code
    can also fill blocks with other regions of the same picture, which its runs do not. Linear layers have no idle bias
    before a normalisation. The library's ViT has fixed positions and no stochastic depth; without a class token, as in
    `ViT(pooling="mean")`, the mean of the patches stands in its place.
"""

from collections.abc import Sequence
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.distributed import gather
from withstand.core.errors import ConfigError, DataError, nearest, require_at_least
from withstand.core.roles import Method, Source, Terms
from withstand.losses.contrast.momentum_contrast import info_nce_across
from withstand.losses.restoration.reconstruction import absolute_error_where
from withstand.methods.shared.masked_pictures import accept_pictures, summary
from withstand.methods.shared.pairs import pair_terms, require_positive, view_pair
from withstand.models.blocks.memory.ema import Momentum, Teacher
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.decoder import LightDecoder
from withstand.models.pictures.transformers.patches import TokenEncoder, cut, with_patches
from withstand.models.pictures.transformers.vit import ViT
from withstand.views.masks import block_masks

Fill = Literal["zeros", "noise"]
MOMENTUM = Momentum(0.996, 1.0)


class SiT(Method):
    """Group-masked model learning beside contrast: a student sees corrupted views, its teacher clean ones.

    A view loses blocks to one of `fills`, or, as likely as to each of these, to the same places of a donor: a picture
    that is drawn from the global batch, maybe the picture itself. Attributes `head` and `teacher` are there with
    `contrast` alone, `decoder` with `restore` alone.

    Args:
        encoder: the network to train.
        restore: learn to restore what the blocks hid: the mean absolute error of their pixels, normalised as the
            encoder normalises them.
        contrast: learn to find a view's picture among the teacher's keys of the other clean view.
        weight: lambda, of the restoration; the official code advises 5 for small data.
        drop: least share of a view's pixels that blocks of a fill cover; above 0.5 it is drawn from [0.5, drop).
        replace: share that blocks of a donor cover, likewise; 0 for no donors.
        fills: what blocks are filled with: "zeros", a mean pixel, or "noise", standard normal, both as the network
            reads pixels. Without any, all come from donors.
        align: blocks are made of squares of this side, pixels; the side of a patch for whole patches.
        hidden: width of the head's hidden layers.
        dim: of the projection.
        temperature: tau of the contrast.
        momentum: of the teacher.
    """

    encoder: TokenEncoder

    def __init__(
        self,
        encoder: TokenEncoder,
        *,
        restore: bool = True,
        contrast: bool = True,
        weight: float = 1.0,
        drop: float = 0.5,
        replace: float = 0.3,
        fills: Sequence[Fill] = ("zeros",),
        align: int = 1,
        hidden: int = 4096,
        dim: int = 256,
        temperature: float = 0.2,
        momentum: Momentum = MOMENTUM,
    ) -> None:
        super().__init__()
        encoder = with_patches(encoder)
        require_positive(weight=weight, temperature=temperature)
        for name, share in (("drop", drop), ("replace", replace)):
            if not 0 <= share < 1:
                raise ConfigError(f"{name}, a share of the pixels, must lie in [0, 1), not {share!r}")
        for fill in fills:
            if fill not in get_args(Fill):
                raise ConfigError(f"fill {fill!r} is unknown: {nearest(str(fill), get_args(Fill))}")
        if align < 1:
            raise ConfigError(f"align must be at least 1 pixel, not {align!r}")
        if not restore and not contrast:
            raise ConfigError("restore and contrast are both off: nothing is learnt")
        if restore and not replace and not (drop and fills):
            raise ConfigError(f"nothing is hidden that restore could learn from: drop={drop!r}, replace={replace!r}")
        self.encoder, self.weight, self.temperature = encoder, weight, temperature
        self.drop, self.replace, self.fills, self.align = drop, replace, tuple(fills), align
        self.decoder = LightDecoder(encoder.width, encoder.patch, encoder.channels) if restore else None
        self.head: nn.Module | None = None
        self.teacher: Teacher[_Keys] | None = None
        if contrast:
            self.head = _head(encoder.width, hidden, dim)
            self.teacher = Teacher(_Keys(encoder, self.head), momentum)

    @classmethod
    def example(cls) -> Self:
        return cls(Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3), hidden=12, dim=10)

    def accept(self, source: Source, batch: int) -> None:
        accept_pictures("SiT", source)

    def before_run(self, steps: int) -> None:
        if self.teacher is not None:
            self.teacher.before_run(steps)

    def corrupted(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return this step's clean views in [0, 1], and what the student sees of them: first views, then second ones.

        Returns:
            clean: the views, `(2 B, C, H, W)`.
            seen: the corrupted ones, likewise, as the encoder takes pictures; fills may lie beyond [0, 1].
            hidden: which pixels blocks cover, bool `(2 B, H, W)`; elsewhere both are equal.

        Raises:
            ConfigError: `align` or the shares do not fit the views' size.
            DataError: there are not two views of one size.
        """
        one, two = view_pair(batch)
        if one.shape != two.shape:
            raise DataError(f"SiT's two views need one size, not {tuple(one.shape[1:])} and {tuple(two.shape[1:])}")
        pairs = [self._corrupted(batch, view, place) for place, view in enumerate((one, two))]
        return (
            unit_range(torch.cat([one, two])),
            torch.cat([pair[0] for pair in pairs]),
            torch.cat([pair[1] for pair in pairs]),
        )

    def _corrupted(self, batch: Batch, x: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """Return a view `(B, C, H, W)` with blocks of something else, and where they are, bool `(B, H, W)`."""
        draws = batch.draws("corruption").child(place)
        given = draws.chance(1 / (len(self.fills) + 1) if self.replace else 0.0, 1)[:, 0]
        shares = (self.drop if self.fills else 0.0, self.replace)
        most = torch.tensor(shares, dtype=torch.float64, device=draws.device)[given.to(torch.int64)]
        least = most.clamp(max=0.5)
        share = least + (most - least) * draws.uniform(1)[:, 0]
        hidden = block_masks(draws.child("blocks"), (x.shape[2], x.shape[3]), share, align=self.align)
        hidden, given = hidden.to(x.device), given.to(x.device)
        clean = other = unit_range(x)
        if self.fills:
            other = self._filled(draws.integers(0, len(self.fills), 1)[:, 0].to(x.device), batch, clean, place)
        if self.replace:
            everyone = gather(x)
            donors = batch.draws("donors").child(place).integers(0, len(everyone), 1)[:, 0]
            donated = unit_range(everyone[donors.to(x.device)])
            other = torch.where(given[:, None, None, None], donated, other)
        return torch.where(hidden[:, None], other, clean), hidden

    def _filled(self, which: Tensor, batch: Batch, x: Tensor, place: int) -> Tensor:
        """Return pictures shaped like `x` of each sample's fill alone."""
        grid, patches = self.encoder.grid(x), self.encoder.patches(x)
        filled = torch.zeros_like(patches)
        if "noise" in self.fills:
            noise = batch.draws("noise").child(place).normal(*patches.shape[1:]).to(patches)
            noisy = torch.tensor([fill == "noise" for fill in self.fills], device=x.device)[which]
            filled = torch.where(noisy[:, None, None], noise, filled)
        return self.encoder.pixels(filled, grid)

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts `restoration` and `contrast`, unweighted, and corrupted views' embeddings."""
        return self.terms(*self.corrupted(batch))

    def terms(self, clean: Tensor, seen: Tensor, hidden: Tensor) -> Terms:
        """Return what `step` returns, for given corruptions; see `corrupted`."""
        tokens = self.encoder.tokens(seen)
        features = summary(tokens, self.encoder.prefix)
        loss, parts = features.new_zeros(()), {}
        if self.decoder is not None:
            told = self.decoder(tokens[:, self.encoder.prefix :])
            within = cut(hidden[:, None].expand(-1, self.encoder.channels, -1, -1), self.encoder.patch)
            restoration = absolute_error_where(told, self.encoder.patches(clean), within)
            loss, parts["restoration"] = loss + self.weight * restoration, restoration.detach()
        projected = features
        if self.head is not None and self.teacher is not None:
            projected = self.head(features)
            (one, two), (key1, key2) = projected.chunk(2), self.teacher(clean).chunk(2)
            first = info_nce_across(one, key2, self.temperature)
            contrast = 2 * self.temperature * (first + info_nce_across(two, key1, self.temperature))
            loss, parts["contrast"] = loss + contrast, contrast.detach()
        return pair_terms(loss, *projected.chunk(2)) | parts

    def restored(self, x: Tensor) -> Tensor:
        """Return the whole pictures that are told of corrupted ones, both `(B, C, H, W)` as the encoder takes them.

        Raises:
            ConfigError: `restore` is off.
        """
        if self.decoder is None:
            raise ConfigError("restore is off: this SiT has not learnt to restore pictures")
        told = self.decoder(self.encoder.tokens(x)[:, self.encoder.prefix :])
        return self.encoder.pixels(told, self.encoder.grid(x))

    def after_step(self, step: int) -> None:
        if self.head is not None and self.teacher is not None:
            self.teacher.follow(_Keys(self.encoder, self.head), step - 1)  # its first move is by the first momentum


class _Keys(nn.Module):
    """What makes of clean pictures a key for each."""

    def __init__(self, encoder: TokenEncoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor) -> Tensor:
        keys: Tensor = self.head(summary(self.encoder.tokens(x), self.encoder.prefix))
        return keys


def _head(width: int, hidden: int, dim: int) -> nn.Sequential:
    """Return the projection head of the official code, which has a ReLU and a GELU."""
    require_at_least(1, hidden=hidden, dim=dim)
    first, second, third = (
        nn.Linear(before, after, bias=False) for before, after in ((width, hidden), (hidden, hidden), (hidden, dim))
    )
    for linear in (first, second, third):
        nn.init.trunc_normal_(linear.weight, std=0.02)
    return nn.Sequential(
        *(first, nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)),
        *(second, nn.BatchNorm1d(hidden), nn.GELU()),
        *(third, nn.BatchNorm1d(dim, affine=False)),
    )
