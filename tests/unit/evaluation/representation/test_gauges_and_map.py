import pytest
import torch
from torch import nn
from torch.nn import functional

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import View
from withstand.data.arrays.source import ArraySource
from withstand.evaluation.features import embed
from withstand.evaluation.probes.probe import embed_all
from withstand.evaluation.representation.embedding_map import Map
from withstand.evaluation.representation.gauges import Gauges
from withstand.losses.contrast.geometry import effective_rank, uniformity


def source(count: int = 60, channels: int = 3, labelled: bool = True, seed: int = 0) -> ArraySource:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, channels, 5, 5), dtype=torch.uint8, generator=generator)
    return ArraySource(x, torch.arange(count) % 4 if labelled else None)


class Twice(View):
    """Two views at a fixed distance, so that alignment has a closed form."""

    def __init__(self, opposite: bool = False) -> None:
        self.sign = -1.0 if opposite else 1.0

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        x = batch.x.float() / 255
        return batch.with_views(x, self.sign * x)


def test_gauges_are_those_of_geometry_beside_the_controls() -> None:
    found = embed_all(nn.Flatten(), source(), source(40, seed=1))
    control = embed_all(nn.Sequential(nn.Flatten(), nn.Linear(75, 3)), source(), source(40, seed=1))
    finding = Gauges().measure(found, control)
    assert finding.numbers["effective rank"] == pytest.approx(float(effective_rank(found.test.x)))
    assert finding.numbers["uniformity"] == pytest.approx(float(uniformity(found.test.x)))
    untrained = finding.figures["effective rank"].control
    assert untrained is not None
    assert untrained.value <= 3
    assert "alignment" not in finding.numbers


def test_spread_of_an_even_cloud_is_1_and_of_a_point_0() -> None:
    even = lambda x: torch.randn(len(x), 64, generator=torch.Generator().manual_seed(0))  # noqa: E731
    finding = Gauges().evaluate(even, source(2000, labelled=False))
    assert finding.numbers["spread"] == pytest.approx(1, abs=0.01)
    assert finding.believable
    collapsed = Gauges().evaluate(lambda x: torch.ones(len(x), 8), source(labelled=False))
    assert collapsed.numbers["spread"] == pytest.approx(0, abs=1e-6)
    assert collapsed.numbers["uniformity"] == pytest.approx(0, abs=1e-5)
    assert not collapsed.believable


def test_spectrum_shares_sum_to_1() -> None:
    table = Gauges().evaluate(nn.Flatten(), source(400, channels=1)).tables["spectrum"]
    assert len(table.rows) == 25
    assert sum(table.column("share of variance")) == pytest.approx(1)


@pytest.mark.parametrize(("opposite", "expected"), [(False, 0.0), (True, 4.0)])
def test_alignment_of_two_views(opposite: bool, expected: float) -> None:
    finding = Gauges(Twice(opposite)).evaluate(nn.Flatten(), source())
    assert finding.numbers["alignment"] == pytest.approx(expected, abs=1e-5)


def test_gauges_need_two_samples() -> None:
    with pytest.raises(DataError, match="two samples"):
        Gauges().evaluate(nn.Flatten(), source(1, labelled=False))


@pytest.mark.parametrize("layout", ["tsne", "pca"])
def test_map_is_seeded_and_whole(layout: str) -> None:
    found = embed_all(nn.Flatten(), source(), source(40, seed=1))
    part = Map(layout=layout, samples=30, queries=3, k=4)
    finding = part.measure(found)
    table = finding.tables["map"]
    assert table.columns == ("x", "y", "label", "index")
    assert len(table.rows) == 30
    assert len(set(table.column("index"))) == 30
    assert list(table.column("label")) == [index % 4 for index in table.column("index")]
    assert part.measure(found).tables == finding.tables


def test_neighbors_are_sought_among_all_pictures_nearest_first() -> None:
    train, test = source(), source(40, seed=1)
    test.names = [f"IMG_{k}.jpg" for k in range(40)]
    train.names = [f"old/{k}.jpg" for k in range(len(train))]
    finding = Map(layout="pca", queries=3, k=4).measure(embed_all(nn.Flatten(), train, test))
    grid = finding.pictures["neighbors"]
    assert grid.shape == (3, 5, 5, 5, 3)
    table = finding.tables["neighbors"]
    row = table.rows[5]
    assert row[2] == 2
    assert (grid[1, 0] == test[[row[0]]].x[0].permute(1, 2, 0).numpy()).all()
    for place, one in enumerate(table.rows):
        of = {"train": train, "test": test}[one[6]]
        assert (grid[place // 4, place % 4 + 1] == of[[one[3]]].x[0].permute(1, 2, 0).numpy()).all()
        assert one[7:] == (test.names[one[0]], of.names[one[3]])
    assert set(table.column("neighbor is of")) == {"train", "test"}
    both = torch.cat([embed(nn.Flatten(), one).x for one in (train, test)])
    scores = functional.cosine_similarity(both, embed(nn.Flatten(), test).x[[row[0]]])
    assert scores.topk(5).values[1:].tolist() == pytest.approx(table.column("cosine")[4:8], abs=1e-6)
    cosines = table.column("cosine")
    assert all(cosines[4 * i : 4 * i + 4] == tuple(sorted(cosines[4 * i : 4 * i + 4], reverse=True)) for i in range(3))


def test_without_a_test_set_a_query_is_not_its_own_neighbor() -> None:
    x = torch.zeros(9, 1, 4, 4, dtype=torch.uint8)  # all copies of one another
    x[:, :, 0] = 9
    finding = Map(layout="pca", queries=9, k=3).evaluate(nn.Flatten(), ArraySource(x))
    table = finding.tables["neighbors"]
    assert len(table.rows) == 27
    assert all(
        query != neighbor for query, neighbor in zip(table.column("query"), table.column("neighbor"), strict=True)
    )


def test_samples_that_are_no_pictures_have_a_map_without_any() -> None:
    finding = Map(layout="pca").evaluate(lambda x: x, ArraySource(torch.randn(20, 6)))
    assert finding.pictures == {}
    assert len(finding.tables["map"].rows) == 20


def test_narrow_and_few_samples() -> None:
    one = Map(layout="tsne", queries=2, k=50).evaluate(lambda x: x[:, :1], ArraySource(torch.randn(6, 3)))
    assert len(one.tables["map"].rows) == 6
    assert len(one.tables["neighbors"].rows) == 10
    with pytest.raises(DataError, match="at least 4"):
        Map().evaluate(lambda x: x, ArraySource(torch.randn(3, 3)))
    with pytest.raises(ConfigError, match="'tsne'"):
        Map(layout="tnse")
