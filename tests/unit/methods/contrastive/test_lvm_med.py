"""LVM-Med: the step's parts put together, what crops tell, and batches that are no graphs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.data.arrays.source import ArraySource
from withstand.methods.contrastive.lvm_med import GraphMatching, _gumbel
from withstand.models.matching.assignment import match
from withstand.models.matching.graphs import cosines
from withstand.models.pictures.convnets.convnet import ConvNet
from withstand.models.pictures.normalized import Normalized
from withstand.recipes.contrastive.lvm_med import SETUP, experiment
from withstand.views.compose import Compose, TwoViews
from withstand.views.pictures.colors.color_views import Greyscale
from withstand.views.pictures.crop import HorizontalFlip, RandomResizedCrop, resized_crop


def method(**changed: object) -> GraphMatching:
    torch.manual_seed(0)
    settings: dict[str, object] = {"graph_size": 4, "neighbours": 2, "dim": 6, **changed}
    return GraphMatching(Normalized.example(), **settings).eval()  # type: ignore[arg-type]


def test_one_view_twice_is_matched_to_itself() -> None:
    subject = method(noise=0.0)
    batch = subject.example_batch()
    crops = batch.extras["crop"][:, :1].expand(-1, 2, -1)
    same = Batch(batch.x, batch.index, views=(batch.views[0],) * 2, extras={"crop": crops})
    terms = subject.step(same)
    assert float(terms["loss"].detach()) == 0
    assert float(terms["matched"]) == 1
    terms["loss"].backward()
    assert all(not parameter.grad.any() for parameter in subject.parameters() if parameter.grad is not None)


def test_the_nodes_affinity_is_a_mean_of_pictures_and_cells() -> None:
    batch = method().example_batch()
    parts = [method(alpha=alpha).affinities(batch).node for alpha in (0.0, 1.0, 0.25)]
    torch.testing.assert_close(parts[2], 0.75 * parts[0] + 0.25 * parts[1])
    torch.testing.assert_close(parts[1], method(local=False).affinities(batch).node)


def test_the_loss_is_of_the_noisy_matching() -> None:
    subject = method(noise=0.5)
    batch = subject.example_batch()
    noisy = subject.with_noise(subject.affinities(batch), batch.draws("noise"), 0.5)
    wrong = (match(noisy) != torch.arange(4)).sum(1)
    assert float(subject.step(batch)["loss"].detach()) == pytest.approx(2 * float(wrong.double().mean()))


def test_noise_is_gumbels() -> None:
    found = _gumbel(Draws(0, torch.arange(400)), 400)
    assert bool(found.isfinite().all())
    assert float(found.mean()) == pytest.approx(0.5772, abs=0.02)
    assert float(found.std()) == pytest.approx(np.pi / 6**0.5, abs=0.02)


def test_first_order_has_no_edges() -> None:
    found = method(second_order=False).affinities(method().example_batch())
    assert found.edge is None
    assert cosines(torch.eye(2), torch.eye(2)).tolist() == [[1, 0], [0, 1]]


def test_batches_that_are_no_graphs_are_refused_with_the_nearest_that_are() -> None:
    subject = method(graph_size=16, neighbours=5)
    source = ArraySource(np.zeros((64, 3, 8, 8), np.uint8), layout="NCHW")
    subject.accept(source, 48)
    for batch, near in ((40, "use --batch 32 or 48"), (10, "use --batch 16$"), (70, "use --batch 64$")):
        with pytest.raises(ConfigError, match=near):
            subject.accept(source, batch)
    with pytest.raises(DataError, match="a multiple of 16"):
        subject.step(subject.example_batch())
    with pytest.raises(ConfigError, match="fewer than"):
        method(neighbours=4)
    with pytest.raises(ConfigError, match="no stages"):
        GraphMatching(ConvNet(2, (3, 8, 8)), graph_size=4, neighbours=2).step(subject.example_batch())


def test_every_process_is_given_whole_graphs() -> None:
    pictures = np.zeros((96, 8, 8, 3), np.uint8)
    setup = replace(SETUP, data=ArraySource(pictures), width=4, holdout=0.0)
    experiment(replace(setup, batch=64, processes=2)).check()
    for batch, processes, near in ((48, 2, "32 or 64"), (16, 2, "32"), (32, 4, "64")):
        made = experiment(replace(setup, batch=batch, processes=processes))
        with pytest.raises(ConfigError, match=f"a multiple of 16: use --batch {near}, or fewer processes"):
            made.check()


def test_crops_say_what_they_show_through_a_chain_that_moves_nothing() -> None:
    x = torch.rand(5, 3, 12, 16)
    batch = Batch(x, torch.arange(5))
    crop = RandomResizedCrop(8, (0.3, 0.9), flip=0.5)
    seen = TwoViews(Compose((crop, Greyscale(0.0))), crop)(batch, Draws(0, batch.index))
    crops = seen.extras["crop"]
    assert crops.shape == (5, 2, 5)
    boxes = crops[:, :, :4] * torch.tensor([12, 16, 12, 16])
    for place in range(2):
        again = resized_crop(x, boxes[:, place].round(), 8, flip=crops[:, place, 4] > 0)
        torch.testing.assert_close(again, seen.views[place], atol=1e-5, rtol=0)
    moved = TwoViews(Compose((crop, HorizontalFlip())))(batch, Draws(0, batch.index))
    assert "crop" not in moved.extras
    nested = TwoViews(Compose((crop, Compose((HorizontalFlip(),)))))(batch, Draws(0, batch.index))
    assert "crop" not in nested.extras
    with pytest.raises(DataError, match="RandomResizedCrop"):
        method().step(Batch(x[:4], torch.arange(4)).with_views(*torch.rand(2, 4, 3, 8, 8)))
