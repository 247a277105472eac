"""Several sources as one: what a memory of earlier sets holds, or all sets at once."""

from hashlib import blake2b
from typing import Self

import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import DataError
from withstand.core.roles import Indices, Source
from withstand.data.arrays.source import ArraySource
from withstand.data.shared.digest import as_indices


class Joined(Source):
    """The samples of several sources, one source after another, without their labels.

    Args:
        sources: of samples of one shape and type.

    Attributes:
        starts: the place of each source's first sample.

    Raises:
        DataError: no sources, or samples of different shapes or types.
    """

    def __init__(self, sources: tuple[Source, ...]) -> None:
        if not sources:
            raise DataError("nothing can be joined: there are no sources")
        first = sources[0]
        for other in sources[1:]:
            ours, theirs = ((one.shape, one[[0]].x.dtype) for one in (first, other))
            if ours != theirs:
                raise DataError(
                    f"{first.name} has samples of {ours[0]}, {ours[1]}, and {other.name} of {theirs[0]}, {theirs[1]}"
                )
        self.sources = tuple(sources)
        ends = torch.tensor([len(one) for one in sources]).cumsum(0)
        self._ends = ends
        self.starts = tuple((ends - torch.tensor([len(one) for one in sources])).tolist())
        self.kind, self.name = first.kind, " and ".join(one.name for one in sources)
        self.low, self.high = min(one.low for one in sources), max(one.high for one in sources)
        self.origin = "; ".join(one.origin for one in sources)
        self.skipped = tuple(some for one in sources for some in one.skipped)

    @classmethod
    def example(cls) -> Self:
        generator = torch.Generator().manual_seed(0)
        pictures = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8, generator=generator)
        return cls((ArraySource(pictures[:3]), ArraySource(pictures[3:])))

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        owners = torch.searchsorted(self._ends, chosen, right=True)
        x: Tensor | None = None
        for place, (source, start) in enumerate(zip(self.sources, self.starts, strict=True)):
            rows = (owners == place).nonzero()[:, 0]
            if not len(rows) and (x is not None or place < len(self.sources) - 1):
                continue
            part = source[chosen[rows] - start].x
            if x is None:
                x = part.new_empty(len(chosen), *part.shape[1:])
            x[rows] = part
        assert x is not None
        return Batch(x, chosen)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.sources[0].shape

    def fingerprint(self) -> str:
        words = " and ".join(one.fingerprint() for one in self.sources)
        return blake2b(words.encode(), digest_size=16).hexdigest()
