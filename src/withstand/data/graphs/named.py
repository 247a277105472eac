"""Well-known graphs by name."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from withstand.core.errors import DataError, MissingExtra, nearest
from withstand.data.graphs.source import GraphSource
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.cache_folder import cache_folder

CITATIONS = ("cora", "citeseer", "pubmed")
"""Citation graphs with their public split (Yang et al., 2016)."""

Arrays = Mapping[str, Any]
"""edges, features, labels and parts of a graph."""


class NamedGraph(GraphSource):
    """A citation graph: papers with word features, their subject as label, and the public split.

    | name | papers | words | classes | train + validation + test |
    |---|---|---|---|---|
    | `cora` | 2,708 | 1,433 | 7 | 140 + 500 + 1,000 |
    | `citeseer` | 3,327 | 3,703 | 6 | 120 + 500 + 1,000 |
    | `pubmed` | 19,717 | 500 | 3 | 60 + 500 + 1,000 |

    From the compact file `$WITHSTAND_DATA/planetoid/<name>.npz` where there is one, else through torch-geometric
    (extra `graph`), which downloads the official files into the user's cache folder. Word features are divided by
    their sum in each paper, as the usual loaders do. Fifteen papers of Citeseer have no features and no label.

    Args:
        name: one of the names above.

    Raises:
        DataError: an unknown name, or a set that is neither here nor within reach.
        MissingExtra: a set that is not here, without the extra `graph`.
    """

    def __init__(self, name: str) -> None:
        if name not in CITATIONS:
            raise DataError(f"there is no graph {name!r}: {nearest(name, CITATIONS)}")
        compact = compact_file("planetoid", name)
        found = _official(name) if compact is None else read_citations(compact)
        super().__init__(**found, normalize=True)
        where = "official files" if compact is None else f"{VARIABLE}: planetoid/{compact.name}"
        self.name, self.origin = name, f"{where}; {self.counts}"

    def __reduce__(self) -> tuple[Callable[[], "NamedGraph"], tuple[()]]:
        return partial(NamedGraph, self.name), ()


class CompactGraph(GraphSource):
    """A graph in one compact `.npz` file, keys as `read_citations` names them.

    Args:
        path: the file.
        normalize: divide each node's features by their sum, as is usual for words.

    Raises:
        DataError: other keys, or edges, features, labels or masks that do not fit.
    """

    def __init__(self, path: str, *, normalize: bool = False) -> None:
        file = Path(path)
        super().__init__(**read_citations(file), normalize=normalize)
        self.name, self.origin = file.stem, f"the file {file.name}; {self.counts}"


def compact_file(folder: str, name: str) -> Path | None:
    """Return the set's compact file, or None where the variable is not set or has no such file."""
    base = os.environ.get(VARIABLE)
    if not base:
        return None
    if not Path(base).is_dir():
        raise DataError(f"{VARIABLE}={base!r} is not a folder: correct or unset it")
    path = Path(base) / folder / f"{name}.npz"
    return path if path.is_file() else None


def read_citations(path: Path) -> Arrays:
    """Return what a compact file holds.

    Its keys: `edge_index` (2, E), `y` (N,), -1 for none; the masks `train_mask`, `val_mask`, `test_mask`; and the
    features in compressed rows, `feat_indptr`, `feat_indices`, `feat_data`, `feat_shape`.

    Raises:
        DataError: other keys.
    """
    from scipy.sparse import csr_matrix

    with np.load(path, allow_pickle=False) as file:
        wanted = {"edge_index", "y", "train_mask", "val_mask", "test_mask", "feat_indptr", "feat_indices", "feat_data"}
        missing = sorted(wanted - set(file.files))
        if missing:
            raise DataError(f"{str(path)!r} is no compact citation graph: it lacks {', '.join(missing)}")
        rows = (file["feat_data"], file["feat_indices"], file["feat_indptr"])
        return {
            "edges": file["edge_index"],
            "features": csr_matrix(rows, shape=tuple(file["feat_shape"])),
            "labels": file["y"],
            "parts": {
                "train": file["train_mask"],
                "validation": file["val_mask"],
                "test": file["test_mask"],
            },
        }


def _official(name: str) -> Arrays:
    try:
        from torch_geometric.datasets import Planetoid
    except ImportError as error:
        raise MissingExtra(f"the graph {name!r}", "torch-geometric", "graph") from error
    root = cache_folder() / "datasets" / "planetoid"
    try:
        data = Planetoid(str(root), name)[0]
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} is not on this machine and cannot be downloaded ({reason}): set {VARIABLE} to a folder with "
            f"planetoid/{name}.npz, or run once where there is a network and copy {str(root)!r}"
        ) from None
    return {
        "edges": data.edge_index,
        "features": data.x,
        "labels": data.y,
        "parts": {"train": data.train_mask, "validation": data.val_mask, "test": data.test_mask},
    }
