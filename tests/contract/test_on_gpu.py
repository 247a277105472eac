"""What holds on the CPU holds on a GPU: methods, attacks, certificates, whole runs. Run with `-m gpu` on one.

The CPU is the oracle: draws hang on seed and index alone, so that both devices are asked the same.
"""

import copy
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_attack_contract import balls, cheap
from test_method_contract import CASES, make, samples
from torch import nn

import faults
import withstand as ws
from faults import FaultyView, Stop
from recipe_options import needs_a_run, toy_options, trains
from toys import ToyPictures, toy_experiment
from unit.verification.random_networks import KINDS, network
from victims import digits, random_pictures, small_net
from withstand.api.front import _on
from withstand.api.runs import Run
from withstand.attacks.autoattack.autoattack import AutoAttack
from withstand.core.random import Draws, isolated
from withstand.core.roles import Attack
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim
from withstand.data.arrays.source import ArraySource
from withstand.data.tables.source import TableSource
from withstand.engine.launch import train
from withstand.models.pictures.wavelet_scattering.scattering import Scattering
from withstand.recipes.catalogue import Entry, entries
from withstand.verification.bounds.margins import METHODS, bound
from withstand.verification.certify import CertifyMethod, certify
from withstand.verification.specification.box import Region
from withstand.views.presets import simclr_small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
GPU = torch.device("cuda")


def there(victim: Victim | nn.Module) -> Victim:
    """Return a copy on the GPU."""
    model = victim.model if isinstance(victim, Victim) else victim
    assert isinstance(model, nn.Module)
    return Victim(copy.deepcopy(model).to(GPU))


def pictures(count: int = 512) -> ArraySource:
    held = ToyPictures(count)[range(count)]
    assert held.y is not None
    return ArraySource(held.x.numpy(), held.y.numpy())


def rows() -> TableSource:
    draws = np.random.default_rng(0)
    columns = {
        "age": draws.normal(40, 9, 200),
        "size": draws.choice(["small", "large"], 200),
        "height": draws.random(200),
    }
    return TableSource({**columns, "answer": draws.choice(["no", "yes"], 200)}, target="answer", part="train")


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Products with all of float32's digits."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("name", CASES)
def test_methods_lose_the_same(name: str) -> None:
    method = make(name)
    there, batch = copy.deepcopy(method).to(GPU), samples(method)
    for one in (method, there):
        one.before_run(10)
    with isolated(0, "step"):
        expected = method(batch)["loss"]
    with isolated(0, "step"):
        terms = there(batch.to(GPU))
    assert all(value.device.type == "cuda" for value in terms.values())
    torch.testing.assert_close(terms["loss"].cpu(), expected, rtol=2e-3, atol=1e-4)
    terms["loss"].backward()
    there.after_step(1)
    gradients = [parameter.grad for parameter in there.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("item", [item for item in entries() if trains(item)], ids=lambda item: item.slug)
def test_recipes_train_and_are_probed(item: Entry, tmp_path: Path) -> None:
    slug, options = item.slug, toy_options(item, pictures=pictures(), rows=rows())
    if options is None:
        pytest.skip("it learns from a kind of data that no toy is of")
    data = options.pop("data")
    if needs_a_run(item):
        teacher = ws.train("simclr", data, out=tmp_path / "teacher", epochs=1, options=options, quiet=True)
        options = options | {"teacher": str(teacher.path)}
    run = ws.train(slug, data, out=tmp_path / "run", epochs=2, device="cuda", options=options, quiet=True)
    assert run.folder.record()["engine"]["device"] == torch.cuda.get_device_name()
    lines = [json.loads(line) for line in run.folder.metrics_path.read_text().splitlines()]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert run.device.type == "cuda"
    assert {finding.name for finding in run.probe()}
    again = ws.train(slug, data, out=tmp_path / "run", epochs=2, device="cpu", options=options, quiet=True)
    assert again.folder.record()["status"] == "finished"  # the same run, wherever it goes on


@pytest.mark.parametrize(("kind", "ball"), balls(), ids=str)
def test_attacks_find_the_same(kind: type[Attack], ball: Ball) -> None:
    x, y = random_pictures(16)
    net, attack = small_net().eval(), cheap(kind, ball)
    expected = attack(Victim(net), x, y, generator=0)
    found = attack(there(net), x.to(GPU), y.to(GPU), generator=0)
    assert found.x.device.type == "cuda"
    assert (ball.size(found.x - x.to(GPU)) <= ball.eps + 1e-6).all()
    # A gradient that is 0 to the last digit may fall to either side: a sample or two may go another way.
    assert (found.success.cpu() != expected.success).sum() <= 2


def test_autoattack_leaves_the_same() -> None:
    victim, x, y = digits()
    x, y = x[:60], y[:60]
    other = there(victim)
    for search in ("fast", "plain"):
        attack = AutoAttack(Ball("linf", 0.15), search=search)
        expected = attack(victim, x, y, generator=0).holds
        found = attack(other, x.to(GPU), y.to(GPU), generator=0).holds.cpu()
        assert (found != expected).sum() <= 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_bounds_are_the_same(kind: str, method: str) -> None:
    net = network(kind, 0)
    x = torch.rand(3, *net.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = torch.eye(net.classes, dtype=torch.float64).expand(3, -1, -1)
    expected = bound(net, Region.around(x, Ball("linf", 0.05)), weight, method)
    there = net.to(torch.float64, GPU)
    found = bound(there, Region.around(x.to(GPU), Ball("linf", 0.05)), weight.to(GPU), method)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["auto", "bab"])
def test_verdicts_are_the_same(method: CertifyMethod) -> None:
    victim, x, y = digits()
    other = there(victim)
    ball = Ball("linf", 0.03)
    expected = certify(victim, x[:8], y[:8], ball, method=method, timeout=20)
    found = certify(other, x[:8].to(GPU), y[:8].to(GPU), ball, method=method, timeout=20)
    assert [one.status for one in found] == [one.status for one in expected]


def test_views_are_the_same() -> None:
    batch = ToyPictures(8)[range(8)]
    view = simclr_small(16)
    there = view(batch.to(GPU), Draws(0, batch.index.to(GPU)))
    for one, other in zip(view(batch, Draws(0, batch.index)).views, there.views, strict=True):
        torch.testing.assert_close(other.cpu().float(), one.float(), rtol=1e-3, atol=2e-3)


def test_scattering_is_the_same() -> None:
    x = torch.rand(4, 3, 32, 32)
    scattering = Scattering((32, 32), 2)
    torch.testing.assert_close(copy.deepcopy(scattering).to(GPU)(x.to(GPU)).cpu(), scattering(x), rtol=1e-4, atol=1e-5)


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    plain = _on(toy_experiment(save_every=0.0), "cuda")
    made = replace(plain, view=FaultyView(plain.view))

    def losses(name: str, stop: int | None = None) -> list[float]:
        faults.arrange(stop_view=stop)
        with nullcontext() if stop is None else pytest.raises(Stop):
            train(made, tmp_path / name, quiet=True, allow=("toys", "faults"))
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line)["loss"] for line in lines]

    whole = losses("whole")
    assert len(losses("parts", stop=6)) == 5
    np.testing.assert_allclose(losses("parts"), whole, rtol=1e-2)  # a GPU's sums are not the same to the last bit


def test_a_run_is_measured_there_and_lies_on_the_cpu(tmp_path: Path) -> None:
    train(_on(toy_experiment(epochs=1), "cuda"), tmp_path / "run", quiet=True, allow=("toys",))
    found = {}
    for device in ("cuda", "cpu"):
        run = Run(tmp_path / "run", device=device, allow=("toys",))
        data = pictures(200)
        audit = run.audit(data, samples=20, steps=3, ensemble="none")
        run.certify(data, samples=2, timeout=1.0, method="smoothing")
        run.certify(data, samples=2, timeout=1.0, method="milp")
        proof = run.certify(data, samples=4, timeout=1.0)
        attacked, _ = run.attack(data, samples=4)
        assert attacked.x.device.type == "cpu"
        assert not any(parameter.is_cuda for parameter in run.encoder.parameters())
        assert not any(parameter.is_cuda for parameter in run.classifier(data).parameters())
        geometry, layers = run.geometry(data)
        corrupted = run.corruptions(data, samples=16)
        found[device] = [finding.numbers for finding in (audit, proof, geometry, layers, corrupted)]
        assert run.report().is_file()
    for one, other in zip(found["cuda"], found["cpu"], strict=True):
        assert one.keys() == other.keys()
        if "clean accuracy" in one:
            assert one["clean accuracy"] == pytest.approx(other["clean accuracy"], abs=0.25)  # of 4 to 20 samples


def test_ones_own_network_stays_where_it_is() -> None:
    net = small_net(channels=1).eval().to(GPU)
    x, y = random_pictures(40)
    data, surrogate = ArraySource(x.numpy(), y.numpy()), small_net(channels=1).eval()
    finding = ws.audit(net, data, surrogate=surrogate, samples=10, steps=3, ensemble="none")
    assert "clean accuracy" in finding.numbers
    assert next(net.parameters()).is_cuda
    assert not next(surrogate.parameters()).is_cuda  # it joins the victim for as long as it is asked
