"""Losses that keep a language model from an answer."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from withstand.losses.unlikelihood import leaky_cutoff, log_one_minus_p, unlikelihood


@pytest.mark.parametrize("cutoff", [-5.0, 0.5])
def test_the_cutoff_leaks(cutoff: float) -> None:
    loss = torch.tensor([cutoff + 1, cutoff, cutoff - 1e-6, cutoff - 3], dtype=torch.float64, requires_grad=True)
    found = leaky_cutoff(loss, cutoff)
    found.sum().backward()
    assert loss.grad is not None
    assert loss.grad.tolist() == [1, 1, 0.001, 0.001]
    wanted = [cutoff + 1, cutoff, cutoff + 0.001 * (cutoff - 1e-6), cutoff + 0.001 * (cutoff - 3)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-12)
    assert float(found[2] - found[1]) == pytest.approx(0.001 * cutoff, abs=1e-8)


def test_of_two_words_it_is_the_other_words_cross_entropy() -> None:
    logits = torch.randn(3, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[0, 1, 0, 1, 1]] * 3)
    lead = (logits[..., 1] - logits[..., 0])[:, :-1]
    other = 1 - ids[:, 1:].double()
    wanted = binary_cross_entropy_with_logits(lead, other, reduction="none")
    torch.testing.assert_close(-log_one_minus_p(logits, ids), wanted)


def test_it_is_log_one_minus_p_and_stable_where_p_is_1() -> None:
    logits = torch.randn(2, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ids = torch.randint(7, (2, 4), generator=torch.Generator().manual_seed(2))
    p = log_softmax(logits[:, :-1], 2).exp().gather(2, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(log_one_minus_p(logits, ids), torch.log1p(-p))
    # p = 1 - 1e-12, which float32 does not tell from 1
    sure = torch.tensor([[[27.631, 0.0], [0.0, 0.0]]], requires_grad=True)
    found = log_one_minus_p(sure, torch.tensor([[0, 0]]))
    assert float(found) == pytest.approx(-27.631, abs=1e-4)
    found.sum().backward()
    assert sure.grad is not None
    assert sure.grad.isfinite().all()


def test_unlikely_tokens_and_those_that_are_not_told_pull_no_more() -> None:
    logits = torch.zeros(1, 4, 3, dtype=torch.float64)
    logits[0, 1, 1] = -5.2  # log p of token 1 at place 2 is below -5
    logits.requires_grad_()
    ids, told = torch.tensor([[0, 1, 1, 1]]), torch.tensor([[False, True, True, False]])
    found = unlikelihood(logits, ids, told)
    third = -torch.log(torch.tensor(2 / 3, dtype=torch.float64))
    assert found[0].tolist() == pytest.approx([float(third), 0, 0])
    found.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[0, 1:].any()
    assert logits.grad[0, 0].tolist() == pytest.approx([-1 / 6, 1 / 3, -1 / 6])
    assert unlikelihood(logits, ids, told, -6.0)[0, 1] > 0
