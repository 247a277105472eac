from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from withstand.losses.agreement.distillation import byol, negative_cosine
from withstand.losses.agreement.mixing import mixed_barlow_twins_terms
from withstand.losses.agreement.redundancy import barlow_twins, barlow_twins_terms
from withstand.losses.agreement.variance import vicreg, vicreg_terms
from withstand.losses.contrast.contrastive import dcl, dclw, nt_xent, same_view_nt_xent
from withstand.losses.contrast.hard_negatives.attraction import cacr_terms
from withstand.losses.contrast.hard_negatives.hardness import hard_contrastive, simple_contrastive
from withstand.losses.contrast.momentum_contrast import info_nce_across
from withstand.losses.contrast.sorting import groco
from withstand.losses.discrepancy import mmd
from withstand.losses.precision import full_precision, unit_rows
from withstand.losses.restoration.reconstruction import scaled_cosine_error, squared_error


@full_precision
def product(a: Tensor, b: Tensor, *, factor: float = 1.0) -> Tensor:
    return a @ b * factor


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_is_widened_and_autocast_held_off(dtype: torch.dtype) -> None:
    a = torch.full((2, 2), 1 + 2**-7).to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        for out in (product(a, a), product(a=a, b=a), product(a, b=a, factor=1.0)):
            assert out.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
            assert out[0, 0].item() == 2 * (1 + 2**-7) ** 2, "bfloat16 would round this"
        assert (a.detach() @ a.detach()).dtype == torch.bfloat16 or dtype == torch.float64, "outside, autocast goes on"
    out.sum().backward()
    assert a.grad is not None
    assert a.grad.dtype == dtype


def test_unit_rows() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0]]).requires_grad_()
    unit = unit_rows(x)
    torch.testing.assert_close(unit, torch.tensor([[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]]))
    unit.sum().backward()
    assert x.grad is not None
    assert x.grad[1].tolist() == [0, 0]
    assert x.grad.isfinite().all()
    assert unit_rows(torch.tensor([[torch.nan, 1.0]])).isnan().any(), "what is not finite is not hidden"


def mixed(one: Tensor, other: Tensor) -> object:
    return mixed_barlow_twins_terms(one, other, one + other, torch.arange(len(one)).flip(0), 0.3)


def alone(one: Tensor, other: Tensor) -> object:
    return same_view_nt_xent(torch.stack([one, other]))


def attraction(one: Tensor, other: Tensor) -> object:
    return cacr_terms(torch.stack([one, other]))


def sorted_groups(one: Tensor, other: Tensor) -> object:
    return groco(torch.stack([one, other]), whole=2, negatives=3)


@pytest.mark.parametrize(
    "loss",
    [
        nt_xent, alone, dcl, dclw, info_nce_across, hard_contrastive, simple_contrastive, attraction,
        negative_cosine, byol, barlow_twins, barlow_twins_terms, vicreg, vicreg_terms, mixed, mmd, scaled_cosine_error,
        squared_error, sorted_groups,
    ],
    ids=lambda loss: loss.__name__,
)  # fmt: skip
def test_losses_are_the_same_under_autocast(loss: Callable[[Tensor, Tensor], object]) -> None:
    one, other = (torch.randn(8, 6, generator=torch.Generator().manual_seed(seed)) for seed in range(2))
    plain = loss(one, other)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(one, other)
    torch.testing.assert_close(found, plain, rtol=0, atol=0)
