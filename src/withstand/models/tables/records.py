"""What reads records: an encoder of values by their hashed character n-grams, and a matcher of two records.

Sizes: `B` records or pairs, `A` attributes, `L` characters, `H` buckets, `D` width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, pad

from withstand.core.errors import ConfigError
from withstand.core.part import Part
from withstand.core.roles import Model

_EDGE = 32
"""Stands before and behind a value, so that n-grams tell where it begins and ends."""
_FACTORS = (1000003, 7368787, 15485863, 32452843, 49979687, 67867967)
"""Primes of the hash, one a character of an n-gram."""

_ROUND = 1e-3


def hashed_ngrams(x: Tensor, ngrams: Sequence[int], buckets: int) -> tuple[Tensor, Tensor]:
    """Return each n-gram's bucket and sign, of values with an edge at both ends.

    Args:
        x: code points, int64 `(B, L)`, 0 after a value's end.
        ngrams: lengths of n-grams.
        buckets: H.

    Returns:
        Buckets, int64 `(B, M)`, and signs, 1 or -1, 0 where there is no n-gram, float32 `(B, M)`.
    """
    length = (x != 0).sum(1, keepdim=True)
    whole = pad(x, (1, 1), value=0)
    whole[:, 0] = _EDGE
    whole = torch.where(torch.arange(whole.shape[1], device=x.device)[None] == length + 1, _EDGE, whole)
    whole = whole.masked_fill(length == 0, 0)
    places, signs = [], []
    for n in ngrams:
        windows = whole.unfold(1, min(n, whole.shape[1]), 1)
        hashed = torch.full_like(windows[..., 0], n * 977)
        for position in range(windows.shape[2]):
            hashed = (hashed ^ (windows[..., position] * _FACTORS[position])) * 0x5BD1E995 & 0x7FFFFFFFFFFF
        hashed = hashed ^ (hashed >> 23)
        places.append(hashed % buckets)
        sign = 1 - 2 * ((hashed >> 40) & 1).float()
        signs.append(torch.where((windows != 0).all(2), sign, 0.0))
    return torch.cat(places, 1), torch.cat(signs, 1)


class RecordEncoder(Model):
    """Values by their character n-grams: hashed, weighted by how rare they are, and mapped to vectors of length 1.

    It stands where the paper has a frozen language model; here the map learns, unless `frozen`. A record's embedding is
    the mean of its values' vectors, missing values left out.

    Args:
        width: D.
        buckets: H, of the hash.
        ngrams: lengths of n-grams, in characters.
        frozen: leave the map as it was drawn, a random projection of the weighted n-grams.
    """

    weights: Tensor

    def __init__(
        self, width: int = 128, *, buckets: int = 2048, ngrams: Sequence[int] = (3,), frozen: bool = False
    ) -> None:
        super().__init__()
        if width < 1 or buckets < 2:
            raise ConfigError(f"width and buckets must be at least 1 and 2, not {width} and {buckets}")
        if not ngrams or not all(1 <= n <= len(_FACTORS) for n in ngrams):
            raise ConfigError(f"ngrams must be lengths from 1 to {len(_FACTORS)}, not {tuple(ngrams)}")
        self.width, self.buckets, self.ngrams = width, buckets, tuple(ngrams)
        self.map = nn.Linear(buckets, width, bias=False)
        nn.init.normal_(self.map.weight, std=width**-0.5)
        self.map.weight.requires_grad_(not frozen)
        self.register_buffer("weights", torch.ones(buckets))

    @classmethod
    def example(cls) -> Self:
        return cls(8, buckets=32, ngrams=(2, 3))

    def counts(self, values: Tensor) -> Tensor:
        """Return signed n-gram counts `(V, H)` of values, int64 `(V, L)`."""
        values = values[:, : max(1, int((values != 0).any(0).sum()))]
        places, signs = hashed_ngrams(values, self.ngrams, self.buckets)
        return signs.new_zeros(len(values), self.buckets).scatter_add_(1, places, signs)

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return each value's vector `(B, A, D)` of length 1, 0 where it is missing, and which are there, `(B, A)`."""
        there = x[..., 0] != 0
        counts = self.counts(x.flatten(0, 1)) * self.weights
        with torch.autocast(x.device.type, enabled=False):
            weight = self.map.weight
            wide = torch.promote_types(weight.dtype, torch.float32)
            vectors = normalize(linear(counts.to(wide), weight.to(wide)), dim=1)
        return vectors.view(*x.shape[:2], -1) * there[..., None], there

    def forward(self, x: Tensor) -> Tensor:
        vectors, there = self.tokens(x)
        return vectors.sum(1) / there.sum(1, keepdim=True).clamp_min(1)

    @torch.no_grad()
    def documents(self, x: Tensor) -> Tensor:
        """Return in how many values each bucket occurs, `(H,)`."""
        places, signs = hashed_ngrams(x.flatten(0, 1), self.ngrams, self.buckets)
        held = torch.zeros(len(places), self.buckets, device=x.device)
        return held.scatter_(1, places, signs.abs()).sum(0)

    @torch.no_grad()
    def weigh(self, documents: Tensor, values: int) -> None:
        """Weigh buckets by inverse document frequency, smoothed as scikit-learn does: log((1 + N) / (1 + n)) + 1."""
        self.weights.copy_(((1 + values) / (1 + documents)).log() + 1)


class RecordMatcher(Part, nn.Module):
    """AIJNet: whether two records are the same, from their values' vectors.

    Single-head attention over both records' values, missing ones left out; the mean over each record's values, u and v;
    a perceptron on [|u - v|, u * v], so that the order of the two does not matter. |u - v| is smooth round 0.

    Args:
        encoder: of the values.
        hidden: widths of the perceptron.
        dropout: inside it.
    """

    def __init__(
        self, encoder: RecordEncoder, *, hidden: Sequence[int] = (512, 256, 128), dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.width
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        layers: list[nn.Module] = []
        wide = 2 * width
        for size in hidden:
            layers += [nn.Linear(wide, size), nn.ReLU(), nn.Dropout(dropout)]
            wide = size
        self.head = nn.Sequential(*layers, nn.Linear(wide, 1))

    @classmethod
    def example(cls) -> Self:
        return cls(RecordEncoder.example(), hidden=(8,), dropout=0.0)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Return logits `(B,)` that records `(B, A, L)` match, pair by pair."""
        return self.compare(self.read(*self.encoder.tokens(left)), self.read(*self.encoder.tokens(right)))

    def read(self, vectors: Tensor, there: Tensor) -> "Read":
        """Return what comparisons need of records: vectors `(B, A, D)`, and which values are there, bool `(B, A)`."""
        with torch.autocast(vectors.device.type, enabled=False):
            wide = torch.promote_types(vectors.dtype, torch.float32)
            tokens = vectors.to(wide)
            asked = self.query(tokens) * self.encoder.width**-0.5
            return Read(tokens, asked, self.key(tokens), self.value(tokens), there)

    def compare(self, left: "Read", right: "Read") -> Tensor:
        """Return logits `(B,)` from what was read of both records."""
        there = torch.cat([left.there, right.there], 1)
        with torch.autocast(there.device.type, enabled=False):
            asked, key = torch.cat([left.asked, right.asked], 1), torch.cat([left.key, right.key], 1)
            scores = (asked @ key.transpose(1, 2)).masked_fill(~there[:, None], -torch.inf)
            scores = torch.where(there.any(1)[:, None, None], scores, 0.0)
            seen = scores.softmax(2) @ torch.cat([left.value, right.value], 1)
            half = left.there.shape[1]
            u = _mean(left.tokens + seen[:, :half], left.there)
            v = _mean(right.tokens + seen[:, half:], right.there)
            found: Tensor = self.head(torch.cat([_smooth_abs(u - v), u * v], 1))[:, 0]
        return found


@dataclass(frozen=True)
class Read:
    """Records as a matcher compares them, first axis B: a linear map is made of each record, not of each pair.

    Attributes:
        tokens: their values' vectors, `(B, A, D)`.
        asked: queries of attention, likewise.
        key: keys.
        value: values.
        there: which values are there, bool `(B, A)`.
    """

    tokens: Tensor
    asked: Tensor
    key: Tensor
    value: Tensor
    there: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "Read":
        return Read(self.tokens[rows], self.asked[rows], self.key[rows], self.value[rows], self.there[rows])

    def __len__(self) -> int:
        return len(self.there)

    @classmethod
    def joined(cls, parts: Sequence["Read"]) -> "Read":
        """Return records one after another."""
        names = ("tokens", "asked", "key", "value", "there")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _smooth_abs(x: Tensor) -> Tensor:
    """Return |x|, round at 0 on a scale of `_ROUND`: a record meets itself there, and an adversary needs a gradient."""
    return (x.square() + _ROUND**2).sqrt() - _ROUND


def _mean(tokens: Tensor, there: Tensor) -> Tensor:
    """Return the mean over the tokens that are there, `(B, D)`; 0 where none is."""
    return (tokens * there[..., None]).sum(1) / there.sum(1, keepdim=True).clamp_min(1)
