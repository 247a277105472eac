"""How a folder's pictures were written: what their files give away of their class, and whether reading resized them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.random import permutation
from withstand.core.roles import Source
from withstand.data.derived.subset import in_whole
from withstand.data.pictures.decoding.decode import sides_of
from withstand.data.pictures.folder import ImageFolder


@dataclass(frozen=True)
class Written:
    """How some of a source's pictures were written.

    Attributes:
        rows: which, int64 `(M,)`.
        formats: of each, "JPEG", "PNG", "TIFF" and so on.
        sides: of each, the shorter side, pixels.
    """

    rows: Tensor
    formats: tuple[str, ...]
    sides: tuple[int, ...]

    def told_by_format(self, labels: Tensor) -> float:
        """Return the balanced accuracy with which the format alone tells labels 0 and 1; 0.5 where it tells nothing.

        Args:
            labels: of all samples of the source, `(N,)`.
        """
        y = labels[self.rows]
        shares = []
        for form in set(self.formats):
            of_it = torch.tensor([one == form for one in self.formats])
            shares.append([float(of_it[y == label].float().mean()) for label in (0, 1)])
        # The best rule says of each format the class that has more of it.
        return sum(max(pair) for pair in shares) / 2

    def counts(self, labels: Tensor, label: int) -> dict[str, int]:
        """Return how many of a label's pictures are of each format, the most frequent first."""
        own = [form for form, y in zip(self.formats, labels[self.rows].tolist(), strict=True) if y == label]
        return {form: own.count(form) for form in sorted(set(own), key=lambda form: -own.count(form))}


def written(source: Source, most: int = 1000, seed: int = 0) -> Written | None:
    """Return how pictures of a folder were written, of at most so many; None where they do not come from one.

    Args:
        source: a folder, or samples chosen from one.
        most: files that are looked at, drawn by the seed.
        seed: of that choice.
    """
    whole, places = in_whole(source)
    if not isinstance(whole, ImageFolder):
        return None
    rows = permutation(len(source), seed, "written")[:most].sort().values
    formats, sides = [], []
    for row in rows.tolist():
        form, wide, high = sides_of(whole.folder / whole.names[int(places[row])], whole.reading)
        formats.append(form)
        sides.append(min(wide, high))
    return Written(rows, tuple(formats), tuple(sides))
