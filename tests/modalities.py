"""Toys of other modalities than pictures; importable as `modalities`.

Texts of different lengths, embeddings of texts of one length, and recordings of different lengths: each with a source,
a view, an encoder and a method.
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.batch import Batch
from withstand.core.random import Draws, derive
from withstand.core.roles import Indices, Method, Model, Source, Terms, View
from withstand.core.sequences import Sequences
from withstand.core.threat import Ball
from withstand.methods.shared.adversarial_training.attack_in_training import attack_in_training

WORDS = 12
LONGEST = 9
NUMBERS = 5


def _generator(count: int, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive("modalities", count, seed))


class _Toy(Source):
    """Samples in two classes."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self._y = count, seed, torch.arange(count) % 2
        self.name = f"{type(self).__name__.lower()}-{count}-{seed}"

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> Tensor:
        return self._y

    @property
    def classes(self) -> tuple[str, ...]:
        return ("even", "odd")

    def fingerprint(self) -> str:
        return self.name


class Texts(_Toy):
    """Texts of 2 to 9 words; word 0 stands for a hidden one, and classes prefer even and odd words."""

    kind = "text"

    def __init__(self, count: int = 48, seed: int = 0) -> None:
        super().__init__(count, seed)
        generator = _generator(count, seed)
        lengths = torch.randint(2, LONGEST + 1, (count,), generator=generator)
        self._texts = [
            torch.randint(1, WORDS // 2, (int(length),), generator=generator) * 2 - self._y[row]
            for row, length in enumerate(lengths)
        ]

    def __getitem__(self, indices: Indices) -> Batch:
        rows = torch.as_tensor(indices)
        texts = Sequences.padded([self._texts[row] for row in rows.tolist()])
        return Batch(texts.as_samples(), rows, self._y[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        return (LONGEST,)

    @property
    def sizes(self) -> Tensor:
        return torch.tensor([len(text) for text in self._texts])


class Embedded(_Toy):
    """Embeddings of texts of 6 words, 4 numbers each, of any size: rows for an attack on each word's embedding."""

    kind, low, high = "text", -torch.inf, torch.inf

    def __init__(self, count: int = 48, seed: int = 0) -> None:
        super().__init__(count, seed)
        generator = _generator(count, seed)
        table = torch.randn(WORDS, 4, generator=generator) * 2
        words = torch.randint(1, WORDS // 2, (count, 6), generator=generator) * 2 - self._y[:, None]
        self._x = table[words]

    def __getitem__(self, indices: Indices) -> Batch:
        rows = torch.as_tensor(indices)
        return Batch(self._x[rows], rows, self._y[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        return (6, 4)


class Recordings(_Toy):
    """Recordings of 2 to 9 steps of 5 numbers; a class lies higher."""

    kind = "recording"

    def __init__(self, count: int = 48, seed: int = 0) -> None:
        super().__init__(count, seed)
        generator = _generator(count, seed)
        lengths = torch.randint(2, LONGEST + 1, (count,), generator=generator)
        self._recordings = [
            torch.randn(int(length), NUMBERS, generator=generator) * 3 + 2 * self._y[row]
            for row, length in enumerate(lengths)
        ]

    def __getitem__(self, indices: Indices) -> Batch:
        rows = torch.as_tensor(indices)
        recordings = Sequences.padded([self._recordings[row] for row in rows.tolist()])
        return Batch(recordings.as_samples(), rows, self._y[rows])

    @property
    def shape(self) -> tuple[int, ...]:
        return (LONGEST, NUMBERS)

    @property
    def sizes(self) -> Tensor:
        return torch.tensor([len(recording) for recording in self._recordings])


class Hide(View):
    """Put word 0 in the place of some words."""

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        texts = Sequences.of(batch.x)
        hidden = draws.chance(0.3, texts.values.shape[1])
        return batch.with_views(Sequences(texts.values.masked_fill(hidden, 0), texts.lengths).as_samples())


class Shake(View):
    """Noise on every number of a tensor, or of a recording's own steps."""

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        if isinstance(batch.x, Tensor):
            return batch.with_views(batch.x + 0.1 * draws.normal(*batch.x.shape[1:]))
        recordings = Sequences.of(batch.x)
        noise = draws.normal(*recordings.values.shape[1:]) * recordings.mask[..., None]
        return batch.with_views(Sequences(recordings.values + 0.1 * noise, recordings.lengths).as_samples())


class Reader(Model):
    """The mean over a sequence's own steps of a network of each; words are embedded first."""

    def __init__(self, numbers: int = 0, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.enter = nn.Linear(numbers, 16) if numbers else nn.Embedding(WORDS, 16)
        self.steps = nn.Sequential(nn.Tanh(), nn.Linear(16, width))

    def forward(self, x: Tensor) -> Tensor:
        sequences = Sequences.whole(x) if isinstance(x, Tensor) else Sequences.of(x)
        return sequences.mean(self.steps(self.enter(sequences.values)))


class GuessWords(Method):
    """Tell from a text with hidden words which words are in it."""

    fewest = 1

    def __init__(self, encoder: Reader) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, WORDS)

    @classmethod
    def example(cls) -> Self:
        return cls(Reader())

    def example_batch(self, rows: range = range(8)) -> Batch:
        return Hide()(Texts(8)[rows], Draws(0, torch.arange(8)[list(rows)]))

    def step(self, batch: Batch) -> Terms:
        features = self.encoder(batch.views[0])
        texts = Sequences.of(batch.x)
        scores = self.head(features)[:, None].expand(-1, texts.values.shape[1], -1)
        each = cross_entropy(scores.transpose(1, 2), texts.values, reduction="none")
        return {"loss": texts.mean(each[..., None]).mean(), "embeddings": features.detach()[None]}


class HoldMeaning(Method):
    """Rebuild the mean of a sequence from what an attacker made of it."""

    fewest = 1

    def __init__(self, encoder: Reader, attack: PGD) -> None:
        super().__init__()
        self.encoder, self.attack = encoder, attack
        self.head = nn.Linear(encoder.width, self.encoder.enter.in_features)

    @classmethod
    def example(cls) -> Self:
        ball = Ball("l2", 0.5, per="token")
        return cls(Reader(4), PGD(ball, EmbeddingDistance(), steps=2, keep_best=False))

    def example_batch(self, rows: range = range(8)) -> Batch:
        return Shake()(Embedded(8)[rows], Draws(0, torch.arange(8)[list(rows)]))

    def attacked(self, batch: Batch) -> Sequences:
        """Return the view under attack, moved in its own steps alone."""
        view = batch.views[0]
        clean = Sequences.whole(view) if isinstance(view, Tensor) else Sequences.of(view)
        worse = attack_in_training(
            self,
            lambda values: self.encoder(Sequences(values, clean.lengths).as_samples()),
            self.attack,
            clean.values,
            Tensor.detach,
            batch.draws("attack"),
            low=-torch.inf,
            high=torch.inf,
            mask=clean.mask[..., None],
        )
        return Sequences(worse, clean.lengths)

    def step(self, batch: Batch) -> Terms:
        clean = Sequences.whole(batch.x) if isinstance(batch.x, Tensor) else Sequences.of(batch.x)
        features = self.encoder(self.attacked(batch).as_samples())
        return {"loss": mse_loss(self.head(features), clean.mean(clean.values))}
