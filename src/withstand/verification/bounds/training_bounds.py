"""Bounds of a network in training: the certifier's own, with gradients to the parameters.

The module is traced once, in eval mode, and its parameters and buffers are put in anew at each step: batch
normalisations count with their running statistics, as they do in a certificate. Sizes: `B` samples, `C` classes.
"""

from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from withstand.core.errors import DataError
from withstand.verification.bounds.crown import interval_bounds, output_bounds, relax_network
from withstand.verification.bounds.margins import margin_weights
from withstand.verification.network.capture import BATCH, read
from withstand.verification.network.capture_trace import traced
from withstand.verification.network.network import Network
from withstand.verification.specification.box import Region

LiveBound = Literal["ibp", "crown-ibp"]


class LiveNetwork:
    """A module as a network whose gradients reach its parameters.

    Args:
        module: gives logits `(B, C)` for inputs; it is not kept in a checkpoint of whoever holds this.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._traces: dict[tuple[object, ...], fx.GraphModule] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"_module": self._module, "_traces": {}}  # a copy traces its own module

    def network(self, x: Tensor) -> Network:
        """Return the network for inputs like x `(B, *shape)`, in x's precision.

        Raises:
            ConfigError: an operation without bounds, with the nearest rewrite.
        """
        given = [*self._module.parameters(), *self._module.buffers()]
        key = (tuple(x.shape[1:]), x.dtype, x.device)
        if key not in self._traces:
            self._traces[key] = _traced(self._module, given, x)
        # Networks are read on the CPU; gradients find their way back to where the parameters are.
        here = [value.cpu() for value in given]
        return read(self._traces[key], tuple(x.shape[1:]), here).to(x.dtype, x.device)

    def margins(self, x: Tensor, y: Tensor, eps: float, *, methods: tuple[LiveBound, ...] = ("ibp",)) -> list[Tensor]:
        """Return lower bounds of the margins `f_y - f_j` within `eps` (Linf) of x, each `(B, C - 1)`, by each method.

        Args:
            x: inputs in [0, 1]; the ball is clipped to that range.
            y: labels `(B,)`.
            eps: the radius.
            methods: "ibp", or "crown-ibp", which goes back through lines drawn over intervals.
        """
        if x.dim() < 2 or not x.is_floating_point():
            raise DataError(f"bounds need floating inputs (B, ...), not {x.dtype} {tuple(x.shape)}")
        with torch.autocast(x.device.type, enabled=False):
            network = self.network(x)
            region = Region((x - eps).clamp_min(0), (x + eps).clamp_max(1))
            relaxed = relax_network(network, region, intermediate="ibp", differentiable=True)
            weight = margin_weights(y, network.classes)
            found = []
            for method in methods:
                bounds = interval_bounds if method == "ibp" else output_bounds
                found.append(bounds(relaxed, weight, differentiable=True))
        return found


def _traced(module: nn.Module, given: list[Tensor], x: Tensor) -> fx.GraphModule:
    names = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    modes = {child: child.training for child in module.modules()}

    def run(*values: Tensor) -> Tensor:
        output: Tensor = functional_call(module, dict(zip(names, values[:-1], strict=True)), (values[-1],))
        return output

    example = torch.full((BATCH, *x.shape[1:]), 0.5, dtype=x.dtype, device=x.device)
    try:
        module.eval()
        with torch.no_grad():
            return traced(run, *(value.detach() for value in given), example)
    finally:
        for child, mode in modes.items():
            child.training = mode
