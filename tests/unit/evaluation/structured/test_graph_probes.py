"""The protocols of papers on graphs: what is fitted on which nodes, and what is chosen how."""

import pytest
import torch
from torch import Tensor

from graphs import graph, graph_set, random_edges
from withstand.core.errors import DataError
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.sets import GraphSet
from withstand.data.graphs.source import GraphSource
from withstand.evaluation.structured.graph_nodes import NodeProbe
from withstand.evaluation.structured.graph_sets import FoldedSVM


def told(x: Tensor) -> Tensor:
    """Embed a node by its class, which is its place modulo 3."""
    targets = Graphs.of(x).targets
    assert targets is not None
    return torch.eye(3)[targets % 3]


def blind(x: Tensor) -> Tensor:
    return torch.zeros(len(x), 3)


def test_the_node_probe_fits_what_is_there_and_no_more() -> None:
    finding = NodeProbe(0.1, 0.0, 50).evaluate(told, graph(90), control=blind)
    assert finding.name == "nodes"
    assert finding.numbers["accuracy"] == 1
    assert finding.numbers["accuracy, epoch chosen on validation"] == 1
    control = finding.figures["accuracy"].control
    assert control is not None
    assert control.value == pytest.approx(1 / 3)
    assert "accuracy, raw features, same probe" in finding.numbers
    assert len(finding.tables["validation"].rows) == 50
    assert "best validation accuracy" in str(finding.protocol["protocol"])


def test_test_labels_choose_nothing() -> None:
    """Other test labels change the score, and nothing that was chosen."""
    source = graph(90)
    assert source.labels is not None
    labels = source.labels.clone()
    test = source.part("test").rows
    labels[test] = (labels[test] + 1) % 3
    parts = {name: source.rows(name).tolist() for name in source.parts}
    edges = random_edges(90, 270)
    other = GraphSource(edges, source.graph().dense(), labels, parts=parts)
    first, second = (NodeProbe(0.1, 0.0, 20).evaluate(told, one) for one in (source, other))
    assert first.tables["validation"] == second.tables["validation"]
    assert second.numbers["accuracy"] == 0


def test_the_node_probe_needs_parts() -> None:
    with pytest.raises(DataError, match="the parts train, validation, test"):
        NodeProbe().evaluate(told, GraphSource(random_edges(9, 9), torch.rand(9, 2), [0, 1, 2] * 3))


@pytest.mark.thorough
def test_ten_folds() -> None:
    source = graph_set(40)

    def by_label(x: Tensor) -> Tensor:
        assert source.labels is not None
        sums = Graphs.of(x).dense().sum()
        assert sums.isfinite()
        return torch.eye(2)[source.labels]

    finding = FoldedSVM(folds=10, repeats=2, inner=3).evaluate(by_label, source, control=blind)
    accuracy = finding.figures["accuracy"]
    assert accuracy.control is not None
    assert (accuracy.value, accuracy.spread, accuracy.of) == (1, 0, 2)  # over repeats
    assert accuracy.control.value == pytest.approx(0.5)
    assert "stratified 10 folds" in str(finding.protocol["protocol"])
    few = GraphSet([[0], [0]], list(range(12)), None, [0] * 8 + [1] * 4)
    with pytest.raises(DataError, match="one class has 4"):
        FoldedSVM().evaluate(blind, few)
