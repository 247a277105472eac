"""What every source round another source hands on, unless it says otherwise."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from withstand.core.roles import Source
from withstand.core.victims.changeable import Changeable


class Wrapped(Source):
    """A source of another one's samples, as many and in the same order: a subclass changes what it changes."""

    source: Source

    def _wrap(self, source: Source) -> None:
        """Take a source, and what is told of it in words."""
        self.source, self.kind, self.low, self.high = source, source.kind, source.low, source.high
        self.name, self.origin, self.skipped = source.name, source.origin, source.skipped
        self.at_once, self.names, self.levels = source.at_once, source.names, source.levels

    def __len__(self) -> int:
        return len(self.source)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def labels(self) -> Tensor | None:
        return self.source.labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def targets(self) -> Tensor | None:
        return self.source.targets

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return self.source.attributes

    @property
    def group_names(self) -> Mapping[str, tuple[str, ...]]:
        return self.source.group_names

    @property
    def together(self) -> Tensor | None:
        return self.source.together

    @property
    def structures(self) -> tuple[str, ...]:
        return self.source.structures

    @property
    def sizes(self) -> Tensor | None:
        return self.source.sizes

    @property
    def fields(self) -> Mapping[str, tuple[int, ...]]:
        return self.source.fields

    def like(self, data: Any, split: str = "all") -> Source | None:
        return self.source.like(data, split)

    @property
    def changeable(self) -> Tensor | Changeable | None:
        return self.source.changeable
