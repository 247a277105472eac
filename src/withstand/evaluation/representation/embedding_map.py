"""Pictures of a representation: a map in two dimensions, and the nearest neighbors of some samples."""

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
        queries: rows of the neighbor table, drawn alike; from test where there is one, neighbors from train.
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
        points = _draw(embedded.judged, self.samples, self.seed)
        if len(points) < _FEWEST:
            raise DataError(f"a map needs at least {_FEWEST} samples, not {len(points)}")
        places = _flatten(points.x, self.layout, self.seed)
        queries = _draw(embedded.judged, self.queries, self.seed)
        near, rows = self._neighbors(queries, embedded)
        bank = embedded.train.index[rows]
        pictures = {}
        alike = embedded.source.shape == embedded.judged_source.shape
        if drawn(embedded.source) and drawn(embedded.judged_source) and alike:
            asked = pictures_of(embedded.judged_source, queries.index)
            found = pictures_of(embedded.source, bank.flatten()).reshape(*bank.shape, *asked.shape[1:])
            pictures["neighbors"] = np.concatenate([asked[:, None], found], axis=1)
        protocol: dict[str, Tree] = {
            "probe": describe(self),
            "points": len(points),
            "neighbors": "by cosine; the first of each row is the query",
            **embedded.protocol(),
        }
        return Finding(
            name="map",
            tables={
                "map": Table(
                    ("x", "y", "label", "index"),
                    tuple(
                        (float(x), float(y), _label(points, row), int(points.index[row]))
                        for row, (x, y) in enumerate(places.tolist())
                    ),
                    units={"x": "layout", "y": "layout"},
                ),
                "neighbors": _neighbor_table(queries, embedded.train, near, rows),
            },
            protocol=protocol,
            pictures=pictures,
        )

    def _neighbors(self, queries: Features, embedded: Embedded) -> tuple[Tensor, Tensor]:
        """Return cosines and rows in train, without the query itself where it is in train."""
        train = embedded.train
        itself = embedded.test is None
        k = min(self.k, len(train) - itself)
        near, rows = neighbors(train.x, queries.x, k + itself)
        if not itself:
            return near, rows
        # Of exact copies the query need not come first, nor be among them at all: then the last is left out.
        own = train.index[rows] == queries.index[:, None]
        own[:, -1] |= ~own.any(1)
        return near[~own].view(-1, k), rows[~own].view(-1, k)


def _draw(features: Features, count: int, seed: int) -> Features:
    """Return the `count` samples that the seed draws by index, in their order."""
    keys = Draws(derive(seed, "map"), features.index).bits(1)[:, 0]
    return features[keys.argsort(stable=True)[:count].sort().values]


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


def _neighbor_table(queries: Features, train: Features, near: Tensor, rows: Tensor) -> Table:
    cells: list[tuple[Cell, ...]] = []
    for row in range(len(queries)):
        for rank, (cosine, found) in enumerate(zip(near[row].tolist(), rows[row].tolist(), strict=True), start=1):
            cells.append(
                (
                    int(queries.index[row]),
                    _label(queries, row),
                    rank,
                    int(train.index[found]),
                    _label(train, found),
                    cosine,
                )
            )
    columns = ("query", "query label", "rank", "neighbor", "neighbor label", "cosine")
    return Table(columns, tuple(cells), units={"cosine": "cosine"})
