"""iSogCLR, CACR and GroCo: steps by their formulas, state by index, settings."""

import math

import pytest
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Model
from withstand.losses.contrast.contrastive import dcl
from withstand.losses.contrast.hard_negatives.attraction import cacr_terms
from withstand.losses.contrast.individual_temperatures import contrasts, log_partition, temperature_gradient
from withstand.losses.contrast.sorting import groco
from withstand.methods.contrastive.cacr import CACR
from withstand.methods.contrastive.groco import GroCo
from withstand.methods.contrastive.isogclr import ISogCLR

EXACT = {"rtol": 0, "atol": 1e-10}


class Pooled(Model):
    """Features of pictures of any size."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x.mean((2, 3)))
        return features


def batch(sides: tuple[int, ...] = (4, 4), index: tuple[int, ...] = (7, 2, 5, 0), seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    views = [torch.rand(len(index), 3, side, side, generator=generator, dtype=torch.float64) for side in sides]
    return Batch(torch.zeros(len(index), 3, 4, 4), torch.tensor(index), views=tuple(views))


def isogclr(**settings: object) -> ISogCLR:
    with isolated("weighted"):
        method = ISogCLR(Pooled(), samples=9, dim=5, batch_norm=False, **settings).double()
    method.temperatures.fill_(0.1)  # in float64
    return method


def projections(method: ISogCLR, given: Batch) -> tuple[Tensor, ...]:
    return method.head(method.encoder(torch.cat(given.views))).chunk(2)


def test_a_first_step_has_dcls_gradient_and_the_objectives_value() -> None:
    method = isogclr()
    z1, z2 = projections(method, batch())
    terms = method.step(batch())
    log_g = log_partition(contrasts(z1, z2), torch.full((8,), 0.1, dtype=torch.float64))
    torch.testing.assert_close(terms["loss"].detach(), 2 * (0.1 * (log_g + 0.3)).mean(), **EXACT)
    weight = method.encoder.layer.weight
    found = torch.autograd.grad(terms["loss"], weight)[0]
    torch.testing.assert_close(found, torch.autograd.grad(2 * 0.1 * dcl(z1, z2, 0.1), weight)[0], **EXACT)


def test_state_hangs_on_the_index() -> None:
    method = isogclr(new_share=0.25, new_gradient=0.5, rate=0.05)
    index = batch().index
    expected_u = None
    for step in range(2):
        given = batch(seed=step)
        z1, z2 = projections(method, given)
        some, tau = contrasts(z1, z2), method.temperatures[index].repeat(2)
        g = log_partition(some, tau).exp()
        u = g if expected_u is None else 0.75 * expected_u.repeat(2) + 0.25 * g
        slope = temperature_gradient(some, tau, u.log(), 0.3).view(2, -1).mean(0)
        momentum = 0.5 * method.momentum[index] + 0.5 * slope
        wanted = (tau[:4] - 0.05 * momentum).clamp(0.05, 0.7)
        method.step(given)
        method.after_step(step + 1)
        expected_u = u.view(2, -1).mean(0)
        torch.testing.assert_close(method.log_u[index].exp(), expected_u, **EXACT)
        torch.testing.assert_close(method.temperatures[index], wanted, **EXACT)
    others = [1, 3, 4, 6, 8]
    assert (method.log_u[others] == -math.inf).all()
    assert (method.temperatures[others] == method.temperatures[1]).all()
    assert method.momentum[others].abs().max() == 0


@pytest.mark.parametrize("new_gradient", [0.25, 0.75])
@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("subtract", [True, False])
def test_temperatures_follow_their_gradients_number_by_number(
    new_gradient: float, clip: float | None, subtract: bool
) -> None:
    """Three steps by plain sums over the batch: beta, the clip and the positive's part each change the outcome."""
    method = isogclr(new_gradient=new_gradient, clip=clip, subtract_positive=subtract, rate=0.02, new_share=0.5)
    index = batch().index
    tau, momentum, u = [0.1] * 4, [0.0] * 4, [None] * 4
    for step in range(3):
        given = batch(seed=step)
        z = torch.stack(projections(method, given)).detach()
        z = z / z.norm(dim=2, keepdim=True)
        slopes, news = [], []
        for i in range(4):
            of_view, g_of_view = [], []
            for v in range(2):
                positive = float(z[v, i] @ z[1 - v, i]) if subtract else 0.0
                h = [float(z[v, i] @ z[w, j]) - positive for w in range(2) for j in range(4) if j != i]
                g = sum(math.exp(x / tau[i]) for x in h) / len(h)
                mean = g if u[i] is None else 0.5 * u[i] + 0.5 * g
                slope = math.log(mean) + 0.3 - sum(math.exp(x / tau[i]) * x / tau[i] for x in h) / len(h) / mean
                of_view.append(slope)
                g_of_view.append(mean)
            slopes.append(sum(of_view) / 2)
            news.append(sum(g_of_view) / 2)
        if clip is not None:
            assert any(abs(slope) > clip for slope in slopes), "the clip must bite for this to test it"
            slopes = [max(-clip, min(clip, slope)) for slope in slopes]
        momentum = [(1 - new_gradient) * m + new_gradient * s for m, s in zip(momentum, slopes, strict=True)]
        tau = [min(0.7, max(0.05, t - 0.02 * m)) for t, m in zip(tau, momentum, strict=True)]
        u = news
        method.step(given)
        method.after_step(step + 1)
        torch.testing.assert_close(method.temperatures[index], torch.tensor(tau, dtype=torch.float64), **EXACT)
        torch.testing.assert_close(method.log_u[index], torch.tensor(u, dtype=torch.float64).log(), **EXACT)


def test_new_and_known_samples_in_one_batch() -> None:
    method = isogclr(new_share=0.25)
    method.step(batch())
    method.after_step(1)
    given = batch(index=(7, 1, 3, 4), seed=1)
    z1, z2 = projections(method, given)
    g = log_partition(contrasts(z1, z2), method.temperatures[given.index].repeat(2)).exp().view(2, -1).mean(0)
    before = method.log_u[7].exp()
    method.step(given)
    method.after_step(2)
    torch.testing.assert_close(method.log_u[given.index[1:]].exp(), g[1:], **EXACT)
    torch.testing.assert_close(method.log_u[7].exp(), 0.75 * before + 0.25 * g[0], **EXACT)


def test_without_rate_temperatures_stay_and_nothing_moves_in_eval() -> None:
    method = isogclr(rate=0.0)
    method.step(batch())
    method.after_step(1)
    assert (method.temperatures == 0.1).all()
    known = method.log_u.clone()
    method.eval().step(batch(seed=1))
    method.after_step(2)
    assert torch.equal(method.log_u, known)


@pytest.mark.parametrize("sides", [(4, 4), (4, 4, 4, 4)])
def test_cacr_by_its_formula(sides: tuple[int, ...]) -> None:
    with isolated("weighted"):
        method = CACR(Pooled(), dim=5, positive_sharpness=2.0, negative_sharpness=3.0, beta=2.0).double()
    given = batch(sides)
    z = method.head(method.encoder(torch.cat(given.views))).chunk(len(sides))
    expected = cacr_terms(z, positive_sharpness=2.0, negative_sharpness=3.0, beta=2.0)
    terms = method.step(given)
    torch.testing.assert_close(terms["loss"], expected.attraction + expected.repulsion, **EXACT)
    torch.testing.assert_close(terms["loss"].detach(), terms["attraction"] + terms["repulsion"], **EXACT)


def test_groco_by_its_formula_with_small_views_as_anchors() -> None:
    with isolated("weighted"):
        method = GroCo(Pooled(), dim=5, negatives=2).double()
    given = batch((4, 4, 2))
    whole = method.head(method.encoder(torch.cat(given.views[:2]))).chunk(2)
    part = method.head(method.encoder(given.views[2]))
    expected = groco([*whole, part], whole=2, negatives=2)
    torch.testing.assert_close(method.step(given)["loss"], expected, **EXACT)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"temperature 1.0 must lie between smallest 0.05 and largest 0.7"):
        isogclr(temperature=1.0)
    with pytest.raises(ConfigError, match=r"new_share must lie in \(0, 1\], not 0"):
        isogclr(new_share=0)
    with pytest.raises(DataError, match="index 9, but there are temperatures for samples=9"):
        isogclr().step(batch(index=(9, 1, 2, 3)))
    with pytest.raises(DataError, match="10 negatives need a batch of 11 samples or more, not 4"):
        GroCo(Pooled(), dim=5).double().step(batch())
    with pytest.raises(DataError, match="2 or more views of each sample, not 1"):
        CACR(Pooled(), dim=5).step(batch((4,)))
    with pytest.raises(DataError, match="must have one shape"):
        CACR(Pooled(), dim=5).step(batch((4, 4, 2)))
    with pytest.raises(ConfigError, match="negative_sharpness must be at least 0"):
        CACR(Pooled(), negative_sharpness=-1)
    with pytest.raises(ConfigError, match="steepness must be above 0"):
        GroCo(Pooled(), steepness=0)
