"""A copy of a victim in bfloat16, on which attacks search where processors have units for it.

A gradient attack spends a thousand passes on a sample that holds, most of them far from the boundary, where two digits
of a logit are as good as seven. What the copy leaves in doubt is asked of the model itself: every success, and every
point inside the ball whose margin is within the copy's error; and where a search comes near the boundary and does not
cross it, the model itself is searched. The first layer stays in single precision: in a
picture rounded to bfloat16 a change of half a grey level would be lost.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from withstand.attacks.fast_passes.folding import may_copy, twin
from withstand.attacks.problem import is_deep
from withstand.core.random import isolated
from withstand.core.victims.victim import Outputs, Victim

ERROR = 0.05
"""How far the copy's logits may be off, as a part of the range of a sample's logits; typical is a tenth of it."""
NEAR = 0.15
"""Samples that a search on the copy leaves right by less than this part of the range are searched anew without it."""

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def halved(victim: Victim, x: Tensor) -> Victim | None:
    """Return a copy of the victim in bfloat16; None where it would be no faster, or its logits are not near enough.

    Args:
        victim: held, so in eval mode.
        x: a few inputs in its range, on which logits are compared.
    """
    model = victim.model
    if not isinstance(model, nn.Module) or not is_deep(model):
        return None
    if not may_copy(victim, x) or x.dtype != torch.float32 or not fast_bfloat16(x.device):
        return None
    try:
        copy = twin(model)
        first = _first_layer(copy, lambda: victim.like(copy)(x.clone()))
        first.__dict__["forward"] = _in_single(first.forward)
        half = victim.like(_Half(copy))
        with isolated("half precision"), torch.no_grad():
            wanted, found = victim(x.clone()), half(x.clone())
    except Exception:  # whatever a model does that a copy of it cannot: the model itself does it
        return None
    return half if _near(wanted, found) else None


def fast_bfloat16(device: torch.device) -> bool:
    """Return whether a device is a processor with matrix units for bfloat16."""
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


class _Half(nn.Module):
    """A network that computes in bfloat16 from its second layer on, and gives single precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits: Tensor = self.network(x)
        return logits.float()


def _first_layer(network: nn.Module, look: Callable[[], object]) -> nn.Module:
    """Return the layer with weights that is called first."""
    called: list[nn.Module] = []
    layers = [module for module in network.modules() if type(module) in _LAYERS]
    handles = [layer.register_forward_pre_hook(lambda layer, _: called.append(layer)) for layer in layers]
    try:
        with isolated("half precision"), torch.no_grad():
            look()
    finally:
        for handle in handles:
            handle.remove()
    return called[0]


def _in_single(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def in_single(x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(x).bfloat16()

    return in_single


def _near(wanted: Outputs, found: Outputs) -> bool:
    if not isinstance(wanted, Tensor) or not isinstance(found, Tensor) or wanted.dim() != 2:
        return False
    return wanted.shape == found.shape and bool(((wanted - found).abs().amax(1) <= ERROR / 2 * spread(wanted)).all())


def spread(logits: Tensor) -> Tensor:
    """Return the range of each sample's logits, `(N,)`."""
    return logits.amax(1) - logits.amin(1)
