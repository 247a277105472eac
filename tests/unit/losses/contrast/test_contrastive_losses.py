import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.contrastive import dcl, dcl_queue, dclw, npc_factor, nt_xent
from withstand.losses.precision import unit_rows
from withstand.losses.similarity import pairwise_logsumexp

Loss = Callable[..., Tensor]
LOSSES = [nt_xent, dcl, dclw]
EXACT = {"rtol": 0, "atol": 1e-10}


def views(count: int = 7, width: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z1 = torch.randn(count, width, generator=generator, dtype=torch.float64)
    z2 = z1 + 0.7 * torch.randn(count, width, generator=generator, dtype=torch.float64)
    return z1.to(dtype).requires_grad_(), (3 * z2).to(dtype).detach().requires_grad_()


def masked_nt_xent(z1: Tensor, z2: Tensor, temperature: float) -> Tensor:
    z, count = normalize(torch.cat([z1, z2]), dim=1), len(z1)
    logits = (z @ z.T / temperature).masked_fill(torch.eye(2 * count, dtype=torch.bool), -torch.inf)
    return cross_entropy(logits, torch.arange(2 * count).roll(count))


def looped_dcl(z1: Tensor, z2: Tensor, temperature: float, weight: Tensor | None = None) -> Tensor:
    """The paper's equation 6, sample by sample and term by term."""
    views = [normalize(z1, dim=1), normalize(z2, dim=1)]
    terms = []
    for k in range(2):
        for i in range(len(z1)):
            others = [views[m][j] for m in range(2) for j in range(len(z1)) if j != i]
            negatives = torch.stack([(views[k][i] @ other / temperature).exp() for other in others]).sum().log()
            factor = 1 if weight is None else weight[i]
            terms.append(-factor * (views[0][i] @ views[1][i]) / temperature + negatives)
    return torch.stack(terms).mean()


def looped_dclw(z1: Tensor, z2: Tensor, temperature: float, sigma: float, detach: bool) -> Tensor:
    cosine = (normalize(z1, dim=1) * normalize(z2, dim=1)).sum(1)
    weight = 2 - (cosine / sigma).exp() / (cosine / sigma).exp().mean()
    assert weight.mean().item() == pytest.approx(1, abs=1e-12)
    return looped_dcl(z1, z2, temperature, weight.detach() if detach else weight)


def agree(ours: Tensor, theirs: Tensor, *inputs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, **EXACT)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 0.5, 2.0])
def test_nt_xent_is_the_masked_cross_entropy(temperature: float) -> None:
    z1, z2 = views()
    agree(nt_xent(z1, z2, temperature), masked_nt_xent(z1, z2, temperature), z1, z2)


@pytest.mark.parametrize("temperature", [0.01, 0.1, 0.5, 2.0])
def test_dcl_is_the_papers_equation(temperature: float) -> None:
    z1, z2 = views()
    agree(dcl(z1, z2, temperature), looped_dcl(z1, z2, temperature), z1, z2)


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("sigma", [0.2, 0.5])
def test_dclw_is_the_papers_equation(detach: bool, sigma: float) -> None:
    z1, z2 = views()
    ours = dclw(z1, z2, 0.1, sigma=sigma, detach_weight=detach)
    agree(ours, looped_dclw(z1, z2, 0.1, sigma, detach), z1, z2)


@pytest.mark.parametrize(("count", "temperature"), [(2, 0.1), (4, 0.5), (8, 0.07)])
def test_closed_forms_for_orthogonal_pictures(count: int, temperature: float) -> None:
    """Identical views, different pictures orthogonal: the lowest-energy arrangement of both losses."""
    z = 2 * torch.eye(count, 9, dtype=torch.float64)
    negatives = 2 * count - 2
    assert nt_xent(z, z, temperature).item() == pytest.approx(
        math.log1p(negatives * math.exp(-1 / temperature)), abs=1e-10
    )
    assert dcl(z, z, temperature).item() == pytest.approx(-1 / temperature + math.log(negatives), abs=1e-10)
    assert dcl(z, z, temperature).item() < 0, "DCL has no lower bound at 0"


def test_one_sample() -> None:
    z1, z2 = views(1)
    assert nt_xent(z1, z2).item() == pytest.approx(0, abs=1e-12)
    for loss in (dcl, dclw, npc_factor):
        with pytest.raises(DataError, match="at least 2 samples"):
            loss(z1, z2)


def test_coupling_links_nt_xent_to_dcl() -> None:
    """InfoNCE - DCL = -log q_B, in the mean and for each anchor, and so do gradients by q_B itself."""
    z1, z2 = views()
    coupling = npc_factor(z1, z2, 0.3)
    assert coupling.shape == (14,)
    assert ((coupling > 0) & (coupling < 1)).all()
    torch.testing.assert_close(nt_xent(z1, z2, 0.3) - dcl(z1, z2, 0.3), -coupling.log().mean(), **EXACT)

    z = torch.cat([z1, z2]).detach().requires_grad_()
    rows, partner = unit_rows(z), torch.arange(14).roll(7)[:, None]
    positive = (rows * rows[partner[:, 0]]).sum(1) / 0.3
    info_nce = pairwise_logsumexp(rows, 0.3, partner[:, :0]) - positive
    decoupled = pairwise_logsumexp(rows, 0.3, partner) - positive
    torch.testing.assert_close(info_nce - decoupled, -coupling.log(), **EXACT)
    for anchor in range(14):
        full, without = (torch.autograd.grad(x[anchor], z, retain_graph=True)[0] for x in (info_nce, decoupled))
        torch.testing.assert_close(full, coupling[anchor] * without, **EXACT)


def test_coupling_fades_in_large_batches() -> None:
    gaps = []
    for count in (4, 64, 1024):
        z1, z2 = views(count, 16)
        full, without = (torch.autograd.grad(loss(z1, z2, 0.5), z1)[0] for loss in (nt_xent, dcl))
        gaps.append(((full - without).norm() / without.norm()).item())
    assert gaps[0] > 2 * gaps[1] > 4 * gaps[2]


def test_weight_vanishes_for_wide_sigma_and_equal_positives() -> None:
    z1, z2 = views()
    torch.testing.assert_close(dclw(z1, z2, sigma=1e9), dcl(z1, z2), rtol=0, atol=1e-7)
    torch.testing.assert_close(dclw(z1, z1), dcl(z1, z1), **EXACT)


@pytest.mark.parametrize("loss", LOSSES)
def test_symmetries(loss: Loss) -> None:
    z1, z2 = (z.detach() for z in views())
    value = loss(z1, z2, 0.2)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    rotation = torch.linalg.qr(views(5)[0].detach()).Q
    torch.testing.assert_close(loss(z2, z1, 0.2), value, **EXACT)
    torch.testing.assert_close(loss(z1[order], z2[order], 0.2), value, **EXACT)
    torch.testing.assert_close(loss(z1 @ rotation, z2 @ rotation, 0.2), value, **EXACT)
    torch.testing.assert_close(loss(5 * z1, 1e-9 * z2, 0.2), value, **EXACT)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 6), st.floats(0.02, 5), st.integers(0, 10_000))
def test_nt_xent_is_never_negative(count: int, width: int, temperature: float, seed: int) -> None:
    z1, z2 = views(count, width, seed)
    assert nt_xent(z1, z2, temperature).item() >= -1e-12


def test_queue_form() -> None:
    z1, z2 = views()
    queue = views(20, seed=5)[0].detach()
    q, k, m = (normalize(z, dim=1) for z in (z1, z2, queue))
    plain = (-(q * k).sum(1) / 0.2 + (q @ m.T / 0.2).logsumexp(1)).mean()
    agree(dcl_queue(z1, z2, queue, 0.2), plain, z1, z2)
    with pytest.raises(DataError, match="queue is empty"):
        dcl_queue(z1, z2, queue[:0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("case", ["zero", "identical", "opposite", "tiny"])
def test_awkward_rows_stay_finite(loss: Loss, dtype: torch.dtype, case: str) -> None:
    z1, z2 = (z.detach() for z in views(dtype=dtype))
    z1, z2 = {
        "zero": (z1 * (torch.arange(7) > 2)[:, None], torch.zeros_like(z2)),
        "identical": (torch.ones_like(z1), torch.ones_like(z2)),
        "opposite": (torch.ones_like(z1), -torch.ones_like(z2)),
        "tiny": (z1 * 1e-3, z2 * 1e-3),
    }[case]
    z1, z2 = z1.requires_grad_(), z2.requires_grad_()
    value = loss(z1, z2, 0.05)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert z1.grad is not None
    assert z2.grad is not None
    assert z1.grad.dtype == dtype
    assert z1.grad.isfinite().all()
    assert z2.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_autocast_changes_nothing(loss: Loss) -> None:
    results = []
    for enabled in (False, True):
        z1, z2 = views(dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = loss(z1, z2, 0.1)
            value.backward()
        results.append((value, z1.grad, z2.grad))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


def test_mistakes_are_told() -> None:
    z1, z2 = views()
    with pytest.raises(DataError, match=r"not \(7, 5\) and \(6, 5\)"):
        nt_xent(z1, z2[:6])
    with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
        nt_xent(z1, z2, 0)
    with pytest.raises(ConfigError, match="sigma"):
        dclw(z1, z2, sigma=-1)
