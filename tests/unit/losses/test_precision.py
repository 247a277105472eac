import pytest
import torch
from torch import Tensor

from withstand.losses.precision import full_precision, unit_rows


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
