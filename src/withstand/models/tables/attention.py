"""Attention among a handful of tokens, as a table's columns are, faster on a CPU than kernels for long sequences.

Sizes: `N` samples, `T` queries, `K` keys, `A` heads, `H` width over all heads.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

FEW = 24
"""Keys up to which the products are batched here; from about 30 on torch's kernel is as fast."""
LEAST = 400
"""Products of a batch in which T K H / A is below this go through torch's plain loop, many times slower than larger
ones; queries that are all 0, whose output is left out, lift them over it."""
SAFE = 80.0
"""exp(80) times `FEW`, and exp(-80), are ordinary float32 numbers."""


def attend(query: Tensor, pairs: Tensor, heads: int, dropout: float = 0.0) -> Tensor:
    """Return softmax(Q K^T / sqrt(H / A)) V for each head, `(N, T, H)`.

    Args:
        query: `(N, T, H)`.
        pairs: keys and values side by side, `(N, K, 2 H)`.
        heads: A.
        dropout: on the weights.
    """
    training = torch.is_grad_enabled() and (query.requires_grad or pairs.requires_grad)
    plain = dropout > 0 or query.dtype not in (torch.float32, torch.float64) or query.device.type != "cpu"
    if plain or pairs.shape[1] > FEW or torch.compiler.is_compiling():
        return _by_kernel(query, pairs, heads, dropout)
    if training:
        found: Tensor = _FewTokens.apply(query, pairs, heads)
        return found
    return _forward(query, pairs, heads)[0]


def _by_kernel(query: Tensor, pairs: Tensor, heads: int, dropout: float) -> Tensor:
    count, tokens, width = query.shape
    q = query.view(count, tokens, heads, -1).transpose(1, 2)
    k, v = pairs.view(count, pairs.shape[1], 2, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2).reshape(count, tokens, width)


def _forward(query: Tensor, pairs: Tensor, heads: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the output, and what its gradient needs: Q, K, V by head and the weights."""
    tokens = query.shape[1]
    rows = max(tokens, -(-LEAST // (pairs.shape[1] * (query.shape[2] // heads))))
    (q,), (k, v) = _apart(query, heads, 1, rows), _apart(pairs, heads, 2, pairs.shape[1])
    weights = _scaled(q, k.transpose(1, 2), q.shape[2] ** -0.5)
    # In place of torch's softmax, which is many times slower over so few entries. Scores that no exponential overflows
    # on need no shift.
    least, most = weights.aminmax()
    if not (least > -SAFE and most < SAFE):
        weights.sub_(weights.amax(2, keepdim=True))
    weights.exp_()
    weights.div_(_sums(weights))
    return _together(torch.bmm(weights, v)[None], heads, tokens), (q, k, v, weights)


class _FewTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, pairs: Tensor, heads: int) -> Tensor:
        out, kept = _forward(query, pairs, heads)
        ctx.heads = heads
        ctx.save_for_backward(*kept)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        q, k, v, weights = ctx.saved_tensors
        tokens = gradient.shape[1]
        (gradient,) = _apart(gradient.contiguous(), ctx.heads, 1, q.shape[1])
        to_pairs = k.new_empty(2, *k.shape)
        torch.bmm(weights.transpose(1, 2), gradient, out=to_pairs[1])
        # The softmax: dL/ds = p (dL/dp - sum of p dL/dp).
        slopes = torch.bmm(gradient, v.transpose(1, 2)).mul_(weights)
        slopes.addcmul_(weights, _sums(slopes), value=-1)
        scale = q.shape[2] ** -0.5
        to_query = _scaled(slopes, k, scale)
        torch.baddbmm(to_pairs[0], slopes.transpose(1, 2), q, beta=0, alpha=scale, out=to_pairs[0])
        return (
            _together(to_query[None], ctx.heads, tokens),
            _together(to_pairs, ctx.heads, k.shape[1]),
            None,
        )


def _sums(x: Tensor) -> Tensor:
    """Return the sums over the last axis, `(..., 1)`: a product with ones is twice as fast over so few entries."""
    return (x.flatten(0, -2) @ x.new_ones(x.shape[-1])).view(*x.shape[:-1], 1)


def _scaled(first: Tensor, second: Tensor, scale: float) -> Tensor:
    out = first.new_empty(len(first), first.shape[1], second.shape[2])
    return torch.baddbmm(out, first, second, beta=0, alpha=scale)


def _apart(x: Tensor, heads: int, parts: int, rows: int) -> Tensor:
    """Return `(parts, N A, R, H / A)` of `(N, T, parts H)`; the last R - T rows are 0."""
    count, tokens, width = x.shape
    split = x.view(count, tokens, parts, heads, width // parts // heads).permute(2, 0, 3, 1, 4)
    out = x.new_empty(parts, count, heads, rows, split.shape[4])
    out[:, :, :, :tokens].copy_(split)
    out[:, :, :, tokens:].zero_()
    return out.flatten(1, 2)


def _together(x: Tensor, heads: int, tokens: int) -> Tensor:
    """Return the first T rows `(N, T, parts H)` of `(parts, N A, R, H / A)`."""
    parts, count, rows, width = x.shape
    split = x.view(parts, count // heads, heads, rows, width)[:, :, :, :tokens].permute(1, 3, 0, 2, 4)
    return split.reshape(count // heads, tokens, parts * heads * width)
