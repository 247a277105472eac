"""GOPro and CoOp: a few learnt words before the name of each class, for a network of pictures and texts that stays.

paper: GOPro: Generate and Optimize Prompts in CLIP using Self-Supervised Learning (Singha, Jha, Banerjee; BMVC 2023)
needs: the picture, a view with other colors, and one mixed by AugMix; labels          modalities: pictures
sizes: B pictures, C classes, M words of the context, E width of embeddings
differences: every picture has a view of its own by AugMix, where the official code gives views of the batch's first
    picture. Views are made of whole pictures, not of crops that were normalised already. A class's name ends the text,
    without a full stop. As in the code, the contrast weighs 0.1, and no prompt hangs on it: pictures' embeddings are
    frozen, so it moves a projector alone, which is thrown away (there the projector is frozen too).
"""

from collections.abc import Sequence
from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.outputs import Maker, Output
from withstand.core.roles import Method, Model, Product, Source, Terms
from withstand.data.captions.made import spoken
from withstand.data.captions.source import CaptionedClasses
from withstand.data.captions.words import Vocabulary
from withstand.losses.contrast.contrastive import nt_xent
from withstand.losses.precision import full_precision, unit_rows
from withstand.methods.shared.labelled import accuracy
from withstand.methods.shared.pairs import require_positive
from withstand.methods.shared.wrappers.continued import take_over
from withstand.methods.shared.wrappers.held_encoder import HeldEncoder
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.taps import block_names, with_layers
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.picture_prompts import (
    PicturePrompts,
    PromptedClassifier,
    name_ids,
    places_of,
    prompted_texts,
)
from withstand.models.tokens.text_tower import TextTower
from withstand.models.tokens.towers import HasTowers, Towers
from withstand.models.tokens.zero_shot import ZeroShotClassifier

Prompts: TypeAlias = Literal["gopro", "coop"]
"""Whether what is learnt hangs on the picture, or is the same for all (Zhou et al., CoOp, 2022)."""
Distance: TypeAlias = Literal["squared", "cosine"]
"""How texts of two views are compared: the mean of squared differences of numbers, or 1 less the cosine, twice."""


class GOPro(HeldEncoder):
    """Learns the words of a context, and what a picture adds to them; towers and projectors stay as they are.

    Args:
        clip: the network of pictures and texts; it takes the weights of the run's earlier stage.
        vocabulary: makes ids of words, as of those that it learnt from.
        classes: all names, in words that captions had.
        shape: of a picture, (C, H, W).
        base: how many of the classes, the first ones, are learnt from; all if None.
        context: words before a class's name, from which is started.
        prompts: "gopro" or "coop".
        own: whether a picture has a shift for each word of the context; else one for all, as in the official code.
        consistency: what the distance between texts of two views weighs.
        distance: "squared", as published, or "cosine", which is as many times larger as E.
        contrast: what the contrast of pictures' views weighs.
        temperature: tau, of the contrast.

    Raises:
        ConfigError: classes with unknown words, fewer than two base classes, or a weight out of range.
    """

    taught_by = "few labels"

    start: Tensor

    def __init__(
        self,
        clip: Towers,
        vocabulary: Vocabulary,
        classes: Sequence[str],
        shape: tuple[int, int, int],
        *,
        base: int | None = None,
        context: str = "a photo of a",
        prompts: Prompts = "gopro",
        own: bool = False,
        consistency: float = 1.0,
        distance: Distance = "squared",
        contrast: float = 0.1,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        self.classes, self.context_words = tuple(classes), context
        self.base = len(self.classes) if base is None else base
        self.vocabulary = vocabulary
        self._check(clip, prompts, distance, {"consistency": consistency, "contrast": contrast})
        require_positive(temperature=temperature)
        self.clip = clip.requires_grad_(False).eval()
        self.kind, self.consistency, self.distance, self.temperature = prompts, consistency, distance, temperature
        self.contrast_weight = contrast
        words = vocabulary.ids([context])[0]
        self.register_buffer("start", words, persistent=False)
        self.context = nn.Parameter(clip.text.word(words).detach().clone())
        self.layers: tuple[str, ...] = ()
        self.prompts: PicturePrompts | None = None
        self.head: nn.Module | None = None
        if prompts == "gopro":
            self.layers = block_names(clip.encoder)
            widths = _widths(clip.encoder, self.layers, shape)
            self.prompts = PicturePrompts(widths, clip.text.width, len(words) if own else 1)
            width = clip.picture_head.width
            self.head = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)) if contrast else None

    def _check(self, clip: Towers, prompts: str, distance: str, weights: dict[str, float]) -> None:
        if prompts not in get_args(Prompts):
            raise ConfigError(f"prompts {prompts!r} is unknown: {nearest(prompts, get_args(Prompts))}")
        if distance not in get_args(Distance):
            raise ConfigError(f"distance {distance!r} is unknown: {nearest(distance, get_args(Distance))}")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ConfigError(f"classes must be two or more different names, not {self.classes}")
        if not 2 <= self.base <= len(self.classes):
            raise ConfigError(f"base must lie in [2, {len(self.classes)}], the number of classes, not {self.base!r}")
        for name, value in weights.items():
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name}, a weight, must be at least 0 and finite, not {value!r}")
        if clip.text.word.num_embeddings != len(self.vocabulary):
            known = clip.text.word.num_embeddings
            raise ConfigError(f"the text tower knows {known} ids, and the vocabulary has {len(self.vocabulary)}")
        self.vocabulary.require(self.context_words, "the context")
        for name in self.classes:
            self.vocabulary.require(self.said(name), "the class as said")

    @classmethod
    def example(cls) -> Self:
        vocabulary = CaptionedClasses.example().vocabulary
        encoder, text = Normalized.example(), TextTower(len(vocabulary), 12, 1, 2, vocabulary.context)
        heads = (ProjectionHead(one.width, 1, 6, 1, last_bias=False) for one in (encoder, text))
        classes = ("ant", "bee", "cat", "dog")
        return cls(Towers(encoder, text, *heads), vocabulary, classes, (3, 8, 8), context="a photo of")

    def example_batch(self, rows: range = range(8)) -> Batch:
        plain = super().example_batch(rows)
        return plain.with_views(plain.x, *plain.views)

    def held_encoder(self) -> Model:
        """Return the frozen encoder of pictures."""
        return self.clip.encoder

    def said(self, name: str) -> str:
        """Return what is said of a class before anything is learnt."""
        return f"{self.context_words} {spoken(name)}"

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the frozen network, which stays in eval mode."""
        super().train(mode)
        self.clip.eval()
        return self

    def inherit(self, earlier: Method) -> None:
        """Take over a network of pictures and texts, and start from its words.

        Raises:
            ConfigError: the earlier stage is none, or one of another make.
        """
        if not isinstance(earlier, HasTowers):
            raise ConfigError(
                f"prompts are learnt for a network of pictures and texts, as clip-rocket trains it, not for "
                f"{type(earlier).__name__}"
            )
        for name in ("encoder", "text", "picture_head", "text_head"):
            take_over(getattr(self.clip, name), getattr(earlier, name))
        with torch.no_grad():
            self.clip.log_scale.copy_(earlier.log_scale)
            self.context.copy_(self.clip.text.word(self.start))

    def accept(self, source: Source, batch: int) -> None:
        if source.labels is None:
            raise DataError(f"prompts are learnt from labelled pictures, and {source.name} has no labels")
        highest = int(source.labels.max())
        if highest >= self.base:
            raise DataError(f"labels go up to {highest}, and prompts are learnt from the first {self.base} classes")

    def step(self, batch: Batch) -> Terms:
        """Return the loss, and its parts `classes`, `consistency`, `contrast`, with the accuracy."""
        if batch.y is None:
            raise DataError("prompts are learnt from labelled pictures, and these have no labels")
        wanted = 3 if self.prompts is not None and (self.consistency or self.contrast_weight) else 1
        views = batch.views if batch.views else (batch.x,)
        if len(views) < wanted:
            raise DataError(f"{wanted} views are needed: the picture, its colors changed, and mixed, not {len(views)}")
        count = len(batch)
        seen = torch.cat([unit_range(view, self.context.dtype) for view in views[:wanted]])
        with torch.no_grad():
            features, layers = with_layers(self.encoder, seen, self.layers)
            pictures = unit_rows(self.clip.picture_head(features))
        names, lengths = self.names(self.classes[: self.base])
        context = self.context[None] if self.prompts is None else self.context + self.prompts(layers)
        texts = prompted_texts(self.clip.text, self.clip.text_head, names, lengths, context)
        logits = (texts[: min(count, len(texts))] @ pictures[:count, :, None])[:, :, 0] * self.clip.scale()
        loss = cross_entropy(logits, batch.y)
        terms = {"classes": loss.detach(), "accuracy": accuracy(logits, batch.y)}
        if wanted == 3:
            one, colored, mixed = (texts[start : start + count] for start in (0, count, 2 * count))
            if self.consistency:
                apart = self.apart(one, colored) + self.apart(one, mixed)
                loss, terms["consistency"] = loss + self.consistency * apart, apart.detach()
            if self.head is not None:
                against = nt_xent(self.head(pictures[:count]), self.head(pictures[count : 2 * count]), self.temperature)
                loss, terms["contrast"] = loss + self.contrast_weight * against, against.detach()
        return {"loss": loss, **terms}

    def apart(self, one: Tensor, other: Tensor) -> Tensor:
        """Return how far the texts of two views are from each other, 0-d, at least 0."""
        return _apart(one, other) if self.distance == "squared" else _apart(one, other) * one.shape[-1]

    def names(self, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return the ids of classes' words, `(C, L)`, and how many each has, `(C,)`."""
        ids, lengths = name_ids(self._ids(classes))
        return ids.to(self.context.device), lengths.to(self.context.device)

    def products(self) -> dict[str, Product]:
        return {"encoder": self.encoder, "classifier": self.classifier()}

    def classifier(self, classes: Sequence[str] = ()) -> nn.Module:
        """Return the classifier of all classes, or of others that are told by names, which takes no training.

        Raises:
            ConfigError: fewer than two names, or one with a word that no caption had.
        """
        classes = tuple(classes) or self.classes
        for name in classes:
            self.vocabulary.require(self.said(name), "the class as said")
        if self.prompts is not None:
            return PromptedClassifier.joining(
                self.encoder, self.clip.picture_head, self.clip.text, self.clip.text_head, self.prompts, self.layers,
                self._ids(classes), self.context, self.clip.scale(),
            )  # fmt: skip
        return self._constant(classes, self.context)

    def plain(self, classes: Sequence[str] = ()) -> nn.Module:
        """Return the classifier without anything learnt: the context as it is said, then the name."""
        return self._constant(tuple(classes) or self.classes, self.clip.text.word(self.start))

    @torch.no_grad()
    def _constant(self, classes: Sequence[str], context: Tensor) -> nn.Module:
        names, lengths = self.names(classes)
        (texts,) = prompted_texts(self.clip.text, self.clip.text_head, names, lengths, context[None])
        return ZeroShotClassifier.joining(self.encoder, [self.clip.picture_head], (1.0,), texts, self.clip.scale())

    @torch.no_grad()
    def nearest_words(self, x: Tensor, count: int = 3) -> list[list[tuple[str, float]]]:
        """Return the words nearest to each of the context, by the distance of vectors, with the distances.

        Args:
            x: pictures in [0, 1], whose mean shift is added where prompts hang on pictures.
            count: how many words each.
        """
        context = self.context
        if self.prompts is not None:
            context = context + self.prompts(with_layers(self.encoder, x, self.layers)[1]).mean(0)
        known = self.vocabulary.words
        apart = torch.cdist(context.double(), self.clip.text.word.weight[-len(known) :].double())
        found = apart.topk(min(count, len(known)), dim=1, largest=False)
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [[(known[place], far) for place, far in zip(*one, strict=True)] for one in pairs]

    def maker(self) -> Maker:
        return self.named

    def named(self, batch: Batch, *, classes: tuple[str, ...] = ()) -> dict[str, Output]:
        """Return the name of each picture's class, and its probability as the classifier has it.

        Args:
            batch: pictures.
            classes: names to tell apart in place of the run's own, in words that captions had.
        """
        likely = self.classifier(classes)(unit_range(batch.x)).softmax(1).max(1)
        return {
            "prediction": Output(likely.indices, "columns", tuple(classes) or self.classes),
            "probability": Output(likely.values, "columns"),
        }

    def _ids(self, classes: Sequence[str]) -> list[list[int]]:
        ids = self.vocabulary.ids([spoken(name) for name in classes])
        return [[word for word in row if word] for row in ids.tolist()]


@full_precision
def _apart(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).square().mean()


def _widths(encoder: Model, layers: Sequence[str], shape: tuple[int, int, int]) -> list[int]:
    """Return how wide each layer is.

    Raises:
        ConfigError: the encoder says of no layers.
        DataError: pictures that it does not take.
    """
    if not layers:
        raise ConfigError(f"{type(encoder).__name__} says of no layers: take a resnet or a vit for the pictures")
    parameter = next(encoder.parameters())
    mode = encoder.training
    with torch.no_grad():
        _, found = with_layers(encoder.eval(), torch.zeros(2, *shape, device=parameter.device), layers)
    encoder.train(mode)
    return [places_of(one).shape[2] for one in found]
