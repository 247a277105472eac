"""The audit of whole graphs' classifiers: nothing of the network changes, and what is flipped is counted."""

import copy

import pytest
import torch
from torch import nn

from graphs import graph, graph_set
from withstand.core.errors import DataError
from withstand.core.random import isolated
from withstand.data.graphs.sets import GraphSet
from withstand.evaluation.structured.graph_set_audit import GraphSetAudit
from withstand.models.graphs.encoder import GIN
from withstand.recipes.setups.structured.graphs import audit_of


def classifier() -> nn.Module:
    with isolated(1):
        return nn.Sequential(GIN(4, 8, 1, norm="batch"), nn.Linear(8, 2))


def test_a_network_in_training_mode_is_left_as_it_is() -> None:
    network = classifier().train()
    before = copy.deepcopy(network.state_dict())
    finding = GraphSetAudit(samples=4, flips=1, tried=3).evaluate(network, graph_set(8))
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    again = GraphSetAudit(samples=4, flips=1, tried=3).evaluate(classifier().eval(), graph_set(8))
    assert finding.figures == again.figures


def test_more_flips_and_chosen_ones_break_no_less() -> None:
    finding = GraphSetAudit(flips=3, tried=99).evaluate(classifier().eval(), graph_set(12, nodes=6))
    table = finding.tables["edge flips"]
    chosen = table.column("accuracy, chosen")
    assert list(chosen) == sorted(chosen, reverse=True)
    head = finding.figures["robust accuracy, 3 edge flip(s)"].value
    assert head <= min(chosen[-1], table.column("accuracy, drawn")[-1])
    assert finding.protocol["headline"]["standing"].startswith(("an upper bound by greedy", "not believable"))


def test_what_is_no_set_of_labelled_graphs_is_refused() -> None:
    with pytest.raises(DataError, match="whole graphs with labels"):
        GraphSetAudit().evaluate(classifier(), graph())


def test_sets_of_directed_graphs_have_an_audit_of_single_directions() -> None:
    ends, member = torch.tensor([[0, 1, 3, 4, 6], [1, 2, 4, 5, 7]]), torch.arange(9) // 3
    source = GraphSet(ends, member, torch.rand(9, 4), [0, 1, 0], directed=True)
    audit = audit_of(source, 2)
    assert isinstance(audit, GraphSetAudit)
    said = {
        directed: GraphSetAudit(samples=3, flips=1).evaluate(classifier().eval(), held).protocol["edges"]
        for directed, held in ((True, source), (False, graph_set(3)))
    }
    assert "one direction of an edge" in said[True]
    assert "both ways" in said[False]
