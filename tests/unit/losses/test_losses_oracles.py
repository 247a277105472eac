"""Against lightly's losses, which users may come from."""

import pytest
import torch
from torch import Tensor

from withstand.losses.agreement.clustering import sinkhorn, swapped_cross_entropy
from withstand.losses.agreement.distillation import byol, negative_cosine
from withstand.losses.agreement.redundancy import barlow_twins
from withstand.losses.agreement.variance import vicreg
from withstand.losses.contrast.contrastive import dcl, dclw, nt_xent
from withstand.losses.contrast.momentum_contrast import info_nce_queue
from withstand.losses.precision import unit_rows

pytestmark = pytest.mark.oracle
lightly = pytest.importorskip("lightly.loss")


@pytest.fixture(params=[2, 17])
def pair(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z1, z2 = (torch.randn(request.param, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    return z1.requires_grad_(), (z2 + z1.detach()).requires_grad_()


def same(ours: Tensor, theirs: Tensor, pair: tuple[Tensor, ...]) -> None:
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


def test_info_nce_with_a_queue(pair: tuple[Tensor, Tensor]) -> None:
    """MoCo's, against a memory bank that is not updated, because keys need no gradient."""
    queries, keys = pair[0], pair[1].detach()
    theirs = lightly.NTXentLoss(0.2, memory_bank_size=(30, 12)).double()
    bank = torch.randn(30, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theirs.memory_bank.bank = unit_rows(bank)
    same(info_nce_queue(queries, keys, unit_rows(bank), 0.2), theirs(queries, keys), (queries,))


def test_vicreg(pair: tuple[Tensor, Tensor]) -> None:
    """Equal on one process, and with other weights; variances make the hinge hold for some columns only."""
    scaled = ((pair[0].detach() * torch.linspace(0.1, 2, 12, dtype=torch.float64)).requires_grad_(), pair[1])
    same(vicreg(*scaled), lightly.VICRegLoss()(*scaled), scaled)
    ours = vicreg(*scaled, invariance_weight=2.0, variance_weight=3.0, covariance_weight=5.0)
    same(ours, lightly.VICRegLoss(2.0, 3.0, 5.0)(*scaled), scaled)


def test_vicreg_summed_over_branches_differs(pair: tuple[Tensor, Tensor]) -> None:
    """lightly takes the mean of both branches' variance terms, as the official code; solo-learn's sum doubles them."""
    scaled = ((pair[0].detach() / 10).requires_grad_(), pair[1])
    twice = lightly.VICRegLoss(25.0, 50.0, 1.0)(*scaled)
    same(vicreg(*scaled, sum_branches=True), twice, scaled)
    assert vicreg(*scaled) < twice


def test_negative_cosine(pair: tuple[Tensor, Tensor]) -> None:
    """SimSiam's: theirs leaves the stop-gradient to the caller, ours has it."""
    theirs = lightly.NegativeCosineSimilarity()
    same(negative_cosine(*pair, stop_gradient=False), theirs(*pair), pair)
    same(negative_cosine(*pair), theirs(pair[0], pair[1].detach()), pair[:1])


def test_byol(pair: tuple[Tensor, Tensor]) -> None:
    """The distance is 2 plus twice theirs, which is what lightly's BYOL descends: a factor of 2 in the gradient."""
    same(byol(*pair), 2 + 2 * lightly.NegativeCosineSimilarity()(pair[0], pair[1].detach()), pair[:1])


def scores(count: int, samples: int = 6, prototypes: int = 9) -> list[Tensor]:
    """Return cosines with prototypes, of views that need gradients."""
    generator = torch.Generator().manual_seed(2)
    drawn = (torch.rand(samples, prototypes, generator=generator, dtype=torch.float64) for _ in range(count))
    return [(2 * view - 1).requires_grad_() for view in drawn]


@pytest.mark.parametrize("parts", [0, 3])
def test_swav(parts: int) -> None:
    """With and without views of small parts. Theirs is made `(1,)`, ours 0-d."""
    views = scores(2 + parts)
    codes = [sinkhorn(view.detach()) for view in views[:2]]
    same(swapped_cross_entropy(views, codes), lightly.SwaVLoss()(views[:2], views[2:])[0], tuple(views))


def test_swav_with_a_queue() -> None:
    views, earlier = scores(2), [view.detach() for view in scores(4)[2:]]
    codes = [sinkhorn(torch.cat([view.detach(), past]))[:6] for view, past in zip(views, earlier, strict=True)]
    same(swapped_cross_entropy(views, codes), lightly.SwaVLoss()(views, [], earlier)[0], tuple(views))


def test_sinkhorn_differs_where_exponentials_overflow() -> None:
    """Theirs exponentiates scores over epsilon, ours stays in logarithms: at 1e-3 only ours is finite."""
    view = scores(1)[0].detach()
    assert lightly.SwaVLoss(sinkhorn_epsilon=1e-3)([view, view], []).isnan().all()
    torch.testing.assert_close(sinkhorn(view, 1e-3).sum(1), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("parts", [0, 3])
def test_dino(parts: int) -> None:
    """With a center that has moved. Their temperature is held in float32, so that one is taken which it holds."""
    views, whole = scores(2 + parts), [view.detach() for view in scores(7)[5:]]
    theirs = lightly.DINOLoss(9, teacher_temp=0.0625).double()
    theirs.update_center(torch.stack(whole[::-1]))
    center = 0.1 * torch.cat(whole).mean(0)
    targets = [((view - center) / 0.0625).softmax(1) for view in whole]
    same(swapped_cross_entropy(views, targets, 0.1), theirs(whole, views), tuple(views))


def test_dino_differs_by_the_rounding_of_the_teachers_temperature() -> None:
    """The default 0.04 is no float32: theirs is off by what it is rounded by, and by that alone."""
    views, whole = scores(2), [view.detach() for view in scores(4)[2:]]

    def ours(temperature: float) -> Tensor:
        return swapped_cross_entropy(views, [(view / temperature).softmax(1) for view in whole], 0.1)

    rounded = float(torch.tensor(0.04))
    theirs = lightly.DINOLoss(9).double()(whole, views)
    same(ours(rounded), theirs, tuple(views))
    assert ours(0.04) != theirs
