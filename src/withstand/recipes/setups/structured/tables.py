"""What every recipe that learns from tables shares: the rows, the encoder, the plan, the judges."""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

from withstand.core.errors import ConfigError, LeftOut
from withstand.core.options import Options
from withstand.core.roles import Evaluator
from withstand.data.tables.infer import Task, kinds_of
from withstand.data.tables.source import TableSource
from withstand.engine.experiment import Plan
from withstand.engine.optimizers import AdamW
from withstand.engine.schedules import WarmupCosine
from withstand.evaluation.structured.table_probe import ColumnImportance, TableHeads
from withstand.models.tables.encoder import TableEncoder


@dataclass(frozen=True, kw_only=True)
class TableSetup(Options):
    """What every recipe on tables can be told: rows, network, budget.

    Args:
        data: a table's name (adult, california, wine, ...), a CSV, Parquet or Feather file, a data frame, an array.
        target: the column to predict, kept from what is learnt and used by probes alone; a named table has its own.
        task: what the target is: classes, number, or auto (words and up to 20 different whole numbers are classes).
        kinds: columns whose inferred kind is wrong, as COLUMN=numeric, COLUMN=categorical or COLUMN=date.
        ignore: columns to leave out.
        id: the column that names rows: never learnt from, and written beside features and predictions.
        immutable: columns that an audit's attacks may not change; categorical ones they never do.
        delimiter: what separates the fields of a text file; found by itself if not said.
        header: whether a text file's first line names the columns; found by itself, and told, if not said.
        decimal: the mark before decimals in texts, "." or ",", where 1.234 leaves it open; found by itself, and told,
            if not said.
        encoding: of a text file, as utf-8 or cp1252; found by itself, and told, if not said.
        dates: the order of day, month and year in texts, where 01/02/2024 leaves it open; found by itself, and told,
            if not said.
        hidden: width of a column's token.
        layers: Transformer layers of the encoder.
        heads: attention heads.
        feedforward: width of its perceptrons; twice hidden if not said.
        dropout: in every layer.
        reg_tokens: tokens that are always seen and stand for no column.
        value_scale: standard deviation of the first weights of values; the papers' are small beside a token's place,
            and features of short runs then hardly tell rows apart.
        epochs: passes over the rows.
        batch: rows a step, at most all of them.
        learning_rate: of AdamW.
        weight_decay: of AdamW, on matrices.
        seed: of weights, order and masks.
        processes: how many train together.
    """

    data: Any = "adult"
    target: str | None = None
    task: Task = "auto"
    kinds: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    id: str | None = None
    immutable: tuple[str, ...] = ()
    delimiter: str | None = None
    header: bool | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    dates: Literal["dmy", "mdy", "ymd"] | None = None
    hidden: int = 64
    layers: int = 4
    heads: int = 4
    feedforward: int | None = None
    dropout: float = 0.0
    reg_tokens: int = 1
    value_scale: float | None = 1.0
    epochs: int = 10
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0
    processes: int = 1


OF_A_TABLE = ("target", "kinds", "ignore", "id", "immutable", "delimiter", "header", "decimal", "encoding", "dates")
"""Options that say how a table is read."""


FEW = 100
"""Rows with an answer below which a test part would tell little: a fifth of them is fewer than 20 rows."""


def table_parts(setup: TableSetup) -> tuple[TableSource, TableSource | None]:
    """Return the training rows and the test rows; no test rows of a source that gives every row."""
    if isinstance(setup.data, TableSource):
        told = [name for name in OF_A_TABLE if getattr(setup, name) not in (None, ())]
        if told:
            raise ConfigError(f"{' and '.join(told)} belong to a table, not to a source, which was told already")
        if setup.data.part == "all":
            return setup.data, None
        return setup.data.other("train"), setup.data.other("test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOut)  # what becomes of each column is told before training
        train = _opened(setup)
    return train, train.other("test")


def _opened(setup: TableSetup) -> TableSource:
    return TableSource(
        setup.data,
        part="train",
        target=setup.target,
        task=setup.task,
        kinds=kinds_of(setup.kinds) or None,
        ignore=setup.ignore,
        immutable=setup.immutable,
        delimiter=setup.delimiter,
        header=setup.header,
        decimal=setup.decimal,
        encoding=setup.encoding,
        dates=setup.dates,
        id=setup.id,
    )


def table_encoder(setup: TableSetup, train: TableSource) -> TableEncoder:
    """Return the encoder for the rows' schema."""
    return TableEncoder(
        train.schema,
        hidden=setup.hidden,
        layers=setup.layers,
        heads=setup.heads,
        feedforward=setup.feedforward,
        dropout=setup.dropout,
        reg_tokens=setup.reg_tokens,
        value_scale=setup.value_scale,
    )


def table_plan(setup: TableSetup, rows: int, *, warmup: float) -> Plan:
    """Return the plan; the batch is at most all rows, and the rate rises over `warmup` epochs, a tenth at most."""
    precision: Literal["float32"] = "float32"  # tokens are few and narrow: bfloat16 gains nothing on them
    return Plan(
        epochs=setup.epochs,
        batch=min(setup.batch, rows - rows % setup.processes),
        optimizer=AdamW(setup.learning_rate, setup.weight_decay),
        schedule=WarmupCosine(warmup, share=0.1),
        precision=precision,
        layout="contiguous",
        seed=setup.seed,
        processes=setup.processes,
    )


def table_judges(train: TableSource, test: TableSource | None) -> tuple[Evaluator, ...]:
    """Return what judges the encoder besides the usual probes, where there is something to predict."""
    if test is None or (train.labels is None and train.targets is None):
        return ()
    return (TableHeads(seeds=3, tuned=True, native=True, few=FEW), ColumnImportance(few=FEW))
