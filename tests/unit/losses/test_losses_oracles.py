"""Against lightly's losses, which users may come from."""

import pytest
import torch
from torch import Tensor

from withstand.losses.contrastive import dcl, dclw, nt_xent
from withstand.losses.redundancy import barlow_twins

pytestmark = pytest.mark.oracle
lightly = pytest.importorskip("lightly.loss")


@pytest.fixture(params=[2, 17])
def pair(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(request.param, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    return z1.requires_grad_(), (z2 + z1.detach()).requires_grad_()


def same(ours: Tensor, theirs: Tensor, pair: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    for a, b in zip(torch.autograd.grad(ours, pair), torch.autograd.grad(theirs, pair), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent(pair: tuple[Tensor, Tensor], temperature: float) -> None:
    same(nt_xent(*pair, temperature), lightly.NTXentLoss(temperature)(*pair), pair)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_dcl(pair: tuple[Tensor, Tensor], temperature: float) -> None:
    same(dcl(*pair, temperature), lightly.DCLLoss(temperature)(*pair), pair)


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_dclw(pair: tuple[Tensor, Tensor]) -> None:
    same(dclw(*pair, 0.1, sigma=0.3), lightly.DCLWLoss(0.1, sigma=0.3)(*pair), pair)


def test_barlow_twins(pair: tuple[Tensor, Tensor]) -> None:
    """Equal on one process. Over several, lightly standardises on each process, and we over all of them."""
    same(barlow_twins(*pair, 0.02), lightly.BarlowTwinsLoss(0.02)(*pair), pair)
