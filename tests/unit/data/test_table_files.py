"""Tables in files and frames: what is read, and the one line that bad ones get."""

from pathlib import Path

import numpy as np
import pytest

from withstand.core.errors import DataError
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import Frame, Words, frame_of

pytest.importorskip("pyarrow")


def written(path: Path, text: str, name: str = "t.csv") -> Path:
    (path / name).write_text(text, encoding="utf-8")
    return path / name


def shown(frame: Frame) -> dict[str, list[object]]:
    return {
        name: [None if code < 0 else values.names[code] for code in values.codes]
        if isinstance(values, Words)
        else [None if number != number else number for number in values.tolist()]
        for name, values in frame.columns.items()
    }


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    rows = [["a", "b", "c"], ["1", "x y", "2.5"], ["2", "z", ""], ["3", "?", "4"]]
    frame, note = read_file(written(tmp_path, "\n".join(delimiter.join(row) for row in rows)))
    assert not note
    assert shown(frame) == {"a": [1, 2, 3], "b": ["x y", "z", None], "c": [2.5, None, 4]}


def test_a_file_without_header_numbers_its_columns(tmp_path: Path) -> None:
    frame, note = read_file(written(tmp_path, "1.5,x\n2.5,y\n"))
    assert list(frame.columns) == ["column 1", "column 2"]
    assert "no header" in note


def test_padded_fields_and_quotes(tmp_path: Path) -> None:
    frame, _ = read_file(written(tmp_path, 'age, job\n39, "a, b"\n 50, c\n ?, c\n'.replace(' "', '"')))
    assert shown(frame) == {"age": [39, 50, None], "job": ["a, b", "c", "c"]}


@pytest.mark.parametrize(
    ("text", "delimiter", "expected"),
    [
        ("a;b;c\n1;2;3\n4;5;6\n", ",", "it seems separated by semicolons"),
        ("a,b\n1,2\n3,4,5\n6,7\n", None, r"1 ragged row\(s\): the first, line 3, has 3 fields where 2"),
        ("a,b,c\n1,2,3\n3,4\n6,7,8\n", None, "has 2 fields where 3"),
        ("a,b,a\n1,2,3\n", None, "more than one column 'a'"),
        ("a,b\n", None, "no rows"),
        ("", None, "is empty"),
        ("a,b\n1,2\n", "ab", "one character"),
    ],
)
def test_bad_files_get_one_line(tmp_path: Path, text: str, delimiter: str | None, expected: str) -> None:
    with pytest.raises(DataError, match=expected) as raised:
        read_file(written(tmp_path, text), delimiter)
    assert "\n" not in str(raised.value)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_file(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"no table: allowed are \.csv"):
        read_file(written(tmp_path, "a", "t.xlsx"))
    with pytest.raises(DataError, match="cannot be read"):
        read_file(written(tmp_path, "not parquet", "t.parquet"))
    (tmp_path / "latin.csv").write_bytes("a,b\n1,\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        read_file(tmp_path / "latin.csv")


def test_frames_of_every_kind_agree() -> None:
    import pandas
    import pyarrow

    columns = {"n": [1.0, np.nan, 3.0], "w": ["x", None, "y"], "b": [True, False, True]}
    expected = {"n": [1, None, 3], "w": ["x", None, "y"], "b": ["true", "false", "true"]}
    data = pandas.DataFrame(columns)
    assert shown(frame_of(data)) == expected
    assert shown(frame_of(pyarrow.Table.from_pandas(data))) == expected
    assert shown(frame_of({name: np.array(column) for name, column in columns.items()})) == expected
    assert shown(frame_of(data.astype({"w": "category"}))) == expected

    class Interchanged:
        def __dataframe__(self, **settings: bool) -> object:
            return pyarrow.Table.from_pandas(data).__dataframe__(**settings)

    assert shown(frame_of(Interchanged())) == expected
    assert shown(frame_of(np.array([[1.0, 2.0], [3.0, np.nan]]))) == {"column 0": [1, 3], "column 1": [2, None]}


def test_times_become_seconds() -> None:
    import pandas

    frame = frame_of(pandas.DataFrame({"t": pandas.to_datetime(["1970-01-02", None, "1970-01-01"])}))
    assert shown(frame) == {"t": [86400, None, 0]}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.zeros(3), "no table"),
        (np.zeros((0, 3)), "no rows"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "column 'b' has 3 rows"),
        ({"a": np.array([1.0, np.inf])}, "infinity, first in row 1"),
        (5, "int is no table"),
    ],
)
def test_bad_frames_get_one_line(data: object, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        frame_of(data)
