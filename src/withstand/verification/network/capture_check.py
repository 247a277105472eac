"""Whether a captured network is the model that it was captured of: both are run on many points of a region.

Sizes: `N` samples, `B` points.
"""

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.random import derive
from withstand.core.victims.victim import Victim
from withstand.verification.network.network import Network
from withstand.verification.specification.box import Region

POINTS = 64
"""Points at which the two are compared, or one for each sample where these are more."""

_CHUNK = 32
_CLOSE = 1e-4
_ROUNDINGS = 100
_LIKELY = 1e-2


def compare(network: Network, victim: Victim, region: Region, dtype: torch.dtype) -> float:
    """Return how far the outputs of a captured network and of its model differ at most, over many points.

    Of probabilities, the difference of logarithms counts, as far as these are not tiny.

    Args:
        network: in float64.
        victim: the model, held.
        region: N regions; points of all of them are tried: corners, what lies between, centres.
        dtype: of the model's inputs.

    Raises:
        ConfigError: they differ by more than rounding explains.
    """
    largest = 0.0
    for points in torch.split(points_of(region).to(dtype), _CHUNK):
        wanted = victim.output(points.clone())
        found = as_given(network, network(points))
        off = (found - wanted).abs().max().item() if found.shape == wanted.shape else float("inf")
        share = max(_CLOSE, _ROUNDINGS * torch.finfo(dtype).eps) * max(1.0, wanted.abs().max().item())
        # Folded layers round otherwise than single ones; whatever is let pass here, proofs have to exceed.
        if not off <= share and not off <= _ROUNDINGS * _rounding(network, points):
            raise ConfigError(
                f"the captured network differs from the model by {off:.3g} at one of {POINTS} points: the model "
                "does what tracing cannot follow, such as arithmetic outside of torch, or keeps a state"
            )
        if _softmax(network) == "softmax":
            likely = wanted > _LIKELY
            off = (found[likely].log() - wanted[likely].double().log()).abs().max().item() if likely.any() else 0.0
        largest = max(largest, off)
    return largest


def as_given(network: Network, outputs: Tensor) -> Tensor:
    """Return outputs as the model gives them, with the softmax that capture has stripped."""
    stripped = _softmax(network)
    if not stripped:
        return outputs
    return outputs.softmax(-1) if stripped == "softmax" else outputs.log_softmax(-1)


def _softmax(network: Network) -> str:
    """Return which softmax capture has stripped, if any."""
    return next((note.partition(" ")[0] for note in network.notes if "softmax at the end stripped" in note), "")


def points_of(region: Region) -> Tensor:
    """Return points of N regions, in turn: the low corner, the high one, the middle, other corners, anywhere inside."""
    count, device = max(POINTS, len(region)), region.low.device
    rows = torch.arange(count) % len(region)
    draws = torch.Generator().manual_seed(derive("capture"))
    unit = torch.rand(count, *region.low.shape[1:], generator=draws, dtype=torch.float64)
    kind = ((torch.arange(count) // len(region) + rows) % 8).view(-1, *[1] * (unit.dim() - 1))
    unit = torch.where((kind >= 3) & (kind <= 5), unit.round(), unit)
    for number, value in ((0, 0.0), (1, 1.0), (2, 0.5)):
        unit = unit.masked_fill(kind == number, value)
    return region[rows.to(device)].sample(unit.to(device))


def _rounding(network: Network, points: Tensor) -> float:
    """Return how far the network's own outputs differ between float32 and float64; a model's own may differ so too."""
    if points.dtype == torch.float64:
        return 0.0
    return (network.to(torch.float32)(points).double() - network(points)).abs().max().item()
