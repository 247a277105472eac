"""How well pictures and captions find each other, and classes that are only told in words.

Sizes: `N` pictures, `M` captions of all of them, `E` width of embeddings, `C` classes.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import HIGH, LOW, Cell, Check, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.captions.source import CAPTIONS, CaptionedClasses
from withstand.evaluation.statistics.intervals import Share
from withstand.losses.contrast.cross_modal import clip_loss

TO_TEXT, TO_PICTURE = "picture to caption", "caption to picture"
OVER_CHANCE = "loss over ln N"
ZERO_SHOT = "zero-shot accuracy"
_AT_ONCE = 256


@runtime_checkable
class TwoTowers(Protocol):
    """What embeds pictures and texts in one space."""

    log_scale: nn.Parameter

    def picture_embeddings(self, x: Tensor) -> Tensor:
        """Return `(B, E)` of pictures in [0, 1]."""
        ...

    def text_embeddings(self, texts: Tensor) -> Tensor:
        """Return `(B, E)` of ids `(B, L)`."""
        ...


@runtime_checkable
class ZeroShooter(Protocol):
    """What makes a classifier of classes that were told in words."""

    views: int
    classes: tuple[str, ...]

    def classifier(self, global_share: float | None = None) -> nn.Module:
        """Return it, with this share of the weak views' cosines in it; its own share if None."""
        ...


def ranks(pictures: Tensor, texts: Tensor, owner: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place of each picture's best right caption, `(N,)`, and of each caption's best right picture, `(M,)`.

    Places begin at 0: how many wrong candidates are as near or nearer. A caption is right for a picture if one of the
    picture's own captions has the same words.

    Args:
        pictures: embeddings, `(N, E)`.
        texts: embeddings, `(M, E)`.
        owner: the picture of each caption, int64 `(M,)`.
        content: a number of each caption's words, int64 `(M,)`: equal for equal words.
    """
    right = torch.zeros(len(pictures), int(content.max()) + 1, dtype=torch.bool, device=pictures.device)
    right[owner, content] = True
    similar = pictures.double() @ texts.double().T
    own = right[:, content]
    best = similar.masked_fill(~own, -torch.inf)
    wrong = similar.masked_fill(own, -torch.inf)
    return (
        (wrong >= best.amax(1, keepdim=True)).sum(1),
        (wrong >= best.amax(0, keepdim=True)).sum(0),
    )


@dataclass(frozen=True)
class CaptionRetrieval(Evaluator):
    """Recall at 1, 5 and 10 of captions among all test captions, and of pictures among all test pictures.

    Args:
        places: how many first places count, each.
        samples: the most pictures, the first ones.
    """

    places: tuple[int, ...] = (1, 5, 10)
    samples: int = 5000

    product = "method"

    def __post_init__(self) -> None:
        if not self.places or min(self.places) < 1 or self.samples < 2:
            raise ConfigError("places must be at least 1 each, and samples at least 2")

    def example_trial(self) -> Trial:
        from withstand.methods.multimodal.clip_rocket import CLIPRocket

        return Trial(CLIPRocket.example(), CaptionedClasses.example(), CLIPRocket.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method embeds no texts, or that the data have none."""
        if not isinstance(subject, TwoTowers):
            return f"{type(subject).__name__} embeds no captions"
        return "" if CAPTIONS in source[[0]].extras else f"{source.name} has no captions"

    def evaluate(
        self, subject: TwoTowers, source: Source, *, test: Source | None = None, control: TwoTowers | None = None
    ) -> Finding:
        """Return the finding "retrieval".

        Args:
            subject: a method with two towers.
            source: pictures with captions, where there is no test.
            test: pictures with captions.
            control: the same method untrained.

        Raises:
            ConfigError: a method without two towers.
            DataError: no captions.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (ConfigError if not isinstance(subject, TwoTowers) else DataError)(lacking)
        count = min(len(judged), self.samples)
        found = _found(subject, judged, count)
        beside = None if control is None else _found(control, judged, count)
        figures: dict[str, Measure] = {}
        rows: list[tuple[Cell, ...]] = []
        for way in (TO_TEXT, TO_PICTURE):
            for k in self.places:
                share = Share.of(found.ranks[way] < k)
                other = None if beside is None else Share.of(beside.ranks[way] < k)
                figures[f"{way}, recall at {k}"] = Measure(
                    share.value, "share", "higher", interval=share.interval, of=share.count,
                    control=None if other is None else other.measure(),
                )  # fmt: skip
                rows.append((way, k, *share.cells, None if other is None else other.value, share.count))
        figures[OVER_CHANCE] = Measure(
            found.over_chance, "ratio", "lower", of=found.of,
            control=None if beside is None else Measure(beside.over_chance, "ratio", "lower", of=found.of),
        )  # fmt: skip
        names = ("way", "places", "recall", f"recall{LOW}", f"recall{HIGH}", "untrained", "of")
        return Finding(
            name="retrieval",
            figures=figures,
            tables={"recall": Table(names, tuple(rows), units=dict.fromkeys(names[2:6], "share"))},
            protocol={
                "judge": describe(self),
                "pictures": count,
                "captions": len(found.ranks[TO_PICTURE]),
                "right": "captions with the words of one of the picture's own; ties count against",
                OVER_CHANCE: f"CLIP's loss on {found.of} pictures with their first captions; 1 is what guessing gives",
            },
            checks=(
                Check(
                    "towers agree better than by guessing",
                    found.over_chance < 1,
                    f"the loss is {found.over_chance:.3f} of ln {found.of}",
                ),
            ),
            headline=f"{TO_PICTURE}, recall at {self.places[0]}",
        )


@dataclass(frozen=True)
class _Found:
    ranks: dict[str, Tensor]
    over_chance: float
    of: int


def _found(subject: TwoTowers, source: Source, count: int) -> _Found:
    module: Any = subject
    device = device_of_network(module)
    pictures, captions = [], []
    with Victim(module).held(), torch.no_grad():
        for start in range(0, count, _AT_ONCE):
            batch = source[range(start, min(start + _AT_ONCE, count))]
            pictures.append(subject.picture_embeddings(unit_range(batch.x.to(device))).float())
            captions.append(batch.extras[CAPTIONS])
        ids = torch.cat(captions)
        owner, place = (ids[:, :, 0] != 0).nonzero(as_tuple=True)
        unique, content = torch.unique(ids[owner, place], dim=0, return_inverse=True)
        texts = torch.cat([subject.text_embeddings(part.to(device)).float() for part in unique.split(_AT_ONCE)])
        embedded, said = torch.cat(pictures).cpu(), texts[content.to(device)].cpu()
        of = min(count, _AT_ONCE)
        firsts = said[(place == 0).nonzero()[:of, 0]]
        loss = float(clip_loss(embedded[None, :of], firsts[None], (-subject.log_scale.detach()).exp().float().cpu()))
    to_text, to_picture = ranks(embedded, said, owner, content)
    return _Found({TO_TEXT: to_text, TO_PICTURE: to_picture}, loss / math.log(of), of)


@dataclass(frozen=True)
class ZeroShot(Evaluator):
    """Accuracy of a classifier whose classes were told in words, by which projectors' cosines it decides.

    Args:
        shares: of the weak views' cosines, each a row; the rest are the strong views'.
    """

    shares: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25, 0.0)

    product = "method"

    def example_trial(self) -> Trial:
        from withstand.methods.multimodal.clip_rocket import CLIPRocket

        return Trial(CLIPRocket.example(), CaptionedClasses.example(), CLIPRocket.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method knows no classes, or that the data name other ones."""
        if not isinstance(subject, ZeroShooter) or not subject.classes:
            return f"{type(subject).__name__} was told no classes"
        if source.labels is None:
            return f"{source.name} has no labels"
        if len(source.classes) != len(subject.classes):
            return f"the data have {len(source.classes)} classes, and the classifier {len(subject.classes)}"
        return ""

    def evaluate(
        self, subject: ZeroShooter, source: Source, *, test: Source | None = None, control: ZeroShooter | None = None
    ) -> Finding:
        """Return the finding "zero-shot".

        Args:
            subject: a method that was told classes.
            source: labelled pictures, where there is no test.
            test: labelled pictures.
            control: the same method untrained.

        Raises:
            ConfigError: a method without classes.
            DataError: no labels, or other classes.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (ConfigError if not isinstance(subject, ZeroShooter) or not subject.classes else DataError)(lacking)
        own = Share.of(zero_shot(subject, judged))
        beside = None if control is None else Share.of(zero_shot(control, judged))
        figure = Measure(
            own.value, "share", "higher", interval=own.interval, of=own.count,
            control=None if beside is None else beside.measure(),
        )  # fmt: skip
        rows: list[tuple[Cell, ...]] = []
        for share in self.shares if subject.views else (1.0,):
            rows.append((share, *Share.of(zero_shot(subject, judged, share)).cells))
        names = ("weak views' share", "accuracy", f"accuracy{LOW}", f"accuracy{HIGH}")
        return Finding(
            name="zero-shot",
            figures={ZERO_SHOT: figure},
            tables={"by projectors": Table(names, tuple(rows), units=dict.fromkeys(names, "share"))},
            protocol={"judge": describe(self), "classes": list(subject.classes), "pictures": own.count},
            headline=ZERO_SHOT,
        )


def zero_shot(subject: ZeroShooter, source: Source, share: float | None = None) -> Tensor:
    """Return which pictures a method's zero-shot classifier is right on, bool `(N,)`."""
    module: Any = subject
    right = []
    with Victim(module).held(), torch.no_grad():
        network = subject.classifier(share).eval()
        for start in range(0, len(source), _AT_ONCE):
            batch = source[range(start, min(start + _AT_ONCE, len(source)))].to(device_of_network(module))
            if batch.y is None:
                raise DataError(f"{source.name} has no labels")
            right.append(network(unit_range(batch.x)).argmax(1) == batch.y)
    return torch.cat(right).cpu()
