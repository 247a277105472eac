"""`match`: one or two dirty tables become one, with its conflicts, and the pairs that a person should look at."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from withstand.api.front import open_run, train
from withstand.api.runs import Run
from withstand.api.settings import Matching, changed
from withstand.core.devices.device import moved
from withstand.core.errors import ConfigError, RunError
from withstand.core.files import replacing
from withstand.core.options import Device
from withstand.core.roles import network_of
from withstand.data.pairs.source import RecordSource
from withstand.data.pairs.texts import TextTable
from withstand.evaluation.structured.integration.conflicts import Resolver
from withstand.evaluation.structured.integration.integrate import Integration, integrate
from withstand.models.tables.records import RecordMatcher
from withstand.recipes.contrastive.table_integration import SETUP

METHOD = "table-integration"
LEAST_STEPS = 60
"""Of a matcher that is learnt first."""


@dataclass(frozen=True, repr=False)
class Matched:
    """What `match` gives.

    Attributes:
        integration: the tables.
        run: the matcher's run.
        files: where the tables were written, by name.
    """

    integration: Integration
    run: Run
    files: dict[str, Path]

    def __repr__(self) -> str:
        """Return what was found, and where it was written."""
        return f"<Matched {self.integration.finding!r}, in {self.files['merged'].parent}>"


def match(
    table: Any,
    other: Any = None,
    asked: Matching = Matching(),  # noqa: B008 - a frozen value
    *,
    run: str | Path | None = None,
    out: str | Path | None = None,
    resolver: Resolver | None = None,
    device: Device = "auto",
    allow: Sequence[str] = (),
    fresh: bool = False,
    quiet: bool = True,
    **settings: object,
) -> Matched:
    """Merge one or two tables: find which records are the same, resolve their conflicts, say what is doubtful.

    Args:
        table: a CSV, Parquet or Feather file, a data frame, a mapping of columns, or the name of a set of two tables.
        other: the second table; without one, duplicates within the first are merged.
        asked: how.
        run: a run of table-integration whose matcher is used; None learns one from these tables, in `out`/run.
        out: the folder of merged.csv, conflicts.csv and pairs.csv; `match-NAME` if None.
        resolver: is given a question in words and the values that contradict each other, and gives one of them: a
            language model of one's own. The written rule decides if None.
        device: auto, cpu, cuda or mps.
        allow: modules outside withstand that a run's description may name.
        fresh: learn anew where `out`/run holds a run of other tables or settings.
        quiet: show no progress of training.
        **settings: single fields of `asked`, by name: `threshold=0.9`.

    Raises:
        WithstandError: one clear line about what to mend.
    """
    asked = changed(asked, settings)
    if run is None:
        source = RecordSource(table, other, id=asked.id, ignore=asked.ignore)
        folder = _folder(out, source)
        steps = max(1, len(source) * 4 // 5 // SETUP.batch)  # a fifth is held out
        epochs = max(SETUP.epochs, -(-LEAST_STEPS // steps)) if asked.epochs is None else asked.epochs
        made = {"other": other, "id": asked.id, "ignore": asked.ignore, "epochs": epochs, "seed": asked.seed}
        opened = train(METHOD, table, out=folder / "run", device=device, options=made, fresh=fresh, quiet=quiet)
    else:
        opened = open_run(run, device=device, allow=allow)
        source = _like(opened, table, other, asked)
        folder = _folder(out, source)
    matcher = network_of(opened.method, "matcher")
    if not isinstance(matcher, RecordMatcher):
        raise RunError(f"the matcher of {opened.path} is a {type(matcher).__name__}, which matches no records")
    with moved(opened.device, matcher):
        found = integrate(
            matcher.eval(),
            source,
            grouping=asked.grouping,
            threshold=asked.threshold,
            nearest=asked.nearest,
            look=asked.look,
            resolver=resolver,
            seed=asked.seed,
        )
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"merged": found.merged, "conflicts": found.conflicts, "pairs": found.look}
    files = {name: write_csv(one, folder / f"{name}.csv") for name, one in tables.items()}
    opened.folder.save(found.finding)
    opened.report()
    return Matched(found, opened, files)


def _folder(out: str | Path | None, source: RecordSource) -> Path:
    return Path(f"match-{source.name}") if out is None else Path(out)


def _like(run: Run, table: Any, other: Any, asked: Matching) -> RecordSource:
    """Return the tables' records by the columns that a run compares."""
    learnt = run.source
    if not isinstance(learnt, RecordSource):
        raise ConfigError(f"{run.path} learnt from {learnt.kind}s: match needs a run of {METHOD}")
    again = {"table": table, "other": other, "id": asked.id, "ignore": asked.ignore, "part": "all"}
    keep = {name: learnt._init_args[name] for name in ("length", "delimiter", "header")}
    return RecordSource(**again, **keep, columns=learnt.columns)


def write_csv(table: TextTable, path: Path) -> Path:
    """Write a table of texts, whole or not at all, and return its path."""
    with replacing(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(zip(*(texts.tolist() for texts in table.columns.values()), strict=True))
    return path
