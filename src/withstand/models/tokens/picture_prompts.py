"""Prompts that hang on a picture: words of its own before the name of each class.

GOPro: Generate and Optimize Prompts in CLIP using Self-Supervised Learning (Singha, Jha, Banerjee, 2023).
Sizes: `B` pictures, `T` places of a layer, `W` its width, `M` words of a context, `C` classes, `L` words of the longest
name, `H` width of words, `E` width of embeddings.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Part
from withstand.core.roles import Model
from withstand.losses.precision import full_precision, unit_rows
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.taps import with_layers
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.text_tower import TextTower

EPS = 2.3e-8
"""Added to the sum of squares before the root, as in the official code."""
_CLASSES_AT_ONCE = 64
"""A number that does not hang on the batch's size, which exporters leave open."""


def places_of(layer: Tensor) -> Tensor:
    """Return what a layer gives as one row a place, `(B, T, W)`, of tokens shaped so or of maps `(B, W, H, W')`.

    Raises:
        DataError: neither tokens nor maps.
    """
    if layer.dim() not in (3, 4):
        raise DataError(f"a layer gives tokens (B, T, W) or maps (B, C, H, W), not {tuple(layer.shape)}")
    return layer if layer.dim() == 3 else layer.flatten(2).mT


@full_precision
def content_and_style(places: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over places, and half the sum of it and of the standard deviation over places, `(B, W)` each.

    Args:
        places: `(B, T, W)`, in any order.
    """
    mean = places.mean(1)
    squares = (places - mean[:, None]).square().sum(1)
    deviation = ((squares + EPS) / places.shape[1]).sqrt()
    return mean, (mean + deviation) / 2


class PicturePrompts(Part, nn.Module):
    """What is added to the words of a context, from the content and the style of each layer of a picture's encoder.

    Both are mapped linearly, layer by layer, averaged, and summed over the layers with learnt weights.

    Args:
        widths: W of each layer.
        width: H.
        words: M, for a shift of each word's own; 1 for one that all share, as in the official code.

    Raises:
        ConfigError: no layers, or a width or a number of words below 1.
    """

    def __init__(self, widths: Sequence[int], width: int, words: int = 1) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or width < 1 or words < 1:
            raise ConfigError(f"widths, width and words must be at least 1, not {tuple(widths)}, {width!r}, {words!r}")
        self.contents, self.styles = (nn.ModuleList(nn.Linear(one, width) for one in widths) for _ in range(2))
        self.join = nn.Linear(len(widths), words)

    @classmethod
    def example(cls) -> Self:
        return cls((4, 6), 8, 2)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """Return the shifts `(B, 1 or M, H)` from what each layer gives, `(B, T, W)` or `(B, W, H, W')`."""
        mixed = []
        for layer, content, style in zip(layers, self.contents, self.styles, strict=True):
            mean, both = content_and_style(places_of(layer))
            mixed.append((content(mean) + style(both)) / 2)
        shifts: Tensor = self.join(torch.stack(mixed, 2)).mT
        return shifts


def prompted_texts(
    text: TextTower, projector: nn.Module, names: Tensor, lengths: Tensor, context: Tensor, at_once: int = 0
) -> Tensor:
    """Return the unit embeddings of every class behind every picture's context, `(B, C, E)`.

    Texts are as long as the context and the longest name, not as what the tower could read.

    Args:
        text: the tower.
        projector: of its features.
        names: ids of the classes' words, `(C, L)`, 0 after a name's end.
        lengths: how many words each name has, `(C,)`.
        context: `(B, M, H)`.
        at_once: classes at a time, to bound memory; 0 for all.
    """
    count, words = context.shape[:2]
    parts = []
    step = at_once or len(names)
    for start in range(0, len(names), step):
        own = text.word(names[start : start + step])
        classes = len(own)
        before = context[:, None].expand(-1, classes, -1, -1)
        whole = torch.cat([before, own.expand(count, -1, -1, -1).to(before.dtype)], 2).flatten(0, 1)
        ends = (lengths[start : start + step] + words).expand(count, -1).flatten()
        unit = unit_rows(projector(text.read(whole, ends)))
        parts.append(unit.view(-1, classes, unit.shape[1]))
    return torch.cat(parts, 1)


class PromptedClassifier(Part, nn.Module):
    """Pictures in [0, 1] in, logits `(B, C)` out: cosines with the classes behind the picture's own context.

    Args:
        encoder: of pictures.
        projector: of its features.
        text: of texts.
        text_projector: of its features.
        prompts: what makes of the encoder's layers what is added to the context.
        layers: names of these layers in the encoder.
        names: ids of the words of each class, at least two.
        words: M.
    """

    names: Tensor
    lengths: Tensor
    scale: Tensor

    def __init__(
        self,
        encoder: Model,
        projector: Model,
        text: TextTower,
        text_projector: Model,
        prompts: PicturePrompts,
        layers: Sequence[str],
        names: Sequence[Sequence[int]],
        words: int,
    ) -> None:
        super().__init__()
        if len(names) < 2 or not all(names):
            raise ConfigError("a classifier needs at least 2 classes, each of a word or more")
        self.encoder, self.projector, self.text, self.text_projector = encoder, projector, text, text_projector
        self.prompts, self.layers = prompts, tuple(layers)
        self.context = nn.Parameter(torch.zeros(words, text.width))
        self.register_buffer("scale", torch.ones(()))
        ids, lengths = name_ids(names)
        # Part of the configuration, so not of the state.
        self.register_buffer("names", ids, persistent=False)
        self.register_buffer("lengths", lengths, persistent=False)

    @classmethod
    def example(cls) -> Self:
        encoder, text = Normalized.example(), TextTower.example()
        prompts = PicturePrompts((2, 16), text.width)
        heads = [ProjectionHead(one.width, 1, 4, 1, last_bias=False) for one in (encoder, text)]
        return cls(
            encoder, heads[0], text, heads[1], prompts, (encoder.stages[0], encoder.stages[-1]), ((2,), (3, 4)), 2
        )

    @classmethod
    def joining(
        cls,
        encoder: Model,
        projector: Model,
        text: TextTower,
        text_projector: Model,
        prompts: PicturePrompts,
        layers: Sequence[str],
        names: Sequence[Sequence[int]],
        context: nn.Parameter,
        scale: Tensor,
    ) -> Self:
        """Return one of these networks themselves, weights shared, and of a context `(M, H)`."""
        made = cls(encoder, projector, text, text_projector, prompts, layers, names, len(context))
        made.context, made.scale, made.training = context, scale.detach(), encoder.training
        made.names, made.lengths = made.names.to(context.device), made.lengths.to(context.device)
        return made

    def forward(self, x: Tensor) -> Tensor:
        features, layers = with_layers(self.encoder, x, self.layers)
        context = self.context + self.prompts(layers)
        texts = prompted_texts(
            self.text, self.text_projector, self.names, self.lengths, context, at_once=_CLASSES_AT_ONCE
        )
        pictures = unit_rows(self.projector(features))
        return (texts @ pictures[:, :, None])[:, :, 0] * self.scale


def name_ids(names: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Return names' ids side by side, `(C, L)`, 0 after a name's end, and how many words each has, `(C,)`."""
    lengths = torch.tensor([len(one) for one in names], dtype=torch.int64)
    ids = torch.zeros(len(names), int(lengths.max()), dtype=torch.int64)
    for row, one in enumerate(names):
        ids[row, : len(one)] = torch.tensor(one, dtype=torch.int64)
    return ids, lengths
