"""The choice of precision and layout: made once, among what is left open, and without a trace."""

import pytest
import torch

from toys import toy_experiment
from withstand.core.errors import ConfigError
from withstand.engine import numerics
from withstand.engine.numerics import Numerics, choose

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "layout", "timed"),
    [
        ("auto", "auto", 4),
        ("auto", "channels-last", 2),
        ("bfloat16", "auto", 2),
        ("float64", "contiguous", 0),
        ("float64", "auto", 2),
    ],
)
def test_only_what_is_open_is_timed_and_the_fastest_wins(
    precision: str, layout: str, timed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Numerics] = []

    def clock(method, batch, option, device) -> float:
        asked.append(option)
        return 1.0 / len(asked)  # the last one asked is the fastest

    monkeypatch.setattr(numerics, "_time_step", clock)
    found = choose(toy_experiment(precision=precision, layout=layout), CPU)
    assert len(asked) == timed
    for option in [*asked, found]:
        assert option.precision == precision or precision == "auto"
        assert option.layout == layout or layout == "auto"
    if timed:
        assert (found.precision, found.layout) == (asked[-1].precision, asked[-1].layout)
        assert f"{asked[0].precision} {asked[0].layout} 1000 ms" in found.reason
    else:
        assert found.reason == "as asked for"


def test_choosing_leaves_no_trace() -> None:
    experiment = toy_experiment(precision="auto", layout="auto")
    method = experiment.method.eval()
    before = {name: (value.clone(), value.stride()) for name, value in method.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    found = choose(experiment, CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.precision in ("float32", "bfloat16")
    assert not method.training
    assert all(parameter.grad is None and parameter.dtype == torch.float32 for parameter in method.parameters())
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name][0])
        assert value.stride() == before[name][1]


def test_float64_does_not_exist_on_mps() -> None:
    with pytest.raises(ConfigError, match="float64 is not available on mps"):
        choose(toy_experiment(precision="float64", layout="auto"), torch.device("mps"))


def test_prepare_and_cast() -> None:
    method = toy_experiment().method
    choice = Numerics("float64", "channels-last")
    choice.prepare(method)
    assert all(parameter.dtype == torch.float64 for parameter in method.parameters())
    view = choice.cast(torch.zeros(2, 3, 4, 4))
    assert view.dtype == torch.float64
    assert view.is_contiguous(memory_format=torch.channels_last)
    assert choice.cast(torch.zeros(2, 5, dtype=torch.int64)).dtype == torch.int64


def test_record_round_trip() -> None:
    record = {"precision": "bfloat16", "channels_last": True, "reason": "fastest"}
    assert Numerics.from_record(record) == Numerics("bfloat16", "channels-last", "fastest")
    assert Numerics.from_record({}) is None
    assert Numerics.from_record(None) is None
