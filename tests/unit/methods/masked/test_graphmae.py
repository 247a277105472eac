"""GraphMAE's mechanisms: re-masking, how far the loss looks, what is learnt."""

from dataclasses import replace

import pytest
import torch

from graphs import graph, graph_set, masked
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.data.graphs.container import Graphs
from withstand.data.graphs.source import GraphSource
from withstand.methods.masked.graphmae import GraphMAE
from withstand.models.graphs.encoder import GAT, GIN


def method(**settings: object) -> GraphMAE:
    torch.manual_seed(0)
    return GraphMAE(GAT(6, 8, 2, 2, feature_dropout=0, attention_dropout=0), **settings).double()  # type: ignore[arg-type]


def double(batch: Batch) -> Batch:
    return batch.with_views(Graphs.of(batch.views[0]).map(torch.Tensor.double).as_samples())


def isolated_nodes() -> Batch:
    source = GraphSource(torch.empty(2, 0, dtype=torch.int64), torch.rand(10, 6))
    return double(masked(source[torch.arange(10)]))


def test_a_hidden_node_without_neighbors_teaches_the_encoder_nothing() -> None:
    """Re-masking takes its own code away, and there is no other: no gradient reaches encoder, bridge or token."""
    subject = method()
    subject.step(isolated_nodes())["loss"].backward()
    for name, parameter in subject.named_parameters():
        silent = not name.startswith("decoder.bias")
        assert parameter.grad is None or not silent or not parameter.grad.abs().max() > 0, name
    subject = method(remask=False)
    subject.step(isolated_nodes())["loss"].backward()
    assert subject.bridge.weight.grad is not None
    assert subject.bridge.weight.grad.abs().max() > 0


def test_the_loss_looks_no_further_than_the_layers_reach() -> None:
    """On a path, two encoder layers and the decoder see three hops round a hidden node."""
    nodes = 12
    path = torch.stack([torch.arange(nodes - 1), torch.arange(1, nodes)])
    source = GraphSource(path, torch.rand(nodes, 6))
    clean = source.graph().map(torch.Tensor.double)
    x = clean.dense().requires_grad_()
    hidden = torch.tensor([0])
    view = replace(clean, x=x, masked=hidden, blank=hidden[:0], clean=torch.rand(1, 6).double())
    subject = method()
    loss = subject.step(Batch(clean.as_samples(), torch.arange(nodes), views=(view.as_samples(),)))["loss"]
    (gradient,) = torch.autograd.grad(loss, x)
    reached = gradient.abs().sum(1) > 0
    assert reached.tolist() == [True] * 4 + [False] * 8


def test_the_loss_is_over_hidden_nodes_alone() -> None:
    subject, batch = method(loss="mse"), double(masked(graph()[torch.arange(30)]))
    view = Graphs.of(batch.views[0])
    codes = subject.encoder.nodes(replace(view, fill=subject.token))
    prediction = subject.decode(view, codes)
    assert view.masked is not None
    assert prediction.shape == (len(view.masked), 6)
    assert isinstance(view.clean, torch.Tensor)
    expected = (prediction - view.clean).square().mean()
    torch.testing.assert_close(subject.step(batch)["loss"], expected)


@pytest.mark.parametrize("settings", [{}, {"decoder": "mlp"}, {"decoder": "linear"}, {"concat": True}, {"loss": "mse"}])
def test_it_learns_what_neighbors_tell(settings: dict[str, object]) -> None:
    subject, batch = method(**settings), double(masked(graph()[torch.arange(30)]))
    optimizer = torch.optim.Adam(subject.parameters(), 0.01)
    losses = []
    for _ in range(30):
        loss = subject.step(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_the_token_begins_at_zero_and_learns() -> None:
    subject = method()
    assert not subject.token.any()
    subject.step(double(masked(graph()[torch.arange(30)])))["loss"].backward()
    assert subject.token.grad is not None
    assert subject.token.grad.abs().max() > 0


def test_embeddings_are_of_clean_samples() -> None:
    subject = method().float().eval()
    source = graph()
    features = subject.embed(source[[3, 1]].x)
    assert features.shape == (2, 8)
    torch.testing.assert_close(features, subject.embed(source[torch.arange(30)].x)[[3, 1]])
    torch.manual_seed(0)
    sets = GraphMAE(GIN(4, 8, 2))
    terms = sets.step(masked(graph_set()[range(8)]))
    assert terms["embeddings"].shape == (1, 8, 8)


def test_wrong_use_is_told() -> None:
    with pytest.raises(ConfigError, match="did you mean 'mse'"):
        method(loss="mes")
    with pytest.raises(ConfigError, match="alpha must be at least 1"):
        method(alpha=0.5)
    with pytest.raises(DataError, match="MaskNodes"):
        method().step(graph()[[0, 1]])
    with pytest.raises(DataError, match="no node of 30 is hidden"):
        method().step(double(masked(graph()[torch.arange(30)], rate=0.01)))
