"""Gradients through a matching, which is a step function: by solving once more where the loss points.

Implicit maximum likelihood estimation (Niepert et al., 2021), as in LVM-Med: Learning Large-Scale Self-Supervised
Vision Models for Medical Imaging via Second-order Graph Matching (2023); without noise it is the black-box
differentiation of Vlastelica et al. (2020), for affinities, which are maximised, where they have costs.

Sizes: G problems, N nodes, E and F edges of both graphs.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from withstand.core.errors import ConfigError
from withstand.models.matching.assignment import Affinities, as_matrices, match, matched_edges


def matching_loss(affinities: Affinities, strength: float = 80.0) -> tuple[Tensor, Tensor]:
    """Return each problem's `wrong_matches`, `(G,)`, with a gradient, and the matchings, matrices `(G, N, N)` without.

    With v the matching and w that of node affinities less `strength` times `1 - 2 I`, the loss's gradient by v, a
    problem's gradient by node affinities is `(v - w) / strength`, and likewise by edge affinities, by which edges go to
    which. Where the loss asks for nothing else, w is v, and the gradient 0. What weighs the problems afterwards, as the
    mean over them, scales the gradient and not the step to w, so that a batch may be cut anyhow.

    Args:
        affinities: noise added, where there is to be some.
        strength: lambda, above 0: far beyond the affinities' range the second solution is the identity.

    Raises:
        ConfigError: strength is not above 0.
    """
    if not strength > 0:
        raise ConfigError(f"strength must be above 0, not {strength!r}")
    given = affinities.node, affinities.edge, affinities.first, affinities.second
    losses, matrices = _Matching.apply(*given, strength)
    return losses, matrices


def wrong_matches(matrices: Tensor) -> Tensor:
    """Return `<v, 1 - I> + <I, 1 - v>` of matchings that should be the identity, `(G,)`: twice the nodes gone wrong."""
    right = matrices.diagonal(dim1=1, dim2=2).sum(1)
    return matrices.sum((1, 2)) - right + matrices.shape[1] - right


class _Matching(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, node: Tensor, edge: Tensor | None, first: Tensor | None, second: Tensor | None, strength: float
    ) -> tuple[Tensor, Tensor]:
        found = as_matrices(match(Affinities(node, edge, first, second)), node)
        ctx.strength = strength
        ctx.save_for_backward(node, edge, first, second, found)
        ctx.mark_non_differentiable(found)
        return wrong_matches(found), found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weights: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        node, edge, first, second, found = ctx.saved_tensors
        away = 1 - 2 * torch.eye(node.shape[1], device=node.device, dtype=node.dtype)
        wanted = match(Affinities(node - ctx.strength * away, edge, first, second))
        other = as_matrices(wanted, node)
        scale = weights[:, None, None] / ctx.strength
        to_node = (found - other) * scale
        to_edge = None
        if edge is not None:
            moved = matched_edges(found, first, second) - matched_edges(other, first, second)
            to_edge = (moved * scale).to(edge)
        return to_node, to_edge, None, None, None
