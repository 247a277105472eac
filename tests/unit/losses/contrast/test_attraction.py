"""CACR against the official code's sums, written out in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import DataError
from withstand.losses.contrast.hard_negatives.attraction import attraction, cacr_terms, repulsion

EXACT = {"rtol": 0, "atol": 1e-10}


def views(count: int = 3, samples: int = 5, width: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, samples, width, generator=generator, dtype=torch.float64).requires_grad_()


def looped(z: Tensor, t_plus: float, t_minus: float) -> tuple[Tensor, Tensor]:
    z = normalize(z, dim=2)
    count, samples, _ = z.shape
    pull, push = [], []
    for x in range(count):
        for i in range(samples):
            cost = torch.stack([(z[x, i] - z[v, i]).square().sum() for v in range(count) if v != x])
            pull.append(((t_plus * cost).softmax(0) * cost).sum())
            for y in range(x + 1, count):
                cost = torch.stack([(z[x, i] - z[y, j]).square().sum() for j in range(samples) if j != i])
                push.append(-((-t_minus * cost).softmax(0) * cost).sum())
    return torch.stack(pull).mean(), torch.stack(push).mean()


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize(("t_plus", "t_minus"), [(1.0, 0.9), (0.0, 0.0), (3.0, 5.0)])
def test_both_terms_are_the_papers(count: int, t_plus: float, t_minus: float) -> None:
    z = views(count)
    pull, push = looped(z, t_plus, t_minus)
    found = cacr_terms(list(z), positive_sharpness=t_plus, negative_sharpness=t_minus, alpha=2.0, beta=3.0)
    for ours, theirs in ((found.attraction, 2 * pull), (found.repulsion, 3 * push)):
        torch.testing.assert_close(ours, theirs, **EXACT)
        one, other = (torch.autograd.grad(value, z, retain_graph=True)[0] for value in (ours, theirs))
        torch.testing.assert_close(one, other, **EXACT)


def test_with_two_views_attraction_is_their_distance() -> None:
    z = views(2)
    expected = (normalize(z[0], dim=1) - normalize(z[1], dim=1)).square().sum(1).mean()
    for sharpness in (0.0, 1.0, 50.0):
        torch.testing.assert_close(attraction(z, sharpness), expected, **EXACT)


def test_sharpness_tilts() -> None:
    z = views(5).detach()
    pulls = [attraction(z, t).item() for t in (0, 1, 5, 1e4)]
    pushes = [repulsion(z, t).item() for t in (0, 1, 5, 1e4)]
    assert pulls == sorted(pulls)
    assert pushes == sorted(pushes)
    unit = normalize(z, dim=2)
    cost = 2 - 2 * torch.einsum("vbd,wbd->bvw", unit, unit)
    assert pulls[-1] == pytest.approx(cost.amax(2).mean().item(), abs=1e-3)
    nearest = [
        (2 - 2 * unit[x] @ unit[y].T + 9 * torch.eye(5)).amin(1).mean() for x in range(5) for y in range(x + 1, 5)
    ]
    assert pushes[-1] == pytest.approx(-torch.stack(nearest).mean().item(), abs=1e-3)


def test_closed_forms() -> None:
    point = torch.ones(3, 4, 6, dtype=torch.float64)
    assert attraction(point).item() == pytest.approx(0, abs=1e-12)
    assert repulsion(point).item() == pytest.approx(0, abs=1e-12)
    apart = torch.eye(4, 6, dtype=torch.float64).expand(3, -1, -1)
    terms = cacr_terms(list(apart), beta=1.5)
    assert terms.attraction.item() == pytest.approx(0, abs=1e-12)
    assert terms.repulsion.item() == pytest.approx(-2 * 1.5)


def test_with_constant_weights_gradients_are_those_of_log_mean_exps() -> None:
    """d/dc of (1/t) log mean exp(t c) is a positive's weight, and of -(1/t) log mean exp(-t c) minus a negative's."""
    z = views(4)
    unit = normalize(z, dim=2)
    cost = 2 - 2 * torch.einsum("vid,wjd->vwij", unit, unit)
    same = cost.diagonal(dim1=2, dim2=3)[~torch.eye(4, dtype=torch.bool)].view(4, 3, 5)
    pull = ((3 * same).logsumexp(1) / 3).mean()
    off = ~torch.eye(5, dtype=torch.bool)
    pairs = [cost[x, y][off].view(5, 4) for x in range(4) for y in range(x + 1, 4)]
    push = ((-2 * torch.stack(pairs)).logsumexp(2) / 2).mean()
    for found, expected in (
        (attraction(z, 3.0, detach_weights=True), pull),
        (repulsion(z, 2.0, detach_weights=True), push),
    ):
        one, other = (torch.autograd.grad(value, z, retain_graph=True)[0] for value in (found, expected))
        torch.testing.assert_close(one, other, **EXACT)


def test_detached_weights_keep_the_value() -> None:
    z = views()
    values = [attraction(z, detach_weights=flag) + repulsion(z, detach_weights=flag) for flag in (False, True)]
    torch.testing.assert_close(*values, **EXACT)
    one, other = (torch.autograd.grad(value, z)[0] for value in values)
    assert not torch.allclose(one, other)


def test_invariances() -> None:
    z = views().detach()
    rotation = torch.linalg.qr(views(1, 4, 4, 3)[0].detach()).Q
    order = torch.tensor([3, 1, 4, 0, 2])
    for loss in (attraction, repulsion):
        torch.testing.assert_close(loss(z @ rotation), loss(z), **EXACT)
        torch.testing.assert_close(loss(z[:, order]), loss(z), **EXACT)
        torch.testing.assert_close(loss(7 * z), loss(z), **EXACT)
    torch.testing.assert_close(attraction(z[[2, 0, 1]]), attraction(z), **EXACT)


def test_identical_views_have_finite_gradients_and_mistakes_are_told() -> None:
    z = torch.ones(2, 3, 4, requires_grad=True)
    (attraction(z) + repulsion(z)).backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    with pytest.raises(DataError, match="2 or more views"):
        attraction(z[:1])
    with pytest.raises(DataError, match="at least 2 samples"):
        repulsion(z[:, :1])
