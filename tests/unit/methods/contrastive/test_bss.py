"""Batch styles standardization, and NT-Xent with the negatives of one view."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toys import ToyPictures, toy_rows
from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.losses.contrast.contrastive import same_view_nt_xent
from withstand.methods.contrastive.bss import BSS
from withstand.methods.contrastive.simclr import SimCLR
from withstand.models.pictures.normalized import Normalized


def bss(**settings: float) -> BSS:
    torch.manual_seed(0)
    return BSS(SimCLR(Normalized.example(), hidden=12, dim=10, negatives="same-view"), **settings)


def by_formula(z: Tensor, temperature: float) -> Tensor:
    """Sum over anchors, positives and negatives one by one, in float64."""
    unit = z.double() / z.double().norm(dim=2, keepdim=True)
    views, count = z.shape[:2]
    terms = []
    for v in range(views):
        for i in range(count):
            others = [(unit[v, i] @ unit[v, j] / temperature).exp() for j in range(count) if j != i]
            for u in range(views):
                if u != v:
                    positive = (unit[v, i] @ unit[u, i] / temperature).exp()
                    terms.append(-(positive / (positive + sum(others))).log())
    return torch.stack(terms).mean()


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_the_loss_is_the_formula_with_its_gradient(views: int, temperature: float) -> None:
    z = torch.randn(views, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found, wanted = same_view_nt_xent(z, temperature), by_formula(z, temperature)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(loss, z)[0] for loss in (found, wanted)))


def test_features_that_are_all_alike_cost_log_n() -> None:
    assert math.isclose(float(same_view_nt_xent(torch.ones(2, 7, 3, dtype=torch.float64))), math.log(7))


def test_the_loss_refuses_what_has_no_positive_or_no_negative() -> None:
    for z, word in ((torch.ones(1, 4, 3), "two views or more"), (torch.ones(2, 1, 3), "at least 2 samples")):
        with pytest.raises(DataError, match=word):
            same_view_nt_xent(z)
    with pytest.raises(ConfigError, match="did you mean 'same-view'"):
        SimCLR(Normalized.example(), negatives="same-vew")  # type: ignore[arg-type]


def test_every_view_has_the_mean_of_one_picture_and_views_differ() -> None:
    method = bss()
    batch = method.example_batch()
    views = method.restyled(batch).views
    means = [unit_range(view).mean((2, 3)) for view in batch.views]
    chosen = []
    for view, before in zip(views, means, strict=True):
        found = view.mean((2, 3))
        torch.testing.assert_close(found, found[:1].expand_as(found))
        chosen.append(int((before - found[0]).abs().sum(1).argmin()))
        torch.testing.assert_close(before[chosen[-1]], found[0])
    assert chosen[0] != chosen[1], "styles of different views come from different pictures"


def test_styles_hang_on_seed_and_step() -> None:
    method = bss()
    batch = method.example_batch()
    same = method.restyled(batch).views[0]
    assert torch.equal(method.restyled(batch).views[0], same)
    others = [method.restyled(replace(batch, **{name: 5})).views[0] for name in ("seed", "step")]
    assert not any(torch.equal(other, same) for other in others)


def test_without_low_frequencies_it_is_the_wrapped_method() -> None:
    method = bss(smallest=0.0, largest=0.0)
    batch = method.example_batch()
    assert torch.equal(method.step(batch)["loss"], method.method.step(batch)["loss"])


def test_a_jitter_is_one_for_all_pictures_of_a_view() -> None:
    method = bss(smallest=0.0, largest=0.0, jitter=1.0)
    batch = method.example_batch()
    alike = replace(batch, views=tuple(view[:1].expand_as(view) for view in batch.views))
    changed = []
    for step in range(8):
        first = method.restyled(replace(alike, step=step)).views[0]
        assert torch.equal(first, first[:1].expand_as(first))
        changed.append(not torch.equal(first, unit_range(alike.views[0])))
    assert any(changed)


def test_bad_input() -> None:
    for settings in ({"smallest": 0.5, "largest": 0.2}, {"largest": 1.5}, {"jitter": -1.0}):
        with pytest.raises(ConfigError):
            bss(**settings)
    with pytest.raises(DataError, match="BSS styles pictures"):
        bss().accept(toy_rows(), 4)
    bss().accept(ToyPictures(8), 4)
