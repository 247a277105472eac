"""The audit of node classifiers."""

from pathlib import Path

import pytest
import torch
from torch import nn

from graphs import graph, graph_set
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.source import GraphSource
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.structured.graph_audit import FeatureVictim, GraphAudit
from withstand.models.graphs.encoder import GCN


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return GCN(6, 3, 2).eval()


AUDIT = GraphAudit(eps=(0.1, 0.5), steps=5, flipped=3, additions=3, samples=20)


def test_the_audit_says_what_holds(tmp_path: Path) -> None:
    finding = AUDIT.evaluate(classifier(), graph(60).part("test"))
    assert finding.name == "audit"
    clean = finding.numbers["clean accuracy"]
    under = [float(value or 0) for value in finding.tables["features"].column("accuracy under attack")]
    assert clean >= under[0] >= under[1]
    flips = [float(value or 0) for value in finding.tables["edge flips"].column("accuracy, chosen")]
    assert flips == sorted(flips, reverse=True)
    names = {check.name for check in finding.checks}
    assert {
        "clean accuracy is plausible", "noise of the same size is weaker", "chosen flips are stronger than drawn ones",
    } <= names  # fmt: skip
    assert Finding.load(finding.save(tmp_path)) == finding
    assert AUDIT.evaluate(classifier(), graph(60).part("test")) == finding, "the same again for the same seed"


def test_degrees_in_place_of_features_follow_the_edges_and_are_told() -> None:
    plain, ends = graph(60), torch.stack([graph(60).graph().edges.column.long(), graph(60).graph().edges.row])
    bare = GraphSource(ends, None, plain.labels, nodes=60, directed=True)
    torch.manual_seed(0)
    network = GCN(bare.shape[0], 3, 2).eval()
    finding = AUDIT.evaluate(network, bare)
    assert next(check for check in finding.checks if check.name == "features can be moved").passed is None
    assert "one direction of an edge; features are degrees, which follow" in finding.protocol["edges"]
    held = AUDIT.evaluate(classifier(), plain)
    assert "features can be moved" not in {check.name for check in held.checks}
    assert "both ways; features stay" in held.protocol["edges"]


def test_attacked_features_stay_in_ball_and_range() -> None:
    from withstand.attacks.inputs.gradient import PGD
    from withstand.core.threat import Ball
    from withstand.core.victims.answers import NetworkError
    from withstand.core.victims.victim import Victim

    source = graph(60)
    nodes = torch.arange(10)
    whole = source.graph()
    with pytest.raises(NetworkError, match="hang on the other inputs of their batch"):
        PGD(Ball("l2", 0.3))(Victim(FeatureVictim(classifier(), whole, nodes)), whole.dense()[nodes], generator=0)
    victim = Victim(FeatureVictim(classifier(), whole, nodes), together=True)
    own = whole.dense()[nodes]
    y = victim.output(own).argmax(1)
    found = PGD(Ball("l2", 0.3), steps=5, keep_best=False)(victim, own, y, generator=0, batch=10)
    assert bool(((found.x - own).norm(dim=1) <= 0.3 + 1e-6).all())
    assert 0 <= float(found.x.min()) <= float(found.x.max()) <= 1
    moved = whole.dense().index_copy(0, nodes, found.x)
    logits = classifier()(Graphs(moved, whole.edges, targets=nodes).as_samples())
    assert torch.equal(logits.argmax(1) != y, found.success)


def test_what_cannot_be_audited_is_told() -> None:
    with pytest.raises(DataError, match="graphs with labels and labelled nodes have an audit"):
        RobustnessAudit().evaluate(classifier(), graph())
    with pytest.raises(DataError, match="needs labels"):
        AUDIT.evaluate(classifier(), GraphSource([[0], [1]], torch.rand(3, 6)))
    with pytest.raises(DataError, match="whole graphs"):
        AUDIT.evaluate(classifier(), graph_set(features=6))
    with pytest.raises(ConfigError, match="norm must be"):
        GraphAudit("l1")
    with pytest.raises(ConfigError, match="ascending"):
        GraphAudit(eps=(0.5, 0.1))


class Masked(nn.Module):
    """Gives the gradient zero."""

    def __init__(self) -> None:
        super().__init__()
        self.net = classifier()

    def forward(self, samples: object) -> torch.Tensor:
        graphs = Graphs.of(samples)
        logits: torch.Tensor = self.net(samples)
        return logits.detach() + 0 * graphs.dense().sum()


@pytest.mark.parametrize("masked", [False, True])
def test_the_headline_is_the_smallest_accuracy_that_anything_found(masked: bool) -> None:
    model = Masked() if masked else classifier()
    finding = GraphAudit(eps=(0.2, 1.0), steps=3, flipped=3, additions=3, samples=40).evaluate(
        model, graph(120).part("test")
    )
    head = finding.protocol["headline"]
    noise = next(value for name, value in finding.numbers.items() if name.startswith("accuracy under noise"))
    assert head["value"] == finding.numbers[head["number"]] <= noise
    table = finding.tables["features"]
    for under, by_noise in zip(
        table.column("accuracy under attack"), table.column("accuracy under noise"), strict=True
    ):
        assert under <= by_noise
    flips = finding.tables["edge flips"]
    assert finding.numbers["robust accuracy, 2 edge flip(s)"] <= min(
        flips.column("accuracy, chosen")[-1], flips.column("accuracy, drawn")[-1]
    )
    assert not finding.believable
    checks = {check.name: check for check in finding.checks}
    assert checks["gradients are there"].passed is not masked
    assert checks["the strongest attacks had the last word"].passed is False
    assert "only PGD-3 was run" in checks["the strongest attacks had the last word"].detail
    assert f"of {head['samples']} nodes hold" in str(finding.protocol["verdict"])
