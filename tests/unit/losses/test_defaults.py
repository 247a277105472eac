"""Losses' own settings, which users meet when they say nothing: a change of one is a change of the library."""

from collections.abc import Callable
from inspect import signature

import pytest
import torch

from withstand.core.errors import DataError
from withstand.losses.agreement.clustering import sinkhorn, swapped_cross_entropy
from withstand.losses.agreement.redundancy import standardize
from withstand.losses.agreement.variance import vicreg_terms
from withstand.losses.contrast.contrastive import dcl, dcl_queue, dclw, npc_factor, nt_xent, same_view_nt_xent
from withstand.losses.contrast.cross_modal import swapped_batches
from withstand.losses.contrast.explicit import group_info_nce, masked_info_nce
from withstand.losses.contrast.hard_negatives.attraction import cacr_terms
from withstand.losses.contrast.hard_negatives.hardness import hard_contrastive
from withstand.losses.contrast.momentum_contrast import info_nce_across, info_nce_queue
from withstand.losses.contrast.multi_view import nt_xent_views
from withstand.losses.contrast.sorting import groco, group_ordering, soft_sort
from withstand.losses.contrast.supervised_contrastive import supervised_contrastive
from withstand.losses.discrepancy import WIDTHS, mmd
from withstand.losses.restoration.reconstruction import scaled_cosine_error
from withstand.losses.robust.adversarial import decoupled_alignment, mart, trades
from withstand.losses.robust.comp_sum import adversarial_margin, comp_sum, smooth_adversarial
from withstand.losses.robust.imbalance import effective_number_weights, focal, ldam, ldam_margins
from withstand.losses.robust.reweighting import survival_weights
from withstand.losses.robust.transport import transported_cross_entropy

DEFAULTS: dict[Callable[..., object], dict[str, object]] = {
    nt_xent: {"temperature": 0.2},
    same_view_nt_xent: {"temperature": 0.2},
    dcl: {"temperature": 0.1},
    dclw: {"temperature": 0.1, "sigma": 0.5, "detach_weight": True},
    dcl_queue: {"temperature": 0.1},
    npc_factor: {"temperature": 0.1},
    info_nce_queue: {"temperature": 0.2, "own": None},
    info_nce_across: {"temperature": 0.2},
    masked_info_nce: {"temperature": 0.1, "pairs": "each", "offset": None},
    group_info_nce: {"temperature": 0.05, "positive_weights": None, "negative_weights": None},
    mmd: {"widths": WIDTHS},
    nt_xent_views: {"temperature": 0.5, "stop_keys": True},
    supervised_contrastive: {"temperature": 0.1, "stored": None, "stored_groups": None, "kept": None},
    swapped_cross_entropy: {"temperature": 0.1},
    sinkhorn: {"epsilon": 0.05, "iterations": 3, "power": 0.0},
    hard_contrastive: {"temperature": 0.2, "alpha": 1.0},
    scaled_cosine_error: {"alpha": 3.0},
    standardize: {"unbiased": False, "eps": 1e-5},
    trades: {"beta": 6.0},
    mart: {"beta": 5.0},
    decoupled_alignment: {"gamma": 2.0},
    soft_sort: {"steepness": 1.0},
    group_ordering: {"steepness": 1.0},
    groco: {"negatives": 10, "steepness": 1.0, "stop_gradient": True},
    cacr_terms: {
        "positive_sharpness": 1.0, "negative_sharpness": 0.9, "alpha": 1.0, "beta": 1.0, "detach_weights": False,
    },
    survival_weights: {"shift": -1.0, "curve": "tanh"},
    vicreg_terms: {"sum_branches": False, "eps": 1e-4},
    focal: {"gamma": 1.0},
    ldam: {"scale": 30.0},
    comp_sum: {"tau": 1.0},
    smooth_adversarial: {"tau": 1.0, "rho": 1.0, "nu": 0.3},
    adversarial_margin: {"tau": 1.0, "rho": 1.0},
    swapped_batches: {"temperature": 0.1, "epsilon": 0.05, "iterations": 3},
    transported_cross_entropy: {"steps": 15},
    ldam_margins: {"largest": 0.5},
    effective_number_weights: {"beta": 0.9999},
}  # fmt: skip


@pytest.mark.parametrize("loss", DEFAULTS, ids=lambda loss: loss.__name__)
def test_settings_of_their_own(loss: Callable[..., object]) -> None:
    found = {name: p.default for name, p in signature(loss).parameters.items() if p.default is not p.empty}
    assert found == DEFAULTS[loss]


def test_projections_of_another_shape_are_refused() -> None:
    for one, other in ((torch.rand(4, 3, 2), torch.rand(4, 3, 2)), (torch.rand(4, 3), torch.rand(4, 2))):
        with pytest.raises(DataError, match="two views need projections of one shape"):
            vicreg_terms(one, other)
        with pytest.raises(DataError, match="two views need projections of one shape"):
            nt_xent(one, other)


def test_stored_keys_get_no_gradient() -> None:
    query, key, queue, own = (torch.randn(3, 4, dtype=torch.float64).requires_grad_() for _ in range(4))
    info_nce_queue(query, key, queue, own=own[:, None]).backward()
    assert queue.grad is None
    assert own.grad is None
    assert query.grad is not None
    assert key.grad is not None
