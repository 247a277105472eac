"""Transitive invariance: the pairs of a batch are those of its graph, and what is mined."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Epoch
from withstand.data.arrays.source import ArraySource
from withstand.data.clips.pair_graph import transitive_pairs
from withstand.data.clips.tracks import SimulatedTracks, Tracks
from withstand.evaluation.representation.pair_gallery import PURITY, PairGallery
from withstand.losses.contrast.triplet import cosine_triplet
from withstand.methods.contrastive.transitive_invariance import TransitiveInvariance
from withstand.models.pictures.normalized import Normalized


def method(**changed: object) -> TransitiveInvariance:
    torch.manual_seed(0)
    settings: dict[str, object] = {
        "samples": 8, "neighbours": 2, "clusters": 4, "parents": 3, "hidden": 12, "dim": 10, "warmup": 0, **changed
    }  # fmt: skip
    made = TransitiveInvariance(Normalized.example(), **settings).eval()  # type: ignore[arg-type]
    made.neighbour.copy_(torch.tensor([[1, 2], [0, -1], [1, 0], [-1, -1], [5, -1], [4, 6], [5, -1], [-1, -1]]))
    made.cluster.copy_(torch.tensor([0, 0, 0, 1, 2, 2, 2, 3]))
    return made


def test_each_loss_is_over_the_pairs_of_the_graph() -> None:
    subject = method()
    batch = subject.example_batch()
    terms = subject.step(batch)
    nodes = terms["embeddings"].flatten(0, 1)
    inter = torch.tensor([[0, 1], [0, 2], [1, 2], [4, 5], [5, 6]])
    intra = torch.stack([torch.arange(8), torch.arange(8) + 8], 1)
    clusters = subject.cluster.repeat(2)
    wanted = {"inter": inter, "intra": intra, "transitive": transitive_pairs(inter, intra)}
    for kind, pairs in wanted.items():
        positive = torch.zeros(16, 16, dtype=torch.bool)
        positive[pairs[:, 0], pairs[:, 1]] = positive[pairs[:, 1], pairs[:, 0]] = True
        negative = clusters[:, None] != clusters[None]
        torch.testing.assert_close(terms[kind], cosine_triplet(nodes, nodes, positive, negative))
    whole = torch.stack([terms[kind] for kind in wanted]).mean()
    torch.testing.assert_close(terms["loss"].detach(), whole)


def test_kinds_are_chosen() -> None:
    both, one = method(), method(kinds=("intra",))
    terms = one.step(one.example_batch())
    torch.testing.assert_close(terms["loss"].detach(), both.step(both.example_batch())["intra"])
    assert "inter" not in terms


def test_neighbours_follow_each_other() -> None:
    dealt = method().order(torch.tensor([3, 5, 7, 2, 0, 1, 4, 6]), 4).tolist()
    assert dealt == [3, 5, 4, 7, 2, 1, 0, 6]


def test_mining_finds_what_looks_alike_and_does_so_once() -> None:
    subject = method(clusters=4, parents=2)
    dark, bright = torch.zeros(4, 3, 8, 8), torch.zeros(4, 3, 8, 8)
    dark[:, :, :4] = torch.linspace(0.8, 1, 4).view(4, 1, 1, 1)
    bright[:, :, :, :4] = torch.linspace(0.8, 1, 4).view(4, 1, 1, 1)
    x = torch.stack([dark, bright], 1).flatten(0, 1)

    def pass_over(function: object) -> Tensor:
        return function(x)  # type: ignore[operator, no-any-return]

    subject.before_epoch(Epoch(0, 0, pass_over))
    kind = torch.arange(8) % 2
    assert len(torch.unique(subject.cluster)) == 2
    found = subject.neighbour[subject.neighbour >= 0]
    assert torch.equal(kind[subject.neighbour[:, 0]], kind)
    assert len(found) == 16
    kept = subject.neighbour.clone()
    subject.before_epoch(Epoch(1, 0, lambda function: torch.zeros(8, 3)))
    assert torch.equal(subject.neighbour, kept)


def test_the_gallery_tells_how_pure_pairs_are() -> None:
    tracks = SimulatedTracks.example()  # its labels are 0, 1, 2, 3, 0, 1, 2, 3
    subject = method()
    subject.neighbour.copy_(torch.tensor([[4, 1], [5, 3], [-1, -1], [0, -1], [0, -1], [6, -1], [2, -1], [-1, -1]]))
    found = PairGallery(shown=3).evaluate(subject, tracks)
    assert found.figures[PURITY].value == pytest.approx(4 / 8)
    assert found.figures["tracks with a neighbour"].value == 6 / 8
    assert found.tables["purity by rank"].rows == ((1, pytest.approx(4 / 6)), (2, 0.0))
    (shown,) = found.pictures.values()
    assert shown.shape == (3, 4, 8, 8, 3)
    with pytest.warns(UserWarning, match="2 of 8 labels"):
        pictures = ArraySource(tracks[range(8)].x, torch.tensor([0, 1, 2, -1, 0, -1, 2, 3]), layout="NCHW")
    some = PairGallery().evaluate(subject, SimulatedTracks(pictures))
    assert some.figures[PURITY].value == pytest.approx(3 / 4), "pairs count whose labels are both known"
    assert some.figures[PURITY].of == 4
    with pytest.raises(DataError, match="8 tracks"):
        PairGallery().evaluate(subject, Tracks(torch.zeros(4, 2, 3, 8, 8, dtype=torch.uint8)))
    with pytest.raises(ConfigError, match="joins no tracks"):
        PairGallery().evaluate(Normalized.example(), tracks)


def test_a_seed_network_stays_as_it_is_and_inherits() -> None:
    seed = Normalized.example()
    subject = method(seed=seed).train()
    assert subject.seed is not None
    assert not subject.seed.training
    assert not any(parameter.requires_grad for parameter in subject.seed.parameters())
    earlier = method()
    subject.inherit(earlier)
    x = torch.rand(2, 3, 8, 8)
    assert torch.equal(subject.looks(x), earlier.encoder(x))
    with pytest.raises(ConfigError, match="takes no earlier stage"):
        method().inherit(earlier)


def test_random_negatives_hang_on_the_sample_not_on_its_place() -> None:
    subject = method(warmup=1, negatives=1)
    batch = subject.example_batch()
    loss = subject.step(batch)["loss"]
    torch.testing.assert_close(subject.step(replace(batch))["loss"], loss)
    assert not torch.equal(subject.step(replace(batch, step=1))["loss"], loss)


def test_bad_settings_and_data() -> None:
    with pytest.raises(ConfigError, match="kind of pairs"):
        method(kinds=("intre",))
    with pytest.raises(ConfigError, match="parents"):
        method(parents=5)
    with pytest.raises(ConfigError, match="clusters 9"):
        method(clusters=9)
    subject = method()
    subject.accept(Tracks.example(), 4)
    with pytest.raises(DataError, match="--simulate"):
        subject.accept(ArraySource(torch.zeros(8, 3, 8, 8, dtype=torch.uint8)), 4)
    with pytest.raises(ConfigError, match="samples is 8"):
        subject.accept(ArraySource(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)), 4)
    with pytest.raises(DataError, match="two views"):
        subject.step(Batch(torch.zeros(4, 3, 8, 8), torch.arange(4)))
