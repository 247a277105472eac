"""Which extras of a source nobody reads: what a method does not know of is named, and not dropped in silence."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.part import Tree


class Unread:
    """Watches one step.

    Attributes:
        names: of the extras that neither a view nor the method has asked for so far.
        brought: of all of them.
    """

    def __init__(self, batch: Batch) -> None:
        self.names, self.brought = set(batch.extras), frozenset(batch.extras)

    def watched(self, batch: Batch) -> Batch:
        """Return a batch whose extras are struck off `names` as they are read; whoever copies them all reads them."""
        return replace(batch, extras=_Watched(batch.extras, self.names.discard))

    def record(self) -> dict[str, Tree]:
        """Return what a stage's record keeps of it, for the stages after it."""
        return {"brought": [*sorted(self.brought)], "unread": [*sorted(self.names)]}


def note_on(stages: Sequence[Mapping[str, Tree]], reader: str) -> str:
    """Return what is to be said of extras that no stage of a run reads; "" where all are read.

    Args:
        stages: what `record` gave of each.
        reader: the method, where there is one stage.
    """
    brought, read = set[str](), set[str]()
    for stage in stages:
        own, unread = (set(map(str, found)) if isinstance(found := stage.get(key), list) else set[str]()
                       for key in ("brought", "unread"))  # fmt: skip
        brought |= own
        read |= own - unread
    if not (strange := brought - read):
        return ""
    who = f"neither the views nor {reader} read in this step" if len(stages) == 1 else "no stage of this run reads"
    return f"the data bring {', '.join(map(repr, sorted(strange)))} along, which {who}"


class _Watched(Mapping[str, Tensor]):
    def __init__(self, values: Mapping[str, Tensor], tell: Callable[[str], None]) -> None:
        self._values, self._tell = values, tell

    def __getitem__(self, name: str) -> Tensor:
        self._tell(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values
