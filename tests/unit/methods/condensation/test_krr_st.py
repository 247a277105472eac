"""KRR-ST: the regression's closed forms, who gets gradients, the pool's steps and ages, and why nothing is drawn."""

import pytest
import torch
from torch import Tensor, nn

from toys import ToyPictures
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Epoch
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.paired import PairedSource
from withstand.evaluation.representation.condensed import OURS, Condensed
from withstand.losses.kernel_ridge import kernel_ridge
from withstand.methods.condensation.krr_st import KRRST, TARGETS
from withstand.models.blocks.memory.pool import Pool
from withstand.models.pictures.convnets.pooled_convnet import PooledConvNet


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_ones(x: Tensor) -> Tensor:
    return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)


def made(**settings: object) -> KRRST:
    with isolated("krr-st"):
        return KRRST(**{**KRRST.example()._init_args, **settings})  # type: ignore[arg-type]


def begun(**settings: object) -> KRRST:
    method = made(**settings)
    x = method.example_batch().x

    def pass_over(function):  # type: ignore[no-untyped-def]
        with torch.no_grad():
            return torch.cat([function(x[:5]), function(x[5:])])

    method.before_epoch(Epoch(0, 0, pass_over))
    return method


@pytest.mark.parametrize(("count", "width"), [(4, 9), (9, 4)])
def test_the_dual_form_is_the_primal_one(count: int, width: int) -> None:
    support, targets, queries = numbers(count, width), numbers(count, 3, seed=1), numbers(6, width, seed=2)
    fitted, asked = with_ones(support), with_ones(queries)
    ridge = 1e-2 * fitted.square().sum()
    primal = asked @ torch.linalg.solve(fitted.T @ fitted + ridge * torch.eye(width + 1).double(), fitted.T @ targets)
    torch.testing.assert_close(kernel_ridge(support, targets, queries, 1e-2), primal)


def test_without_a_ridge_what_was_fitted_is_told() -> None:
    support, targets = numbers(4, 9), numbers(4, 3, seed=1)
    torch.testing.assert_close(kernel_ridge(support, targets, support, 1e-12), targets, rtol=0, atol=1e-8)


def test_gradients_of_targets_are_the_analytic_ones() -> None:
    support, queries, wanted = numbers(4, 9), numbers(6, 9, seed=2), numbers(6, 3, seed=3)
    targets = numbers(4, 3, seed=1).requires_grad_()
    told = kernel_ridge(support, targets, queries, 1e-2)
    (found,) = torch.autograd.grad((told - wanted).square().mean(), targets)
    fitted, asked = with_ones(support), with_ones(queries)
    kernel = fitted @ fitted.T
    solution = asked @ fitted.T @ torch.linalg.inv(kernel + 1e-2 * kernel.trace() * torch.eye(4).double())
    torch.testing.assert_close(found, 2 / (6 * 3) * solution.T @ (told.detach() - wanted))


def test_the_ridge_is_a_constant_for_gradients() -> None:
    support, targets, queries = numbers(4, 9).requires_grad_(), numbers(4, 3, seed=1), numbers(6, 9, seed=2)
    fitted = with_ones(support)
    kernel, ridge = fitted @ fitted.T, 0.1 * with_ones(support.detach()).square().sum()
    plain = with_ones(queries) @ fitted.T @ torch.linalg.solve(kernel + ridge * torch.eye(4).double(), targets)
    (wanted,) = torch.autograd.grad(plain.square().sum(), support)
    (found,) = torch.autograd.grad(kernel_ridge(support, targets, queries, 0.1).square().sum(), support)
    torch.testing.assert_close(found, wanted)


def test_features_that_are_not_finite_give_no_number() -> None:
    support = torch.full((3, 4), torch.nan)
    assert kernel_ridge(support, torch.zeros(3, 2), torch.zeros(5, 4)).isnan().all()


def test_more_features_than_pictures_in_single_precision_are_solved_as_in_double() -> None:
    support, targets, queries = (one.float() for one in (numbers(30, 400), numbers(30, 5), numbers(20, 400, seed=2)))
    found = kernel_ridge(support, targets, queries)
    torch.testing.assert_close(found, kernel_ridge(support.double(), targets.double(), queries.double()))


def test_drawing_in_the_inner_problem_biases_the_outer_gradient() -> None:
    """argmin_w E (w - x xi)^2 is x E[xi]; what a drawn xi gives is x xi, whose outer gradient has another mean."""
    x, goal = torch.tensor(1.5, dtype=torch.float64, requires_grad=True), 0.7
    factors = torch.tensor([0.5, 1.0, 2.1], dtype=torch.float64)
    (true,) = torch.autograd.grad((x * factors.mean() - goal) ** 2, x)
    (naive,) = torch.autograd.grad(((x * factors - goal) ** 2).mean(), x)
    mean, square = factors.mean(), factors.square().mean()
    torch.testing.assert_close(true, 2 * x.detach() * mean**2 - 2 * goal * mean)
    torch.testing.assert_close(naive, 2 * x.detach() * square - 2 * goal * mean)
    torch.testing.assert_close(naive - true, 2 * x.detach() * factors.var(correction=0))


def test_the_loss_is_that_of_the_official_step_and_is_drawn_once() -> None:
    method = begun().double()
    batch = method.example_batch()
    loss = method.step(batch)["loss"]
    assert torch.equal(method.step(batch)["loss"], loss)
    place = int(batch.draws_for_all("pool").integers(0, 2))
    real = (batch.x.double() / 255 - 0.5) / 0.25
    features, asked = (
        with_ones(method.pool.features(place, method.pictures)),
        with_ones(method.pool.features(place, real)),
    )
    kernel = features @ features.T
    told = (
        asked @ features.T @ torch.linalg.solve(kernel + 1e-6 * kernel.trace() * torch.eye(3).double(), method.targets)
    )
    wanted = method.encoder(batch.x.double() / 255)
    torch.testing.assert_close(loss, (told - wanted).square().mean(), rtol=1e-5, atol=0)


def test_gradients_reach_the_condensed_set_alone() -> None:
    method = begun()
    assert {name for name, one in method.named_parameters() if one.requires_grad} == {"pictures", "targets"}
    method.step(method.example_batch())["loss"].backward()
    assert all(one.grad is None for one in method.encoder.parameters())
    assert not list(method.pool.parameters())


def test_the_set_begins_with_real_pictures_and_the_teachers_features() -> None:
    method = begun()
    real = method.normalised(method.example_batch().x)
    for place in range(3):
        same = (real == method.pictures[place]).flatten(1).all(1).nonzero()[:, 0]
        assert len(same) == 1
        assert torch.equal(method.targets[place], method.answers[same[0]])
    assert torch.equal(method.start, method.pictures)
    kept = {name: value.clone() for name, value in method.state_dict().items()}
    method.before_epoch(Epoch(1, 0, lambda function: pytest.fail("the teacher is asked once")))
    assert all(torch.equal(value, method.state_dict()[name]) for name, value in kept.items())


def test_networks_age_and_give_way_to_new_ones() -> None:
    method = begun(oldest=3)
    batch = method.example_batch()
    assert 1 <= int(method.pool.ages.min()) <= int(method.pool.ages.max()) < 3
    place = int(batch.draws_for_all("pool").integers(0, 2))
    seen = []
    for step in range(1, 9):
        method.step(batch)
        method.after_step(step)
        seen.append(int(method.pool.ages[place]))
    start = seen.index(0)
    assert seen[start : start + 5] == [0, 1, 2, 3, 0], "a new network is trained as the one before it was"


def test_a_pools_step_is_torchs() -> None:
    with isolated("pool"):
        pool = Pool(PooledConvNet.example(), 4, 2)
    x, targets = numbers(5, 3, 8, 8).float(), numbers(5, 4, seed=1).float()
    plain = nn.Sequential(PooledConvNet.example(), nn.Linear(3 * 4, 4))
    plain.load_state_dict({name: value.clone() for name, value in pool._state(1).items()})
    other = {name: value.clone() for name, value in pool._state(0).items()}
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for _ in range(3):
        pool.learn(1, x, targets)
        optimizer.zero_grad()
        nn.functional.mse_loss(plain.train()(x), targets).backward()
        optimizer.step()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(pool._state(1)[name], value)
    torch.testing.assert_close(pool.told(1, x), plain.eval()(x))
    assert all(torch.equal(value, pool._state(0)[name]) for name, value in other.items())
    assert pool.ages.tolist() == [0, 3]
    pool.renew(1, "new")
    assert pool.ages.tolist() == [0, 0]
    assert not torch.equal(pool._state(1)["0.blocks.0.0.weight"], plain.state_dict()["0.blocks.0.0.weight"])


def test_a_steps_draws_are_the_batchs() -> None:
    one, other = begun(), begun()
    batch = one.example_batch()
    for step in range(1, 7):
        for method in (one, other):
            torch.rand(3)
            method.step(batch)
            method.after_step(step)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_the_condensed_set_is_a_source() -> None:
    method = begun()
    source = method.product("condensed")
    assert isinstance(source, PairedSource)
    batch = source[[2, 0]]
    torch.testing.assert_close(batch.x, method.pictures.detach()[[2, 0]] * 0.25 + 0.5)
    assert torch.equal(batch.extras[TARGETS], method.targets.detach()[[2, 0]])


def test_a_set_that_teaches_less_than_the_features_mean_is_not_believed() -> None:
    for steps, believed in ((1, False), (150, True)):
        method = begun()
        known = ArraySource(method.pixels(method.start).clamp(0, 1))  # which the networks learn from
        finding = Condensed(steps=steps, networks=1, shown=2).evaluate(method, known)
        assert (finding.figures[OURS].value < finding.figures["error of the mean"].value) is believed
        assert finding.believable is believed


def test_bounded_pictures_stay_pictures() -> None:
    method = begun(bounded=True)
    with torch.no_grad():
        method.pictures.mul_(5)
    method.step(method.example_batch())
    method.after_step(1)
    pixels = method.pixels(method.pictures.detach())
    assert -1e-6 <= float(pixels.min()) < float(pixels.max()) <= 1 + 1e-6


def test_what_does_not_fit_is_refused_in_a_line() -> None:
    for settings, words in (
        ({"count": 9}, "count 9 is more than the 8 samples"),
        ({"oldest": 0}, "oldest must be at least 1"),
        ({"ridge": 0.0}, "ridge must be above 0"),
        ({"mean": (0.5,)}, "a mean and a std"),
    ):
        with pytest.raises(ConfigError, match=words):
            made(**settings)
    with pytest.raises(DataError, match="pictures of shape"):
        made().accept(ToyPictures(8, size=16), 4)
    with pytest.raises(ConfigError, match="must leave something"):
        PooledConvNet((3, 8, 8), (2, 2, 2, 2))
