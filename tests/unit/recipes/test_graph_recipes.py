"""Recipes on graphs: each runs on a small graph, resumes to the bit, and is judged by the papers' protocols."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from graphs import graph, graph_set, random_edges, random_features
from toys import weights
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe, externals
from withstand.data.derived.subset import in_whole
from withstand.data.graphs.load import open_graphs
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.engine.schedules import Constant
from withstand.evaluation.structured.graph_audit import GraphAudit
from withstand.evaluation.structured.graph_nodes import NodeProbe
from withstand.evaluation.structured.graph_set_audit import GraphSetAudit
from withstand.evaluation.structured.graph_sets import FoldedSVM
from withstand.recipes.masked import graphmae
from withstand.recipes.pretext import selftask
from withstand.recipes.setups.structured.graphs import PUBLISHED, audit_of, is_known, published

SMALL = {"epochs": 4, "hidden": 8, "seed": 1}


def experiments() -> dict[str, Experiment]:
    torch.manual_seed(0)
    return {
        "graphmae": graphmae.experiment(data=graph(), **SMALL),
        "graphmae, neighbors": graphmae.experiment(data=graph(), batch=10, neighbors=3, **SMALL),
        "graphmae, set": graphmae.experiment(data=graph_set(20), batch=8, depth=2, **SMALL),
        "selftask": selftask.experiment(data=graph(), task="corrected", **SMALL),
        "selftask, two stages": selftask.experiment(data=graph(), task="degree", alone=2, **SMALL),
    }


@pytest.mark.thorough
@pytest.mark.parametrize("name", experiments())
def test_it_trains_and_resumes_to_the_bit(name: str, tmp_path: Path) -> None:
    whole, again = experiments()[name], experiments()[name]
    train(whole, tmp_path / "whole", quiet=True)
    part = build(describe(again), supply=externals(again))
    assert describe(part) == describe(whole)
    steady = replace(part, plan=replace(part.plan, schedule=Constant()))
    train(replace(steady, plan=replace(steady.plan, epochs=2)), tmp_path / "cut", quiet=True)
    for folder in ("cut", "one"):
        train(steady, tmp_path / folder, quiet=True)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "cut")
    assert all(torch.equal(two[key], value) for key, value in one.items())


def test_what_judges_which_data() -> None:
    made = experiments()
    assert isinstance(made["graphmae"].judges[0], NodeProbe)
    assert isinstance(made["graphmae"].audit, GraphAudit)
    assert isinstance(made["graphmae, set"].audit, GraphSetAudit)
    one_way = GraphSet([[0, 2], [1, 3]], [0, 0, 1, 1], torch.rand(4, 3), [0, 1], directed=True)
    assert isinstance(audit_of(one_way, 2), GraphSetAudit)
    assert isinstance(made["graphmae, set"].judges[0], FoldedSVM)
    assert made["graphmae"].labelled is not None
    assert len(made["graphmae"].labelled) == 10
    bare = graphmae.experiment(data=GraphSource([[0, 1], [1, 2]], torch.rand(6, 3)), **SMALL)
    assert not bare.judges
    assert bare.audit is None


def test_published_settings_hold_where_the_set_is_known() -> None:
    assert (PUBLISHED["cora"].replace, PUBLISHED["cora"].epochs, PUBLISHED["citeseer"].heads) == (0.05, 1500, 2)
    encoder = PUBLISHED["mutag"].encoder(7)
    assert (encoder.width, len(encoder.layers), encoder.pooling) == (32, 5, "sum")


def test_a_file_that_is_called_like_a_known_set_is_not_it(tmp_path: Path) -> None:
    lines = [f"p{place},p{(7 * place + 1) % 30}" for place in range(30)]
    (tmp_path / "pubmed.csv").write_text("from,to\n" + "\n".join(lines))
    source = open_graphs(tmp_path / "pubmed.csv")
    assert source.name == "pubmed"
    assert published(source) == PUBLISHED["cora"] != PUBLISHED["pubmed"]
    many = graph_set(6)
    many.name = "mutag"
    assert published(many) == PUBLISHED["proteins"]
    assert not is_known(many)


def test_few_labels_are_those_of_each_class_that_the_seed_draws() -> None:
    one, two, other = (selftask.experiment(data=graph(), per_class=2, seed=seed, epochs=1) for seed in (0, 0, 1))
    for made in (one, two, other):
        assert made.source.labels is not None
        assert made.source.labels[made.source.labels >= 0].bincount().tolist() == [2, 2, 2]
        assert made.labelled is not None
        assert len(made.labelled) == 6
    assert one.source.fingerprint() == two.source.fingerprint()
    assert one.source.fingerprint() != other.source.fingerprint()
    with pytest.raises(DataError, match="9 labels of each class cannot be seen"):
        selftask.experiment(data=graph(), per_class=9)
    with pytest.raises(ConfigError, match="the graph has none: name a table of nodes"):
        selftask.experiment(data=GraphSource([[0, 1], [1, 2]], torch.rand(6, 3)))
    with pytest.raises(ConfigError, match="these are whole graphs"):
        selftask.experiment(data=graph_set(6))


def test_a_graph_without_a_split_holds_out_a_share_of_each_class() -> None:
    bare = GraphSource(
        random_edges(40, 90), random_features(40, 4), [-1 if node < 10 else node % 3 for node in range(40)]
    )
    with pytest.raises(ConfigError, match="needs the parts train and test"):
        selftask.experiment(data=bare)
    made = selftask.experiment(data=bare, holdout=0.3, epochs=1)
    assert made.test is not None
    assert made.test.labels is not None
    assert made.source.labels is not None
    seen = (made.source.labels >= 0).nonzero()[:, 0].tolist()
    tested = in_whole(made.test)[1].tolist()
    assert sorted(seen + tested) == list(range(10, 40)), "every labelled node is on one side"
    assert made.test.labels.bincount().tolist() == [3, 3, 3]
    rebuilt = build(describe(made.source), supply=externals(made.source))
    assert rebuilt.fingerprint() == made.source.fingerprint()
    with pytest.raises(DataError, match="a split of its own"):
        selftask.experiment(data=graph(), holdout=0.3)
