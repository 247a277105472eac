"""CLIP, its improved recipe, and its partners without negatives: a picture and its caption find each other.

paper: Improved baselines for vision-language pre-training (Fini, Astolfi, Romero-Soriano, Verbeek, Drozdzal; TMLR 2023)
needs: a weak view and K strong ones of each picture, and as many of its captions      modalities: pictures with texts
sizes: B pairs on this process, N over all, K strong views, E width of embeddings
differences: words are tokens, learnt from the captions, where the official code has CLIP's 49,408 pieces of words.
    Remote embeddings get gradients, which the official gather leaves out, so that several processes learn what one
    does. A caption that several pictures of a batch share is computed once, where no dropout is drawn for it.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch, unit_range
from withstand.core.devices.distributed import world_size
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.outputs import Maker, Output
from withstand.core.random import isolated
from withstand.core.roles import Method, Model, Product, Source, Terms
from withstand.data.captions.made import spoken
from withstand.data.captions.source import CAPTIONS, CaptionedClasses
from withstand.data.captions.words import Vocabulary
from withstand.losses.contrast.cross_modal import clip_loss
from withstand.losses.precision import unit_rows
from withstand.methods.shared.pairs import require_positive
from withstand.methods.shared.partners import Correlated, Partner, Predicted, Seen, check_partner, swalip
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.text_tower import TextTower
from withstand.models.tokens.zero_shot import ZeroShotClassifier, side_by_side
from withstand.views.captions import TEXTS, CaptionViews

LARGEST_SCALE = 100.0
"""The largest factor of cosines that is learnt, as published."""
Sum: TypeAlias = Literal["mean", "sum"]
"""How the losses of both directions are joined."""


class CLIPRocket(Method):
    """Two towers, for pictures and for texts, whose embeddings of one pair are alike and of two pairs are not.

    With no views beside the weak one it is plain CLIP.

    Args:
        encoder: of pictures.
        text: of texts.
        vocabulary: makes ids of texts, as of those that training reads.
        views: K.
        dim: E.
        temperature: of weak views, at the start: it is learnt.
        local_temperature: of strong views, at the start, where these have projectors of their own.
        separate: whether strong views have projectors of their own, perceptrons of three layers.
        hidden: width of these perceptrons.
        smoothing: of labels, for strong views alone.
        joined: "mean" or "sum" of both directions.
        partner: a loss beside: see `methods.shared.partners`.
        partner_hidden: width of its perceptrons; its own (3,000 or 2,048) if None.
        partner_dim: width of its projections; its own (8,192 or 128) if None.
        classes: names of classes, in words that captions have; then there is a classifier.
        templates: what is said of a class, with `{}` for its name; the mean of them stands for it.
        global_share: share of weak views' cosines in the classifier, the rest of strong ones'.
    """

    taught_by = "captions"

    def __init__(
        self,
        encoder: Model,
        text: TextTower,
        vocabulary: Vocabulary,
        *,
        views: int = 2,
        dim: int = 256,
        temperature: float = 0.07,
        local_temperature: float = 0.1,
        separate: bool = True,
        hidden: int = 4096,
        smoothing: float = 0.1,
        joined: Sum = "mean",
        partner: Partner = "none",
        partner_hidden: int | None = None,
        partner_dim: int | None = None,
        classes: Sequence[str] = (),
        templates: Sequence[str] = ("a photo of a {}",),
        global_share: float = 1.0,
    ) -> None:
        super().__init__()
        require_positive(temperature=temperature, local_temperature=local_temperature)
        self._check(text, vocabulary, views, smoothing, joined, classes, templates, global_share)
        check_partner(partner, views)
        self.encoder, self.text, self.vocabulary = encoder, text, vocabulary
        self.views, self.smoothing, self.joined, self.partner = views, smoothing, joined, partner
        self.classes, self.templates, self.global_share = tuple(classes), tuple(templates), global_share
        widths = encoder.width, text.width
        self.picture_head, self.text_head = (_linear(width, dim) for width in widths)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.local_picture_head: Model = self.picture_head
        self.local_text_head: Model = self.text_head
        self.local_log_scale = self.log_scale
        if separate and views:
            self.local_picture_head, self.local_text_head = (
                ProjectionHead(width, hidden, dim, 3, bias=True) for width in widths
            )
            self.local_log_scale = nn.Parameter(torch.tensor(-math.log(local_temperature)))
        sizes = {"hidden": partner_hidden, "dim": partner_dim}
        said = {name: size for name, size in sizes.items() if size is not None}
        self.correlated = Correlated(widths, **said) if partner == "barlip" else None
        self.predicted = Predicted(widths, **said) if partner in ("siamlip", "byolip") else None
        if self.predicted is not None and partner == "byolip":
            self.predicted.taught(encoder, text, Momentum(0.99, None))

    @staticmethod
    def _check(
        text: TextTower,
        vocabulary: Vocabulary,
        views: int,
        smoothing: float,
        joined: str,
        classes: Sequence[str],
        templates: Sequence[str],
        global_share: float,
    ) -> None:
        if views < 0:
            raise ConfigError(f"views must be at least 0, not {views!r}")
        if not 0 <= smoothing < 1:
            raise ConfigError(f"smoothing must lie in [0, 1), not {smoothing!r}")
        if not 0 <= global_share <= 1 or (global_share < 1 and not views):
            raise ConfigError(f"global_share must lie in [0, 1], and be 1 without views, not {global_share!r}")
        if joined not in get_args(Sum):
            raise ConfigError(f"joined {joined!r} is unknown: {nearest(joined, get_args(Sum))}")
        if text.word.num_embeddings != len(vocabulary) or text.context < vocabulary.context:
            raise ConfigError(
                f"the text tower knows {text.word.num_embeddings} ids and {text.context} words, the vocabulary has "
                f"{len(vocabulary)} and {vocabulary.context}"
            )
        if len(classes) == 1 or len(set(classes)) < len(classes):
            raise ConfigError(f"classes must be two or more different names, or none, not {tuple(classes)}")
        if classes and (not templates or any("{}" not in template for template in templates)):
            raise ConfigError(f"templates must hold {{}}, where a class's name goes, not {tuple(templates)}")
        for name in classes:
            for template in templates:
                vocabulary.require(template.format(spoken(name)), "the class as said")

    @classmethod
    def example(cls) -> Self:
        vocabulary = CaptionedClasses.example().vocabulary
        text = TextTower(len(vocabulary), 12, 1, 2, vocabulary.context)
        return cls(Normalized.example(), text, vocabulary, dim=6, hidden=8, classes=("ant", "bee", "cat", "dog"))

    def example_batch(self, rows: range = range(8)) -> Batch:
        source = CaptionedClasses.example()
        batch = source[list(rows)]
        texts = batch.extras[CAPTIONS][:, [0, 1, 2]]
        views = Method.example_batch(self, rows).views
        # Captions of the pictures, and views of other ones: what belongs together only the numbers say.
        return Batch(batch.x, batch.index, batch.y, (batch.x, *views), {TEXTS: texts})

    def accept(self, source: Source, batch: int) -> None:
        if CAPTIONS not in source[[0]].extras:
            raise DataError("there are no captions: give a folder of pictures with a captions.csv")

    def step(self, batch: Batch) -> Terms:
        """Return the loss, its parts, and `over_chance`, the weak views' loss over ln N: 1 is what guessing gives."""
        seen = self._seen(batch)
        z_picture = self.picture_head(seen.picture_features[0])[None]
        z_text = self.text_head(seen.text_features[0])[None]
        whole = clip_loss(z_picture, z_text, (-self.log_scale).exp())
        terms = {"clip": whole.detach(), "over_chance": whole.detach() / math.log(max(2, len(batch) * world_size()))}
        loss = whole
        if self.views:
            temperature = (-self.local_log_scale).exp()
            h_picture = torch.stack([self.local_picture_head(one) for one in seen.picture_features[1:]])
            h_text = torch.stack([self.local_text_head(one) for one in seen.text_features[1:]])
            local = clip_loss(h_picture, h_text, temperature, smoothing=self.smoothing)
            terms["local"] = local.detach()
            loss = (whole + self.views * local) / (1 + self.views)
        if self.joined == "sum":
            loss = 2 * loss
        beside: Tensor | None = None
        if self.correlated is not None:
            beside = self.correlated(seen)
        elif self.predicted is not None:
            beside = self.predicted(seen)
        elif self.partner == "swalip":
            beside = swalip(h_picture, h_text, temperature)
        if beside is not None:
            terms["partner"] = beside.detach()
            loss = loss + beside
        return {"loss": loss, **terms, "embeddings": torch.cat([z_picture, z_text]).detach()}

    def after_step(self, step: int) -> None:
        with torch.no_grad():
            for scale in (self.log_scale, self.local_log_scale):
                scale.clamp_(0.0, math.log(LARGEST_SCALE))
        if self.predicted is not None and self.predicted.teacher is not None:
            self.predicted.teacher.follow(self.predicted.student(self.encoder, self.text), step)

    def products(self) -> dict[str, Product]:
        found: dict[str, Product] = {"encoder": self.encoder}
        return found | {"classifier": self.classifier()} if self.classes else found

    def maker(self) -> Maker | None:
        """Return what names the class of each picture; None where no classes were told."""
        return self._named if self.classes else None

    def _named(self, batch: Batch) -> dict[str, Output]:
        """Return the name of each picture's class, and its probability as the classifier has it."""
        likely = self.classifier()(unit_range(batch.x)).softmax(1).max(1)
        return {
            "prediction": Output(likely.indices, "columns", self.classes),
            "probability": Output(likely.values, "columns"),
        }

    def classifier(self, global_share: float | None = None) -> ZeroShotClassifier:
        """Return the classifier of `classes`: a picture's class is the one whose texts are nearest.

        Args:
            global_share: in place of the method's own.

        Raises:
            ConfigError: it was told no classes.
        """
        if not self.classes:
            raise ConfigError("there are no classes to tell apart: name some by classes")
        heads, shares = self._heads(self.picture_head, self.local_picture_head, global_share)
        return ZeroShotClassifier.joining(
            self.encoder, heads, shares, self.class_embeddings(global_share), self._scale().detach()
        )

    @torch.no_grad()
    def class_embeddings(self, global_share: float | None = None) -> Tensor:
        """Return the mean of the unit embeddings of each class's templates, of unit length again, `(C, E)`.

        With projectors of both views the second ones' stand behind, each as long as the root of its share.
        """
        said = [template.format(spoken(name)) for name in self.classes for template in self.templates]
        with _evaluating(self.text, self.text_head, self.local_text_head):
            features = self.text(self.vocabulary.ids(said).to(self.log_scale.device))
            heads, shares = self._heads(self.text_head, self.local_text_head, global_share)
            parts = []
            for head, share in zip(heads, shares, strict=True):
                unit = unit_rows(head(features))
                mean = unit.view(len(self.classes), len(self.templates), -1).mean(1)
                parts.append(unit_rows(mean) * share**0.5)
            return torch.cat(parts, 1)

    def picture_embeddings(self, x: Tensor) -> Tensor:
        """Return the embeddings of pictures, whose inner products with texts' are cosines, `(B, E)`."""
        heads, shares = self._heads(self.picture_head, self.local_picture_head)
        return side_by_side(self.encoder(x), heads, shares)

    def text_embeddings(self, texts: Tensor) -> Tensor:
        """Return the embeddings of texts, ids `(B, L)`, as those of pictures, `(B, E)`."""
        heads, shares = self._heads(self.text_head, self.local_text_head)
        return side_by_side(self.text(texts), heads, shares)

    def _scale(self) -> Tensor:
        return self.log_scale.exp().clamp_max(LARGEST_SCALE)

    def _heads(
        self, whole: Model, local: Model, global_share: float | None = None
    ) -> tuple[list[Model], tuple[float, ...]]:
        share = self.global_share if global_share is None else global_share
        return ([whole], (1.0,)) if share == 1 else ([whole, local], (share, 1 - share))

    def _seen(self, batch: Batch) -> Seen:
        """Return what the towers make of every view; each view of pictures has its own batch statistics."""
        wanted = 1 + self.views
        texts = batch.extras.get(TEXTS)
        if texts is None or len(batch.views) != wanted or texts.shape[1] != wanted:
            raise DataError(
                f"{wanted} views of pictures and of captions are needed, as {CaptionViews.__name__} makes them, not "
                f"{len(batch.views)} and {0 if texts is None else texts.shape[1]}"
            )
        ids = texts.unbind(1)
        return Seen(batch.views, ids, [self.encoder(view) for view in batch.views], self._texts(ids))

    def _texts(self, ids: Sequence[Tensor]) -> list[Tensor]:
        """Return features of each view of the texts; texts that are drawn no noise for are computed once."""
        quiet = not (self.text.dropout and self.training)
        alike = torch.cat(list(ids)) if quiet else ids[0]
        unique, places = torch.unique(alike, dim=0, return_inverse=True)
        features = self.text(unique)[places]
        if quiet:
            return list(features.split(len(ids[0])))
        with isolated():  # dropout draws from the global generator, which the engine sets for each step
            noisy = self.text(torch.cat(list(ids[1:])), noisy=True) if len(ids) > 1 else features[:0]
        return [features, *noisy.split(len(ids[0]))]


@contextmanager
def _evaluating(*networks: nn.Module) -> Iterator[None]:
    """Hold networks in eval mode."""
    modes = [(network, network.training) for network in networks]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network, training in modes:
            network.train(training)


def _linear(width: int, dim: int) -> ProjectionHead:
    """Return a linear projector without bias, which starts as CLIP's does."""
    head = ProjectionHead(width, width, dim, 1, last_bias=False)
    for layer in head.steps:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=width**-0.5)
    return head
