"""MCL and G-SimCLR: what is inherited, which groups are made, what a batch holds; k-means labels."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from toys import ToyPictures, toy_method
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.part import again
from withstand.core.random import isolated, permutation
from withstand.core.roles import Epoch, Model
from withstand.losses.contrast.contrastive import nt_xent
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.g_simclr import GSimCLR
from withstand.methods.contrastive.mcl import MCL
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.momentum_contrast.mochi import MoCHi
from withstand.methods.momentum_contrast.moco_v2 import MoCoV2
from withstand.methods.shared.clusters import k_means_labels
from withstand.models.blocks.concatenated import Concatenated
from withstand.models.blocks.memory.queue import Queue

EXACT = {"rtol": 0, "atol": 1e-10}
SAMPLES = 36


class Flat(Model):
    """The first four numbers of a sample, through a linear layer."""

    width = 4

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x.flatten(1).to(self.layer.weight.dtype))
        return features


def data() -> Tensor:
    """Four clumps in two dimensions, and something else in the others."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.tensor([[6.0, 0], [0, 6.0], [-6.0, 0], [0, -6.0]])[torch.arange(SAMPLES) % 4]
    return torch.cat([corner, torch.zeros(SAMPLES, 10)], 1) + 0.1 * torch.randn(SAMPLES, 12, generator=generator)


def pass_over(function):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        return function(data())


def simclr(seed: int = 0) -> SimCLR:
    with isolated(seed, "clusters"):
        return SimCLR(Flat(), hidden=6, dim=5)


def mcl(before: Model | None = None, **settings: object) -> MCL:
    return MCL(simclr(1), before or simclr(2).encoder, samples=SAMPLES, **({"clusters": 4} | settings))


def batch(rows: Tensor) -> Batch:
    x = data()[rows]
    return Batch(x, rows, views=(x, x + 0.1))


def agrees(found: Tensor, labels: Tensor) -> bool:
    """Say whether two divisions of samples are the same, whatever their numbers."""
    return bool(((found[:, None] == found) == (labels[:, None] == labels)).all())


def test_k_means_finds_clumps_and_repeats() -> None:
    labels = k_means_labels(data()[:, :2], 4, 0)
    assert agrees(labels, torch.arange(SAMPLES) % 4)
    assert torch.equal(labels, k_means_labels(data()[:, :2], 4, 0))


def test_the_first_stage_inherits_encoder_and_method() -> None:
    method, earlier = mcl(), simclr(3)
    method.inherit(earlier)
    for name, value in earlier.state_dict().items():
        assert torch.equal(method.method.state_dict()[name], value), name
    x = data()
    torch.testing.assert_close(method.before(x), earlier.encoder(x))
    torch.testing.assert_close(method.embed(x), normalize(torch.cat([earlier.encoder(x)] * 2, 1), dim=1))
    assert method.encoder.width == 8
    fresh = mcl(fresh=True)
    fresh.inherit(earlier)
    assert not torch.equal(fresh.method.encoder(x), earlier.encoder(x))


def test_groups_are_told_apart_by_every_stage() -> None:
    """The official code keeps the last stage's clusters alone."""
    earlier, first = simclr(3), mcl()
    first.inherit(earlier)
    first.before_epoch(Epoch(0, 0, pass_over))
    once = k_means_labels(normalize(earlier.encoder(data()), dim=1), 4, 0)
    assert torch.equal(first.group_labels, once)
    second = mcl(Concatenated([simclr(5).encoder, simclr(6).encoder]), clusters=4)
    with torch.no_grad():
        first.method.encoder.layer.weight.copy_(torch.eye(12)[2:6])  # sees the other dimensions
    second.inherit(first)
    second.before_epoch(Epoch(0, 0, pass_over))
    twice = k_means_labels(normalize(first.method.encoder(data()), dim=1), 4, 0)
    assert torch.equal(second.group_labels, 4 * once + twice)
    assert agrees(second.group_labels, once * 100 + twice)
    assert len(second.group_labels.unique()) > len(twice.unique())
    kept = second.group_labels.clone()
    second.before_epoch(Epoch(1, 0, pass_over))
    assert torch.equal(second.group_labels, kept), "groups are made once"
    assert len(second.encoder.parts()) == 3


def test_every_batch_of_a_later_stage_is_of_one_group_and_epochs_are_whole() -> None:
    method = mcl()
    method.group_labels.copy_(torch.arange(SAMPLES) % 5)  # 8 of 1, 7 of 4
    for epoch in range(3):
        order = method.order(permutation(SAMPLES, epoch), 4)
        assert len(order) == SAMPLES // 4 * 4
        rows = order.view(-1, 4) % 5
        assert (rows == rows[:, :1]).all()
    assert torch.equal(order, method.order(permutation(SAMPLES, 2), 4)), "a function of the order alone"
    assert method.step(batch(order[:4]))["covered"] == 1
    skipping = mcl(small="skip")
    skipping.group_labels.copy_((torch.arange(SAMPLES) > 2).long())
    rows = skipping.order(permutation(SAMPLES, 0), 8)
    assert rows.min() > 2, "groups smaller than a batch are left out"
    assert float(skipping.covered) == pytest.approx(33 / 36)


def test_the_loss_is_the_wrapped_methods() -> None:
    method, rows = mcl(), torch.arange(8)
    assert torch.equal(method.step(batch(rows))["loss"], method.method.step(batch(rows))["loss"])
    method.train()
    assert method.method.training
    assert not method.before.training
    assert method.encoder.training
    assert not method.eval().encoder.training
    assert not any(parameter.requires_grad for parameter in method.before.parameters())


def test_mcl_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="clusters must be at least 2"):
        mcl(clusters=1)
    with pytest.raises(ConfigError, match="batches of its own"):
        MCL(guided(), Flat(), samples=4)
    with pytest.raises(ConfigError, match="clusters 40 are more than the 36 samples: use 36 or fewer"):
        mcl(clusters=40).accept(ToyPictures(SAMPLES), 4)
    with pytest.raises(ConfigError, match="samples is 36, but the data have 35"):
        mcl().accept(ToyPictures(35), 4)


@pytest.mark.parametrize("kind", [MoCoV2, MoCHi])
def test_a_batch_sees_its_own_groups_rows_of_a_queue(kind: type[MoCoV2 | MoCHi]) -> None:
    settings = {} if kind is MoCoV2 else {"hardest": 3, "pairs": 2, "with_query": 1, "warmup_epochs": 0}
    with isolated("queue"):
        inner = kind(Flat(), hidden=6, dim=5, queue_size=24, **settings)
    method = MCL(inner, Flat(), samples=SAMPLES, clusters=2)
    method.group_labels.copy_(torch.arange(SAMPLES) % 2)
    rows = method.order(permutation(SAMPLES, 0), 4).view(-1, 4)
    queue = next(module for module in method.modules() if isinstance(module, Queue))
    entered: list[int] = []
    for step, some in enumerate(rows):
        parity = int(some[0] % 2)
        loss = method.step(batch(some))["loss"]
        assert len(queue.rows) == 4 * entered[-6:].count(parity)
        assert (loss > 0) == bool(len(queue.rows)), "without negatives there is nothing to learn"
        method.after_step(step + 1)
        entered.append(parity)
    assert sorted(set(entered)) == [0, 1]
    assert int(queue.filled) == len(queue) == 24


def guided(**settings: object) -> GSimCLR:
    with isolated("guided"):
        return GSimCLR(Flat(), Flat(), samples=SAMPLES, **({"clusters": 4} | settings))


def test_guided_batches_take_each_sample_from_another_cluster() -> None:
    method, code = guided(), simclr(4)
    with torch.no_grad():
        code.encoder.layer.weight.copy_(torch.eye(12)[:4])
    method.inherit(code)
    torch.testing.assert_close(method.features(data()), code.encoder(data()))
    method.before_epoch(Epoch(0, 0, pass_over))
    assert agrees(method.group_labels, torch.arange(SAMPLES) % 4)
    for epoch in range(2):
        rows = method.order(permutation(SAMPLES, epoch), 4).view(-1, 4)
        assert sorted(rows.flatten().tolist()) == list(range(SAMPLES))
        assert (rows.sort(1).values % 4).sort(1).values.eq(torch.arange(4)).all()
    assert method.step(batch(rows[0]))["apart"] == 1
    assert method.step(batch(torch.tensor([0, 4, 8, 1])))["apart"] == 0.5
    fixed = guided(mode="official")
    fixed.group_labels.copy_(method.group_labels)
    assert torch.equal(fixed.order(permutation(SAMPLES, 0), 4), fixed.order(permutation(SAMPLES, 1), 4))


def test_guided_loss_by_its_formula() -> None:
    method, rows = guided().double(), torch.arange(8)
    given = batch(rows)
    z1, z2 = (method.head(method.encoder(view)) for view in given.views)
    terms = method.step(given)
    torch.testing.assert_close(terms["loss"], nt_xent(z1, z2, 0.1), **EXACT)
    z = normalize(torch.cat([z1, z2]), dim=1)
    scores = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
    positive = torch.arange(16).roll(8)
    plain = (scores.logsumexp(1) - scores[torch.arange(16), positive]).mean()
    torch.testing.assert_close(terms["loss"], plain, **EXACT)
    weights = list(method.encoder.parameters())
    for mine, theirs in zip(
        torch.autograd.grad(terms["loss"], weights), torch.autograd.grad(plain, weights), strict=True
    ):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_guided_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="temperature must be above 0"):
        guided(temperature=0.0)
    with pytest.raises(ConfigError, match="batch 8 takes each sample from another cluster, and there are 4"):
        guided().accept(ToyPictures(SAMPLES), 8)
    with pytest.raises(ConfigError, match="clusters 64 are more than the 36 samples"):
        guided(clusters=64).accept(ToyPictures(SAMPLES), 8)


def test_again_draws_new_weights() -> None:
    one = toy_method(DCL)
    other = again(one)
    assert type(other) is DCL
    assert other.encoder is not one.encoder
    assert [value.shape for value in other.state_dict().values()] == [v.shape for v in one.state_dict().values()]
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
