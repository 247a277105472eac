"""What recipes that learn from records share: the tables, the encoder, the plan, the judges."""

from dataclasses import dataclass
from typing import Any

from withstand.core.errors import ConfigError
from withstand.core.options import Options
from withstand.data.pairs.source import RecordSource
from withstand.engine.experiment import Plan
from withstand.engine.optimizers import AdamW
from withstand.engine.schedules import WarmupCosine
from withstand.models.tables.records import RecordEncoder


@dataclass(frozen=True, kw_only=True)
class RecordSetup(Options):
    """What every recipe on records can be told: tables, network, budget.

    Args:
        data: a set of two tables with known pairs (beer, fodors-zagats, itunes-amazon, dblp-acm, amazon-google,
            walmart-amazon, abt-buy, dirty-dblp-acm, dirty-walmart-amazon), or a CSV, Parquet or Feather file, or a data
            frame.
        other: the second table; if not said, duplicates within the first are looked for.
        id: the column that names rows; one called id is found by itself.
        ignore: columns that are not compared.
        length: characters of a value that are compared.
        delimiter: what separates the fields of a text file; found by itself if not said.
        header: whether a text file's first line names the columns; found by itself, and told, if not said.
        width: of a value's vector.
        buckets: of the hash of n-grams.
        frozen: leave the map from n-grams to vectors as it was drawn.
        epochs: passes over the records.
        batch: records a step, at most all of them.
        learning_rate: of AdamW.
        weight_decay: of AdamW, on matrices.
        seed: of weights, order and misspellings.
        processes: how many train together.
    """

    data: Any = "beer"
    other: str | Any = None
    id: str | None = None
    ignore: tuple[str, ...] = ()
    length: int = 96
    delimiter: str | None = None
    header: bool | None = None
    width: int = 128
    buckets: int = 2048
    frozen: bool = False
    epochs: int = 10
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    seed: int = 0
    processes: int = 1


def record_parts(setup: RecordSetup) -> tuple[RecordSource, RecordSource | None]:
    """Return the training records and the test records; no test records of a source that gives every record."""
    if isinstance(setup.data, RecordSource):
        told = (setup.other, setup.id, setup.ignore, setup.delimiter, setup.header)
        if any(one not in (None, ()) for one in told):
            raise ConfigError("other, id, ignore, delimiter and header belong to a table, not to a source")
        if setup.data.part == "all":
            return setup.data, None
        return setup.data.other("train"), setup.data.other("test")
    train = RecordSource(
        setup.data,
        setup.other,
        part="train",
        id=setup.id,
        ignore=setup.ignore,
        length=setup.length,
        delimiter=setup.delimiter,
        header=setup.header,
    )
    return train, train.other("test")


def record_encoder(setup: RecordSetup) -> RecordEncoder:
    """Return the encoder of values."""
    return RecordEncoder(setup.width, buckets=setup.buckets, frozen=setup.frozen)


def record_plan(setup: RecordSetup, records: int) -> Plan:
    """Return the plan; the batch is at most all records, and the rate rises over a tenth of the run."""
    return Plan(
        epochs=setup.epochs,
        batch=min(setup.batch, records - records % setup.processes),
        optimizer=AdamW(setup.learning_rate, setup.weight_decay),
        schedule=WarmupCosine(1, share=0.1),
        precision="float32",
        layout="contiguous",
        seed=setup.seed,
        processes=setup.processes,
    )
