"""NT-Xent over several views against the official code's form, spelt out."""

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.contrastive import nt_xent
from withstand.losses.contrast.multi_view import nt_xent_views


def projections(views: int, *, samples: int = 6) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(samples, 4, dtype=torch.float64, generator=generator).requires_grad_() for _ in range(views)]


def official(views: list[Tensor], temperature: float, *, stop: bool) -> Tensor:
    """Return the sum over ordered positive pairs of -log of the share, over the number of rows."""
    samples = len(views[0])
    rows = torch.cat(views)
    unit = rows / rows.norm(dim=1, keepdim=True)
    similarity = unit @ (unit.detach() if stop else unit).T / temperature
    others = similarity.exp() * (1 - torch.eye(len(rows), dtype=rows.dtype))
    costs = others.sum(1, keepdim=True).log() - similarity
    pairs = [(i, j) for i in range(len(views)) for j in range(len(views)) if i != j]
    total = sum(
        costs[i * samples : (i + 1) * samples, j * samples : (j + 1) * samples].diagonal().sum() for i, j in pairs
    )
    assert isinstance(total, Tensor)
    return total / len(rows)


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_value_and_gradients(count: int, stop: bool) -> None:
    views = projections(count)
    found, expected = nt_xent_views(views, 0.5, stop_keys=stop), official(views, 0.5, stop=stop)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(torch.autograd.grad(found, views), torch.autograd.grad(expected, views), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_two_views_are_nt_xent_in_value_and_without_the_stop_in_gradient() -> None:
    views = projections(2)
    plain = nt_xent(*views, 0.5)
    torch.testing.assert_close(nt_xent_views(views, 0.5), plain)
    wanted = torch.autograd.grad(plain, views)
    full = torch.autograd.grad(nt_xent_views(views, 0.5, stop_keys=False), views)
    halves = torch.autograd.grad(nt_xent_views(views, 0.5), views)
    for a, b, c in zip(wanted, full, halves, strict=True):
        torch.testing.assert_close(a, b)
        assert not torch.allclose(a, c)


def test_what_does_not_fit_is_refused() -> None:
    one, two = projections(2)
    for wrong in ((one,), (one, two[:3]), (one[0], two[0])):
        with pytest.raises(DataError, match="at least two"):
            nt_xent_views(wrong)
    with pytest.raises(ConfigError, match="temperature"):
        nt_xent_views((one, two), 0.0)
