"""ACL: attacked views through the encoder's own bank, clean ones through a bank that is thrown away."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import faults
from faults import FaultyView, Stop
from toys import toy_experiment, toy_method, weights
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.roles import Method
from withstand.core.threat import Ball
from withstand.engine.launch import train
from withstand.losses.contrast.contrastive import nt_xent
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.methods.robust.acl import ACL
from withstand.methods.robust.free import FreeAdversarialTraining
from withstand.models.blocks.normalization.second_bank import SecondBank

NEAR = PGD(Ball("linf", 0.1), steps=3, keep_best=False)


def made(inner: type[Method] = SimCLR, **settings: object) -> ACL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ACL(toy_method(inner), attack=NEAR, **settings)  # type: ignore[arg-type]


def batch(count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(0)
    views = [torch.rand(count, 3, 8, 8, generator=generator) for _ in range(2)]
    return Batch(torch.zeros(count, 3, 8, 8), torch.arange(count), views=tuple(views))


def statistics(method: ACL) -> Tensor:
    return torch.cat([b for name, b in method.method.named_buffers() if name.endswith("running_mean")]).clone()


def test_views_are_attacked_together_and_raise_the_loss() -> None:
    method, given = made(), batch()
    worse = method.attacked(given)
    for before, after in zip(given.views, worse.views, strict=True):
        assert 0 < (after - before).abs().max() <= 0.1 + 1e-6
        assert after.min() >= 0
        assert after.max() <= 1
    inner = method.method.eval()
    corner = given.with_views(*((view + 0.1 * torch.randn_like(view).sign()).clamp(0, 1) for view in given.views))
    loss = {name: inner.step(one)["loss"] for name, one in (("clean", given), ("random", corner), ("worse", worse))}
    assert loss["worse"] > loss["random"]
    assert loss["worse"] > loss["clean"]


def test_the_loss_is_the_mean_of_both_kinds() -> None:
    method, given = made(), batch()
    clean_bank = {name: value.clone() for name, value in method.method.state_dict().items()}
    worse = method.attacked(given)
    terms = method.step(given)
    reference = toy_method(SimCLR)
    reference.load_state_dict(clean_bank)
    clean, attacked = reference.step(given)["loss"], reference.step(worse)["loss"]
    torch.testing.assert_close(terms["clean_loss"], clean.detach())
    torch.testing.assert_close(terms["attacked_loss"], attacked.detach())
    torch.testing.assert_close(terms["loss"], (clean + attacked) / 2)


def test_each_kind_has_its_own_statistics() -> None:
    method, given = made(), batch()
    before = statistics(method)
    worse = method.attacked(given)
    assert torch.equal(before, statistics(method)), "the attack leaves no trace"
    method.step(given)
    own = statistics(method)
    reference = made()
    reference.method.step(worse)
    torch.testing.assert_close(own, statistics(reference), msg="the encoder's bank follows attacked views only")
    assert method.clean_bank is not None
    other = torch.cat([b for name, b in method.clean_bank.named_buffers() if name.endswith("running_mean")])
    reference = made()
    reference.method.step(given)
    torch.testing.assert_close(other, statistics(reference))


def test_the_encoder_is_a_plain_network() -> None:
    method = made()
    assert method.encoder is method.method.encoder
    assert set(method.encoder.state_dict()) == set(toy_method().encoder.state_dict())
    names = [name for name, _ in method.named_parameters()]
    assert len(names) == len(set(names))


def test_one_bank_and_attacked_views_only() -> None:
    given = batch()
    shared = made(two_banks=False)
    assert shared.clean_bank is None
    before = statistics(shared)
    shared.step(given)
    assert not torch.equal(before, statistics(shared))
    found = made(clean_weight=0.0).step(given)["loss"]
    plain = made()
    worse = plain.attacked(given)
    z1, z2 = plain.method.head(plain.encoder(torch.cat(worse.views))).chunk(2)  # type: ignore[operator]
    torch.testing.assert_close(found, nt_xent(z1, z2, 0.2))


@pytest.mark.parametrize("inner", [DCL, BarlowTwins])
def test_other_methods_can_be_hardened(inner: type[Method]) -> None:
    method = made(inner)
    worse = method.attacked(batch())
    inner_method = method.method.eval()
    assert inner_method.step(worse)["loss"] > inner_method.step(batch())["loss"]
    terms = method.train().step(batch())
    assert terms["loss"].isfinite()
    terms["loss"].backward()
    assert all(parameter.grad is not None for parameter in method.parameters())


def test_without_a_radius_and_with_one_bank_it_is_the_method_itself() -> None:
    given = batch()
    method = ACL(toy_method(), attack=PGD(Ball("linf", 0.0), steps=1, keep_best=False), two_banks=False)
    torch.testing.assert_close(method.step(given)["loss"], method.method.step(given)["loss"])


def test_a_second_bank_in_eval_mode_uses_its_own_statistics() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    bank = SecondBank(network)
    x = torch.randn(16, 3)
    bank.run(network.train(), x)
    assert network[1].num_batches_tracked == 0
    assert bank.norms[0].num_batches_tracked == 1  # type: ignore[union-attr]
    expected = torch.nn.Sequential(network[0], bank.norms[0]).eval()(x)
    torch.testing.assert_close(bank.run(network.eval(), x), expected)


def test_settings_are_checked() -> None:
    for wrong in ({"clean_weight": 1.0}, {"clean_weight": -0.1}):
        with pytest.raises(ConfigError, match="clean_weight"):
            made(**wrong)
    for attack in (PGD(), PGD(Ball(targeted=True), keep_best=False)):
        with pytest.raises(ConfigError, match="attacked together"):
            ACL(toy_method(), attack=attack)
    with pytest.raises(ConfigError, match="update of its own"):
        ACL(FreeAdversarialTraining(toy_method().encoder, classes=2))


@pytest.mark.thorough
def test_a_run_that_was_stopped_in_mid_epoch_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    method = ACL(toy_method(), attack=NEAR)
    experiment = toy_experiment(epochs=2, count=48, method=method, save_every=0.0)

    experiment = replace(experiment, view=FaultyView(experiment.view))
    faults.arrange()
    whole = train(experiment, tmp_path / "whole", quiet=True, allow=("toys", "faults"))
    faults.arrange(stop_view=5)
    with pytest.raises(Stop):
        train(experiment, tmp_path / "stopped", quiet=True, allow=("toys", "faults"))
    faults.arrange()
    stopped = train(experiment, tmp_path / "stopped", quiet=True, allow=("toys", "faults"))
    one, two = weights(whole.path), weights(stopped.path)
    assert all(torch.equal(one[name], two[name]) for name in one)
