"""Numbers and dates as people write them: what is read is what pandas reads when it is told, and doubt is told."""

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import Words, frame_of
from withstand.data.tables.schema import Schema
from withstand.data.tables.source import TableSource
from withstand.data.tables.written.reading import Reading, Written
from withstand.data.tables.written.settle import settled

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")
pytestmark = pytest.mark.filterwarnings("ignore:columns of:UserWarning")


def grouped(value: float, decimal: str, group: str) -> str:
    return f"{value:,.2f}".translate(str.maketrans({",": group, ".": decimal}))


SHAPES = {
    "day first": ("%d.%m.%Y", "dmy"),
    "with a time": ("%d.%m.%Y %H:%M:%S", "dmy"),
    "month first": ("%m/%d/%Y", "mdy"),
    "noon": ("%m/%d/%Y %I:%M %p", "mdy"),
    "slashes": ("%Y/%m/%d", "ymd"),
}
MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2068, 12, 31)).map(
    lambda when: when.replace(second=0, microsecond=0)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(-(10**11), 10**11), MOMENTS), min_size=2, max_size=8),
    st.sampled_from([(",", "."), (".", ","), (",", " "), (".", "'"), (",", " "), (".", " ")]),
    st.sampled_from(["{}", "{} €", "${}", "{} %", "EUR {}", "{} kr"]),
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from(["file", "pandas", "mapping", "parquet"]),
)
def test_what_is_read_is_what_pandas_reads_when_it_is_told(
    rows: list[tuple[int, datetime]], marks: tuple[str, str], sign: str, shape: str, held: str
) -> None:
    (decimal, group), (form, order) = marks, SHAPES[shape]
    rows = [*rows, (123456789, datetime(2000, 12, 31))]  # a number and a day that leave nothing open
    texts = {
        "n": [sign.format(grouped(cents / 100, decimal, group)) for cents, _ in rows],
        "d": [when.strftime(form) for _, when in rows],
        "i": [str(place) for place in range(len(rows))],
    }
    with TemporaryDirectory() as folder:
        path, table = Path(folder) / ("t.parquet" if held == "parquet" else "t.csv"), pandas.DataFrame(texts)
        if held == "parquet":
            table.to_parquet(path)
        else:
            table.to_csv(path, sep=";", index=False)
        given_ = {
            "file": path,
            "parquet": path,
            "pandas": table,
            "mapping": {name: np.array(texts[name]) for name in texts},
        }
        if held in ("file", "parquet"):
            frame = read_file(path, Reading())[0]
        else:
            frame = settled(frame_of(given_[held]), Reading())
        plain = table["n"].str.replace(sign.format("").strip(), "", regex=False).str.strip()
        plain.to_csv(path.with_suffix(".txt"), index=False, sep=";")
        expected = pandas.read_csv(path.with_suffix(".txt"), sep=";", decimal=decimal, thousands=group)["n"]
    read = frame.columns["n"]
    assert not isinstance(read, Words)
    np.testing.assert_allclose(read, expected.to_numpy(float), rtol=1e-12)
    days = pandas.to_datetime(table["d"], format=form)
    assert not isinstance(dates := frame.columns["d"], Words)
    assert dates.tolist() == [when.timestamp() for when in days.dt.tz_localize("UTC")]
    assert frame.written["d"] == Written(date=order)
    assert frame.written["n"] == Written(decimal, sign=sign.format("").strip())


OPEN = {
    # content, what each column is, what is told of it
    "a,b\nx,1.234\ny,5.678\n": ("numbers", "1.234 in 'b' is read as decimals"),
    "a;b\nx;1.234\ny;5.678\n": ("words", "'b' stays words, for its marks may be decimals or thousands"),
    'a,b\nx,"1,234"\ny,"5,678"\n': ("words", "'b' stays words, for its marks may be decimals or thousands"),
    "a;b\nx;1,234\ny;5,678\n": ("numbers", "1,234 in 'b' is read as decimals"),
    'c,b\n0.5,"1,234"\n2.5,"5,678"\n': ("numbers", "thousands parted by commas in 'b'"),
    "c;b\n0,5;1.234\n2,5;5.678\n": ("numbers", "thousands parted by points in 'b'"),
    "c,b\n0.5,1.234\n2.5,5.678\n": ("numbers", ""),
    "a,b\nx,01/02/2024\ny,03/04/2024\n": ("words", "'b' stays words, for its dates are written like 01/02/2024"),
    "c,b\n31/12/2024,01/02/2024\n02/01/2024,03/04/2024\n": ("numbers", "dates dd/mm/yyyy in 'c', 'b'"),
    "a,b\nx,13/02/2024\ny,03/14/2024\n": ("words", "'b' stays words, for no order of day, month and year fits"),
    "a,b\nx,30.02.2024\ny,13.03.2024\n": ("words", "'b' stays words, for one of its dates is in no calendar"),
    "a,b\nx,01.02.24\ny,03.04.24\n": ("words", "'b' stays words, for its dates are written like 01.02.24"),
    "a,b\nx,5 €\ny,7 $\n": ("words", r"'b' stays words, for its numbers have several signs ($, €)"),
    "a,b\nx,5 %\ny,0.7\n": ("words", "'b' stays words, for some of its numbers have % and some have none"),
    "a,b\nx,1.234.567\ny,1.5\n": ("words", "'b' stays words, for both points and commas"),
    "a,b\nx,192.168.178.101\ny,192.168.178.102\n": ("words", ""),
    "a,b\nx,007\ny,008\n": ("words", ""),
    "a;b\nx;(1.234,50)\ny;-3,5\n": ("numbers", "decimal commas in 'b'; thousands parted by points in 'b'"),
    "a,b\nx,1.5\ny,-\nz,2.5\n": ("words", "'b' stays words, for '-' is no number as most of its values are"),
    "a,b\nx,1.5\ny,{}\nz,2.5\n": ("words", "'b' stays words, for '{}' is no number as most of its values are"),
    "a,b\nx,kg\ny,3\nz,$4\n": ("words", "'b' stays words, for 'kg' is no number as most of its values are"),
    "a,b\nx,2024-12-31\ny,open\nz,2025-01-31\n": ("words", "for 'open' is no date as most of its values are"),
    "a,b\nx,2024-12-31\ny,2024/12/31\n": ("words", "'b' stays words, for its dates are written in several ways"),
    "a,b\nx,02134\ny,12345\nz,12346\n": ("words", ""),
    "a,b\nx,old\ny,4\nz,new\n": ("words", ""),
    "a,b\nx,True\ny,False\nz,TRUE\n": ("words", "in 'b', 'TRUE' and 'True' are different words"),
    "a,b\nx,{}a\ny,{}A\n": ("words", "in 'b', '{}A' and '{}a' are different words"),
}
"""Files, whether their last column is read as numbers, and what is told of it."""


@pytest.mark.parametrize("content", OPEN)
def test_what_is_open_is_told_and_never_guessed_in_silence(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    kind, note = OPEN[content]
    frame, told = read_file(tmp_path / "t.csv", Reading(header=True))
    assert ("words" if isinstance(frame.columns["b"], Words) else "numbers") == kind
    assert note in told
    assert note or told.count(";") == 1, "nothing else is told of it"


def numbers(path: Path, content: str, **said: object) -> list[float]:
    (path / "t.csv").write_text(content, encoding="utf-8")
    values = read_file(path / "t.csv", Reading(header=True, **said))[0].columns["b"]  # type: ignore[arg-type]
    assert not isinstance(values, Words)
    return values.tolist()


def test_what_is_said_settles_what_is_open(tmp_path: Path) -> None:
    thousands = 'a,b\nx,"1,234"\ny,"5,678"\n'
    assert numbers(tmp_path, thousands, decimal=".") == [1234, 5678]
    assert numbers(tmp_path, thousands, decimal=",") == [1.234, 5.678]
    assert numbers(tmp_path, "a;b\nx;1.234\ny;5.678\n", decimal=",") == [1234, 5678]
    assert numbers(tmp_path, "a;b\nx;1.000\ny;2.000\n", decimal=",") == [1000, 2000]
    assert numbers(tmp_path, "a;b\nx;1.234\ny;5.678\n", learnt={"b": Written(",")}) == [1234, 5678]
    day = pandas.Timestamp("2024-02-01").timestamp()
    both = "a,b\nx,01/02/2024\ny,01/02/2024\n"
    assert numbers(tmp_path, both, dates="dmy") == [day, day]
    assert numbers(tmp_path, both, dates="mdy") == [pandas.Timestamp("2024-01-02").timestamp()] * 2
    assert numbers(tmp_path, "a,b\nx,01.02.24\ny,01.02.24\n", dates="dmy") == [day, day]
    # What is certain is read as it stands.
    assert (
        numbers(tmp_path, "a,b\nx,02/13/2024\ny,01/02/2024\n", dates="dmy")[1]
        == pandas.Timestamp(2024, 1, 2).timestamp()
    )
    with pytest.raises(ConfigError, match="dates='dym' is no order of day, month and year"):
        Reading(dates="dym")


def test_an_encoding_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("имя,б\nпервый,1\nвторой,2\n".encode("cp1251"))
    frame, told = read_file(path, Reading(encoding="cp1251"))
    assert list(frame.columns) == ["имя", "б"]
    assert "cp1251" in told
    with pytest.raises(DataError, match="is no whole text in utf8"):
        read_file(path, Reading(encoding="utf8"))
    with pytest.raises(ConfigError, match=r"'cp12' is none that Python knows"):
        Reading(encoding="cp12")
    path.write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert list(read_file(path, Reading(encoding="utf-8"))[0].columns) == ["a", "b"]
    with pytest.raises(DataError, match="begins with the mark of utf-8"):
        read_file(path, Reading(encoding="latin-1"))


def test_kinds_overrule_any_inference(tmp_path: Path) -> None:
    rows = [
        f"{place % 2},{20240101 + place},{place % 3 + 1}.01.2024,{place:03},{'ab'[place // 6]}" for place in range(12)
    ]
    (tmp_path / "t.csv").write_text("\n".join(["n,day,when,code,y", *rows]))
    source = TableSource(tmp_path / "t.csv", target="y", header=True, kinds={
        "n": "categorical", "day": "date", "when": "categorical", "code": "numeric",
    })  # fmt: skip
    held = {column.name: column for column in source.schema.columns}
    assert held["n"].categories == ("0", "1")
    assert held["when"].categories == ("1.01.2024", "2.01.2024", "3.01.2024")
    assert held["day"].shown(held["day"].high) == "2024-01-12"
    assert (held["code"].kind, held["code"].high) == ("numeric", 11)
    with pytest.raises(DataError, match="column 'code' is said to be a date and holds none"):
        TableSource(tmp_path / "t.csv", header=True, kinds={"code": "date"})


def test_later_rows_are_read_as_the_first_ones_were(tmp_path: Path) -> None:
    first = "price;when;code\n" + "".join(f"{n},50 €;{n + 10}.01.2024;{n % 3}.50x\n" for n in range(1, 10))
    (tmp_path / "first.csv").write_text(first, encoding="utf-8")
    schema = TableSource(tmp_path / "first.csv").schema

    def of(text: str) -> dict[str, object]:
        (tmp_path / "later.csv").write_text(text, encoding="utf-8")
        source = TableSource(tmp_path / "later.csv", schema=schema)
        units = source.schema.units(source[range(len(source))].x)
        return {name: list(values) for name, values in units.items()}

    assert of("price;when;code\n5,50 €;12.01.2024;1.50x\n")["price"] == [5.5]
    assert of("price;when;code\n5,50 €;12.01.2024;1.50x\n")["when"] == [pandas.Timestamp(2024, 1, 12).timestamp()]
    assert of("price,when,code\n5.50,2024-01-12,1.50x\n")["code"] == ["1.50x"]
    with pytest.raises(DataError, match=r"column 'price' was in € in training and is in . now"):
        of("price;when;code\n5,50 $;12.01.2024;1.50x\n")
    with pytest.raises(DataError, match="column 'when' was dates in training and holds none now"):
        of("price;when;code\n5,50 €;12.5;1.50x\n")


def test_categories_are_the_same_however_numbers_are_written() -> None:
    table = {"c": np.array(["1.50", "2", "x", "1.50"]), "n": np.arange(4.0)}
    schema = TableSource(table).schema
    later = TableSource({"c": np.array([1.5, 2.0]), "n": np.arange(2.0)}, schema=schema)
    assert schema.units(later[[0, 1]].x)["c"] == ["1.50", "2"]
    assert not later.notes
    old = Schema(
        tuple(type(column)(column.name, column.kind, categories=column.categories) for column in schema.columns)
    )
    assert len(TableSource({"c": np.array(["x"]), "n": np.array([0.5])}, schema=old)) == 1


def test_lists_can_be_ignored_however_they_are_held() -> None:
    for lists in (np.zeros((6, 2)), [[1], [2, 3]] * 3, [[1, 2]] * 6):
        table = {"l": lists, "x": np.arange(6.0), "y": np.array(["a", "b"] * 3)}
        assert TableSource(table, target="y", ignore=["l"]).shape == (2,)
        with pytest.raises(DataError, match=r"target 'l' holds values|target 'l' holds objects"):
            TableSource(table, target="l")
