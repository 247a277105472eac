"""Records from tables: what is compared, what is not and why, and what is refused."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.data.pairs.source import RecordSource
from withstand.data.pairs.texts import plain, read_texts

A = {"id": ["1", "2", "3"], "Name": ["Blue  Café", "", "x" * 40], "City": ["Rome", None, "Oslo"], "Stars": [4, 5, 3]}
B = {"id": ["7", "7"], "name": ["blue cafe", "pier"], "CITY": ["Rome", "Bari"], "Phone": ["01", "02"]}


def spelled(source: RecordSource, record: int, column: int) -> str:
    return "".join(map(chr, source[[record]].x[0, column].tolist())).rstrip("\0")


def test_two_tables_meet_in_their_common_columns() -> None:
    source = RecordSource(A, B, length=16)
    assert source.columns == ("Name", "City")
    assert source.shape == (2, 16)
    assert source.names == ("A:1", "A:3", "B:1", "B:2"), "ids name rows where they can, numbers where they repeat"
    assert source.attributes["table"].tolist() == [0, 0, 1, 1]
    assert source.places.tolist() == [0, 2, 3, 4]
    assert spelled(source, 0, 0) == plain("Blue  Café") == "blue café"
    assert source.texts(0) == ("Blue  Café", "Rome"), "outputs hold what was read"
    told = dict(source.skipped)
    assert "repeats 1 id(s), the first '7'" in told["id of table"] or "names rows" in told["id of table"]
    assert "no value in any compared column" in told["1 record(s)"]
    assert "first 16 characters" in told["Name"]
    assert "no such column" in told["Stars of table"]
    union = source.union()
    assert list(union) == ["Name", "City", "Stars", "Phone"]
    assert union["Phone"].tolist() == ["", "", "", "01", "02"]
    assert union["Stars"].tolist() == ["4", "5", "3", "", ""]


def test_what_cannot_be_compared_is_refused_in_one_line() -> None:
    for tables, words in (
        (({"a": ["x"]}, {"b": ["y"]}), "no column in common"),
        (({"a": ["", None], "b": ["", ""]},), "empty"),
        (({"id": ["1", "2"]},), "no column to compare"),
        (({"a": ["x", "y"], "A ": ["x", "y"]}, {"a": ["x"]}), "one name but for case"),
    ):
        with pytest.raises(DataError, match=words) as refused:
            RecordSource(*tables)
        assert "\n" not in str(refused.value)
    with pytest.raises(DataError, match="'7' stands in several"):
        RecordSource(B, id="id")
    with pytest.raises(ConfigError, match="Name"):
        RecordSource(A, id="Nme")
    with pytest.raises(ConfigError, match="no column 'Cty'"):
        RecordSource(A, ignore=("Cty",))
    with pytest.raises(DataError, match="neither a file"):
        RecordSource("no-such-set")


def test_parts_divide_the_records_and_other_tables_are_read_alike(tmp_path: Path) -> None:
    table = {"name": [f"place {row}" for row in range(20)], "town": ["rome"] * 20}
    train, test = (RecordSource(table, part=part) for part in ("train", "test"))
    assert sorted([*train.places.tolist(), *test.places.tolist()]) == list(range(20))
    (tmp_path / "more.csv").write_text("town,name,extra\nbari,pier,1\noslo,00123,2\n")
    other = train.like(tmp_path / "more.csv")
    assert other is not None
    assert other.columns == ("name", "town")
    assert other.texts(1) == ("00123", "oslo"), "digits stay as they are written"
    (tmp_path / "less.csv").write_text("town,extra\nbari,1\noslo,2\n")
    with pytest.raises(DataError, match="no value in name"):
        train.like(tmp_path / "less.csv")


def test_texts_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('code,price,note\n007,5.00,"a, b"\nNA,1e3,\n')
    found = read_texts(tmp_path / "t.csv").columns
    assert found["code"].tolist() == ["007", ""]
    assert found["price"].tolist() == ["5.00", "1e3"]
    assert found["note"].tolist() == ["a, b", ""]


def test_sample_codes_are_whole_numbers_of_the_readers_own() -> None:
    source = RecordSource(A)
    x = source[[0]].x
    assert x.dtype == torch.int64
    x.zero_()
    assert bool(source[[0]].x.any())
    assert len(np.unique([source.fingerprint(), RecordSource(A, B).fingerprint()])) == 2


STAMPS = [datetime.datetime(2024, 12, 31, 10, 30, 0, 500), datetime.datetime(2025, 1, 1)]
HELD: dict[str, tuple[list[Any], str, list[str]]] = {
    "price": (["1.50", "1e5"], "str", ["1.50", "1e5"]),
    "words": (["None", " a "], "str", ["None", " a "]),
    "short": ([0.1, 2.0], "float32", ["0.1", "2"]),
    "gaps": ([None, 3.5], "float64", ["", "3.5"]),
    "large": ([2**60 + 1, 3], "int64", ["1152921504606846977", "3"]),
    "truth": ([True, False], "bool", ["true", "false"]),
    "money": ([Decimal("1.50"), Decimal("12.00")], "object", ["1.50", "12.00"]),
    "day": ([datetime.date(2024, 12, 31), None], "object", ["2024-12-31", ""]),
    "clock": ([datetime.time(10, 30), datetime.time(1, 0, 2)], "object", ["10:30:00", "01:00:02"]),
    "stamp": (STAMPS, "datetime64[us]", ["2024-12-31 10:30:00.000500", "2025-01-01 00:00:00"]),
    "midnight": ([datetime.datetime(2024, 12, 31), None], "datetime64[us]", ["2024-12-31", ""]),
    "span": ([datetime.timedelta(hours=1), None], "timedelta64[us]", ["1:00:00", ""]),
    "kind": (["x", "y"], "category", ["x", "y"]),
}
"""By column: values, their type, and the texts that stand for them."""


@pytest.mark.parametrize("form", ["frame", "parquet", "feather", "arrow", "series", "lists"])
def test_values_of_every_type_are_written_as_they_are(tmp_path: Path, form: str) -> None:
    pd = pytest.importorskip("pandas", reason="extra table")
    columns = {name: pd.Series(values, dtype=kind) for name, (values, kind, _) in HELD.items()}
    frame = pd.DataFrame({**columns, "tags": [["a"], ["b", "c"]]})
    table: Any = frame
    if form in ("parquet", "feather"):
        table = tmp_path / f"a.{form}"
        getattr(frame, f"to_{form}")(table)
    elif form == "arrow":
        table = pytest.importorskip("pyarrow").Table.from_pandas(frame)
    elif form == "series":
        table = dict(frame.items())
    elif form == "lists":
        table = {name: values for name, (values, kind, _) in HELD.items() if kind != "float32"}
        table |= {"short": np.array([0.1, 2.0], np.float32), "tags": frame["tags"].tolist()}
    found = read_texts(table)
    assert {name: texts.tolist() for name, texts in found.columns.items()} == {
        name: texts for name, (_, _, texts) in HELD.items()
    }
    assert [name for name, _ in found.left_out] == ["tags"]
    assert any(what == f"tags of {found.name}" for what, _ in RecordSource(table).skipped)


def test_gaps_of_every_library_are_gaps() -> None:
    pd = pytest.importorskip("pandas", reason="extra table")
    gaps = pd.DataFrame({"a": ["x", pd.NA, None], "b": pd.array([1, pd.NA, 3], dtype="Int64")})
    mixed = {"a": ["x", pd.NA, float("nan")], "b": [1, pd.NaT, 3]}
    for table in (gaps, mixed):
        assert [texts.tolist() for texts in read_texts(table).columns.values()] == [["x", "", ""], ["1", "", "3"]]
