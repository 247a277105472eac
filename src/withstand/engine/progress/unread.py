"""Which extras of a source nobody reads: what a method does not know of is named, and not dropped in silence."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from withstand.core.batch import Batch


class Unread:
    """Watches one step.

    Attributes:
        names: of the extras that neither a view nor the method has asked for so far.
    """

    def __init__(self, batch: Batch) -> None:
        self.names = set(batch.extras)

    def watched(self, batch: Batch) -> Batch:
        """Return a batch whose extras are struck off `names` as they are read; whoever copies them all reads them."""
        return replace(batch, extras=_Watched(batch.extras, self.names.discard))

    def note(self, reader: str) -> str:
        """Return what is to be said of it; "" where all was read."""
        names = ", ".join(map(repr, sorted(self.names)))
        return f"the data bring {names} along, which neither the views nor {reader} read in this step" if names else ""


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
