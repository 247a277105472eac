"""Binary noise contrast against its closed forms."""

import math

import pytest
import torch

from withstand.core.errors import DataError
from withstand.losses.contrast.binary import binary_nce


def test_closed_forms() -> None:
    zero = torch.zeros(3, dtype=torch.float64)
    assert float(binary_nce(zero, zero[:2])) == pytest.approx(math.log(2), abs=1e-12)
    sure = torch.full((4,), 60.0, dtype=torch.float64)
    assert float(binary_nce(sure, -sure)) == pytest.approx(0, abs=1e-12)
    assert float(binary_nce(-sure, sure[:0])) == pytest.approx(60, abs=1e-12), "no overflow where p is 0"
    positive, negative = torch.tensor([0.3, -1.0]).double(), torch.tensor([0.8]).double()
    p = torch.sigmoid(torch.cat([positive, negative]))
    expected = -(p[:2].log().sum() + (1 - p[2:]).log().sum()) / 3
    torch.testing.assert_close(binary_nce(positive, negative), expected, atol=1e-12, rtol=0)


def test_no_pair_is_refused() -> None:
    with pytest.raises(DataError, match="no pair"):
        binary_nce(torch.zeros(0), torch.zeros(0))
