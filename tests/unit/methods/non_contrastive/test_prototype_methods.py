"""SwAV and DINO: assignments, queues, centres, crops of several sizes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.core.roles import Model
from withstand.losses.agreement.clustering import sinkhorn, swapped_cross_entropy
from withstand.methods.non_contrastive.dino import DINO
from withstand.methods.non_contrastive.swav import SwAV
from withstand.models.blocks.memory.ema import Momentum

EXACT = {"rtol": 0, "atol": 1e-10}


class Pooled(Model):
    """Features of pictures of any size; counts its passes."""

    width = 6

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 6)
        self.sizes: list[tuple[int, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append((len(x), x.shape[-1]))
        features: Tensor = self.layer(x.mean((2, 3)))
        return features


def batch(sides: tuple[int, ...] = (4, 4, 2, 2, 2), count: int = 8, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    views = [torch.rand(count, 3, side, side, generator=generator, dtype=torch.float64) for side in sides]
    return Batch(torch.zeros(count, 3, 4, 4), torch.arange(count), views=tuple(views))


def swav(**settings: object) -> SwAV:
    with isolated("prototypes"):
        return SwAV(Pooled(), dim=5, **({"prototypes": 7} | settings)).double()


def dino(**settings: object) -> DINO:
    with isolated("prototypes"):
        return DINO(Pooled(), dim=5, prototypes=7, **settings).double()


def test_swav_by_its_formula_one_pass_a_size() -> None:
    method, given = swav(), batch()
    terms = method.step(given)
    assert method.encoder.sizes == [(16, 4), (24, 2)]
    whole = method.head(method.encoder(torch.cat(given.views[:2])))
    parts = method.head(method.encoder(torch.cat(given.views[2:])))
    z = [*whole.chunk(2), *parts.chunk(3)]
    scores = [normalize(view, dim=1) @ method.prototypes.weight.T for view in z]
    expected = swapped_cross_entropy(scores, [sinkhorn(scores[0]), sinkhorn(scores[1])], 0.1)
    torch.testing.assert_close(terms["loss"], expected, **EXACT)
    assert terms["embeddings"].shape == (2, 8, 5)


def test_swav_freezes_its_prototypes_and_keeps_their_length() -> None:
    method = swav(frozen_epochs=1)
    weight = method.prototypes.weight
    for epoch, moves in ((0, False), (1, True)):
        gradient = torch.autograd.grad(method.step(replace(batch(), epoch=epoch))["loss"], weight)[0]
        assert bool(gradient.abs().max() > 0) is moves
        weight.data.add_(gradient)
        method.after_step(1)
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(7, dtype=torch.float64))


def test_swav_assigns_the_queue_too_once_it_is_full() -> None:
    method = swav(queue_size=16, queue_from=0)
    for seed in range(2):
        method.step(batch(seed=seed))
        method.after_step(seed + 1)
    earlier = [queue.rows.clone() for queue in method.queues]
    z = method.head(method.encoder(torch.cat(batch(seed=9).views[:2]))).chunk(2)
    scores = [normalize(view, dim=1) @ method.prototypes.weight.T for view in z]
    codes = [
        sinkhorn(torch.cat([some, rows @ method.prototypes.weight.T]))[:8]
        for some, rows in zip(scores, earlier, strict=True)
    ]
    found = method.step(batch((4, 4), seed=9))["loss"]
    torch.testing.assert_close(found, swapped_cross_entropy(scores, codes, 0.1), **EXACT)
    assert not torch.allclose(codes[0], sinkhorn(scores[0]))


def test_dino_by_its_formula() -> None:
    method, given = dino(), replace(batch(), epoch=15)
    method.center.copy_(torch.linspace(-1, 1, 7))
    assert method.teacher_temperature(15) == pytest.approx(0.055), "half-way from 0.04 to 0.07"
    student = torch.nn.Sequential(method.encoder, method.head)
    scores = [*student(torch.cat(given.views[:2])).chunk(2), *student(torch.cat(given.views[2:])).chunk(3)]
    logits = method.teacher.network(torch.cat(given.views[:2])).chunk(2)
    targets = [((view - method.center) / 0.055).softmax(1) for view in logits]
    pairs = [
        -(targets[i] * (scores[v] / 0.1).log_softmax(1)).sum(1).mean() for i in range(2) for v in range(5) if v != i
    ]
    terms = method.step(given)
    torch.testing.assert_close(terms["loss"], sum(pairs) / len(pairs), **EXACT)
    before = method.center.clone()
    method.after_step(1)
    torch.testing.assert_close(method.center, 0.9 * before + 0.1 * torch.cat(logits).mean(0), **EXACT)


def test_a_constant_on_logits_and_centre_changes_nothing() -> None:
    logits, centre = torch.randn(4, 7, dtype=torch.float64), torch.randn(7, dtype=torch.float64)
    shift = torch.randn(7, dtype=torch.float64)
    torch.testing.assert_close((logits - centre).softmax(1), (logits + shift - centre - shift).softmax(1), **EXACT)


def test_dino_without_centring_and_with_frozen_prototypes() -> None:
    method = dino(center_momentum=1.0, frozen_epochs=2)
    terms = method.step(replace(batch(), epoch=1))
    gradient = torch.autograd.grad(terms["loss"], method.head.prototypes.weight)[0]
    assert gradient.abs().max() == 0
    method.after_step(1)
    assert method.center.abs().max() == 0
    assert 0 < terms["entropy"] <= terms["batch_entropy"]


def test_the_teacher_follows_the_whole_student() -> None:
    method = dino(momentum=Momentum(0.0, None))
    with torch.no_grad():
        for parameter in (*method.encoder.parameters(), *method.head.parameters()):
            parameter.add_(1)
    method.after_step(1)
    student = torch.nn.Sequential(method.encoder, method.head)
    for mine, theirs in zip(method.teacher.network.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_dino_head_ignores_the_length_of_its_prototypes() -> None:
    method = dino()
    before = method.head(torch.ones(3, 6, dtype=torch.float64))
    method.head.prototypes.weight.data.mul_(5)
    torch.testing.assert_close(method.head(torch.ones(3, 6, dtype=torch.float64)), before, **EXACT)
    assert before.abs().max() <= 1


@pytest.mark.parametrize("make", [swav, dino])
def test_views_that_do_not_fit(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="2 or more views of each sample, not 1"):
        make().step(batch((4,)))
    with pytest.raises(DataError, match="whole views come first"):
        make().step(batch((2, 4, 4)))


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="prototypes must be at least 2"):
        swav(prototypes=1)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        swav(temperature=0)
    with pytest.raises(ConfigError, match="queue_size 4 is smaller than the batch of 8"):
        swav(queue_size=4).step(batch())
    with pytest.raises(ConfigError, match="teacher_temperature must be above 0"):
        dino(teacher_temperature=0)
    with pytest.raises(ConfigError, match=r"center_momentum must lie in \[0, 1\]"):
        dino(center_momentum=2)
