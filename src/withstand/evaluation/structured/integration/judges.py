"""What a matcher of records is worth, and what typos cost it, beside an untrained one and plain TF-IDF."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.findings.finding import Cell, Check, Finding, Interval, Measure, Table
from withstand.core.random import Draws, derive
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.pairs.blocking import ngram_vectors
from withstand.data.pairs.source import RecordSource
from withstand.evaluation.structured.integration.selfmade import (
    SelfMade,
    best_threshold,
    f1_of,
    pair_logits,
    read_records,
    self_made,
)
from withstand.models.tables.records import RecordMatcher
from withstand.views.records import typos

TFIDF = "TF-IDF"
SOUND = 0.8
"""F1 on self-made pairs from which a threshold is believed."""


@dataclass(frozen=True)
class Judged:
    """Scores of pairs whose answer is known, and the threshold that was found without them.

    Attributes:
        score: of each pair, higher is more alike, float64 `(M,)`.
        match: the answer, bool `(M,)`.
        threshold: of the scores, from self-made pairs.
    """

    score: npt.NDArray[np.float64]
    match: npt.NDArray[np.bool_]
    threshold: float

    @property
    def f1(self) -> float:
        """F1 at the threshold."""
        return f1_of(self.match, self.score >= self.threshold)

    @property
    def precision(self) -> float:
        """Average precision, which needs no threshold; NaN where no pair matches."""
        return float(average_precision_score(self.match, self.score)) if self.match.any() else float("nan")

    def interval(self, seed: int = 0, draws: int = 500) -> Interval:
        """Return the 95 % interval of F1, by drawing pairs anew with replacement."""
        random, found = np.random.default_rng(seed), self.score >= self.threshold
        values = []
        for _ in range(draws):
            rows = random.integers(0, len(found), len(found))
            values.append(f1_of(self.match[rows], found[rows]))
        return float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))


def judged(
    matcher: RecordMatcher,
    source: RecordSource,
    *,
    misspelt: int = 0,
    seed: int = 0,
    made: SelfMade | None = None,
    threshold: float | None = None,
) -> Judged:
    """Return how a matcher scores the pairs that are known of a source; self-made ones where none are.

    Args:
        matcher: what scores.
        source: records with known pairs, or without.
        misspelt: typos in every value of each pair's second record.
        seed: of typos and self-made pairs.
        made: the self-made pairs, where they are known.
        threshold: where it is known; else it is found on self-made pairs, by no known answer.
    """
    made = self_made(source, seed=seed) if made is None else made
    x = source[range(len(source))].x
    clean = read_records(matcher, x)
    if threshold is None:
        threshold = limit_of(matcher, source, made).threshold
    worse = x if not misspelt else typos(x, misspelt, Draws(derive(seed, "typos"), torch.arange(len(x))))
    second = clean if not misspelt else read_records(matcher, worse)
    if source.pairs is not None and len(source.pairs):
        score = pair_logits(matcher, clean, second, source.pairs.left, source.pairs.right)
        return Judged(score, source.pairs.match.numpy(), threshold)
    copies = made.copies
    if misspelt:
        copies = typos(copies, misspelt, Draws(derive(seed, "typos"), made.copied))
    rows = torch.arange(len(made.copied))
    positive = pair_logits(matcher, clean, read_records(matcher, copies), made.copied, rows)
    negative = pair_logits(matcher, clean, second, made.left, made.right)
    score = np.concatenate([positive, negative])
    return Judged(score, np.arange(len(score)) < len(positive), threshold)


def tfidf(source: RecordSource, made: SelfMade, *, misspelt: int = 0, seed: int = 0) -> Judged:
    """Return the same of the cosine of TF-IDF vectors of character 3-grams: what costs no training.

    Arguments as for `judged`; its threshold comes from the same self-made pairs.
    """
    texts = source.whole_texts
    x = source[range(len(source))].x
    copies = [as_text(one) for one in made.copies]
    worse = texts
    if misspelt:
        worse = [as_text(one) for one in typos(x, misspelt, Draws(derive(seed, "typos"), torch.arange(len(x))))]
        moved = typos(made.copies, misspelt, Draws(derive(seed, "typos"), made.copied))
        later = [as_text(one) for one in moved]
    else:
        later = copies
    count, held = len(texts), ngram_vectors([*texts, *worse, *copies, *later])

    def cosine(one: Any, two: Any) -> npt.NDArray[np.float64]:
        return np.asarray(held[one].multiply(held[two]).sum(1), dtype=np.float64)[:, 0]

    copied, left, right = (part.numpy() for part in (made.copied, made.left, made.right))
    rows = np.arange(len(copied))
    threshold = best_threshold(cosine(copied, 2 * count + rows), cosine(left, right))
    if source.pairs is not None and len(source.pairs):
        score = cosine(source.pairs.left.numpy(), count + source.pairs.right.numpy())
        return Judged(score, source.pairs.match.numpy(), threshold)
    positive = cosine(copied, 2 * count + len(copied) + rows)
    score = np.concatenate([positive, cosine(left, count + right)])
    return Judged(score, np.arange(len(score)) < len(positive), threshold)


def as_text(codes: Tensor) -> str:
    """Return a record's code points `(A, L)` as one text."""
    return " ".join(filter(None, ("".join(map(chr, filter(None, row))) for row in codes.tolist())))


class _OfMatcher(Evaluator):
    """What judges of matchers share: they need a matcher, and records."""

    product: ClassVar[str] = "matcher"

    def lacks(self, subject: Any, source: Source) -> str:
        return "" if isinstance(source, RecordSource) else "records"


@dataclass(frozen=True)
class MatchJudge(_OfMatcher):
    """F1 of a matcher on pairs that people judged, at a threshold that no label has touched.

    Where no pair is known, on self-made pairs of records that were not learnt from, which are easier than real ones:
    the protocol says so.

    Args:
        seed: of self-made pairs.
    """

    seed: int = 0

    @classmethod
    def example(cls) -> "MatchJudge":
        return cls()

    def example_trial(self) -> Trial:
        return Trial(RecordMatcher.example(), RecordSource.example(), RecordMatcher.example())

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return F1 and average precision on `test`, or on `source` where there is none.

        Args:
            subject: a `RecordMatcher`.
            source: records that were learnt from.
            test: records to judge by.
            control: an untrained matcher.
        """
        records = _records(source if test is None else test)
        made = self_made(records, seed=self.seed)
        ours, plainly = judged(subject, records, made=made, seed=self.seed), tfidf(records, made, seed=self.seed)
        rows: list[tuple[Cell, ...]] = [("matcher", ours.f1, ours.precision)]
        beside = None
        if control is not None:
            bare = judged(control, records, made=made, seed=self.seed)
            rows.append(("untrained", bare.f1, bare.precision))
            beside = Measure(bare.f1, "share", "higher", of=len(bare.match))
        rows.append((TFIDF, plainly.f1, plainly.precision))
        known = records.pairs is not None and len(records.pairs) > 0
        f1 = Measure(ours.f1, "share", "higher", interval=ours.interval(self.seed), of=len(ours.match), control=beside)
        return Finding(
            "matching",
            figures={
                "F1": f1,
                "average precision": Measure(ours.precision, "share", "higher", of=len(ours.match)),
                f"F1, {TFIDF}": Measure(plainly.f1, "share", "higher", of=len(ours.match)),
            },
            tables={"matchers": Table(("matcher", "F1", "average precision"), tuple(rows),
                                      units={"F1": "share", "average precision": "share"})},
            checks=(limit_of(subject, records, made, ours.threshold).check,),
            protocol={**_protocol(records, made, known, len(ours.match), int(ours.match.sum())), "seed": self.seed},
            headline="F1",
        )  # fmt: skip


@dataclass(frozen=True)
class TypoAudit(_OfMatcher):
    """What typos cost a matcher: F1 with more and more of them in every value of each pair's second record.

    The threshold stays that of clean records. Typos are drawn, not searched for: a lower bound of what can go wrong.

    Args:
        typos: how many in a value; the last is the headline's.
        seed: of typos and self-made pairs.
    """

    typos: tuple[int, ...] = (1, 2, 3, 4)
    headline: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.headline not in self.typos or min(self.typos) < 1:
            raise DataError(f"the headline's typos must be among {self.typos}, all at least 1, not {self.headline}")

    @classmethod
    def example(cls) -> "TypoAudit":
        return cls((1, 2))

    def example_trial(self) -> Trial:
        return Trial(RecordMatcher.example(), RecordSource.example())

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return F1 on misspelt records of `test`, or of `source` where there is none.

        Args:
            subject: a `RecordMatcher`.
            source: records to judge by, where `test` gives none.
            test: records to judge by.
            control: an untrained matcher, a column beside.
        """
        records = _records(source if test is None else test)
        made = self_made(records, seed=self.seed)
        threshold = limit_of(subject, records, made).threshold
        bare = None if control is None else limit_of(control, records, made).threshold
        found: dict[str, list[float]] = {
            name: [] for name in ("matcher", TFIDF, *(("untrained",) if control is not None else ()))
        }
        for count in (0, *self.typos):
            ours = judged(subject, records, misspelt=count, seed=self.seed, made=made, threshold=threshold)
            found["matcher"].append(ours.f1)
            found[TFIDF].append(tfidf(records, made, misspelt=count, seed=self.seed).f1)
            if control is not None:
                found["untrained"].append(
                    judged(control, records, misspelt=count, seed=self.seed, made=made, threshold=bare).f1
                )
        place = 1 + self.typos.index(self.headline)
        lost = found["matcher"][0] - found["matcher"][place]
        known = records.pairs is not None and len(records.pairs) > 0
        columns = ("typos in each value", *found)
        rows = tuple((count, *(values[row] for values in found.values())) for row, count in enumerate((0, *self.typos)))
        return Finding(
            "audit",
            figures={
                "F1, clean": Measure(found["matcher"][0], "share", "higher", of=len(ours.match)),
                f"F1, {self.headline} typos a value": Measure(found["matcher"][place], "share", "higher"),
                "F1 lost": Measure(lost, "share", "lower"),
                f"F1 lost, {TFIDF}": Measure(found[TFIDF][0] - found[TFIDF][place], "share", "lower"),
            },
            tables={"F1 under typos": Table(columns, rows, x=columns[0], units=dict.fromkeys(found, "share"),
                                            note="typos in the second record of each pair")},
            checks=(limit_of(subject, records, made, threshold).check,),
            protocol={
                **_protocol(records, made, known, len(ours.match), int(ours.match.sum())),
                "seed": self.seed,
                "verdict": f"{self.headline} typos in every value cost {lost:.1%} of F1, "
                f"{found[TFIDF][0] - found[TFIDF][place]:.1%} with {TFIDF}",
            },
            headline="F1 lost",
        )  # fmt: skip


def _records(source: Source) -> RecordSource:
    if not isinstance(source, RecordSource):
        raise DataError(f"a matcher is judged on records, and {source.name} holds one {source.kind} a sample")
    return source


@dataclass(frozen=True)
class Limit:
    """What self-made pairs say of a matcher.

    Attributes:
        threshold: the logit that tells them apart best, or the one that was given.
        reach: a quarter of the way between the median logits of both kinds: how near the threshold is doubtful.
        check: whether they can be told apart.
    """

    threshold: float
    reach: float
    check: Check


def limit_of(matcher: RecordMatcher, records: RecordSource, made: SelfMade, threshold: float | None = None) -> Limit:
    """Return what self-made pairs say of a matcher.

    Args:
        matcher: what scores.
        records: the source.
        made: its self-made pairs.
        threshold: of logits, where it is known.
    """
    clean = read_records(matcher, records[range(len(records))].x)
    rows = torch.arange(len(made.copied))
    positive = pair_logits(matcher, clean, read_records(matcher, made.copies), made.copied, rows)
    negative = pair_logits(matcher, clean, clean, made.left, made.right)
    found = best_threshold(positive, negative) if threshold is None else threshold
    f1 = f1_of(np.arange(len(positive) + len(negative)) < len(positive), np.concatenate([positive, negative]) >= found)
    detail = f"F1 {f1:.2f} on {len(positive):,} copies and {len(negative):,} pairs of {made.said}"
    sound = None if not len(negative) else f1 >= SOUND
    low = float(np.median(negative)) if len(negative) else found
    reach = abs(float(np.median(positive)) - low) / 4
    return Limit(found, reach, Check("the threshold tells self-made pairs apart", sound, detail))


def _protocol(records: RecordSource, made: SelfMade, known: bool, pairs: int, matches: int) -> dict[str, Any]:
    return {
        "pairs": f"{pairs:,}, {'known' if known else 'self-made, which are easier than real ones'}",
        "pairs that match": matches,
        "threshold": f"from self-made pairs alone, without labels: copies with a typo in every value, and {made.said}",
        "columns": list(records.columns),
        "left out": [f"{what}: {why}" for what, why in records.skipped],
        "split": "known pairs of the test part" if known and records.part == "test" else records.part,
    }
