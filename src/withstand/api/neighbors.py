"""The nearest samples of a run's own data: who looks most like a sample, to the encoder."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import Tree
from withstand.data.load import Data
from withstand.data.shared.rows import Rows
from withstand.evaluation.features import Features
from withstand.evaluation.probes.knn import neighbors


@dataclass(frozen=True, repr=False)
class Neighbors:
    """The nearest of N stored samples to each of Q others, by cosine, nearest first.

    Attributes:
        queries: what each sample that was asked about is called.
        names: what the stored samples are called.
        rows: the nearest ones' places in `names`, int64 `(Q, k)`.
        similarity: cosine of the features, float32 `(Q, k)`.
        labels: the stored samples' labels in words; "" where one has none, () where none has.
        kind: what a sample is, in one word.
    """

    queries: tuple[str, ...]
    names: tuple[str, ...]
    rows: Tensor
    similarity: Tensor
    labels: tuple[str, ...]
    kind: str

    def __repr__(self) -> str:
        """Return one line; `print` shows every neighbor."""
        few = f"{len(self.queries):,} {self.kind}(s), {self.rows.shape[1]} nearest of {len(self.names):,} each"
        return f"<Neighbors of {few}>"

    def __str__(self) -> str:
        """Return each sample that was asked about, and below it the nearest ones with their similarity."""
        lines = []
        for query, found in zip(self.queries, self.table(), strict=True):
            lines.append(query)
            for rank, (name, similarity, label) in enumerate(found, start=1):
                lines.append(f"  {rank:>3}  {similarity:7.4f}  {name}" + (f"  ({label})" if label else ""))
        return "\n".join(lines)

    def table(self) -> list[list[tuple[str, float, str]]]:
        """Return each query's neighbors as (name, similarity, label), nearest first."""
        return [
            [(self.names[row], near, self.labels[row] if self.labels else "") for row, near in zip(*pair, strict=True)]
            for pair in zip(self.rows.tolist(), self.similarity.tolist(), strict=True)
        ]

    def facts(self) -> list[Tree]:
        """Return them for JSON output."""
        found: list[Tree] = []
        for query, rows in zip(self.queries, self.table(), strict=True):
            near: list[Tree] = [
                {"name": name, "similarity": similarity, **({"label": label} if label else {})}
                for name, similarity, label in rows
            ]
            found.append({"query": query, "neighbors": near})
        return found


def nearest_samples(bank: Features, queries: Features, asked: Sequence[str], k: int, kind: str) -> Neighbors:
    """Return the k nearest of a bank to each query.

    Raises:
        ConfigError: k below 1.
        DataError: features of other widths.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}")
    if bank.width != queries.width:
        raise DataError(f"the features asked about are {queries.width} wide, and the stored ones {bank.width}")
    near, rows = neighbors(bank.x, queries.x, min(k, len(bank)))
    names = bank.names or tuple(f"{kind} {place}" for place in bank.index.tolist())
    labels: tuple[str, ...] = ()
    if bank.y is not None:
        words = {
            label: bank.classes[label] if label < len(bank.classes) else str(label) for label in set(bank.y.tolist())
        }
        labels = tuple("" if label < 0 else words[label] for label in bank.y.tolist())
    return Neighbors(tuple(asked), names, rows, near, labels, kind)


def called(data: Data, rows: Sequence[Rows]) -> list[str]:
    """Return what samples that are asked about are called: by their name, else by their place in what was given."""
    given = str(data) if isinstance(data, str) or hasattr(data, "__fspath__") else "given"
    found: list[str] = []
    for some in rows:
        names = some.source.names
        part = f"{some.parts[0]} " if len(rows) > 1 else ""
        places = some.index.tolist()
        found += [f"{part}{names[row]}" if names else f"{given}, {part}{some.source.kind} {place}"
                  for row, place in enumerate(places)]  # fmt: skip
    return found
