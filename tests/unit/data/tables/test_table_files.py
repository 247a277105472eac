"""Tables in files and frames: what is read, and the one line that bad ones get."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from withstand.core.errors import ConfigError, DataError
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import Frame, Words, frame_of
from withstand.data.tables.infer import find_target
from withstand.data.tables.source import TableSource
from withstand.data.tables.written.reading import Reading

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
    assert note.endswith("-separated; the first line names the columns")
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
        ("a;b;c\n1;2;3\n4;5;6\n", ",", "it seems semicolon-separated, delimiter=';'"),
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
        read_file(written(tmp_path, text), Reading(delimiter))
    assert "\n" not in str(raised.value)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file"):
        read_file(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"no table: allowed are \.csv"):
        read_file(written(tmp_path, "a", "t.xlsx"))
    with pytest.raises(DataError, match="cannot be read"):
        read_file(written(tmp_path, "not parquet", "t.parquet"))


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
        ({"a": [[1], [2, 3]]}, "no column of numbers, words"),
        (np.zeros((0, 3)), "no rows"),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "column 'b' has 3 rows"),
        (5, "int is no table"),
    ],
)
def test_bad_frames_get_one_line(data: object, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        frame_of(data)


HEADERS = {
    "country,2019,2020\n" + "".join(f"c{row % 9},{row * 1.5},{row * 2.5}\n" for row in range(9)): True,
    "country,2019,2020\nc1,5,7\nc2,8,9\n": True,
    "0,1,2,3\n5,7,1,1\n3,3,3,4\n": True,
    "400.0,400.5,401.0,401.5\n.1,.7,.1,.1\n.3,.3,.3,.4\n": True,
    "city,2020-01-22,2020-01-23\na,1,2\nb,3,4\n": True,
    "nan,b\n1.5,2\n2.5,3\n": True,
    "nan,2019,2020,2021\n1.5,2.5,7.5,1.5\n2.5,.5,.5,2\n": True,
    "nan,b\n1.5,x\n2.5,y\n": None,
    "name,age\nann,39\nbob,\n": True,
    "size,color\nL,red\nM,blue\n": True,
    "5.1,3.5,setosa\n4.9,3.0,setosa\n7.0,3.2,versicolor\n": False,
    "M,0.455,15\nM,0.35,7\nF,0.53,9\n": False,
    "red,small\nblue,small\nred,large\n": False,
    "P1,5.25\nP2,3.25\n": False,
    "1.5,2.5\n3.5,4.5\n": False,
    "7,3\n2,9\n4,4\n": False,
    "0,1\n5,7\n3,2\n": None,
    "name,1\nann,5\nbob,3\n": None,
    "country,2019\nc1,5\nc2,7\n": None,
}
"""Files, and whether they have a header: None where nobody can know."""


@pytest.mark.parametrize("text", HEADERS)
def test_a_header_is_known_by_what_stands_below_it(tmp_path: Path, text: str) -> None:
    path, lines = written(tmp_path, text), text.count("\n")
    if HEADERS[text] is None:
        with pytest.raises(DataError, match=r"may name the columns or be the first row.*--no-header"):
            read_file(path)
    else:
        frame, note = read_file(path)
        assert len(frame) == lines - bool(HEADERS[text])
        assert ("no header" in note) is not HEADERS[text]
    for said in (True, False):
        frame, _ = read_file(path, Reading(header=said))
        assert len(frame) == lines - said
        first = text.partition("\n")[0].split(",")
        assert list(frame.columns) == (first if said else [f"column {place + 1}" for place in range(len(first))])


@pytest.mark.parametrize(
    ("content", "name", "expected", "note"),
    [
        (b"sep=;\r\na;b\r\n1;x\r\n2;y\r\n", "t.csv", {"a": [1, 2], "b": ["x", "y"]}, "semicolon"),
        (b"a;b\n1,5;x\n-2,25;y\n", "t.csv", {"a": [1.5, -2.25], "b": ["x", "y"]}, "decimal commas in 'a'"),
        (b"1,5;2,5\n3,5;4,5\n", "t.csv", {"column 1": [1.5, 3.5], "column 2": [2.5, 4.5]}, "decimal commas"),
        (b"a\tb\n1\tx, y\n2\tz, w\n", "t.tsv", {"a": [1, 2], "b": ["x, y", "z, w"]}, "tab"),
        (b"a,b\tc\n1,2\t3\n4,5\t6\n", "t.tsv", {"a,b": [1.2, 4.5], "c": [3, 6]}, "decimal commas in 'a,b'"),
        (b"\xef\xbb\xbfa,b\n1,2\n", "t.csv", {"a": [1], "b": [2]}, "comma"),
        ("a\tb\n1\té\n".encode("utf-16"), "t.txt", {"a": [1], "b": ["é"]}, "utf-16"),
        ("a\tb\n1\té\n".encode("utf-16-le"), "t.txt", {"a": [1], "b": ["é"]}, "utf-16-le"),
        ("a,b\n1,é\n".encode("cp1252"), "t.csv", {"a": [1], "b": ["é"]}, "no UTF-8, so read as Windows-1252"),
        (b'"a","b"\n"1","x ""y"", z"\n', "t.csv", {"a": [1], "b": ['x "y", z']}, ""),
        (b'a,b\n"x\ny",2\n', "t.csv", {"a": ["x\ny"], "b": [2]}, "line breaks inside fields of 'a'"),
        (b"a;n\n1,234;1.5\n5,678;2.5\n", "t.csv", {"a": ["1,234", "5,678"], "n": [1.5, 2.5]}, "'a' stays words"),
        (
            b"a;n\n1.234;1,5\n5.678;2,5\n",
            "t.csv",
            {"a": [1234, 5678], "n": [1.5, 2.5]},
            "thousands parted by points in 'a'",
        ),
        (b"a\rb\r1\r2\r", "t.csv", {"column 1": ["a", "b", "1", "2"]}, ""),
    ],
)
def test_dialects(tmp_path: Path, content: bytes, name: str, expected: dict[str, list[object]], note: str) -> None:
    (tmp_path / name).write_bytes(content)
    reading = Reading(header=False) if b"\r1" in content and b"\n" not in content else None
    frame, said = read_file(tmp_path / name, reading)
    assert shown(frame) == expected
    assert note in said


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a,b\n1,\x00\n2,3\n", "holds zero bytes"),
        ("имя,б\nпервый,1\n".encode("cp1251"), "neither UTF-8, UTF-16 nor Windows-1252"),
        (b'a,b\nx,"open\ny,4\n', "a quote that nothing closes"),
        (b'a,b\nx,1\n"open,2\ny,4\n', "1 ragged row"),
        (b"a", "a header and no rows"),
    ],
)
def test_files_that_cannot_be_read_rightly_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=expected):
        read_file(tmp_path / "t.csv")


CODES = {
    "ean": ["4006381333931", "4006381333932", "4006381333933"],
    "seventeen": ["12345678901234567", "12345678901234568", "12345678901234569"],
    "zeros": ["007", "07", "7"],
    "twenty": ["12345678901234567890", "12345678901234567891", "12345678901234567892"],
    "close": ["0.1234567890123", "0.1234567890124", "0.1234567890125"],
    "plus": ["+1", "2", "3"],
    "hex": ["0x10", "0x11", "0x12"],
    "underscores": ["1_0", "10", "1_00"],
}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("held", ["file", "array", "pandas", "numbers"])
def test_codes_that_differ_stay_different(tmp_path: Path, name: str, held: str) -> None:
    import pandas

    texts = CODES[name] * 4
    if held == "file":
        frame, _ = read_file(written(tmp_path, f"w,{name}\n" + "".join(f"x,{text}\n" for text in texts)))
    elif held == "numbers" and name in ("ean", "seventeen"):
        frame = frame_of(pandas.DataFrame({name: [int(text) for text in texts]}))
    elif held == "array":
        frame = frame_of({name: np.array(texts)})
    else:
        frame = frame_of(pandas.DataFrame({name: texts}))
    target = find_target(frame, name, "classes")
    assert target.labels is not None
    assert len(target.labels.unique()) == 3
    if name not in ("plus", "close"):
        assert set(target.classes) == set(texts)


def test_columns_of_other_types_are_named_and_left_out() -> None:
    import datetime
    from decimal import Decimal

    import pandas

    data = pandas.DataFrame({"x": np.arange(6.0), "y": ["a", "b"] * 3})
    data["time"] = [datetime.time(12, minute) for minute in range(6)]
    data["span"] = pandas.to_timedelta(range(6), unit="h")
    data["price"] = [Decimal(number) / 10 for number in range(6)]
    data["lists"] = [[1], [2, 3]] * 3
    data["range"] = pandas.cut(data["x"], 3).to_numpy()
    data["month"] = pandas.period_range("2020-01", periods=6, freq="M")
    data["bytes"] = [b"x"] * 6
    data["mixed"] = [1, "a", 2, "b", 3, None]
    frame = frame_of(data)
    assert sorted(frame.unread) == ["bytes", "lists", "month", "range"]
    read = shown(frame)
    assert read["time"][1] == 12 * 3600 + 60
    assert read["span"][2] == 7200
    assert read["price"][3] == 0.3
    assert read["mixed"] == ["1", "a", "2", "b", "3", None]
    with pytest.warns(UserWarning, match="columns of table are left out: lists: holds list<"):
        source = TableSource(data, target="y", ignore=["month"])
    assert dict(source.skipped)["month"] == "as asked for"
    assert "holds" in dict(source.skipped)["range"]
    with pytest.raises(DataError, match="target 'lists' holds list"):
        TableSource(data, target="lists")
    with pytest.raises(DataError, match="can be neither numeric nor categorical"):
        TableSource(data, kinds={"lists": "numeric"})


def test_typed_words_are_what_they_are() -> None:
    import pandas

    frame = frame_of(pandas.DataFrame({"country": ["NA", " x", None], "kind": pandas.Categorical([1, 2, 1])}))
    assert shown(frame) == {"country": ["NA", " x", None], "kind": ["1", "2", "1"]}


def test_free_text_that_is_left_out_is_said_aloud(tmp_path: Path) -> None:
    rows = "".join(f"{row / 4},the {row} quick foxes,{row % 3}\n" for row in range(40))
    path = written(tmp_path, f"x,story,y\n{rows}")
    with pytest.warns(UserWarning, match="left out: story: free text, such as 'the 0 quick foxes'"):
        TableSource(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TableSource(path, ignore=["story"])


def test_infinity_is_refused_and_can_be_ignored() -> None:
    data = {"a": np.array([1.0, np.inf, 2.0]), "b": np.arange(3.0)}
    with pytest.raises(DataError, match="'a' holds infinity, first in row 1"):
        TableSource(data)
    assert TableSource(data, ignore=["a"]).shape == (2,)


def test_other_data_are_read_with_the_names_that_training_had(tmp_path: Path) -> None:
    train = TableSource(written(tmp_path, "2019,2020\n1.5,2.5\n3.5,4.5\n5.5,1.5\n"))
    again = TableSource(written(tmp_path, "2019,2020\n1,2\n", "u.csv"), schema=train.schema)
    assert len(again) == 1


def test_a_declared_or_long_row_is_read_whole(tmp_path: Path) -> None:
    long = "x" * 3_000_000
    frame, _ = read_file(written(tmp_path, f"a,b\n1,{long}\n2,y\n"))
    assert shown(frame)["b"] == [long, "y"]


SAID: dict[str, dict[str, Any]] = {
    "delimiter": {"delimiter": ";"}, "header": {"header": False},
    "header and encoding": {"encoding": "cp1252", "header": True},
}  # fmt: skip


@pytest.mark.parametrize("word", SAID)
def test_what_is_said_of_text_is_refused_of_other_tables(tmp_path: Path, word: str) -> None:
    columns = {"a": np.arange(12.0), "b": np.arange(12.0) % 5, "y": np.array(["n", "y"])[np.arange(12) % 2]}
    frame = pytest.importorskip("pandas").DataFrame(columns)
    frame.to_parquet(tmp_path / "rows.parquet")
    frame.to_feather(tmp_path / "rows.feather")
    for table in (tmp_path / "rows.parquet", tmp_path / "rows.feather", frame, columns, "iris"):
        with pytest.raises(ConfigError, match=f"{word} says? how a text file is to be read"):
            TableSource(table, **SAID[word])
        assert len(TableSource(table)) > 0
    with pytest.raises(ConfigError, match="decimal and dates say how"):  # no column of texts
        TableSource({"a": np.arange(12.0)}, decimal=",", dates="dmy")


def test_columns_without_a_name_are_told(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",a,b\n0,1.5,x\n1,2.5,y\n", encoding="utf-8")  # as pandas writes its index
    frame, told = read_file(tmp_path / "t.csv")
    assert list(frame.columns) == ["column 1", "a", "b"]
    assert "the first line names the columns, all but 1, which its place names: 'column 1'" in told
