"""Samples that no tensor holds, in a batch and on their way through shared code."""

import torch

from graphs import graph
from withstand.core.batch import as_structured, tensors_of, unit_range
from withstand.core.devices.distributed import mean_of_all
from withstand.engine.numerics import Numerics


def test_graphs_stand_where_a_tensor_would() -> None:
    batch = graph()[[0, 1]]
    assert as_structured(batch.x) is not None
    assert as_structured(torch.zeros(2)) is None
    assert len(batch.to("cpu")) == 2
    assert batch.to("cpu").x is batch.x, "nothing is copied where nothing moves"
    assert unit_range(batch.x) is batch.x
    assert {"x x", "x targets"} <= set(tensors_of(batch.x, "x"))
    assert list(tensors_of(torch.zeros(2), "view 0")) == ["view 0"]


def test_precision_reaches_what_floats_in_them() -> None:
    cast = Numerics("float64", "contiguous").cast(graph()[[0, 1]].x)
    found = tensors_of(cast, "x")
    assert found["x x"].dtype == torch.float64
    assert found["x targets"].dtype == torch.int64


def test_the_mean_of_one_process_is_the_mean() -> None:
    values = torch.rand(7)
    torch.testing.assert_close(mean_of_all(values), values.mean())
    assert mean_of_all(values[:0]).item() == 0
