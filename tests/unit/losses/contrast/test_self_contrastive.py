"""SelfCon's closed forms, and the published computation written out plainly."""

import math

import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.contrastive import nt_xent
from withstand.losses.contrast.self_contrastive import self_contrastive
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive


def levels(samples: int = 6, count: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(samples, 5, dtype=torch.float64, generator=generator) for _ in range(count)]


def written_out(levels: list[Tensor], labels: list[int], tau: float, kept: list[bool]) -> float:
    """The mean over anchors of minus the mean over positives of the log-probability, row by row."""
    rows = [
        (row / row.norm(), label)
        for level in levels
        for row, label, keep in zip(level, labels, kept, strict=True)
        if keep
    ]
    found = []
    for i, (anchor, label) in enumerate(rows):
        others = [j for j in range(len(rows)) if j != i]
        total = math.log(sum(math.exp(float(anchor @ rows[j][0]) / tau) for j in others))
        near = [j for j in others if rows[j][1] == label]
        if near:
            found.append(-sum(float(anchor @ rows[j][0]) / tau - total for j in near) / len(near))
    return sum(found) / len(found)


@pytest.mark.parametrize("kept", [[True] * 6, [True, False, True, True, False, True]])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_is_the_published_computation(count: int, kept: list[bool]) -> None:
    labels = [0, 0, 1, 1, 0, 0]
    found = self_contrastive(levels(count=count), torch.tensor(labels), 0.3, kept=torch.tensor(kept))
    assert float(found) == pytest.approx(written_out(levels(count=count), labels, 0.3, kept), abs=1e-12)


def test_without_groups_it_is_nt_xent_of_the_levels() -> None:
    one, two = levels()
    torch.testing.assert_close(self_contrastive((one, two), None, 0.2), nt_xent(one, two, 0.2))
    apart = self_contrastive((one, two), torch.arange(6), 0.2)
    torch.testing.assert_close(apart, nt_xent(one, two, 0.2))


def test_rows_that_are_all_alike_give_the_logarithm_of_the_others() -> None:
    same = torch.ones(4, 3, dtype=torch.float64)
    assert float(self_contrastive((same, same), torch.zeros(4).long())) == pytest.approx(math.log(7))


def test_the_factor_is_tau_over_the_base() -> None:
    y = torch.arange(6) % 2
    plain = self_contrastive(levels(), y, 0.2)
    torch.testing.assert_close(self_contrastive(levels(), y, 0.2, base_temperature=0.07), plain / 0.35)


def test_order_of_samples_and_of_levels_changes_nothing() -> None:
    one, two = levels()
    y, order = torch.arange(6) % 2, torch.tensor([3, 1, 5, 0, 2, 4])
    plain = self_contrastive((one, two), y)
    torch.testing.assert_close(self_contrastive((two, one), y), plain)
    torch.testing.assert_close(self_contrastive((one[order], two[order]), y[order]), plain)


def test_nothing_kept_is_0_with_gradients_of_0() -> None:
    rows = [level.requires_grad_() for level in levels()]
    loss = self_contrastive(rows, torch.zeros(6).long(), kept=torch.zeros(6, dtype=torch.bool))
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(row.grad is not None and not row.grad.any() for row in rows)


def test_rows_left_out_get_no_gradient() -> None:
    rows = [level.requires_grad_() for level in levels()]
    kept = torch.tensor([True, False, True, True, True, False])
    self_contrastive(rows, torch.arange(6) % 2, kept=kept).backward()
    for row in rows:
        assert row.grad is not None
        assert row.grad[kept].abs().sum(1).gt(0).all()
        assert not row.grad[~kept].any()
        assert bool(row.grad.isfinite().all())


def test_bad_arguments() -> None:
    with pytest.raises(DataError, match="one shape"):
        self_contrastive([])
    with pytest.raises(ConfigError, match="base_temperature"):
        self_contrastive(levels(), base_temperature=0.0)
    with pytest.raises(DataError, match="kept must be bool"):
        supervised_contrastive(levels()[0], torch.arange(6), kept=torch.ones(6))
