"""What a trained method makes of samples: pictures, masks, points, or columns of numbers and words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, nearest

Form: TypeAlias = Literal["pictures", "masks", "points", "columns"]
"""How outputs are written: a picture a sample, a mask a sample, rows of points, or columns of one table."""


@dataclass(frozen=True, slots=True)
class Frames:
    """The frames of a clip of any length, made one by one, each when it is asked for.

    Attributes:
        make: begins anew, and yields frames `(C, H, W)` in [0, 1].
    """

    make: Callable[[], Iterator[Tensor]]

    def __iter__(self) -> Iterator[Tensor]:
        frames = self.make()
        while True:
            with torch.no_grad():  # they are made later than what calls a maker, which holds gradients off
                frame = next(frames, None)
            if frame is None:
                return
            yield frame

    def whole(self) -> Tensor:
        """Return all frames, `(T, C, H, W)`."""
        return torch.stack(list(self))


@dataclass(frozen=True, slots=True)
class Seen:
    """Where in a picture the part lies that a network was given, in the picture's own pixels.

    Attributes:
        height: of the picture.
        width: of the picture.
        left: edge of the part; below 0 where ground was added.
        top: likewise.
        wide: the part's width.
        high: its height.
    """

    height: int
    width: int
    left: float
    top: float
    wide: float
    high: float

    @classmethod
    def middle(cls, height: int, width: int) -> "Seen":
        """Return that the largest square in a picture's middle was seen."""
        side = min(height, width)
        return cls(height, width, (width - side) / 2, (height - side) / 2, side, side)

    def within(self, inner: "Seen") -> "Seen":
        """Return where a part of a part lies: `inner` is told in pixels of what was seen here."""
        across, down = self.wide / inner.width, self.high / inner.height
        left, top = self.left + inner.left * across, self.top + inner.top * down
        return Seen(self.height, self.width, left, top, inner.wide * across, inner.high * down)

    def points(self, points: Tensor, height: int, width: int) -> Tensor:
        """Return points `(J, 2)` or more, told in pixels of what was seen, in the picture's own.

        Args:
            points: x, y and what else is known.
            height: of what the network was given.
            width: likewise.
        """
        x = (points[:, 0] + 0.5) * (self.wide / width) + self.left - 0.5
        y = (points[:, 1] + 0.5) * (self.high / height) + self.top - 0.5
        return torch.cat([torch.stack([x, y], 1), points[:, 2:]], 1)

    def mask(self, mask: Tensor) -> Tensor:
        """Return a mask `(..., h, w)` of what was seen as one of the whole picture, `UNSEEN` where nothing was."""
        rows = _places(self.height, self.top, self.high, mask.shape[-2])
        columns = _places(self.width, self.left, self.wide, mask.shape[-1])
        whole = mask[..., rows.clamp(min=0)[:, None], columns.clamp(min=0)].to(torch.int64)
        return whole.masked_fill((rows < 0)[:, None] | (columns < 0), UNSEEN)

    @property
    def cut(self) -> bool:
        """Whether some of the picture was not seen."""
        below = self.left + self.wide < self.width or self.top + self.high < self.height
        return below or self.left > 0 or self.top > 0


UNSEEN = 255
"""In a mask, the part of a picture that the network was not given."""


def _places(count: int, start: float, length: float, cells: int) -> Tensor:
    """Return in which cell the middle of each of so many pixels lies, -1 for none."""
    places = ((torch.arange(count, dtype=torch.float64) + 0.5 - start) * (cells / length)).floor().to(torch.int64)
    return places.where((places >= 0) & (places < cells), torch.tensor(-1))


@dataclass(frozen=True, slots=True)
class Output:
    """One kind of output of B samples, in their order.

    Attributes:
        values: a row a sample. Pictures are float `(C, H, W)` in [0, 1], or `(T, C, H, W)` or
            `Frames` of a clip; masks are whole
            numbers `(H, W)` or `(D, H, W)`; points are `(J, 2)` or more, as x and y in pixels and what else is known of
            a point; columns are one number or word, or `(K,)` of them. Rows may differ in size, but not columns.
        form: how they are written.
        words: of columns and masks whose numbers are names, the words that they stand for; of points, their names.
        unseen: whether masks hold `UNSEEN`, where a picture was cut off.

    Raises:
        ConfigError: an unknown form.
    """

    values: Tensor | Sequence[Tensor] | Sequence[Frames] | Sequence[str]
    form: Form
    words: tuple[str, ...] = ()
    unseen: bool = False

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ConfigError(f"form {self.form!r} is unknown: {nearest(self.form, get_args(Form))}")

    def __len__(self) -> int:
        return len(self.values)

    def in_own_pixels(self, seen: Sequence[Seen], height: int, width: int) -> "Output":
        """Return points and masks in the pixels of the pictures themselves; other outputs as they are.

        Args:
            seen: where in each picture that lies which the network was given.
            height: of what it was given, in pixels.
            width: likewise.
        """
        rows = [row for row in self.values if isinstance(row, Tensor)]
        if self.form not in ("points", "masks") or len(rows) != len(self.values):
            return self
        pairs = list(zip(seen, rows, strict=True))
        if self.form == "points":
            return Output([one.points(row, height, width) for one, row in pairs], self.form, self.words)
        unseen = self.unseen or any(one.cut for one in seen)
        return Output([one.mask(row) for one, row in pairs], self.form, self.words, unseen)


Maker: TypeAlias = Callable[..., dict[str, Output]]
"""What makes outputs of a batch, its only positional argument; its other arguments, typed and told in its docstring,
are settings that a user may change."""
