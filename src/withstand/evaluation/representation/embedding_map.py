"""Pictures of a representation: a map in two dimensions, and the nearest neighbors of some samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import torch
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.findings.finding import Cell, Finding, Table
from withstand.core.findings.pictures import drawn, pictures_of
from withstand.core.part import Tree, describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Source
from withstand.evaluation.features import Features
from withstand.evaluation.probes.knn import neighbors
from withstand.evaluation.probes.probe import Embedded, Probe

Layout = Literal["tsne", "pca"]


_FEWEST = 4


@dataclass(frozen=True)
class Map(Probe):
    """A 2-D map of the features, and each query's nearest neighbors (as pictures where samples are pictures).

    Args:
        layout: "tsne" (after PCA to 50 dimensions; distances between far groups mean nothing) or "pca".
        samples: most points, drawn by (seed, index).
        queries: rows of the neighbor table, drawn alike; from test where there is one. Their neighbors are sought among
            all samples.
        k: neighbors of each.
        seed: of the draws and of t-SNE.
    """

    layout: Layout = "tsne"
    samples: int = 1000
    queries: int = 8
    k: int = 7
    seed: int = 0

    needs_labels = False

    def __post_init__(self) -> None:
        if self.layout not in get_args(Layout):
            raise ConfigError(f"layout {self.layout!r} is unknown: {nearest(str(self.layout), get_args(Layout))}")

    @classmethod
    def example(cls) -> Self:
        return cls(layout="pca")

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that there are too few samples for a map."""
        return "" if len(source) >= _FEWEST else f"a map needs at least {_FEWEST} samples, not {len(source)}"

    def measure(self, embedded: Embedded, control: Embedded | None = None) -> Finding:
        """Return the tables "map" and "neighbors" and, for pictures, the grid "neighbors"; no control is drawn."""
        points = embedded.judged[_drawn(embedded.judged, self.samples, self.seed)]
        if len(points) < _FEWEST:
            raise DataError(f"a map needs at least {_FEWEST} samples, not {len(points)}")
        places = _flatten(points.x, self.layout, self.seed)
        near = self._near(embedded)
        pictures = {}
        alike = embedded.source.shape == embedded.judged_source.shape
        if drawn(embedded.source) and drawn(embedded.judged_source) and alike:
            asked, found = near.pictures(near.queries), near.pictures(near.rows.flatten())
            found = found.reshape(*near.rows.shape, *asked.shape[1:])
            pictures["neighbors"] = np.concatenate([asked[:, None], found], axis=1)
        protocol: dict[str, Tree] = {
            "probe": describe(self),
            "points": len(points),
            "neighbors": "by cosine, among all samples, learnt from or held out; the first of each row is the query",
            **embedded.protocol(),
        }
        return Finding(
            name="map",
            tables={
                "map": _table(points, places, embedded.judged_source.names),
                "neighbors": near.table(),
            },
            protocol=protocol,
            pictures=pictures,
        )

    def _near(self, embedded: Embedded) -> "_Near":
        """Return queries and their nearest among all samples, without the query itself."""
        own = _drawn(embedded.judged, self.queries, self.seed)
        parts = [("train", embedded.source, embedded.train)]
        if embedded.test is not None:
            parts.append(("test", embedded.test_source, embedded.test))
            own = own + len(embedded.train)
        bank = torch.cat([features.x for _, _, features in parts])
        k = min(self.k, len(bank) - 1)
        cosines, rows = neighbors(bank, bank[own], k + 1)
        # Of exact copies the query need not come first, nor be among them at all: then the last is left out.
        itself = rows == own[:, None]
        itself[:, -1] |= ~itself.any(1)
        return _Near(parts, own, cosines[~itself].view(-1, k), rows[~itself].view(-1, k))


@dataclass(frozen=True)
class _Near:
    """Queries and their nearest, as rows of train's features and then test's.

    Attributes:
        parts: what each part is called, where its samples are, and their features.
        queries: rows, int64 `(Q,)`.
        cosines: of each neighbor, `(Q, K)`.
        rows: of each neighbor, int64 `(Q, K)`.
    """

    parts: list[tuple[str, Source, Features]]
    queries: Tensor
    cosines: Tensor
    rows: Tensor

    def pictures(self, rows: Tensor) -> npt.NDArray[np.uint8]:
        """Return some rows as pictures `(N, H, W, C)`."""
        found, start = None, 0
        for _, source, features in self.parts:
            inside = ((rows >= start) & (rows < start + len(features))).nonzero().squeeze(1)
            if len(inside):
                pixels = pictures_of(source, features.index[rows[inside] - start])
                if found is None:
                    found = np.zeros((len(rows), *pixels.shape[1:]), np.uint8)
                found[inside.numpy()] = pixels
            start += len(features)
        assert found is not None
        return found

    def table(self) -> Table:
        """Return a row for each neighbor; samples are told by their names where they have such."""
        named = any(len(source.names) for _, source, _ in self.parts)
        cells: list[tuple[Cell, ...]] = []
        for query, cosines, found in zip(self.queries.tolist(), self.cosines.tolist(), self.rows.tolist(), strict=True):
            asked = self._of(query)
            for rank, (cosine, row) in enumerate(zip(cosines, found, strict=True), start=1):
                one = self._of(row)
                names = (asked[2], one[2]) if named else ()
                cells.append((*asked[:2], rank, *one[:2], cosine, one[3], *names))
        columns = ("query", "query label", "rank", "neighbor", "neighbor label", "cosine", "neighbor is of")
        names = ("query name", "neighbor name") if named else ()
        return Table((*columns, *names), tuple(cells), units={"cosine": "cosine"})

    def _of(self, row: int) -> tuple[int, Cell, str | None, str]:
        """Return a row's index in its source, its label, its name and its part."""
        for part, source, features in self.parts:
            if row < len(features):
                index = int(features.index[row])
                return index, _label(features, row), source.names[index] if len(source.names) else None, part
            row -= len(features)
        raise IndexError(row)


def _table(points: Features, places: npt.NDArray[np.float64], names: Sequence[str]) -> Table:
    """Return where each point lies and which sample it is, with its name where the source has names."""
    rows: list[tuple[Cell, ...]] = []
    for row, (x, y) in enumerate(places.tolist()):
        index = int(points.index[row])
        rows.append((float(x), float(y), _label(points, row), index, *([names[index]] if len(names) else [])))
    columns = ("x", "y", "label", "index", *(["name"] if len(names) else []))
    return Table(columns, tuple(rows), units={"x": "layout", "y": "layout"})


def _drawn(features: Features, count: int, seed: int) -> Tensor:
    """Return the rows of the `count` samples that the seed draws by index, in their order."""
    keys = Draws(derive(seed, "map"), features.index).bits(1)[:, 0]
    return keys.argsort(stable=True)[:count].sort().values


def _flatten(x: Tensor, layout: Layout, seed: int) -> npt.NDArray[np.float64]:
    """Return places in the plane `(N, 2)`."""
    parts = principal(x, 50)
    plane = np.pad(parts[:, :2], ((0, 0), (0, max(0, 2 - parts.shape[1]))))
    if layout == "pca":
        return plane
    # The start by PCA keeps large structure and needs no draws.
    start = plane / max(float(plane[:, 0].std()), 1e-12) * 1e-4
    tsne = TSNE(2, perplexity=min(30.0, (len(x) - 1) / 3), init=start, random_state=derive(seed) % 2**32)
    with threadpool_limits(1):  # at this size threads wait for one another more than they work
        places: npt.NDArray[np.float64] = tsne.fit_transform(parts).astype(np.float64)
    return places


def principal(x: Tensor, count: int) -> npt.NDArray[np.float64]:
    """Return coordinates on the first principal directions `(N, at most count)`, signs made definite."""
    values = x.double() - x.double().mean(0)
    left, size, right = torch.linalg.svd(values, full_matrices=False)
    sign = right.gather(1, right.abs().argmax(1, keepdim=True))[:, 0].sign()
    coordinates: npt.NDArray[np.float64] = (left * (size * sign))[:, :count].numpy()
    return coordinates


def _label(features: Features, row: int) -> Cell:
    if features.y is None:
        return None
    label = int(features.y[row])
    if label < 0:
        return None
    return features.classes[label] if label < len(features.classes) else label
