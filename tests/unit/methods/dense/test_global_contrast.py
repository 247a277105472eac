"""G^D, G^D- and G^R against the papers' sums, pair by pair; what their masks never hold; what does not fit."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from withstand.core.batch import Batch, unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.volumes.batches import volume_batches
from withstand.data.volumes.slices import partitions_of
from withstand.data.volumes.source import VolumeSource
from withstand.methods.dense.global_contrast import GlobalContrast
from withstand.methods.shared.by_volume import EXAMPLE, example_slices
from withstand.models.dense.unet import UNetEncoder


def method(loss: str = "gd", **changed: object) -> GlobalContrast:
    torch.manual_seed(0)
    settings: dict[str, object] = {"slices": EXAMPLE, "side": 16, "hidden": 12, "dim": 10, **changed}
    return GlobalContrast(UNetEncoder.example(), loss=loss, **settings).double().eval()  # type: ignore[arg-type]


def kinds_of(loss: str, batch: Batch) -> tuple[Tensor, ...]:
    return {"gd": (batch.x, batch.views[0]), "gd-": (batch.x, *batch.views), "gr": batch.views}[loss]


def by_hand(subject: GlobalContrast, batch: Batch, tau: float = 0.1) -> float:
    """The mean over all pairs, both directions each; rows are volume by volume, of each one from every partition."""
    kinds = kinds_of(subject.loss, batch)
    z = [subject.projection(subject.encoder.maps(unit_range(kind, torch.float64))[-1].flatten(1)) for kind in kinds]
    images = [(kind, row) for kind in range(len(kinds)) for row in range(len(batch))]
    depth = [row % 4 for row in range(len(batch))]

    def cosine(a: tuple[int, int], b: tuple[int, int]) -> float:
        return float(torch.cosine_similarity(z[a[0]][a[1]], z[b[0]][b[1]], dim=0)) / tau

    pairs = [((a, row), (b, row)) for row in range(len(batch)) for a in range(len(kinds)) for b in range(a)]
    if subject.loss == "gd":
        pairs += [((kind, row), (kind, row + 4)) for kind in range(2) for row in range(len(batch)) if row % 8 < 4]
    total = 0.0
    for one, other in [*pairs, *((b, a) for a, b in pairs)]:
        if subject.loss == "gr":
            repel = [image for image in images if image not in (one, other)]
        else:
            repel = [image for image in images if depth[image[1]] != depth[one[1]]]
        pull = math.exp(cosine(one, other))
        total += -math.log(pull / (pull + sum(math.exp(cosine(one, image)) for image in repel)))
    return total / (2 * len(pairs))


@pytest.mark.parametrize("loss", ["gd", "gd-", "gr"])
def test_the_loss_is_the_papers_sum(loss: str) -> None:
    subject, given = method(loss), example_slices(range(8))
    batch = replace(given, x=given.x.double() / 255, views=tuple(view.double() / 255 for view in given.views))
    with torch.no_grad():
        assert float(subject.step(batch)["loss"]) == pytest.approx(by_hand(subject, batch), abs=1e-9)


@pytest.mark.parametrize("loss", ["gd", "gd-"])
def test_nothing_of_its_depth_repels_a_slice(loss: str) -> None:
    subject, batch = method(loss), example_slices(range(8))
    kinds = len(kinds_of(loss, batch))
    positive, negative = subject._masks(batch, kinds)
    depth = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]).repeat(kinds)
    assert torch.equal(negative, depth[:, None] != depth[None])
    assert torch.equal(positive, positive.T)
    assert positive.sum(1).tolist() == [2] * len(positive)
    assert not bool((positive & negative).any())


@pytest.mark.parametrize("loss", ["gd", "gd-"])
def test_two_volumes_may_change_places_and_depths_with_one_another(loss: str) -> None:
    subject, batch = method(loss), example_slices(range(8))
    expected = subject.step(batch)["loss"]
    for order in ([4, 5, 6, 7, 0, 1, 2, 3], [1, 0, 3, 2, 5, 4, 7, 6]):
        turned = replace(
            batch, x=batch.x[order], index=batch.index[order], views=tuple(view[order] for view in batch.views)
        )
        torch.testing.assert_close(subject.step(turned)["loss"], expected)


def test_one_partition_leaves_nothing_that_repels() -> None:
    assert float(method("gd-", partitions=1).step(example_slices(range(8)))["loss"].detach()) == 0


def test_equal_features_give_the_log_of_the_count() -> None:
    subject = method("gd")
    for parameter in subject.projection.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    batch = example_slices(range(8))
    same = replace(batch, x=batch.x[:1].expand_as(batch.x), views=(batch.x[:1].expand_as(batch.x),))
    assert float(subject.step(same)["loss"].detach()) == pytest.approx(math.log(1 + 12))


@given(st.lists(st.integers(4, 13), min_size=6, max_size=9), st.integers(0, 99))
def test_batches_hold_volumes_whole_in_depth_and_none_twice(counts: list[int], seed: int) -> None:
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(seed))
    volumes, depths = partitions_of(tuple(counts), 4)
    rows = volume_batches(order, tuple(counts), 4, 16)
    assert len(rows) == sum(counts) // 16 * 16
    batches = rows.view(-1, 4, 4)
    assert bool((depths[batches] == torch.arange(4)).all())
    assert bool((volumes[batches] == volumes[batches][:, :, :1]).all())
    assert all(len(set(batch[:, 0].tolist())) == 4 for batch in volumes[batches])
    assert torch.equal(rows, volume_batches(order, tuple(counts), 4, 16))


def test_an_epoch_meets_nearly_every_slice() -> None:
    counts = (8,) * 8
    rows = volume_batches(torch.randperm(64, generator=torch.Generator().manual_seed(0)), counts, 4, 16)
    assert sorted(rows.tolist()) == list(range(64))


def test_volumes_of_too_few_slices_are_left_out() -> None:
    rows = volume_batches(torch.randperm(27), (12, 3, 12), 4, 8)
    assert not set(rows.tolist()) & {12, 13, 14}
    assert len(rows) == 24


def test_what_does_not_fit_is_refused_with_what_does() -> None:
    source = VolumeSource.example()
    subject = method(slices=(7, 8, 9), partitions=2)
    subject.accept(source, 4)
    with pytest.raises(ConfigError, match=r"does not hold pairs of volumes .*: use --batch 4$"):
        subject.accept(source, 6)
    with pytest.raises(ConfigError, match=r"larger than the 6 samples that can fill one: use --batch 4$"):
        subject.accept(source, 8)
    with pytest.raises(DataError, match="a step compares 2: give more volumes, or use 8 partitions"):
        method(slices=(7, 8, 9), partitions=9).accept(source, 18)
    method(slices=(7, 8, 9), partitions=8).accept(source, 16)
    with pytest.raises(ConfigError, match="3 volumes of 24 slices"):
        method(slices=(7, 8), partitions=2).accept(source, 4)
    with pytest.raises(DataError, match="holds pictures"):
        subject.accept(ArraySource(np.zeros((4, 1, 16, 16), np.uint8), layout="NCHW"), 4)
    with pytest.raises(ConfigError, match="multiple of 4"):
        method(side=18)
    with pytest.raises(ConfigError, match="'gd'"):
        method("gdd")
    with pytest.raises(DataError, match="2 views"):
        method("gd-").step(example_slices(range(8)).with_views(torch.rand(8, 1, 16, 16)))
