"""What every method keeps, present and future: a new one is held to it by existing under `withstand.methods`.

Methods are found by walking the package. Each gives an example of itself and of what it reads; there is one more case
for each switch turned over.
"""

import copy
import dataclasses
import inspect
import pickle
import pkgutil
import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

import withstand.methods
from withstand.core.batch import Batch, tensors_of, unit_range
from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.core.part import build, describe
from withstand.core.random import isolated
from withstand.core.roles import PRODUCTS, Method, Model, network_of
from withstand.models.blocks.normalization.norm import synchronize


def classes() -> Iterator[type[Method]]:
    for found in pkgutil.walk_packages(withstand.methods.__path__, "withstand.methods."):
        for value in vars(import_module(found.name)).values():
            mine = isinstance(value, type) and issubclass(value, Method) and value.__module__ == found.name
            if mine and not inspect.isabstract(value):
                yield value


def cases() -> dict[str, tuple[type[Method], dict[str, object]]]:
    found: dict[str, tuple[type[Method], dict[str, object]]] = {}
    for cls in classes():
        found[cls.__name__] = (cls, {})
        for name, parameter in inspect.signature(cls).parameters.items():
            if isinstance(parameter.default, bool):
                found[f"{cls.__name__}, {name}={not parameter.default}"] = (cls, {name: not parameter.default})
    return found


CASES = cases()


def make(name: str, **changed: object) -> Method:
    cls, settings = CASES[name]
    with isolated("contract"):
        return cls(**{**cls.example()._init_args, **settings, **changed})


def samples(method: Method, rows: range = range(8)) -> Batch:
    """Eight samples, or some of them, of the kind that a method reads."""
    return method.example_batch(rows)


def held(batch: Batch) -> dict[str, Tensor]:
    """Every tensor of a batch's samples and views."""
    found = tensors_of(batch.x, "x")
    for place, view in enumerate(batch.views):
        found |= tensors_of(view, f"view {place}")
    return found


@pytest.fixture(params=CASES)
def method(request: pytest.FixtureRequest) -> Method:
    return make(request.param)


def test_some_methods_are_found() -> None:
    assert {"SimCLR", "DCL", "BarlowTwins"} <= {cls.__name__ for cls in classes()}


def test_terms(method: Method) -> None:
    terms = method(samples(method))
    assert terms["loss"].dim() == 0
    assert all(value.isfinite().all() for value in terms.values())
    assert [name for name, value in terms.items() if value.requires_grad] == ["loss"], "the rest is only for logs"
    assert all(value.dim() == 0 for name, value in terms.items() if name != "embeddings")
    if "embeddings" in terms:
        assert terms["embeddings"].dim() == 3, "(views, samples, width)"
        assert terms["embeddings"].shape[1] == 8


def test_what_people_said_is_declared(method: Method) -> None:
    """A method that heeds labels says so: reports call the data of one that does not unlabelled."""
    batch = samples(method)
    other = copy.deepcopy(method)
    if batch.y is None or "labels" in method.taught_by:
        return
    changed = dataclasses.replace(batch, y=(batch.y + 1) % (batch.y.max() + 1))
    found = [float(one(given)["loss"].detach()) for one, given in ((method, batch), (other, changed))]
    assert found[0] == found[1], f"{type(method).__name__} learns from labels: say so in taught_by"


def test_products_have_names_that_verbs_know(method: Method) -> None:
    products = method.products()
    assert products, "a run gives something"
    assert set(products) <= set(PRODUCTS)
    if "encoder" in products:
        assert isinstance(products["encoder"], Model)
    if "classifier" in products:
        batch = samples(method)
        logits = network_of(method, "classifier").eval()(unit_range(batch.x))
        assert logits.shape[0] == len(batch)
    with pytest.raises(ConfigError, match="gives no"):
        method.product("no such thing")


TEMPERATURES = [
    (cls, name)
    for cls, _ in CASES.values()
    for name in inspect.signature(cls).parameters
    if name.endswith("temperature")
]


@pytest.mark.parametrize("value", [0.0, -0.1])
@pytest.mark.parametrize(
    ("cls", "name"), dict.fromkeys(TEMPERATURES), ids=lambda value: getattr(value, "__name__", value)
)
def test_temperatures_are_above_0(cls: type[Method], name: str, value: float) -> None:
    with pytest.raises(ConfigError) as refused:
        make(cls.__name__, **{name: value})
    assert "temperature" in str(refused.value)
    assert repr(value) in str(refused.value)


def test_one_view_is_too_few_for_a_method_on_views(method: Method) -> None:
    whole = samples(method)
    needs = next(line for line in (sys.modules[type(method).__module__].__doc__ or "").splitlines() if "needs:" in line)
    if not needs.startswith("needs: two"):
        pytest.skip("its header says that it does not need two")
    with pytest.raises(DataError, match="views"):
        method.step(whole.with_views(whole.views[0]))


def test_trainable_parameters_get_gradients_and_frozen_ones_none(method: Method) -> None:
    frozen = next(method.encoder.parameters())
    frozen.requires_grad_(False)
    grouped = [parameter for group in method.groups().values() for parameter in group]
    assert {id(p) for p in grouped} == {id(p) for p in method.parameters() if p.requires_grad}
    assert len(grouped) == len({id(p) for p in grouped}), "no parameter is in two groups"
    method.step(samples(method))["loss"].backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name
    assert frozen.grad is None


def test_copies_give_the_same_loss(method: Method, tmp_path: Path) -> None:
    rebuilt = build(describe(method))
    assert describe(rebuilt) == describe(method)
    torch.save(method.state_dict(), tmp_path / "state.pt")
    rebuilt.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    copies = [rebuilt, copy.deepcopy(method), pickle.loads(pickle.dumps(method))]
    loss = method.step(samples(method))["loss"]
    for other in copies:
        assert type(other) is type(method)
        assert describe(other) == describe(method)
        assert torch.equal(other.step(samples(method))["loss"], loss)


def test_state_follows_the_same_path(method: Method) -> None:
    """All state lives in the state dict: carried over after some steps, both go on alike."""

    def steps(subject: Method, first: int) -> Tensor:
        optimizer = torch.optim.SGD([p for group in subject.groups().values() for p in group], lr=0.01)
        for number in range(first, first + 2):
            terms = subject.step(samples(subject))
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            subject.after_step(number)
        return terms["loss"].detach()

    steps(method, 1)
    resumed = build(describe(method))
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(steps(resumed, 3), steps(method, 3))


def test_bfloat16_autocast_stays_finite(method: Method) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        terms = method(samples(method))
    terms["loss"].backward()
    assert all(value.isfinite().all() for value in terms.values())
    assert terms["loss"].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.grad is not None)


def test_global_generators_and_the_batch_are_untouched(method: Method) -> None:
    batch = samples(method)
    kept = {name: value.clone() for name, value in held(batch).items()}
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    method.step(batch)["loss"].backward()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert random.getstate() == states[2]
    for name, after in held(batch).items():
        assert torch.equal(kept[name], after), name


def test_embedding(method: Method) -> None:
    features = method.eval().embed(samples(method).x)
    assert features.shape == (8, method.encoder.width)
    torch.testing.assert_close(method.embed(samples(method, range(3)).x), features[:3])


def loss_and_gradients(method: Method, rows: range) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    loss = method.step(samples(method, rows))["loss"]
    loss.backward()
    gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, dict(method.named_buffers())


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        rows = range(4 * rank, 4 * rank + 4)
        results = {}
        for name in CASES:
            with suppress(MissingExtra):  # the test makes it too, and says which
                results[name] = loss_and_gradients(synchronize(make(name).double()), rows)
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def halves(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[dict[str, tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]]]:
    folder = tmp_path_factory.mktemp("method")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.thorough
@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(halves, name: str) -> None:  # type: ignore[no-untyped-def]
    loss, gradients, buffers = loss_and_gradients(make(name).double(), range(8))
    (first_loss, first, first_buffers), (second_loss, second, second_buffers) = (half[name] for half in halves)
    exact = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close((first_loss + second_loss) / 2, loss, **exact)
    assert first.keys() == second.keys() == gradients.keys()
    for key, expected in gradients.items():
        torch.testing.assert_close((first[key] + second[key]) / 2, expected, **exact, msg=key)
    for key, expected in buffers.items():
        torch.testing.assert_close(first_buffers[key], expected, **exact, msg=key)
        assert torch.equal(first_buffers[key], second_buffers[key]), key


def test_the_factory_makes_equal_methods() -> None:
    one, two = (make("SimCLR") for _ in range(2))
    assert isinstance(one.encoder, nn.Module)
    for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b)
