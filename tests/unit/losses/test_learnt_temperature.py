"""Every loss that takes a temperature takes a learnable one, and gives it the slope that the loss has there."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

import withstand.losses
from withstand.core.errors import ConfigError
from withstand.losses.agreement.clustering import swapped_cross_entropy
from withstand.losses.agreement.label_augmentation import distilled
from withstand.losses.contrast.contrastive import dcl, dcl_queue, dclw, npc_factor, nt_xent, same_view_nt_xent
from withstand.losses.contrast.cross_modal import clip_loss, swapped_batches
from withstand.losses.contrast.explicit import group_info_nce, masked_info_nce
from withstand.losses.contrast.hard_negatives.hardness import (
    hard_contrastive,
    penalties,
    penalty_distribution,
    relative_penalties,
)
from withstand.losses.contrast.local import anchor_points, local_contrast, nearest_points
from withstand.losses.contrast.momentum_contrast import info_nce_across, info_nce_queue
from withstand.losses.contrast.multi_view import nt_xent_views
from withstand.losses.contrast.self_contrastive import self_contrastive
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive
from withstand.losses.precision import unit_rows
from withstand.losses.robust.reweighting import log_mean_exponential, worst_case_weights
from withstand.losses.similarity import pairwise_logsumexp, similarity_logsumexp
from withstand.losses.temperature import Temperature
from withstand.losses.unlearning import alignment

generator = torch.Generator().manual_seed(0)
A, B, C = (torch.randn(12, 6, generator=generator, dtype=torch.float64) for _ in range(3))
QUEUE = unit_rows(torch.randn(20, 6, generator=generator, dtype=torch.float64))
WEIGHT = torch.randn(12, generator=generator, dtype=torch.float64)
LABELS = torch.arange(12) % 3
NOTHING = torch.empty(12, 0, dtype=torch.int64)
ITSELF = torch.arange(12)[:, None]
REGIONS = torch.randn(2, 2, 25, 4, generator=generator, dtype=torch.float64)
REGIONS = REGIONS / REGIONS.norm(dim=3, keepdim=True)
ANCHORS = anchor_points(9)

LOSSES: dict[str, Callable[[Temperature], Tensor]] = {
    "nt_xent": lambda t: nt_xent(A, B, t),
    "same_view_nt_xent": lambda t: same_view_nt_xent(torch.stack([A, B, C]), t),
    "distilled": lambda t: distilled(A, B, t),
    "dcl": lambda t: dcl(A, B, t),
    "dclw": lambda t: dclw(A, B, t, detach_weight=False),
    "dcl_queue": lambda t: dcl_queue(A, B, QUEUE, t),
    "npc_factor": lambda t: (npc_factor(A, B, t) * torch.cat([WEIGHT, -2 * WEIGHT])).sum(),
    "info_nce_queue": lambda t: info_nce_queue(A, B, QUEUE, t, own=QUEUE[:12, None]),
    "info_nce_across": lambda t: info_nce_across(A, B, t),
    "masked_info_nce": lambda t: masked_info_nce(A, B, LABELS[:, None] == LABELS, LABELS[:, None] > LABELS, t),
    "group_info_nce": lambda t: group_info_nce(A, B[None], torch.stack([C, QUEUE[:12]]), t),
    "local_contrast": lambda t: local_contrast(REGIONS[0], REGIONS[1], ANCHORS, nearest_points(ANCHORS), t),
    "nt_xent_views": lambda t: nt_xent_views([A, B, C], t),
    "supervised_contrastive": lambda t: supervised_contrastive(
        A, LABELS, t, stored=QUEUE, stored_groups=torch.arange(20) % 3
    ),
    "clip_loss": lambda t: clip_loss(torch.stack([A, B]), torch.stack([C, QUEUE[:12]]), t, smoothing=0.1),
    "swapped_batches": lambda t: swapped_batches(torch.stack([A, B]), torch.stack([C, QUEUE[:12]]), t),
    "alignment": lambda t: alignment(A, B, C, QUEUE[:12], t),
    "self_contrastive": lambda t: self_contrastive([A, B], LABELS, t, base_temperature=0.07),
    "swapped_cross_entropy": lambda t: swapped_cross_entropy([A, B], [A.softmax(1), B.softmax(1)], t),
    "hard_contrastive": lambda t: hard_contrastive(A, B, t, alpha=0.4),
    "relative_penalties": lambda t: (relative_penalties(A, t) * WEIGHT[:, None] * B).sum(),
    "penalty_distribution": lambda t: penalty_distribution(A, t).entropy.sum(),
    "penalties": lambda t: penalties(A.sort(1, descending=True).values, t).entropy.sum(),
    "worst_case_weights": lambda t: (worst_case_weights(A[:, 0], t) * WEIGHT).sum(),
    "log_mean_exponential": lambda t: log_mean_exponential(A[:, 0], t),
    "similarity_logsumexp": lambda t: (similarity_logsumexp(A, QUEUE, t, ITSELF) * WEIGHT).sum(),
    "pairwise_logsumexp": lambda t: (pairwise_logsumexp(unit_rows(A), t, NOTHING) * WEIGHT).sum(),
}


def with_temperatures() -> set[str]:
    """Return the names of all public functions of the room that take one temperature for all."""
    found = set()
    for room in pkgutil.walk_packages(withstand.losses.__path__, "withstand.losses."):
        for name, value in vars(importlib.import_module(room.name)).items():
            if inspect.isfunction(value) and value.__module__ == room.name and not name.startswith("_"):
                taken = inspect.signature(value).parameters.get("temperature")
                if taken is not None and taken.annotation != Tensor:
                    assert taken.annotation == Temperature, f"{name} takes no learnable temperature"
                    found.add(name)
    return found - {"checked_temperature"}


def test_every_loss_with_a_temperature_is_held_here() -> None:
    assert with_temperatures() == set(LOSSES)


@pytest.mark.parametrize("tau", [0.001, 0.1, 1.0])
@pytest.mark.parametrize("name", LOSSES)
def test_the_slope_by_temperature_is_the_losss_own(name: str, tau: float) -> None:
    loss = LOSSES[name]
    learnt = Parameter(torch.tensor(tau, dtype=torch.float64))
    value = loss(learnt)
    torch.testing.assert_close(value.detach(), loss(tau))
    (slope,) = torch.autograd.grad(value, learnt)
    step = tau * 1e-5
    numeric = (loss(tau + step) - loss(tau - step)) / (2 * step)
    torch.testing.assert_close(slope, numeric, rtol=1e-6, atol=1e-6 * max(1.0, float(value.detach().abs()) / tau))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_embeddings_slopes_stay_what_they_are_with_a_number(dtype: torch.dtype) -> None:
    z = A.to(dtype)
    slopes = []
    for tau in (0.25, torch.tensor(0.25, requires_grad=True), Parameter(torch.tensor([0.25], dtype=torch.float64))):
        one = z.clone().requires_grad_()
        nt_xent(one, B.to(dtype), tau).backward()
        slopes.append(one.grad)
    assert torch.equal(slopes[0], slopes[1])
    assert torch.equal(slopes[0], slopes[2])


def test_a_temperature_learns_while_the_embeddings_are_frozen() -> None:
    learnt = Parameter(torch.tensor(0.5, dtype=torch.float64))
    dcl_queue(A, B, QUEUE, learnt).backward()
    assert learnt.grad is not None
    assert learnt.grad != 0


@pytest.mark.parametrize("tau", [torch.tensor(0.0), torch.tensor([0.1, 0.2]), torch.tensor(float("nan"))])
def test_a_temperature_is_one_number_above_zero(tau: Tensor) -> None:
    with pytest.raises(ConfigError, match="temperature must be"):
        nt_xent(A, B, tau)
