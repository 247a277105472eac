"""Gradients through a matching: their closed forms for small, large and no changes of the affinities."""

import pytest
import torch

from matchings import problems
from withstand.core.errors import ConfigError
from withstand.models.matching.assignment import Affinities, as_matrices, match, matched_edges
from withstand.models.matching.black_box import matching_loss, wrong_matches


def slopes(given: Affinities, strength: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    node = given.node.clone().requires_grad_()
    assert given.edge is not None
    edge = given.edge.clone().requires_grad_()
    losses, matrices = matching_loss(Affinities(node, edge, given.first, given.second), strength)
    assert torch.equal(losses, wrong_matches(matrices))
    losses.sum().backward()
    assert node.grad is not None
    assert edge.grad is not None
    return matrices, node.grad, edge.grad


def test_losses_are_twice_the_nodes_gone_wrong_and_never_2() -> None:
    given = problems(40, 5)
    found = match(given)
    losses = wrong_matches(as_matrices(found, given.node))
    assert losses.tolist() == (2 * (found != torch.arange(5)).sum(1)).tolist()
    assert set(losses.tolist()) <= {0, 4, 6, 8, 10}
    assert float(wrong_matches(torch.eye(3)[None])) == 0


def test_far_enough_the_gradient_is_what_was_found_less_the_identity() -> None:
    given = problems(6, 6)
    matrices, to_node, to_edge = slopes(given, 1000.0)
    eye = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(to_node, (matrices - eye) / 1000)
    torch.testing.assert_close(to_node.sum(1), torch.zeros(6, 6, dtype=torch.float64))
    assert given.first is not None
    assert given.second is not None
    ends = given.first, given.second
    expected = (matched_edges(matrices, *ends) - matched_edges(eye.expand(6, -1, -1), *ends)) / 1000
    torch.testing.assert_close(to_edge, expected)


def test_descending_draws_the_diagonal_up_and_wrong_matches_down() -> None:
    given = problems(6, 6)
    matrices, to_node, _ = slopes(given, 80.0)
    wrong = (matrices > 0) & (torch.eye(6) == 0)
    assert bool(wrong.any())
    assert bool((to_node[wrong] > 0).all())
    missed = (matrices == 0) & (torch.eye(6) == 1)
    assert bool((to_node[missed] < 0).all())


def test_where_nothing_changes_the_gradient_is_0() -> None:
    given = problems(4, 5)
    assert not slopes(given, 1e-9)[1].any(), "a step so short leaves the matching as it is"
    sure = Affinities(given.node + 100 * torch.eye(5), given.edge, given.first, given.second)
    assert not slopes(sure, 80.0)[1].any(), "the identity is what the loss wants"


def test_a_mean_over_problems_scales_the_gradient_alone() -> None:
    given = problems(4, 5)
    assert given.edge is not None
    node = given.node.clone().requires_grad_()
    matching_loss(Affinities(node, given.edge, given.first, given.second), 2.0)[0].mean().backward()
    assert node.grad is not None
    torch.testing.assert_close(node.grad, slopes(given, 2.0)[1] / 4)


def test_strength_is_above_0() -> None:
    with pytest.raises(ConfigError, match="strength"):
        matching_loss(problems(1, 3), 0.0)
