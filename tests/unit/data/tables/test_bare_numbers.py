"""Numbers that are read without a look at each text are those that a look at each would read, and no others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from withstand.core.errors import DataError
from withstand.data.tables.arrow import bare_column, bare_numbers
from withstand.data.tables.cells import read_cells
from withstand.data.tables.frame import number
from withstand.data.tables.header import has_header
from withstand.data.tables.source import TableSource

NEARLY = st.one_of(
    st.text("0123456789.+-eE", max_size=8),
    st.text("05.-", max_size=5),
    st.text("0123456789", min_size=14, max_size=24),
    st.sampled_from(
        ["nan", "NaN", "-nan", "inf", "Infinity", "0x1A", "1_000", " 1", "1 ", "\t1", "1,5", "1f", "1\x00", "١"]
    ),
    st.floats().map(repr),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(NEARLY, max_size=5), st.integers(0, 2))
def test_what_is_read_at_once_is_what_is_read_one_by_one(texts: list[str], begun: int) -> None:
    found = bare_numbers(pyarrow.array(["7"] * begun + texts, pyarrow.string()).slice(begun))
    if found is None:
        return
    wanted = [np.nan if text == "" else number(text) for text in texts]
    assert None not in wanted
    np.testing.assert_array_equal(found, np.array(wanted, np.float64))


@pytest.mark.parametrize("text", ["3", "-3", "+3", "0", "-0", "0.5", ".5", "5.", "1e3", "-1.5E-7", "9007199254740992"])
def test_usual_numbers_are_read_at_once(text: str) -> None:
    found = bare_numbers(pyarrow.array(["", text], pyarrow.string()))
    assert found is not None
    assert np.isnan(found[0])
    assert found[1] == float(text)


@pytest.mark.parametrize("text", ["007", "-01", "9007199254740993", "nan", "1-2", "2024-01-02", "-", "e5", "1.2.3"])
def test_codes_dates_and_words_are_not(text: str) -> None:
    assert bare_numbers(pyarrow.array(["1", text], pyarrow.string())) is None


def test_gaps_of_any_wording_are_gaps() -> None:
    column = pyarrow.chunked_array([["1", "NA", " 2"], ["", "?", "3.5"]], pyarrow.string())
    np.testing.assert_array_equal(bare_column(column), [1, np.nan, 2, np.nan, np.nan, 3.5])


def test_a_name_that_stands_again_in_a_later_chunk_names_nothing() -> None:
    words = [["red", "blue"], ["green", " colour "]]
    assert has_header(["colour"], [pyarrow.chunked_array(words[:1], pyarrow.string())])
    assert not has_header(["colour"], [pyarrow.chunked_array(words, pyarrow.string())])


def test_ragged_rows_are_numbered_in_files_of_many_blocks(tmp_path: Path) -> None:
    rows = [f"{row},{'x' * 40}" for row in range(200_000)]
    rows[150_000] += ",more"
    (tmp_path / "table.csv").write_text("\n".join(["id,text", *rows]))
    with pytest.raises(
        DataError, match=r"1 ragged row\(s\): the first, line 150002, has 3 fields where 2 are expected"
    ):
        read_cells(tmp_path / "table.csv")


@pytest.mark.parametrize("form", ["pandas", "arrow", "mapping", "parquet", "csv"])
def test_columns_that_are_said_to_be_words_keep_their_digits(tmp_path: Path, form: str) -> None:
    columns = {"code": ["1.10", "1.1", "1E5", "100000"] * 5, "size": list(range(20))}
    frame = pd.DataFrame(columns)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = {
        "pandas": frame,
        "arrow": pyarrow.table(columns),
        "mapping": columns,
        "parquet": tmp_path / "a.parquet",
        "csv": tmp_path / "a.csv",
    }[form]
    source = TableSource(data, kinds={"code": "categorical"})
    (code,) = (column for column in source.schema.columns if column.name == "code")
    assert set(code.categories) == set(columns["code"])
