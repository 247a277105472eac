"""A second bank of batch normalisations for a network, so that two kinds of inputs keep statistics of their own.

Adversarial Examples Improve Image Recognition (AdvProp, 2020); in robust pretraining, ACL (2020).
"""

import copy
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm


class SecondBank(nn.Module):
    """Scales, shifts and running statistics of their own for every batch normalisation of a network.

    The network is not altered, and not held: it keeps its first bank, its parameters' names and its state.

    Args:
        network: whose normalisations are copied.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        found = {name: child for name, child in network.named_modules() if isinstance(child, _BatchNorm)}
        self._names = tuple(found)
        self.norms = nn.ModuleList(copy.deepcopy(child) for child in found.values())

    def run(self, network: nn.Module, *inputs: object) -> Any:
        """Return what the network gives with this bank in place of its own; running statistics follow in this bank."""
        tensors: dict[str, Tensor] = {}
        for name, norm in zip(self._names, self.norms, strict=True):
            tensors |= {f"{name}.{key}": value for key, value in (*norm.named_parameters(), *norm.named_buffers())}
        return functional_call(network, tensors, inputs)
