"""RoCL's third view, and DeACL's student and teacher."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

import faults
from faults import FaultyView, Stop
from toys import toy_experiment, weights
from withstand.attacks.inputs.gradient import PGD
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, NonFiniteLoss
from withstand.core.part import build, describe
from withstand.core.random import Draws
from withstand.core.roles import Epoch, Method, Model
from withstand.core.threat import Ball
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD
from withstand.losses.contrast.contrastive import nt_xent
from withstand.losses.contrast.multi_view import nt_xent_views
from withstand.losses.robust.adversarial import decoupled_alignment
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.robust.acl import ACL
from withstand.methods.robust.deacl import DeACL
from withstand.methods.robust.rocl import RoCL
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized

NEAR = PGD(Ball("linf", 0.1), steps=3, keep_best=False)


def net(seed: int = 0) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Normalized(ResNet(4, 10), (0.5,) * 3, (0.25,) * 3)


def rocl(**settings: object) -> RoCL:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RoCL(net(), dim=16, **{"attack": NEAR, **settings})  # type: ignore[arg-type]


def deacl(**settings: object) -> DeACL:
    return DeACL(net(), net(1), **{"attack": NEAR, **settings})  # type: ignore[arg-type]


def batch(count: int = 6, views: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(0)
    made = tuple(torch.rand(count, 3, 8, 8, generator=generator) for _ in range(views))
    return Batch(torch.zeros(count, 3, 8, 8), torch.arange(count), views=made)


def draws(given: Batch) -> Draws:
    return given.draws("inner attack")


def inside(before: Tensor, after: Tensor) -> None:
    assert 0 < (after - before).abs().max() <= 0.1 + 1e-6
    assert after.min() >= 0
    assert after.max() <= 1


def test_rocl_attacks_the_first_view_by_the_loss_of_the_pair() -> None:
    method, given = rocl(), batch()
    one, two = given.views
    worse = method.attacked(one, two, draws(given))
    inside(one, worse)
    method.eval()
    generator = torch.Generator().manual_seed(1)
    corner = (one + 0.1 * torch.randn(one.shape, generator=generator).sign()).clamp(0, 1)
    z2 = method.head(method.encoder(two))
    clean, random, found = (nt_xent(method.head(method.encoder(x)), z2, 0.5) for x in (one, corner, worse))
    assert found > random
    assert found > clean
    assert torch.equal(worse, method.attacked(one, two, draws(given)))
    assert not torch.equal(worse, method.attacked(one, two, draws(replace(given, step=1))))


def test_rocls_loss_is_of_three_views_and_a_little_of_the_attacked_pair() -> None:
    given = batch()
    one, two = given.views
    reference = rocl()
    worse = reference.attacked(one, two, draws(given))
    z1, z2, z3 = reference.head(reference.encoder(torch.cat([one, two, worse]))).chunk(3)
    three, pair = nt_xent_views((z1, z2, z3)), nt_xent(z3, z2, 0.5)
    terms = rocl(attacked_weight=0.3).step(given)
    torch.testing.assert_close(terms["loss"], three + 0.3 * pair)
    torch.testing.assert_close(terms["attacked_loss"], pair.detach())
    torch.testing.assert_close(terms["embeddings"], torch.stack([z1, z2]).detach())


def test_without_a_radius_rocl_sees_the_first_view_twice() -> None:
    method, given = rocl(attack=NEAR.at(0.0)), batch()
    assert torch.equal(method.attacked(*given.views, draws(given)), given.views[0])


def test_the_decoupled_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, under, teacher = (torch.randn(5, 7, dtype=torch.float64, generator=generator) for _ in range(3))
    clean.requires_grad_()
    under.requires_grad_()
    found = decoupled_alignment(clean, under, teacher, 2.0)
    expected = -cosine_similarity(clean, teacher) - 2 * cosine_similarity(under, clean)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found.sum(), (clean, under)),
        torch.autograd.grad(expected.sum(), (clean, under)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    same = clean.detach()
    torch.testing.assert_close(decoupled_alignment(same, 3 * same, 2 * same, 2.0), torch.full((5,), -3.0).double())
    zero = torch.zeros(5, 7, requires_grad=True)
    (slope,) = torch.autograd.grad(decoupled_alignment(zero, zero, teacher.float()).sum(), zero)
    assert slope.isfinite().all()


def test_deacl_attacks_the_students_agreement_with_the_teacher() -> None:
    method, given = deacl(), batch(views=1)
    x = given.views[0]
    teacher = method.teacher(x)
    worse = method.attacked(x, teacher, draws(given))
    inside(x, worse)
    student = method.encoder.eval()
    generator = torch.Generator().manual_seed(1)
    corner = (x + 0.1 * torch.randn(x.shape, generator=generator).sign()).clamp(0, 1)
    agreement = [cosine_similarity(student(one), teacher).mean() for one in (x, corner, worse)]
    assert agreement[2] < min(agreement[:2])


def test_deacls_loss_is_that_of_one_shared_pass() -> None:
    given = batch(views=1)
    x, reference = given.views[0], deacl()
    wanted = reference.teacher(x)
    worse = reference.attacked(x, wanted, draws(given))
    clean, under = reference.encoder(torch.cat([x, worse])).chunk(2)
    terms = deacl(gamma=1.5).step(given)
    torch.testing.assert_close(terms["loss"], decoupled_alignment(clean, under, wanted, 1.5).mean())
    torch.testing.assert_close(terms["to_teacher"], cosine_similarity(clean, wanted).mean().detach())
    torch.testing.assert_close(terms["under_attack"], cosine_similarity(clean, under).mean().detach())


def test_centred_features_are_taken_from_the_teachers_mean() -> None:
    method, given = deacl(center=True), batch(views=1)
    x = given.views[0]
    mean = method.teacher(x).mean(0)
    method.before_epoch(Epoch(0, 0, lambda function: function(x).detach()))
    torch.testing.assert_close(method.mean, mean)
    method.before_epoch(Epoch(1, 0, lambda function: function(0 * x)))
    torch.testing.assert_close(method.mean, mean, msg="once, at the start")
    wanted = (method.teacher(x) - mean).detach()
    assert (cosine_similarity(wanted, wanted.roll(1, 0)) < 0.9).all()
    worse = method.attacked(x, wanted, draws(given))
    student = deacl().encoder.eval()
    agreement = [cosine_similarity(student(one) - mean, wanted).mean() for one in (x, worse)]
    assert agreement[1] < agreement[0]
    clean, under = (deacl().encoder(torch.cat([x, worse])) - mean).chunk(2)
    torch.testing.assert_close(method.step(given)["loss"], decoupled_alignment(clean, under, wanted, 2.0).mean())


def test_the_teacher_stays_as_it_is() -> None:
    method, given = deacl(), batch(views=1)
    kept = {name: value.clone() for name, value in method.teacher.state_dict().items()}
    method.train()
    assert method.encoder.training
    assert not any(child.training for child in method.teacher.modules())
    method.step(given)["loss"].backward()
    assert all(p.grad is None for p in method.teacher.parameters())
    assert all(torch.equal(value, kept[name]) for name, value in method.teacher.state_dict().items())
    assert all(p.grad is not None for p in method.encoder.parameters())


def test_settings_are_checked() -> None:
    for wrong in ({"temperature": 0.0}, {"attacked_weight": -1.0}):
        with pytest.raises(ConfigError, match="temperature must"):
            rocl(**wrong)
    for attack in (PGD(), PGD(Ball(targeted=True), keep_best=False)):
        with pytest.raises(ConfigError, match="attacked together"):
            rocl(attack=attack)
    for wrong in ({"gamma": -1.0}, {"attack": PGD(Ball(targeted=True))}):
        with pytest.raises(ConfigError, match="gamma"):
            deacl(**wrong)
    with pytest.raises(ConfigError, match="16 features, the teacher 32"):
        DeACL(Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3), net())
    method = build(describe(deacl()))
    assert method.teacher.width == 32


KINDS = {"RoCL": rocl, "DeACL": deacl, "ACL": lambda: ACL(SimCLR(net(), dim=16), attack=NEAR)}


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["RoCL", "DeACL"])
def test_a_run_that_was_stopped_in_mid_epoch_goes_on_to_the_last_bit(kind: str, tmp_path: Path) -> None:
    def experiment() -> Experiment:
        made = toy_experiment(epochs=2, count=48, method=KINDS[kind](), save_every=0.0)
        return replace(made, view=FaultyView(made.view))

    faults.arrange()
    whole = train(experiment(), tmp_path / "whole", quiet=True, allow=("toys", "faults"))
    faults.arrange(stop_view=5)
    with pytest.raises(Stop):
        train(experiment(), tmp_path / "stopped", quiet=True, allow=("toys", "faults"))
    faults.arrange()
    stopped = train(experiment(), tmp_path / "stopped", quiet=True, allow=("toys", "faults"))
    one, two = weights(whole.path), weights(stopped.path)
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_diverges_is_stopped_by_the_engine(kind: str, tmp_path: Path) -> None:
    method: Method = KINDS[kind]()
    with pytest.raises(NonFiniteLoss, match="lower learning"):
        train(
            toy_experiment(epochs=4, optimizer=SGD(1e30, momentum=0.0), method=method),
            tmp_path / "run",
            quiet=True,
            allow=("toys",),
        )
