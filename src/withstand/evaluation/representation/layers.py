"""What a network holds layer by layer, and how unequally: features, spectra, and what a head weighs down.

Investigating the Benefits of Projection Head for Representation Learning (2024).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import DataError
from withstand.core.roles import Method, Source, encoder_of
from withstand.core.victims.victim import Victim
from withstand.evaluation.features import Features, ProgressCallback
from withstand.models.blocks.taps import row_layers, tapped

ENCODER = "encoder"
HEAD = "head"


def layer_features(
    subject: Method | nn.Module,
    source: Source,
    *,
    most: int = 12,
    limit: int | None = None,
    batch: int = 512,
    progress: ProgressCallback | None = None,
) -> dict[str, Features]:
    """Return the features of each layer, from the input on: blocks, the whole encoder, and the head layer by layer.

    Args:
        subject: a method, or any network from samples to features; run in eval mode, and restored.
        source: the samples; pictures of bytes are handed over as float in [0, 1].
        most: layers within the encoder at most, evenly.
        limit: most samples, evenly by index.
        batch: samples in one forward pass.
        progress: called after each batch.
    """
    encoder = encoder_of(subject) if isinstance(subject, Method) else subject
    head = subject.projector() if isinstance(subject, Method) else None
    network = nn.Sequential(encoder) if head is None else nn.Sequential(encoder, head)
    device = device_of_network(network)
    count = len(source) if limit is None else min(limit, len(source))
    rows = torch.arange(count) * len(source) // count
    batch = source.at_once or batch
    with Victim(network).held(), torch.no_grad():

        def read(chosen: Tensor) -> Tensor:
            return unit_range(source[chosen].x.to(device))

        names = _named(network, row_layers(network, read(rows[:2] if source.at_once is None else rows)), most)
        collected: dict[str, list[Tensor]] = {name: [] for name in names}
        for start in range(0, count, batch):
            found = tapped(network, read(rows[start : start + batch]), list(names.values()))
            for name, module in names.items():
                collected[name].append(found[module].float().cpu())
            if progress is not None:
                progress(min(start + batch, count), count)
    labels = source.labels
    y = None if labels is None else labels[rows].cpu()
    features = {name: Features(torch.cat(some), y, rows, source.classes) for name, some in collected.items()}
    # The encoder's last block, averaged, may be the encoder, and the head's last layer the head: once is enough.
    ends = [name for name in (ENCODER, HEAD) if name in features]
    again = [
        name
        for name, some in features.items()
        if name not in ends and any(torch.equal(some.x, features[end].x) for end in ends)
    ]
    return {name: some for name, some in features.items() if name not in again}


def _named(network: nn.Sequential, found: Sequence[str], most: int) -> dict[str, str]:
    """Return the layers to read by the names that people see, in the order in which they are run."""
    inner = [name for name in found if name.startswith("0.")]
    step = max(1, -(-len(inner) // most))
    inner = inner[::-1][::step][::-1]
    named = {name.removeprefix("0.").removeprefix("encoder."): name for name in inner} | {ENCODER: "0"}
    if len(network) > 1:
        steps = [name for name in found if name.startswith("1.")]
        named |= {f"{HEAD}, layer {place}": name for place, name in enumerate(steps, start=1)}
        named[HEAD] = "1"
    return named


class HeadWeights(NamedTuple):
    """How strongly features count before and after a head, along their principal directions, largest first.

    Attributes:
        before: standard deviation of the features along each direction, `(K,)`.
        after: length by which the head's output moves, on average, with one standard deviation along it, `(K,)`.
        linear_share: how much of the output's variance moves so; the rest is the head's non-linearity.
    """

    before: Tensor
    after: Tensor
    linear_share: float


def head_weights(features: Tensor, outputs: Tensor) -> HeadWeights:
    """Return a head's weighing of features `(N, W)` from its outputs for them `(N, D)`, both centred here.

    For a linear head with principal directions u of features of deviations s this is exactly s and `|W u| s`.

    Raises:
        DataError: fewer samples than twice the features, which would fit by chance.
    """
    if len(features) < 2 * features.shape[1]:
        raise DataError(
            f"the weighing of {features.shape[1]} features needs twice as many samples, not {len(features)}"
        )
    x, z = (some.double() - some.double().mean(0) for some in (features, outputs))
    left, size, _ = torch.linalg.svd(x, full_matrices=False)
    kept = size > _noise(features)
    moved = left[:, kept].T @ z  # left has unit columns: deviations of one, over sqrt(N)
    share = float(moved.square().sum() / z.square().sum().clamp_min(1e-300))
    root = len(x) ** 0.5
    return HeadWeights(size[kept] / root, moved.norm(dim=1) / root, share)


def spectrum(x: Tensor) -> Tensor:
    """Return the singular values of centred features `(N, W)`, largest first; those of round-off are 0."""
    values: Tensor = torch.linalg.svdvals(x.double() - x.double().mean(0))
    return torch.where(values > _noise(x), values, 0)


def condition(values: Tensor) -> float:
    """Return the largest singular value over the smallest that is not 0; 1 where all are."""
    kept = values[values > 0]
    return float(kept[0] / kept[-1]) if len(kept) else 1.0


def _noise(x: Tensor) -> float:
    """Return a size that singular values of float32's round-off stay below: its matrix's norm, times 10."""
    size: float = torch.finfo(torch.float32).eps * float(x.abs().max())
    sides: float = len(x) ** 0.5 + x.shape[1] ** 0.5
    return 10 * size * sides
