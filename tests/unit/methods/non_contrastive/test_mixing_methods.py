"""Mixed Barlow Twins and MoCHi: what is mixed, when, and with which draws."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws, derive, isolated
from withstand.core.roles import Model
from withstand.losses.agreement.mixing import mixed_barlow_twins_terms
from withstand.losses.contrast.hard_negatives.hard_mixing import mix_hard_negatives
from withstand.losses.contrast.momentum_contrast import info_nce_queue
from withstand.methods.momentum_contrast.mochi import MoCHi
from withstand.methods.non_contrastive.mixed_barlow_twins import MixedBarlowTwins

EXACT = {"rtol": 0, "atol": 1e-10}


class Flat(Model):
    """A linear encoder that remembers what it saw."""

    width = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(12, 12)
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach())
        features: Tensor = self.layer(x.flatten(1).to(self.layer.weight.dtype))
        return features


def batch(seed: int = 0, count: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pictures = [torch.rand(count, 3, 2, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    return Batch(torch.zeros(count, 3, 2, 2), torch.arange(count), views=tuple(pictures))


def mixed(**settings: object) -> MixedBarlowTwins:
    with isolated("mixing"):
        return MixedBarlowTwins(Flat(), dim=5, **settings).double()


def mochi(**settings: object) -> MoCHi:
    with isolated("mixing"):
        return MoCHi(Flat(), dim=5, queue_size=20, hardest=6, pairs=5, with_query=4, **settings).double()


def test_mixed_barlow_twins_by_its_formula() -> None:
    method, given = mixed(), batch()
    terms = method.step(given)
    order, share = method._mixture(given, 8, torch.device("cpu"))
    assert share == float(Draws(derive(0, "mixture"), torch.zeros(1, dtype=torch.int64), epoch=0).uniform(1))
    assert sorted(order.tolist()) == list(range(8))
    v1, v2 = given.views
    mixture = share * v1 + (1 - share) * v2[order]
    torch.testing.assert_close(method.encoder.seen[2], mixture, **EXACT)
    z1, z2, zm = (method.head(method.encoder(x)) for x in (v1, v2, mixture))
    sums = mixed_barlow_twins_terms(z1, z2, zm, order, share)
    expected = sums.invariance + (sums.redundancy + 4 * sums.mixing) / 128
    torch.testing.assert_close(terms["loss"], expected, **EXACT)
    assert method._mixture(replace(given, step=1), 8, torch.device("cpu"))[1] != share, (
        "each step has a mixture of its own"
    )


def test_shares_are_uniform_and_partners_change() -> None:
    method, shares, orders = mixed(), [], set()
    for step in range(500):
        order, share = method._mixture(replace(batch(), step=step), 8, torch.device("cpu"))
        shares.append(share)
        orders.add(tuple(order.tolist()))
    assert torch.tensor(shares).mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.tensor(shares).var().item() == pytest.approx(1 / 12, rel=0.15)
    assert len(orders) > 490


def test_without_weight_it_is_barlow_twins_in_two_passes() -> None:
    method = mixed(mix_weight=0.0)
    terms = method.step(batch())
    assert len(method.encoder.seen) == 2
    expected = terms["invariance"] + terms["redundancy"] / 128
    torch.testing.assert_close(terms["loss"].detach(), expected, **EXACT)


def test_bytes_are_mixed_as_pictures() -> None:
    method, given = mixed(), batch()
    views = tuple((255 * view).round().to(torch.uint8) for view in given.views)
    method.step(given.with_views(*views))
    seen = method.encoder.seen[2]
    assert seen.is_floating_point()
    assert 0 <= seen.min() <= seen.max() <= 1


def test_mochi_waits_for_its_warm_up_and_for_keys() -> None:
    method = mochi(warmup_epochs=1)
    for epoch, expected in ((0, 0), (1, 9)):
        method.step(replace(batch(epoch), epoch=epoch))
        method.after_step(epoch + 1)
        given = replace(batch(), epoch=epoch)
        assert method._synthetic(method.head(method.encoder(given.views[0])), given).shape[1] == expected
    assert mochi(warmup_epochs=0)._synthetic(torch.ones(8, 5).double(), batch()).shape[1] == 0, "no key yet"


def test_mochi_by_its_formula() -> None:
    method = mochi(warmup_epochs=0)
    method.step(batch(1))
    method.after_step(1)
    query, key = method.head(method.encoder(batch().views[0])), method.teacher.network(batch().views[1])
    # One step is done: the draws are those of step 1, of each sample's own index.
    draws = Draws(derive(0, "hard mixing"), batch().index, epoch=1)
    known = method.queue.rows[:8]
    assert torch.equal(method.queue.known(), known)
    q = normalize(query, dim=1).detach()
    own = mix_hard_negatives(q, known, draws, hardest=6, pairs=5, with_query=4)
    assert own.shape == (8, 9, 5)
    terms = method.step(replace(batch(), step=1))
    expected = info_nce_queue(query, key, method.queue.rows, 0.2, own=own)
    torch.testing.assert_close(terms["loss"], expected, **EXACT)
    q, k = normalize(query, dim=1), normalize(key, dim=1)
    negatives = torch.cat([q @ method.queue.rows.T, (own @ q[:, :, None]).squeeze(2)], 1)
    torch.testing.assert_close(terms["found"], ((q * k).sum(1) > negatives.amax(1)).double().mean())
    before = method.queue.rows.clone()
    method.step(batch())
    assert torch.equal(method.queue.rows, before), "nothing synthetic enters the queue, and keys only after the step"


def test_without_mixtures_mochi_is_moco() -> None:
    with isolated("mixing"):
        method = MoCHi(Flat(), dim=5, queue_size=20, pairs=0, with_query=0, warmup_epochs=0).double()
    method.step(batch(1))
    method.after_step(1)
    query, key = method.head(method.encoder(batch().views[0])), method.teacher.network(batch().views[1])
    expected = info_nce_queue(query, key, method.queue.rows, 0.2)
    torch.testing.assert_close(method.step(batch())["loss"], expected, **EXACT)


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="mix_weight must be at least 0"):
        mixed(mix_weight=-1.0)
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        mochi(temperature=0)
    with pytest.raises(ConfigError, match="queue_size 20 is smaller than the batch of 24"):
        mochi().step(batch(count=24))
