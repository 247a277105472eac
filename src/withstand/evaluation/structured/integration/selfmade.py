"""Pairs that records make by themselves, without labels, and the threshold that tells them apart.

A threshold from random pairs lies far too low, for records that are worth comparing are alike. Here the pairs that do
not match are the most alike records of one table.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.random import Draws, derive
from withstand.core.victims.victim import Victim
from withstand.data.pairs.blocking import candidates, ngram_vectors
from withstand.data.pairs.source import RecordSource
from withstand.models.tables.records import Read, RecordMatcher
from withstand.views.records import typos

MOST = 2_000
"""Records that pairs are made of."""
_READ, _PAIRS = 256, 4_096


@torch.no_grad()
def read_records(matcher: RecordMatcher, x: Tensor) -> Read:
    """Return what a matcher reads of records `(N, A, L)`, some at a time, on its own device."""
    device = matcher.query.weight.device
    with Victim(matcher).held():
        parts = [
            matcher.read(*matcher.encoder.tokens(x[start : start + _READ].to(device)))
            for start in range(0, len(x), _READ)
        ]
    return Read.joined(parts)


@torch.no_grad()
def pair_logits(matcher: RecordMatcher, left: Read, right: Read, one: Tensor, two: Tensor) -> npt.NDArray[np.float64]:
    """Return the logits `(M,)` that records match, pair by pair, the same in either order.

    Args:
        matcher: what compares them.
        left: what `one` are places in.
        right: what `two` are places in.
        one: each pair's first record, int64 `(M,)`.
        two: its second.
    """
    with Victim(matcher).held():
        found = [
            matcher.compare(left[one[start : start + _PAIRS]], right[two[start : start + _PAIRS]])
            for start in range(0, len(one), _PAIRS)
        ]
    return torch.cat(found).double().cpu().numpy() if found else np.zeros(0)


@dataclass(frozen=True)
class SelfMade:
    """Pairs made of a source's records.

    Attributes:
        copied: records that are compared with a copy, places `(P,)`.
        copies: those copies, `(P, A, L)`.
        left: of pairs of different records of one table, places `(N,)`.
        right: likewise.
        said: what they are, in words.
    """

    copied: Tensor
    copies: Tensor
    left: Tensor
    right: Tensor
    said: str


def self_made(source: RecordSource, *, seed: int = 0, most: int = MOST, vectors: Any = None) -> SelfMade:
    """Return pairs of which it is known without labels whether they match, as good as certainly.

    A record and its copy with a typo in every value match. The most alike records of one table do not
    match where there are two tables; where there is one, in which duplicates are looked for, records that are alike but
    not the most alike: the fifth neighbor of each. Records that are equal in every column are no such pair.

    Args:
        source: the records.
        seed: of the choice of records and of typos.
        most: records, and pairs of different ones, at most.
        vectors: what `ngram_vectors` gives of the source's texts, where it is known.

    Raises:
        DataError: a single record.
    """
    if len(source) < 2:
        raise DataError(f"{source.name} has one record: pairs need two")
    order = np.random.default_rng(derive(seed, "self-made") % 2**32).permutation(len(source))[:most]
    copied = torch.from_numpy(np.sort(order))
    x = source[copied].x
    copies = typos(x, 1, Draws(derive(seed, "copies"), copied))
    texts, tables = source.whole_texts, source.attributes["table"].numpy()
    two = len(source.tables) == 2
    held = ngram_vectors(texts) if vectors is None else vectors
    found: list[npt.NDArray[np.int64]] = []
    for table in np.unique(tables):
        places = np.flatnonzero(tables == table)
        near = candidates([texts[place] for place in places], nearest=1 if two else 5, vectors=held[places])
        rank = np.ones(len(near), dtype=bool) if two else _fifth(near.left, near.right, near.cosine, len(places))
        left, right = places[near.left[rank]], places[near.right[rank]]
        different = np.array([texts[a] != texts[b] for a, b in zip(left, right, strict=True)], dtype=bool)
        found.append(np.stack([left[different], right[different]], 1) if len(left) else np.zeros((0, 2), np.int64))
    pairs = np.concatenate(found)
    if len(pairs) > most:
        pairs = pairs[np.sort(np.random.default_rng(derive(seed, "pairs") % 2**32).permutation(len(pairs))[:most])]
    said = "the most alike records of one table" if two else "records and their fifth neighbors"
    return SelfMade(copied, copies, torch.from_numpy(pairs[:, 0]), torch.from_numpy(pairs[:, 1]), said)


def _fifth(
    left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], cosine: npt.NDArray[np.float64], count: int
) -> npt.NDArray[np.bool_]:
    """Return which pairs are the fifth nearest of a record, or the last where it has fewer, but never the nearest."""
    keep = np.zeros(len(left), dtype=bool)
    ends = np.concatenate([left, right])
    pair, value = np.tile(np.arange(len(left)), 2), np.tile(cosine, 2)
    order = np.lexsort((pair, -value, ends))
    starts = np.searchsorted(ends[order], np.arange(count + 1))
    for first, last in pairwise(starts.tolist()):
        if last - first > 1:
            keep[pair[order[min(first + 4, last - 1)]]] = True
    return keep


def best_threshold(positive: npt.NDArray[np.float64], negative: npt.NDArray[np.float64]) -> float:
    """Return the lowest threshold with the highest F1 on these scores.

    A pair matches where its score is at least the threshold. Real matches are less alike than self-made copies, while
    pairs of one table are as alike as real ones that do not match: so of equally good ones the lowest is taken. It lies
    in the middle between the lowest score that matches and the next below.

    Args:
        positive: scores of pairs that match.
        negative: of pairs that do not.

    Raises:
        DataError: there is no positive score.
    """
    if not len(positive):
        raise DataError("a threshold needs pairs that match")
    scores = np.concatenate([positive, negative])
    values = np.unique(scores)
    matched = len(positive) - np.searchsorted(np.sort(positive), values)
    wrong = len(negative) - np.searchsorted(np.sort(negative), values)
    f1 = 2 * matched / (matched + wrong + len(positive))
    low = int(np.flatnonzero(f1 >= f1.max() - 1e-12)[0])
    below = values[low - 1] if low else values[low]
    return float((values[low] + below) / 2)


def f1_of(match: npt.NDArray[np.bool_], found: npt.NDArray[np.bool_]) -> float:
    """Return F1 of decisions, 0 where nothing is right."""
    right = int((match & found).sum())
    return 2 * right / max(1, int(match.sum()) + int(found.sum()))
