"""Against solo-learn's losses, which users may come from: `pip install --no-deps solo-learn`, and run with -m oracle.

Its package imports all of its trainers, which need libraries that no longer resolve: its losses alone are loaded.
"""

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from torch import Tensor

from withstand.losses.agreement.clustering import sinkhorn, swapped_cross_entropy
from withstand.losses.agreement.distillation import byol, negative_cosine
from withstand.losses.agreement.redundancy import barlow_twins
from withstand.losses.agreement.variance import vicreg
from withstand.losses.contrast.contrastive import nt_xent
from withstand.losses.contrast.momentum_contrast import info_nce_across, info_nce_queue
from withstand.losses.precision import unit_rows

pytestmark = pytest.mark.oracle
LOADED = ("byol", "dino", "barlow", "moco", "nnclr", "simclr", "simsiam", "swav", "vicreg")


@pytest.fixture(scope="module")
def solo() -> Iterator[dict[str, ModuleType]]:
    """Return the modules of its losses, loaded under packages that run no code of their own."""
    found = find_spec("solo")
    if found is None or not found.submodule_search_locations:
        pytest.skip("solo-learn is not installed")
    before = set(sys.modules)
    for name in ("", ".losses", ".utils"):
        package = ModuleType(f"solo{name}")
        package.__path__ = [found.submodule_search_locations[0] + name.replace(".", "/")]
        sys.modules[package.__name__] = package
    modules = {name: import_module(f"solo.losses.{name}") for name in LOADED}
    yield {**modules, "sinkhorn": import_module("solo.utils.sinkhorn_knopp")}
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "solo":
            del sys.modules[name]


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    """Their layers and masks are made in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def drawn(count: int, *shape: int, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=generator).requires_grad_() for _ in range(count))


def same(ours: Tensor, theirs: Tensor, inputs: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    for a, b in zip(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent(solo: dict[str, ModuleType], temperature: float) -> None:
    pair = drawn(2, 17, 12)
    same(nt_xent(*pair, temperature), solo["simclr"].simclr_loss_func(*pair, temperature), pair)


@pytest.mark.parametrize("redundancy_weight", [5e-3, 0.1])
def test_barlow_twins(solo: dict[str, ModuleType], redundancy_weight: float) -> None:
    pair = drawn(2, 17, 12)
    ours = barlow_twins(*pair, redundancy_weight, scale=0.1)
    same(ours, solo["barlow"].barlow_loss_func(*pair, redundancy_weight, 0.1), pair)


def test_byol(solo: dict[str, ModuleType]) -> None:
    """Theirs is detached from the targets too."""
    pair = drawn(2, 17, 12)
    same(byol(*pair), solo["byol"].byol_loss_func(*pair), pair[:1])


def test_negative_cosine(solo: dict[str, ModuleType]) -> None:
    pair = drawn(2, 17, 12)
    same(negative_cosine(*pair), solo["simsiam"].simsiam_loss_func(*pair), pair[:1])


def test_info_nce_with_a_queue(solo: dict[str, ModuleType]) -> None:
    """Theirs takes rows of unit length, and the queue's columns."""
    queries, keys = drawn(2, 17, 12)
    bank = unit_rows(drawn(1, 30, 12, seed=1)[0].detach())
    theirs = solo["moco"].moco_loss_func(unit_rows(queries), unit_rows(keys.detach()), bank.T, 0.2)
    same(info_nce_queue(queries, keys.detach(), bank, 0.2), theirs, (queries,))


def test_info_nce_across(solo: dict[str, ModuleType]) -> None:
    """NNCLR's: neighbours look for the predictions of the other view."""
    neighbours, predictions = drawn(2, 17, 12)
    theirs = solo["nnclr"].nnclr_loss_func(neighbours, predictions, 0.1)
    same(info_nce_across(neighbours, predictions, 0.1), theirs, (neighbours, predictions))


@pytest.mark.parametrize("views", [2, 5])
def test_swav(solo: dict[str, ModuleType], views: int) -> None:
    """With codes of every view; with views of small parts, which have none, the published wheel is one index short."""
    scores = drawn(views, 6, 9)
    codes = [sinkhorn(score.detach()) for score in scores]
    same(swapped_cross_entropy(scores, codes), solo["swav"].swav_loss_func(list(scores), codes), scores)


def test_sinkhorn(solo: dict[str, ModuleType]) -> None:
    scores = drawn(1, 16, 9)[0].detach().tanh()
    torch.testing.assert_close(sinkhorn(scores), solo["sinkhorn"].SinkhornKnopp()(scores), rtol=0, atol=1e-12)


@pytest.mark.parametrize("views", [2, 5])
def test_dino(solo: dict[str, ModuleType], views: int) -> None:
    """At its first epoch, with a center that has moved; two views have teachers, and the others are small parts."""
    students, teachers = drawn(views, 6, 9), [score.detach() for score in drawn(2, 6, 9, seed=1)]
    theirs = solo["dino"].DINOLoss(9, 0.04, 0.07, 3, 10, num_large_crops=views)
    theirs.update_center(torch.cat(teachers).flip(1))
    targets = [((teacher - theirs.center) / 0.04).softmax(1) for teacher in teachers]
    found = theirs(torch.cat(students), torch.cat(teachers))
    same(swapped_cross_entropy(students, targets, 0.1), found, students)


def test_vicreg_differs_by_the_sum_over_branches(solo: dict[str, ModuleType]) -> None:
    """Theirs sums the variance terms of both branches, the official code takes their mean, as ours unless told."""
    pair = tuple((0.3 * z).detach().requires_grad_() for z in drawn(2, 17, 12))
    same(vicreg(*pair, sum_branches=True), solo["vicreg"].vicreg_loss_func(*pair), pair)
    assert vicreg(*pair) < solo["vicreg"].vicreg_loss_func(*pair)
