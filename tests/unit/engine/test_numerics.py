"""The choice of precision and layout: by rule where it is left open, and without a trace."""

import pytest
import torch

from toys import toy_experiment
from withstand.core.errors import ConfigError
from withstand.engine.experiment import Experiment
from withstand.engine.numerics import Numerics, choose
from withstand.methods.contrastive.simclr import SimCLR
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.transformers.vit import ViT

CPU = torch.device("cpu")


def the(network: str) -> Experiment:
    """Return an experiment that leaves its numerics open, on a ResNet or a ViT."""
    encoder = ResNet(4, 10) if network == "convolutional" else ViT(4, 24, 1, channels=3)
    return toy_experiment(method=SimCLR(encoder, dim=8), precision="auto", layout="auto")


@pytest.mark.parametrize("units", [{"amx_bf16": True}, {"avx512_bf16": True}, {}], ids=["amx", "avx512", "none"])
@pytest.mark.parametrize("network", ["convolutional", "other"])
def test_what_is_left_open_follows_from_the_processor_and_the_network(
    network: str, units: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    found = choose(the(network), CPU)
    assert found.layout == ("channels-last" if network == "convolutional" else "contiguous")
    assert found.precision == ("bfloat16" if units and network == "convolutional" else "float32")
    assert found.precision in found.reason
    assert found.layout in found.reason


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
def test_what_the_plan_says_holds(precision: str, layout: str) -> None:
    assert choose(toy_experiment(precision=precision, layout=layout), CPU) == Numerics(precision, layout)


def test_a_step_that_bfloat16_cannot_take_is_taken_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    experiment = the("convolutional")
    forward = ResNet.forward

    def odd(self: ResNet, x: torch.Tensor) -> torch.Tensor:
        features = forward(self, x)
        if features.dtype == torch.bfloat16:
            raise RuntimeError("\"qr\" not implemented for 'BFloat16'\nand more")
        return features

    monkeypatch.setattr(ResNet, "forward", odd)
    found = choose(experiment, CPU)
    assert found.precision == "float32"
    assert "\"qr\" not implemented for 'BFloat16'" in found.reason
    assert "and more" not in found.reason


def test_a_step_that_fails_in_every_precision_keeps_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    experiment = the("convolutional")

    def broken(self: ResNet, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(ResNet, "forward", broken)
    with pytest.raises(RuntimeError, match="no such thing"):
        choose(experiment, CPU)


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
