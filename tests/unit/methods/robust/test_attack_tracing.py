"""Separation: the noise-sensitive loss, tracers that learn as if alone, and a classifier that stays as it was."""

from typing import get_args

import pytest
import torch

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Method
from withstand.losses.robust.noise_sensitivity import Form, noise_sensitive, sensitivity
from withstand.methods.robust.attack_tracing import AttackTracing
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.pictures.convnets.convnet import ConvNet
from withstand.models.pictures.tracers import Tracers


def made(count: int = 3, **settings: object) -> AttackTracing:
    with isolated("tracing"):
        network = Classifier(ConvNet(2, (1, 8, 8), hidden=4), 4)
        method = AttackTracing(network, Tracers((1, 8, 8), 4, count, width=4), reserve=0, **settings)  # type: ignore[arg-type]
    return method.double()


def batch(step: int = 0) -> Batch:
    x = torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Batch(x, torch.arange(6), step=step)


def test_the_loss_is_that_of_closed_forms() -> None:
    change = torch.tensor([0.0, 0.5, 2.0])
    torch.testing.assert_close(noise_sensitive(change), 1 / (change + 1e-3))
    assert noise_sensitive(change[:1]).item() == pytest.approx(1000), "an output that never changes: finite, 1 / c"
    torch.testing.assert_close(noise_sensitive(change, "difference"), -change)
    torch.testing.assert_close(
        sensitivity(torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5, 1.0]])), torch.tensor([1.25])
    )
    with pytest.raises(ConfigError, match="did you mean 'reciprocal'"):
        noise_sensitive(change, "reciprocol")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", get_args(Form))
def test_tracers_learn_as_if_each_were_alone(form: Form) -> None:
    whole = made(form=form)
    whole(batch())["loss"].backward()
    for place in range(3):
        alone = made(form=form)
        alone.copies.tracers = whole.copies.tracers.only(place)
        alone(batch())["loss"].backward()
        for (name, one), many in zip(
            alone.copies.tracers.named_parameters(), whole.copies.tracers.parameters(), strict=True
        ):
            assert one.grad is not None
            assert many.grad is not None
            torch.testing.assert_close(many.grad.chunk(3)[place], one.grad, msg=name)


@pytest.mark.parametrize("form", get_args(Form))
def test_sensitivity_grows_and_the_classifier_stays(form: Form) -> None:
    method = made(form=form)
    before = {name: value.clone() for name, value in method.copies.classifier.state_dict().items()}
    optimizer = torch.optim.Adam(method.groups()["main"], lr=0.01)
    first = float(method(batch())["sensitivity"])
    for step in range(60):
        optimizer.zero_grad()
        method(batch(step))["loss"].backward()
        optimizer.step()
    assert float(method(batch())["least sensitivity"]) > 3 * first
    assert all(torch.equal(value, before[name]) for name, value in method.copies.classifier.state_dict().items())


def test_the_classifier_stays_in_eval_mode() -> None:
    method = made().train()
    assert method.copies.tracers.training
    assert not any(module.training for module in method.copies.classifier.modules())


def test_an_earlier_stage_gives_its_classifier() -> None:
    class Trained(Method):
        def __init__(self) -> None:
            super().__init__()
            self.network = Classifier(ConvNet(2, (1, 8, 8), hidden=4), 4).double()

        def step(self, batch: Batch) -> dict[str, torch.Tensor]:
            raise NotImplementedError

        def products(self) -> dict[str, torch.nn.Module]:  # type: ignore[override]
            return {"classifier": self.network}

    earlier, method = Trained(), made()
    method.inherit(earlier)
    x = batch().x
    assert torch.equal(method.copies.classifier(x), earlier.network(x))


def test_what_cannot_be_learnt_is_refused() -> None:
    with pytest.raises(ConfigError, match="sigma must be above 0"):
        made(sigma=0.0)
    with pytest.raises(ConfigError, match="constant must be above 0"):
        made(constant=0.0)
    with pytest.raises(ConfigError, match="head on an encoder, not Linear"):
        AttackTracing(torch.nn.Linear(2, 3), Tracers.example())

    class Others:
        shape = (3, 8, 8)

    with pytest.raises(DataError, match=r"\(1, 8, 8\)"):
        made().accept(Others(), 4)  # type: ignore[arg-type]
