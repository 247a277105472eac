"""What can be said of how a graph is read, where data do not say it themselves."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path

from withstand.core.errors import ConfigError
from withstand.core.options import Options
from withstand.data.graphs.reading.attributes import NodeColumns, Scale
from withstand.data.tables.infer import kinds_of


@dataclass(frozen=True, kw_only=True)
class GraphReading(Options):
    """How a graph is read.

    Args:
        nodes: a table of nodes (text, Parquet, Feather), a line each: the name, and attributes of numbers or words,
            gaps among them; NAME.nodes.csv beside NAME.csv if not said.
        id: the column that names nodes, where it is neither called id or node nor the first.
        target: the attribute that is the class, kept from what is learnt; label, class, target or y if not said.
        features: the attributes that are learnt from; of a table of nodes all if not said, of a NetworkX graph none.
        ignore: attributes to leave out.
        kinds: attributes whose inferred kind is wrong, as NAME=numeric or NAME=categorical.
        scale: unit brings numbers to 0 to 1, none takes them as they stand; if not said unit, but none where there
            are numbers alone, without gaps.
        split: the attribute that says train, validation or test of each node; or one attribute a part, as train_mask
            val_mask test_mask; or a file of nodes and their parts.
        edge_weight: the attribute of edges that says how much each one counts; all alike if not said.
        directed: keep the edges' directions, where the data do not say it.
        header: whether an edge list's first line names its columns; found by itself, and told, if not said.
        nodes_header: the same of the table of nodes.
    """

    nodes: Path | None = None
    id: str | None = None
    target: str | None = None
    features: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    scale: Scale | None = None
    split: tuple[str, ...] = ()
    edge_weight: str | None = None
    directed: bool = False
    header: bool | None = None
    nodes_header: bool | None = None

    @property
    def columns(self) -> NodeColumns:
        """What is said of nodes' attributes beside the label."""
        return NodeColumns(
            features=tuple(self.features),
            ignore=tuple(self.ignore),
            kinds=kinds_of(self.kinds) or None,
            scale=self.scale,
            split=tuple(self.split),
        )

    def refuse(self, what: str, allowed: Collection[str] = ()) -> None:
        """Refuse what is said of data that know it themselves.

        Args:
            what: the data are, in words.
            allowed: what may be said all the same.

        Raises:
            ConfigError: names what was said.
        """
        said = [item.name for item in fields(self) if getattr(self, item.name) not in (None, (), False)]
        idle = [name for name in said if name not in allowed]
        if self.header is False:
            idle.append("header")
        if self.nodes_header is False:
            idle.append("nodes_header")
        if idle:
            takes = f", which takes {' and '.join(allowed)} alone" if allowed else ""
            raise ConfigError(f"{' and '.join(idle)} cannot be said of {what}{takes}: edge lists take them")
