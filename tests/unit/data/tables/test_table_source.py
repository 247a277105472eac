"""Rows as numbers: kinds, what is learnt from training rows alone, what is left out, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.data.load import load, splits, splits_like
from withstand.data.tables.infer import kinds_of
from withstand.data.tables.source import TableSource

pytestmark = pytest.mark.filterwarnings("ignore:columns of:UserWarning")


def columns(count: int = 40) -> dict[str, np.ndarray]:
    place = np.arange(count)
    return {
        "number": np.where(place == 3, np.nan, place / 4),
        "word": np.array(["a", "b", "c", ""])[place % 4],
        "zip": place % 5 + 100,
        "constant": np.full(count, 7),
        "empty": np.full(count, np.nan),
        "id": np.array([f"P{number:05d}" for number in place]),
        "text": np.array([f"the {number} quick brown foxes" for number in place]),
        "answer": np.array(["no", "yes"])[place // 3 % 2],
    }


def test_kinds_are_inferred_and_the_rest_is_left_out() -> None:
    source = TableSource(columns(), target="answer")
    assert [(column.name, column.kind) for column in source.schema.columns] == [
        ("number", "numeric"), ("zip", "numeric"), ("word", "categorical"),
    ]  # fmt: skip
    reasons = dict(source.skipped)
    assert "constant" in reasons["constant"]
    assert "missing" in reasons["empty"]
    assert "identifiers" in reasons["id"]
    assert "free text" in reasons["text"]
    assert source.classes == ("no", "yes")


def test_kinds_can_be_said() -> None:
    source = TableSource(
        columns(), target="answer", kinds=kinds_of(["zip=categorical", "id=categorical"]), ignore=["word"]
    )
    kinds = {column.name: column for column in source.schema.columns}
    assert kinds["zip"].categories == ("100", "101", "102", "103", "104")
    assert kinds["id"].kind == "categorical"
    assert ("word", "as asked for") in source.skipped


def test_a_row_is_its_slots() -> None:
    source = TableSource({"n": [2.0, np.nan, 6.0, 4.0], "w": ["x", "y", None, "x"]})
    expected = torch.tensor(
        [  # n, n is missing, x, y, w is missing, another word
            [0.0, 0, 1, 0, 0, 0],
            [0.0, 1, 0, 1, 0, 0],
            [1.0, 0, 0, 0, 1, 0],
            [0.5, 0, 1, 0, 0, 0],
        ]
    )
    assert torch.equal(source[[0, 1, 2, 3]].x, expected)
    assert source.fields == {"n": (0, 1), "w": (2, 3, 4, 5)}
    units = source.schema.units(expected)
    np.testing.assert_array_equal(units["n"], [2, np.nan, 6, 4])
    assert units["w"] == ["x", "y", None, "x"]


def test_preprocessing_is_learnt_from_training_rows_alone() -> None:
    table = {
        "n": [0.0, 10.0, 4.0, 50.0, -9.0],
        "w": ["a", "b", "a", "new", None],
        "part": ["train", "train", "train", "test", "test"],
    }
    train, test = (TableSource(table, part=part, split="part") for part in ("train", "test"))
    assert train.schema == test.schema
    assert (train.schema.columns[0].low, train.schema.columns[0].high) == (0, 10)
    assert train.schema.columns[1].categories == ("a", "b")
    assert torch.equal(test[[0, 1]].x, torch.tensor([[1.0, 0, 0, 0, 0, 1], [0.0, 0, 0, 0, 1, 0]]))
    told = " ".join(f"{column}: {what}" for column, what in test.notes)
    assert "n: 2 value(s) beyond training's range, cut off at [0, 10]" in told
    assert "w: 1 value(s) that training did not have, such as 'new'" in told
    assert not train.notes


def test_what_test_rows_hold_does_not_change_training_rows() -> None:
    table = columns()
    train = TableSource(table, part="train", target="answer")
    held = set(range(40)) - {
        round(float(value) * 4) for value in train.schema.units(train[range(len(train))].x)["number"] if value == value
    }
    table["number"][list(held - {3})] *= 1000
    assert TableSource(table, part="train", target="answer").schema == train.schema


def test_a_schema_travels() -> None:
    source = TableSource(columns(), target="answer")
    again = build(describe(source.schema))
    assert again == source.schema
    few = TableSource({"number": [1.0], "word": ["zzz"], "zip": [101]}, schema=again)
    assert few.shape == source.shape
    assert few.labels is None
    with pytest.raises(DataError, match="column 'zip', which was learnt from, is lacking"):
        TableSource({"number": [1.0], "word": ["a"]}, schema=again)
    with pytest.raises(DataError, match="was numbers in training and holds words"):
        TableSource({"number": ["many"], "word": ["a"], "zip": [1]}, schema=again)
    with pytest.raises(ConfigError, match="already says"):
        TableSource(columns(), schema=again, ignore=["word"])


def test_numbers_to_predict() -> None:
    table = {"x": np.arange(30.0), "y": np.arange(30.0) ** 2}
    source = TableSource(table, target="y")
    assert source.labels is None
    assert source.targets is not None
    assert source.targets[3] == 9
    assert TableSource(table, target="y", task="classes").classes[:3] == ("0", "1", "4")
    other = TableSource({**table, "y": table["y"] + 1}, target="y")
    assert source.fingerprint() != other.fingerprint()


def test_rows_without_their_target_are_learnt_from_and_not_judged() -> None:
    table = columns()
    table["answer"][:4] = ""
    source = TableSource(table, target="answer", part="train")
    assert source.labels is not None
    assert source.labels[:4].tolist() == [-1] * 4
    assert source.rows[:4].tolist() == [0, 1, 2, 3]
    test = source.other("test")
    assert test.labels is not None
    assert (len(source), len(test), int(test.labels.min())) == (33, 7, 0)
    assert sorted([*source.rows.tolist(), *test.rows.tolist()]) == list(range(40))
    assert source.whole().rows.tolist() == list(range(40))
    number = TableSource({**table, "value": [float("nan")] * 5 + [k / 7 for k in range(35)]}, target="value")
    assert number.targets is not None
    assert number.targets.isnan().nonzero()[:, 0].tolist() == list(range(5))


def test_other_rows_are_read_as_the_schema_says() -> None:
    table = {"x": [1.0, 2.0, 3.5, 4.0] * 10, "y": [float(k) for k in range(40)]}
    schema = TableSource(table, target="y").schema
    few = TableSource({"x": [2.0, 3.0], "y": [5.0, 5.0]}, schema=schema)
    assert few.targets is not None
    assert few.targets.tolist() == [5.0, 5.0]
    assert TableSource({"x": [2.0], "y": [5.0]}, schema=schema).labels is None
    blank = TableSource({"x": [2.0, 3.0], "y": ["", ""]}, schema=schema)
    assert blank.labels is None
    assert blank.targets is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"target": "anwser"}, "did you mean 'answer'"),
        ({"target": "constant"}, "nothing to predict"),
        ({"target": "empty"}, "missing in every row"),
        ({"kinds": {"word": "numeric"}}, "said to be numeric and holds words"),
        ({"kinds": {"word": "category"}}, "did you mean 'categorical'"),
        ({"kinds": {"wrod": "numeric"}}, "no column 'wrod'"),
        ({"ignore": ["nope"]}, "no column 'nope'"),
        ({"target": "answer", "ignore": ["answer"]}, "is the target"),
        ({"split": "word"}, "must say 'train' or 'test'"),
        ({"immutable": ["id"]}, "is not learnt from"),
        ({"part": "tset"}, "unknown part"),
        ({"fraction": 2.0}, "between 0 and 1"),
        ({"ignore": ["number", "word", "zip"]}, "no column is left"),
    ],
)
def test_bad_settings_get_one_line(settings: dict[str, object], expected: str) -> None:
    table = {name: values for name, values in columns().items() if name != "answer" or "target" in settings}
    with pytest.raises((ConfigError, DataError), match=expected) as raised:
        TableSource(table, **settings)
    assert "\n" not in str(raised.value)


def test_a_target_that_is_also_a_feature_is_refused() -> None:
    table = columns()
    table["copy"] = np.where(table["answer"] == "yes", "1", "0")
    with pytest.raises(DataError, match="column 'copy' says the same as the target 'answer'"):
        TableSource(table, target="answer")
    assert len(TableSource(table, target="answer", ignore=["copy"])) == 40
    numbers = {"x": np.arange(30.0), "y": np.arange(30.0), "z": np.arange(30.0) % 7}
    with pytest.raises(DataError, match="column 'x' says the same"):
        TableSource(numbers, target="y")


def test_many_categories_share_the_last_slot() -> None:
    words = np.array([f"w{number:03d}" for number in range(300)]).repeat(3)
    source = TableSource({"w": words, "n": np.arange(900.0)})
    column = source.schema.categorical[0]
    assert len(column.categories) == 256
    assert any("training did not have" in what for _, what in source.notes)


def test_parts_pickle_and_immutable_columns() -> None:
    train = TableSource(columns(), part="train", target="answer", immutable=["zip"])
    test = train.other("test")
    assert len(train) + len(test) == 40
    assert train.changeable.free.nonzero()[:, 0].tolist() == [0]
    copied = pickle.loads(pickle.dumps(test))
    assert copied.fingerprint() == test.fingerprint()


def test_the_front_door_takes_tables(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas

    frame = pandas.DataFrame(columns())
    frame.to_csv(tmp_path / "t.csv", index=False)
    train, test = splits(tmp_path / "t.csv")
    assert (len(train), len(test)) == (32, 8)
    assert load(frame).shape == train.shape
    wine = TableSource("wine", part="train")
    assert len(wine) + len(load("wine", split="test")) == 178
    frame["number"] += 100
    again, _ = splits_like(train, frame)
    assert isinstance(again, TableSource)
    assert again.schema == train.schema


def test_a_set_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WITHSTAND_DATA", raising=False)
    with pytest.raises(DataError, match="set WITHSTAND_DATA"):
        TableSource("adult")
