"""The fields of a table of edges or nodes, whatever holds it: text of any dialect, Parquet, Feather, a data frame."""

from pathlib import Path
from typing import Any

from withstand.core.errors import DataError, MissingExtra
from withstand.data.tables.cells import Cells, read_cells
from withstand.data.tables.dialect import Dialect
from withstand.data.tables.frame import is_frame, short

TEXT = (".csv", ".tsv", ".txt", ".edges", ".edgelist")
"""Endings of text files that hold edge lists."""
BINARY = (".parquet", ".pq", ".feather")
"""Endings of other tables."""


def called(data: object) -> str:
    """Return what a table is called in messages."""
    return Path(data).name if isinstance(data, str | Path) else f"the {type(data).__name__}"


def cells_of(data: object) -> tuple[Cells, bool, dict[str, str]]:
    """Return a table's fields as text, whether its names of columns are sure, and what else columns hold.

    Args:
        data: the path of a table, or a data frame.

    Raises:
        DataError: a file or a data frame that cannot be read.
        MissingExtra: pyarrow is not installed.
    """
    if isinstance(data, str | Path) and Path(data).suffix.lower() not in BINARY:
        return read_cells(Path(data), loose=True), False, {}
    try:
        import pyarrow
        from pyarrow import feather, parquet
    except ImportError as error:
        raise MissingExtra(f"reading {called(data)}", "pyarrow", "table") from error
    try:
        if isinstance(data, str | Path):
            path = Path(data)
            table = (feather.read_table if path.suffix.lower() == ".feather" else parquet.read_table)(path)
        elif is_frame(data):
            table = _of_frame(data)
        else:
            raise DataError(f"{called(data)} is no table: give a file or a data frame")
    except (pyarrow.ArrowException, OSError, TypeError, ValueError) as error:
        raise DataError(f"{called(data)} cannot be read: {' '.join(str(error).split())[:200]}") from None
    repeated = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if repeated:
        raise DataError(f"{called(data)} has more than one column {short(repeated[0])}: rename them")
    columns, unread = [], {}
    for name in table.column_names:
        texts = _texts(table.column(name))
        if texts is None:
            unread[name] = str(table.schema.field(name).type)
        else:
            columns.append(pyarrow.chunked_array([[name], *texts.chunks], pyarrow.string()))
    if not columns or len(columns[0]) < 2:
        raise DataError(f"{called(data)} holds no rows of words or numbers")
    return Cells(columns, Dialect("", "")), True, unread


def _of_frame(data: Any) -> Any:
    import pyarrow
    from pyarrow import interchange

    if type(data).__module__.partition(".")[0] == "pandas":
        return pyarrow.Table.from_pandas(data, preserve_index=False)
    return pyarrow.table(data) if hasattr(data, "__arrow_c_stream__") else interchange.from_dataframe(data)


def _texts(column: Any) -> Any:
    """Return a column as strings, "" for what is missing; None for lists and the like."""
    import pyarrow
    from pyarrow import compute, types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_floating(column.type):
        held = column.filter(compute.is_finite(column))
        if compute.all(compute.equal(compute.floor(held), held), min_count=0).as_py():
            # Data frames hold whole numbers beside gaps so; as text 1e+15 would be another name than 1000000000000000.
            fits = compute.all(compute.less(compute.abs(held), 2.0**53), min_count=0).as_py()
            finite = compute.all(compute.is_finite(column), min_count=0).as_py()
            column = column.cast(pyarrow.int64()) if fits and finite else column
    if types.is_timestamp(column.type) and column.type.tz is None:
        column = column.cast(pyarrow.timestamp("us"), safe=False)
    try:
        return column.cast(pyarrow.string()).fill_null("")
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        return None
