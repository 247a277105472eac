"""Heads on rows: what each can learn, and what the probe of a table tells."""

import numpy as np
import pytest
import torch
from torch import nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.data.tables.source import TableSource
from withstand.evaluation.structured.table_heads import Answers, Head, Scale
from withstand.evaluation.structured.table_probe import ColumnImportance, TableHeads
from withstand.models.tables.encoder import TableEncoder


def cloud(count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Features, and a linear function of two of them."""
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    return x, 2 * x[:, 0] - x[:, 3]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["linear", "mlp", "resnet", "ft-transformer", "boosting"])
@pytest.mark.parametrize("number", [False, True])
def test_heads_learn(name: str, number: bool) -> None:
    x, value = cloud()
    y = 100 + 50 * value if number else (value > 0).long()
    head = Head(name, token=8, hidden=32, epochs=30, learning_rate=5e-3)  # type: ignore[arg-type]
    predict = head.fit(x[:300], Answers(y[:300]))
    score = Answers(y[300:]).score(predict(x[300:]))
    if number:
        assert score < 0.6 * float(y.std())
    else:
        assert score > 0.85
    assert torch.equal(predict(x[300:]), head.fit(x[:300], Answers(y[:300]))(x[300:]))


def test_scores() -> None:
    assert Answers(torch.tensor([0, 1, 1, 0])).score(torch.tensor([0, 1, 0, 0])) == 0.75
    assert Answers(torch.tensor([0.0, 3.0])).score(torch.tensor([4.0, 0.0])) == pytest.approx(12.5**0.5)


def test_scaling_is_trainings() -> None:
    x = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    torch.testing.assert_close(Scale.of(x)(torch.tensor([[5.0, 9.0]])), torch.tensor([[3.0, 0.0]]))


def rows(number: bool = False) -> TableSource:
    draws = np.random.default_rng(0)
    key, other = draws.normal(size=300), draws.normal(size=300)
    words = np.array(["a", "b"])[draws.integers(0, 2, 300)]
    answer = 3 * key if number else np.where(key > 0, "yes", "no")
    return TableSource({"other": other, "key": key, "word": words, "answer": answer}, part="train", target="answer")


def raw(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@pytest.mark.parametrize("number", [False, True])
def test_the_column_that_tells_is_the_most_important(number: bool) -> None:
    found = ColumnImportance().evaluate(raw, rows(number))
    table = found.tables["importance of columns"]
    assert table.column("column")[0] == "key"
    lost = table.column(table.columns[-1])
    assert lost[0] > 0.2  # type: ignore[operator]
    assert all(abs(float(value)) < 0.1 for value in lost[1:])  # type: ignore[arg-type]


def test_heads_stand_beside_raw_columns_and_an_untrained_encoder() -> None:
    source = rows()
    with isolated("probe"):
        encoder = TableEncoder(source.schema, hidden=8, layers=1, heads=2).eval()
    heads = TableHeads(("linear", "ft-transformer"), labelled=100)
    found = heads.evaluate(encoder, source, control=encoder)
    assert found.numbers["accuracy, linear on raw columns"] > 0.9
    accuracy = found.figures["accuracy, linear on features"]
    assert accuracy.control is not None
    assert accuracy.value == accuracy.control.value
    assert (accuracy.unit, accuracy.better) == ("share", "higher")
    assert "accuracy, ft-transformer on raw columns" not in found.numbers
    assert found.protocol["training rows"] == 100
    assert found.tables["accuracy"].columns == ("head", "on features", "on raw columns", "on untrained features")


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="did you mean 'boosting'"):
        Head("bosting")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="reads tokens"):
        Head("ft-transformer")
    with pytest.raises(DataError, match="at least 4 rows"):
        Head().fit(torch.zeros(2, 3), Answers(torch.tensor([0, 1])))
    with pytest.raises(DataError, match="no target"):
        TableHeads().evaluate(nn.Identity(), TableSource({"a": np.arange(9.0)}, part="train"))
