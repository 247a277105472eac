"""What judges of enlarged pictures and of enlarged clips share: the ways that are compared, figures, tables."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from withstand.core.devices.device import device_of_network
from withstand.core.findings.finding import Better, Check, Measure, Table
from withstand.core.victims.victim import Victim

PSNR, SSIM, RATIO = "PSNR", "SSIM", "gradient-energy ratio"
BICUBIC, UNTRAINED = "bicubic", "untrained"
Kind: TypeAlias = tuple[str, Better]
"""A figure's unit, and which way is better."""


@runtime_checkable
class Upscales(Protocol):
    """A method that enlarges pictures."""

    @property
    def scale(self) -> int:
        """How many times as long sides become."""
        ...

    def upscalers(self) -> Mapping[str, nn.Module]:
        """Return networks from pictures in [0, 1] to larger ones, by name; the last is what the method gives."""
        ...


@runtime_checkable
class Adversarial(Protocol):
    """A method with a critic."""

    def diverged(self) -> str:
        """Return in words how the critic has left the game; "" while it is in it."""
        ...


def ways_of(subject: Upscales, control: Any) -> tuple[dict[str, nn.Module], str]:
    """Return the networks that are compared, by name, and what the subject's own is called."""
    ways = dict(subject.upscalers())
    own = list(ways)[-1]
    if control is not None:
        ways[UNTRAINED] = list(control.upscalers().values())[-1]
    return ways, own


def enlarged_by(network: nn.Module, small: Tensor) -> Tensor:
    """Return what a network makes of a batch, float32 on the CPU."""
    with Victim(network).held(), torch.no_grad():
        made: Tensor = network(small.to(device_of_network(network))).float().cpu()
        return made


def mean_known(values: Iterable[float]) -> float:
    """Return the mean of what is known; inf where pictures are equal, NaN where nothing is known."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def figures_of(
    means: Mapping[str, Mapping[str, float]], own: str, kinds: Mapping[str, Kind], count: int
) -> dict[str, Measure]:
    """Return the figures of a subject's own way, beside those of the untrained one where there is one."""

    return {
        name: Measure(
            means[own][name],
            unit,
            better,
            of=count,
            control=Measure(means[UNTRAINED][name], unit, better) if UNTRAINED in means else None,
        )
        for name, (unit, better) in kinds.items()
    }


def critic_checks(subject: object) -> tuple[Check, ...]:
    """Return whether the critic of a method that has one is still in the game."""
    if not isinstance(subject, Adversarial):
        return ()
    said = subject.diverged()
    return (Check("the critic is in the game", not said, said or "it is fooled now and then"),)


def figures_table(
    head: str,
    kinds: Mapping[str, Kind],
    rows: Mapping[str, Mapping[str, float]] | Sequence[tuple[str, Mapping[str, float]]],
) -> Table:
    """Return a table of figures, a row for each thing that they are of."""
    pairs = rows.items() if isinstance(rows, Mapping) else rows
    return Table(
        (head, *kinds),
        tuple((called, *(figures[name] for name in kinds)) for called, figures in pairs),
        units={name: unit for name, (unit, _) in kinds.items()},
    )
