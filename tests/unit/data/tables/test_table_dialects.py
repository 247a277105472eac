"""Random tables in random dialects: what arrives is what pandas reads when it is told the dialect."""

import csv
import io
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from withstand.core.errors import DataError
from withstand.data.tables.files import read_file
from withstand.data.tables.frame import MISSING, Frame, Words
from withstand.data.tables.written.reading import Reading

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")

LETTERS = "abxyz ,;|.'\"-"
DIGITS = st.integers(-10_000, 10_000)


@dataclass(frozen=True)
class Written:
    """A table as it is written.

    Attributes:
        names: the header; None for none.
        rows: the fields, decimals with a point.
        delimiter, encoding, end, quoting, declared, suffix: the dialect.
        decimal: the mark before decimals.
    """

    names: list[str] | None
    rows: list[list[str]]
    delimiter: str
    encoding: str
    end: str
    quoting: int
    declared: bool
    suffix: str
    decimal: str

    def save(self, folder: str) -> Path:
        text = io.StringIO()
        if self.declared:
            text.write(f"sep={self.delimiter}{self.end}")
        writer = csv.writer(text, delimiter=self.delimiter, lineterminator=self.end, quoting=self.quoting)
        writer.writerows([*([self.names] if self.names else []), *self.rows])
        path = Path(folder) / f"table{self.suffix}"
        path.write_bytes(text.getvalue().encode(self.encoding))
        return path

    def expected(self, path: Path) -> dict[str, list[str]]:
        found = pandas.read_csv(
            path, sep=self.delimiter, encoding=self.encoding, dtype=str, keep_default_na=False, na_values=[],
            header=0 if self.names else None, skiprows=int(self.declared),
        )  # fmt: skip
        if self.names is None:
            found.columns = [f"column {place + 1}" for place in range(found.shape[1])]
        return {str(name).strip(): [text.strip() for text in found[name]] for name in found.columns}


def decimals(mark: str) -> st.SearchStrategy[str]:
    close = st.sampled_from(["0.1234567890123", "0.1234567890124", "16777217.5", "16777216.5"])
    return st.one_of(st.builds(lambda a, b: f"{a / 100 + b / 7:.4f}", DIGITS, DIGITS), close).map(
        lambda text: text.replace(".", mark)
    )


def fields(kind: str, mark: str, letters: str) -> st.SearchStrategy[str]:
    return {
        "whole": DIGITS.map(str),
        "decimal": decimals(mark),
        "code": st.integers(0, 99_999).map("{:05d}".format),
        "long": st.integers(0, 999).map(lambda number: str(12345678901234000 + number)),
        "ean": st.integers(0, 99).map(lambda number: str(4006381333900 + number)),
        "date": st.dates(min_value=date(1990, 1, 1)).map(str),
        "word": st.text(letters, min_size=1, max_size=9).map(lambda text: f"w{text}é"),
    }[kind]


@st.composite
def tables(draw: st.DrawFn, *, plain: bool = False) -> Written:
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252"]))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    mark = draw(st.sampled_from([".", ","])) if delimiter == ";" else "."
    letters = LETTERS if not plain else "abxyz "
    every = st.sampled_from(["whole", "decimal", "code", "long", "ean", "date", "word"])
    kinds = draw(st.lists(every, min_size=1 + plain, max_size=5))
    if plain:
        kinds[0] = "decimal"
    gaps = st.sampled_from(["", "NA", "nan"])
    cells = [st.one_of(*[fields(kind, mark, letters)] * 9, gaps) for kind in kinds]
    rows = draw(st.lists(st.tuples(*cells).map(list), min_size=3, max_size=12))
    years = [str(2015 + place) for place in range(len(kinds))]
    dates = [f"2020-02-{place + 1:02d}" for place in range(len(kinds))]
    word = st.text("abcXYZ_ ", max_size=6).map(str.strip)
    words = [word.map(lambda text, place=place: f"h{text}{place}é") for place in range(len(kinds))]
    others = st.sampled_from([years, dates, [*map(str, range(len(kinds)))], ["nan", *years[1:]]])
    names = draw(st.one_of(st.tuples(*words).map(list), others))
    return Written(
        names, rows, delimiter, encoding, draw(st.sampled_from(["\n", "\r\n"])),
        draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])), draw(st.booleans()) and encoding != "cp1252",
        ".tsv" if delimiter == "\t" else draw(st.sampled_from([".csv", ".txt"])), mark,
    )  # fmt: skip


def same(frame: Frame, expected: dict[str, list[str]], mark: str) -> None:
    """Compare a frame with texts: words alike, numbers of the same value, and different numbers different."""
    assert list(frame.columns) == list(expected)
    for name, texts in expected.items():
        values = frame.columns[name]
        if isinstance(values, Words):
            read = [None if code < 0 else values.names[code] for code in values.codes]
            assert read == [None if text in MISSING else text for text in texts], name
            # Words stay words: codes that a number would not keep, and what is no number.
            assert not read or any(text and not re.fullmatch(rf"-?(0|[1-9]\d{{0,14}})({re.escape(mark)}\d+)?", text)
                                   for text in read)  # fmt: skip
            continue
        assert len(values) == len(texts)
        held = [(text, value) for text, value in zip(texts, values.tolist(), strict=True) if text not in MISSING]
        assert all(value != value for text, value in zip(texts, values.tolist(), strict=True) if text in MISSING)
        if held and "-" in held[0][0][1:]:
            assert [pandas.Timestamp(text).timestamp() for text, _ in held] == [value for _, value in held]
            continue
        assert not any(text.lstrip("-").startswith("0") and text.isdigit() and len(text) > 1 for text, _ in held)
        numbers = [Decimal(text.replace(mark, ".")) for text, _ in held]
        assert [float(number) for number in numbers] == [value for _, value in held]
        assert len(set(numbers)) == len({value for _, value in held}), f"{name}: numbers that differ fell together"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables())
def test_told_the_dialect_a_file_is_what_pandas_reads(table: Written) -> None:
    with TemporaryDirectory() as folder:
        path = table.save(folder)
        try:
            expected = table.expected(path)
        except UnicodeDecodeError:
            return
        frame, _ = read_file(path, Reading(table.delimiter, True, table.decimal))
        same(frame, expected, table.decimal)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(plain=True), st.booleans())
@example(
    Written(["2015", "2016", "2017", "2018"], [["0,0000", "2000-01-01", "", "0"], ["0,0000", "", "0", "NA"],
             ["0,0000", "", "NA", "0"]], ";", "utf-8", "\n", csv.QUOTE_MINIMAL, False, ".csv", ","), True,
)  # fmt: skip
@example(
    Written(None, [["0,5", "wx", "wy", "wz"]] * 4, ";", "utf-8", "\n", csv.QUOTE_MINIMAL, False, ".csv", ","), True,
)  # fmt: skip
@example(
    Written(["hX", "hZ"], [["", "wx"], ["0.1234567890123", "wxx"], ["0.1234567890123", "wxx"]], "\t", "utf-8", "\n",
            csv.QUOTE_MINIMAL, False, ".tsv", "."), True,
)  # fmt: skip
@example(
    Written(["hX", "hZ"], [["NA", "wx"], ["0.1234567890123", "wxx"], ["0.1234567890123", "wxx"]], "\t", "utf-8", "\n",
            csv.QUOTE_MINIMAL, False, ".tsv", "."), True,
)  # fmt: skip
def test_a_dialect_that_is_found_is_right_or_doubted_aloud(table: Written, headless: bool) -> None:
    if headless:
        table = Written(**{**vars(table), "names": None})
    with TemporaryDirectory() as folder:
        path = table.save(folder)
        expected = table.expected(path)
        try:
            frame, note = read_file(path)
        except DataError as error:
            refused = str(error)
        else:
            refused = ""
        if refused:
            assert "may name the columns" in refused
            assert table.names is None or not table.names[0].startswith("h"), "words over numbers are a header"
            event("doubted")
            return
        assert ("no header" in note) == headless
        stays = [name for name in expected if f"{name!r} stays words" in note]
        same(Frame({name: frame.columns[name] for name in frame.columns if name not in stays}),
             {name: texts for name, texts in expected.items() if name not in stays}, table.decimal)  # fmt: skip
