"""Gradient checkpointing: what blocks compute inside is not kept for the backward pass, but computed again there.

Memory for one block's inside and for what goes from block to block, in place of all of it, for about a third more time
(Training Deep Nets with Sublinear Memory Cost, 2016). Gradients are the same, and so are running statistics.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def through(blocks: nn.Sequential, x: Tensor, *, recompute: bool) -> Tensor:
    """Return what blocks make of `x`, one after the other.

    Args:
        blocks: each takes what the one before gives.
        x: what the first takes.
        recompute: compute each block again in the backward pass, where there is one.
    """
    if not recompute or not torch.is_grad_enabled():
        found: Tensor = blocks(x)
        return found
    for block in blocks:
        x = checkpoint(block, x, use_reentrant=False, context_fn=partial(_contexts, block))
    return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _statistics_kept(block)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Leave running statistics as they were: the batch has been counted in the forward pass."""
    held = [buffer for module in block.modules() if isinstance(module, _BatchNorm) for buffer in module.buffers()]
    before = [buffer.clone() for buffer in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(held, before, strict=True):
                buffer.copy_(value)
