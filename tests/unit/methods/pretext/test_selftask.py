"""SelfTask: what each task asks, and what it changes."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from graphs import graph
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, isolated
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.source import SeenLabels
from withstand.methods.pretext.selftask import SelfTask
from withstand.models.graphs.encoder import GCN
from withstand.models.graphs.label_tasks import ContextLabel, DistanceToLabelled
from withstand.models.graphs.tasks import (
    AttributeMask,
    DistanceToClusters,
    EdgeMask,
    NodeDegree,
    PairwiseDistance,
    PairwiseSimilarity,
    Task,
    of_pairs,
)

TASKS: dict[str, Task] = {
    "degree": NodeDegree(),
    "degree, quarters": NodeDegree("quarter"),
    "edges": EdgeMask(0.2),
    "distance": PairwiseDistance(50),
    "clusters": DistanceToClusters(4),
    "attributes": AttributeMask(0.3),
    "attributes, components": AttributeMask(0.3, components=3),
    "similarity": PairwiseSimilarity(2, 40),
    "labelled": DistanceToLabelled(),
    "context": ContextLabel(),
    "context, iterative": ContextLabel("iterative"),
    "context, both, corrected": ContextLabel("both", corrected=True),
}


def method(task: Task | None = None, weight: float = 1.0, **settings: object) -> SelfTask:
    with isolated("selftask"):
        given = {} if task is None else {"tasks": (task,), "weights": (weight,)}
        return SelfTask(GCN(6, 8, 1, dropout=0.0), 3, dropout=0.0, **given, **settings)  # type: ignore[arg-type]


def batch() -> Batch:
    source = SeenLabels(graph(60))
    return source[range(60)]


def known(given: Batch) -> Tensor:
    assert given.y is not None
    return given.y


def prepared(task: Task) -> tuple[Graphs, dict[str, Tensor]]:
    given = batch()
    graphs = Graphs.of(given.x)
    draws = Draws(0, torch.zeros(1, dtype=torch.int64))
    return task.change(graphs, known(given), draws), dict(task.prepare(graphs, known(given), 3, draws))


@pytest.mark.thorough
@pytest.mark.parametrize("name", TASKS)
def test_each_tasks_loss_falls(name: str) -> None:
    subject, given = method(TASKS[name], 5.0), batch()
    optimizer = torch.optim.Adam(subject.parameters(), 0.02)
    losses = []
    for step in range(60):
        terms = subject.step(replace(given, step=step))
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms[type(TASKS[name]).__name__].item())
    assert sum(losses[-5:]) < sum(losses[:5])


@pytest.mark.parametrize("name", TASKS)
def test_a_task_of_weight_zero_is_the_plain_classifier(name: str) -> None:
    plain, other, given = method(), method(TASKS[name], 0.0), batch()
    for subject in (plain, other):
        optimizer = torch.optim.SGD(subject.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            subject.step(given)["loss"].backward()
            optimizer.step()
    for one, two in zip(plain.encoder.parameters(), other.encoder.parameters(), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(plain.step(given)["loss"], other.step(given)["loss"])


@pytest.mark.parametrize("name", TASKS)
def test_targets_come_out_alike_whenever_they_are_prepared(name: str) -> None:
    (first, one), (second, two) = prepared(TASKS[name]), prepared(TASKS[name])
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[part]) for part, value in one.items())
    assert torch.equal(first.edges.column, second.edges.column)


def test_masked_edges_are_gone_and_the_others_are_none() -> None:
    whole = Graphs.of(batch().x).edges
    seen, targets = prepared(EdgeMask(0.2))
    keys = set(zip(seen.edges.row.tolist(), seen.edges.column.tolist(), strict=True))
    every = set(zip(whole.row.tolist(), whole.column.tolist(), strict=True))
    for u, v in targets["linked"].tolist():
        assert (u, v) in every
        assert (u, v) not in keys
        assert (v, u) not in keys
    assert len(targets["apart"]) == len(targets["linked"])
    for u, v in targets["apart"].tolist():
        assert u != v
        assert (u, v) not in every


def test_distances_are_classed_by_hops() -> None:
    from withstand.data.graphs.structure.hops import hops_from

    hops = hops_from(Graphs.of(batch().x).edges, torch.arange(60))
    _, targets = prepared(PairwiseDistance())
    for place, pairs in targets.items():
        found = hops[pairs[:, 0].long(), pairs[:, 1].long()]
        assert bool((found == int(place) + 1).all()) if place != "3" else bool((found >= 4).all())
    assert sum(map(len, targets.values())) == 60 * 59 // 2


def test_pairs_may_change_places() -> None:
    head, z = nn.Linear(8, 4), torch.randn(10, 8)
    pairs = torch.tensor([[0, 3], [5, 2]])
    assert torch.equal(of_pairs(head, z, pairs), of_pairs(head, z, pairs.flip(1)))


def test_blanked_features_are_of_unlabelled_nodes() -> None:
    given = batch()
    before = Graphs.of(given.x).dense()
    seen, targets = prepared(AttributeMask(0.3))
    assert bool((known(given)[targets["blank"]] < 0).all())
    assert not seen.dense()[targets["blank"]].any()
    assert torch.equal(targets["clean"], before[targets["blank"]])
    rest = torch.ones(60, dtype=torch.bool)
    rest[targets["blank"]] = False
    assert torch.equal(seen.dense()[rest], before[rest])


def test_nearness_to_labelled_nodes() -> None:
    from withstand.data.graphs.structure.hops import hops_from, nearness

    given = batch()
    _, targets = prepared(DistanceToLabelled())
    near = nearness(hops_from(Graphs.of(given.x).edges, torch.arange(60)))
    for label in range(3):
        members = (known(given) == label).nonzero()[:, 0]
        torch.testing.assert_close(targets["near"][:, label], near[:, members].mean(1))
    assert set(targets["free"].tolist()) == set((known(given) < 0).nonzero()[:, 0].tolist())


def test_contexts_use_known_labels_as_they_are() -> None:
    given = batch()
    _, targets = prepared(ContextLabel())
    seen = known(given) >= 0
    assert torch.equal(targets["guessed"][seen], known(given)[seen])
    sums = targets["shares"].sum(1)
    assert bool((((sums - 1).abs() < 1e-5) | (sums == 0)).all())


def test_labels_of_other_parts_are_never_read() -> None:
    """Other labels of validation and test nodes, and not a bit of the training changes."""
    source = graph(60)
    hidden = SeenLabels(source)
    assert hidden.labels is not None
    assert source.labels is not None
    assert bool((hidden.labels[20:] == -1).all())
    assert torch.equal(hidden.labels[:20], source.labels[:20])
    assert torch.equal(hidden[range(60)].y, hidden.labels)  # type: ignore[arg-type]


def test_two_stages() -> None:
    subject, given = method(NodeDegree(), alone=2), batch()
    subject.step(given)["loss"].backward()
    assert not subject.classifier.weight.grad.any()
    subject.zero_grad()
    subject.step(replace(given, epoch=2))["loss"].backward()
    assert subject.classifier.weight.grad.any()


def test_the_network_is_what_was_trained() -> None:
    subject = method().eval()
    x = graph(60)[[4, 9]].x
    assert torch.equal(subject.network()(x), subject.logits(x))
    assert subject.logits(x).shape == (2, 3)


def test_wrong_use_is_told() -> None:
    with pytest.raises(ConfigError, match="1 tasks need as many weights, not 0"):
        SelfTask(GCN(6, 8), 3, tasks=(NodeDegree(),))
    with pytest.raises(ConfigError, match="did you mean 'propagation'"):
        ContextLabel("propagate")  # type: ignore[arg-type]
    unlabelled = SeenLabels(graph(60))[range(30, 60)]
    with pytest.raises(DataError, match="none of this batch has one"):
        method().step(unlabelled)
