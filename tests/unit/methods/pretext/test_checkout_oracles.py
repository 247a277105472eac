"""SLA's steps and the style layers against the official code, run from checkouts, with -m oracle.

WITHSTAND_CHECKOUTS names a folder that holds SLA (github.com/hankook/SLA) and AdvStyle (github.com/YBZh/AdvStyle).
"""

import importlib.util
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from withstand.core.batch import Batch
from withstand.core.random import isolated
from withstand.methods.pretext.sla import SLA
from withstand.models.blocks.normalization.style import DSU, AdvStyle, StyleLayer, perturbed
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transforms import transform_set

pytestmark = pytest.mark.oracle
OPS = "AdvStyle/Dassl.pytorch/dassl/modeling/ops"


def loaded(path: str) -> Any:
    """Return the module of a file in the checkouts, loaded alone."""
    folder = os.environ.get("WITHSTAND_CHECKOUTS")
    file = Path(folder or "") / path
    if folder is None or not file.is_file():
        pytest.skip(f"WITHSTAND_CHECKOUTS names no folder with {path}")
    spec = importlib.util.spec_from_file_location(f"checkout_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Nothing:
    """Stands for a metric, an optimizer or a state: takes what comes and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., object]:
        return lambda *_, **__: _Nothing()


class _Engine(_Nothing):
    def __init__(self, update: Callable[[object, object], dict[str, Any]]) -> None:
        self.update = update


@pytest.fixture
def trainers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The official trainers, with bare stand-ins for the library that runs them."""
    parts = {
        "ignite": {"metrics": _Nothing()},
        "ignite.engine": {},
        "ignite.engine.engine": {"Engine": _Engine, "State": _Nothing, "Events": _Nothing},
        "ignite.utils": {"convert_tensor": lambda batch, device=None: batch},
        "utils": {},
    }
    for name, values in parts.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return loaded("SLA/trainers.py")


class _Theirs(nn.Module):
    """The method's own network behind the official calls."""

    def __init__(self, method: SLA) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor, *both: None) -> Any:
        features = self.method.encoder(x)
        joint = self.method.classifier(features)
        if not both:
            return joint
        assert self.method.single is not None
        return joint, self.method.single(features)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("distill", [False, True])
@pytest.mark.parametrize("name", ["rotation", "rotation2", "color_perm", "rot_color_perm6", "rot_color_perm24"])
def test_sla_s_step_is_the_official_one(trainers: Any, name: str, distill: bool, large: bool) -> None:
    with isolated("oracle"):
        encoder = Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3)
        settings = {"distill": distill, "large_loss": large, "temperature": 2.0}
        method = SLA(encoder, classes=4, transforms=transform_set(name), **settings).double()  # type: ignore[arg-type]
        x, y = torch.rand(5, 3, 8, 8, dtype=torch.float64), torch.arange(5) % 4
    loss = method.step(Batch(x, torch.arange(5), y))["loss"]
    loss.backward()
    ours = {key: p.grad.clone() for key, p in method.named_parameters() if p.grad is not None}
    method.zero_grad()
    transform, _ = getattr(loaded("SLA/augmentations.py"), name)()
    if distill:
        engine = trainers.create_sla_sd_trainer(_Theirs(method), transform, _Nothing(), T=2.0, with_large_loss=large)
    else:
        engine = trainers.create_sla_trainer(_Theirs(method), transform, _Nothing(), with_large_loss=large)
    found = engine.update(engine, (x, y))
    assert loss.item() == pytest.approx(found["loss"], abs=1e-12)
    for key, parameter in method.named_parameters():
        torch.testing.assert_close(ours[key], parameter.grad, rtol=1e-9, atol=1e-11, msg=key)


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """What the official layers draw, in turn, in place of their own draws on a GPU."""
    drawn: list[Tensor] = []
    monkeypatch.setattr(torch, "randn", lambda *_: drawn.pop(0))
    monkeypatch.setattr(Tensor, "cuda", lambda self: self)
    yield drawn
    assert not drawn


def compared(ours: StyleLayer, theirs: nn.Module, drawn: list[Tensor], seed: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Run both on the same maps and noise, and return outputs and gradients, ours and theirs."""
    generator = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(4, 3, 5, 6, dtype=torch.float64, generator=generator) - 1
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    batch = Batch(torch.zeros(4), torch.arange(4), step=seed)
    normal = batch.draws("style").child(0).normal(2, 3, 1, 1).double()
    drawn += [normal[:, 0], normal[:, 1]]
    with perturbed(ours, batch):
        found = ours(one)
    expected = theirs(two)
    for network, output in ((ours, found), (theirs, expected)):
        network.zero_grad()
        output.pow(3).sum().backward()
    return {"maps": (found, expected), "gradient": (one.grad, two.grad)}  # type: ignore[dict-item]


def test_advstyle_is_the_official_layer(noise: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded(f"{OPS}/advstyle.py")
    ours = AdvStyle(3, weight=2.5, adversarial=1.0, batch=0.0).double().train()
    theirs = module.AdvStyle(channel_num=3, adv_weight=2.5).double().train()
    monkeypatch.setattr(random, "random", lambda: 0.5)
    for seed in range(3):
        for one, two in compared(ours, theirs, noise, seed).values():
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)
        for size, other in zip(ours.sizes(), (theirs.adv_mean_std, theirs.adv_std_std), strict=True):
            torch.testing.assert_close(size, other.flatten(), rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(size.grad, other.grad.flatten(), rtol=1e-9, atol=1e-10)
            with torch.no_grad():  # as an optimizer would
                size -= 0.01 * size.grad
                other -= 0.01 * other.grad


def test_dsu_is_the_official_layer(noise: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.1)
    theirs = loaded(f"{OPS}/dsustyle.py").DSUStyle(p=1.0).double().train()
    for one, two in compared(DSU(3, probability=1.0).double().train(), theirs, noise, 0).values():
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)
