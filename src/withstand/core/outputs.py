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
class Output:
    """One kind of output of B samples, in their order.

    Attributes:
        values: a row a sample. Pictures are float `(C, H, W)` in [0, 1], or `(T, C, H, W)` or
            `Frames` of a clip; masks are whole
            numbers `(H, W)` or `(D, H, W)`; points are `(J, 2)` or more, as x and y in pixels and what else is known of
            a point; columns are one number or word, or `(K,)` of them. Rows may differ in size, but not columns.
        form: how they are written.
        words: of columns and masks whose numbers are names, the words that they stand for; of points, their names.

    Raises:
        ConfigError: an unknown form.
    """

    values: Tensor | Sequence[Tensor] | Sequence[Frames] | Sequence[str]
    form: Form
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.form not in get_args(Form):
            raise ConfigError(f"form {self.form!r} is unknown: {nearest(self.form, get_args(Form))}")

    def __len__(self) -> int:
        return len(self.values)


Maker: TypeAlias = Callable[..., dict[str, Output]]
"""What makes outputs of a batch, its only positional argument; its other arguments, typed and told in its docstring,
are settings that a user may change."""
