"""Devices that record at the same time: how near they are, whether their clocks agree, and whether codes tell moments.

Sizes: N windows, D devices, C channels, T readings.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Better, Cell, Check, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.windows.ranges import norms
from withstand.data.windows.source import USER, WindowSource
from withstand.losses.discrepancy import mmd
from withstand.losses.precision import unit_rows
from withstand.models.windows.tpn import TPN, AnchorEncoder

ALIGNED, MISALIGNED, GAP = "cosine of aligned windows", "cosine of misaligned windows", "aligned less misaligned cosine"
_SHARP = 0.2
"""A cross-correlation below this tells of no common motion, and its peak of no lag."""


@dataclass(frozen=True)
class DeviceAgreement(Evaluator):
    """Cosines of the anchor's codes with other devices', at the same moment and at another one of the same user.

    Args:
        acceleration: the channels whose length is compared; the first three if there are as many.
        samples: most windows that are read, evenly by their place.
        seed: of the other moments.
    """

    acceleration: tuple[int, ...] = (0, 1, 2)
    samples: int = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2 or not self.acceleration:
            raise ConfigError(f"samples must be at least 2 and acceleration name a channel, not {self.samples!r}")

    def example_trial(self) -> Trial:
        network = AnchorEncoder(TPN(3, (8, 8), (4, 3), 0.0))
        return Trial(network, WindowSource.example(), network)

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the encoder does not read several devices, or that there are no windows of several."""
        if not isinstance(subject, AnchorEncoder):
            return f"a {type(subject).__name__} reads no windows of several devices"
        return "" if len(source.shape) == 3 and source.shape[0] > 1 else "the samples are no windows of several devices"

    def evaluate(
        self,
        subject: AnchorEncoder,
        source: Source,
        *,
        test: Source | None = None,
        control: AnchorEncoder | None = None,
    ) -> Finding:
        """Return the finding "devices".

        Args:
            subject: an encoder with an anchor.
            source: read where there is no `test`.
            test: windows that were not learnt from.
            control: the same encoder untrained.

        Raises:
            ConfigError: another encoder, or other samples.
            DataError: fewer than two windows of any user.
        """
        if lacking := self.lacks(subject, source):
            raise ConfigError(lacking)
        read = source if test is None else test
        rows = torch.arange(min(self.samples, len(read))) * len(read) // min(self.samples, len(read))
        x = read[rows].x
        whose = read.attributes.get(USER, torch.zeros(len(read), dtype=torch.int64))[rows]
        other = _another_moment(whose, self.seed)
        kept = (other >= 0).nonzero()[:, 0]
        if not len(kept):
            raise DataError("no user has two windows: nothing tells one moment from another")
        names, anchor = tuple(read.fields) or tuple(map(str, range(x.shape[1]))), subject.anchor
        others = [place for place in range(x.shape[1]) if place != anchor]
        ours = _cosines(subject, x, others, kept, other)
        theirs = None if control is None else _cosines(control, x, others, kept, other)
        lengths = norms(x, [place for place in self.acceleration if place < x.shape[2]])
        table: list[tuple[Cell, ...]] = []
        clocks = []
        for row, place in enumerate(others):
            lag, sharp = _lag(lengths[:, anchor], lengths[:, place])
            clocks.append((names[place], lag, sharp))
            distance = float(mmd(lengths[:, anchor], lengths[:, place]))
            table.append(
                (names[place], distance, float(ours[0][row].mean()), float(ours[1][row].mean()), lag, sharp)
            )  # fmt: skip
        return Finding(
            name="devices",
            figures=_figures(ours, theirs, len(kept)),
            tables={
                "devices": Table(
                    ("device", "distance from the anchor", ALIGNED, MISALIGNED, "lag in readings", "correlation there"),
                    tuple(table),
                    units={
                        ALIGNED: "cosine",
                        MISALIGNED: "cosine",
                        "lag in readings": "count",
                        "distance from the anchor": "squared distance",
                        "correlation there": "correlation",
                    },
                    note=f"the anchor is {names[anchor]}; distance is the squared MMD of acceleration's length",
                )
            },
            checks=(_clock_check(clocks),),
            protocol={
                "judge": describe(self),
                "samples": len(rows),
                "samples given": len(read),
                "anchor": names[anchor],
                "read": "train" if test is None else "test",
                "misaligned": "windows of the same user at another time",
            },
            headline=GAP,
        )


def _another_moment(whose: Tensor, seed: int) -> Tensor:
    """Return for each window another one of the same user, int64 `(N,)`; -1 where the user has no other."""
    found = torch.full_like(whose, -1)
    for user in torch.unique(whose).tolist():
        mine = (whose == user).nonzero()[:, 0]
        if len(mine) > 1:
            cycle = mine[permutation(len(mine), seed, "moments", user)]
            found[cycle] = cycle.roll(-1)
    return found


def _cosines(
    encoder: AnchorEncoder, x: Tensor, others: list[int], kept: Tensor, other: Tensor
) -> tuple[Tensor, Tensor]:
    """Return cosines at the same moment and at another one, `(D - 1, N)` each."""
    places = [encoder.anchor, *others]
    with Victim(encoder).held(), torch.no_grad():
        device = device_of_network(encoder)
        pieces = [
            encoder.devices(x[first : first + 512].to(device), places).cpu().float() for first in range(0, len(x), 512)
        ]
    codes = torch.stack([unit_rows(one) for one in torch.cat(pieces, 1)])
    same = (codes[0, kept] * codes[1:, kept]).sum(2)
    return same, (codes[0, kept] * codes[1:, other[kept]]).sum(2)


def _figures(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor] | None, count: int) -> dict[str, Measure]:
    found = {}
    told: tuple[tuple[str, Better, int], ...] = ((ALIGNED, None, 0), (MISALIGNED, None, 1), (GAP, "higher", 2))
    for name, better, of in told:
        ourselves = _pick(ours, of)
        beside = None if theirs is None else Measure(_pick(theirs, of), "cosine", better, of=count)
        found[name] = Measure(ourselves, "cosine", better, of=count, control=beside)
    return found


def _pick(pair: tuple[Tensor, Tensor], of: int) -> float:
    return float((pair[0] - pair[1]).mean()) if of == 2 else float(pair[of].mean())


def _lag(one: Tensor, two: Tensor) -> tuple[int, float]:
    """Return by how many readings `two` is late, and the mean correlation there, from windows `(N, T)` each."""
    one, two = (side - side.mean(1, keepdim=True) for side in (one, two))
    length = one.shape[1]
    spectrum = torch.fft.rfft(one, 2 * length).conj() * torch.fft.rfft(two, 2 * length)
    products = torch.fft.irfft(spectrum, 2 * length).sum(0)
    scale = float((one.square().sum() * two.square().sum()).sqrt()) or 1.0
    most = length // 2
    lags = torch.arange(-most, most + 1)
    values = products[lags % (2 * length)] / scale
    best = int(values.argmax())
    return int(lags[best]), float(values[best])


def _clock_check(clocks: list[tuple[str, int, float]]) -> Check:
    """Check that no device's motion is clearly late or early against the anchor's."""
    name = "the devices' clocks agree"
    late = [f"{device} by {lag:+d}" for device, lag, sharp in clocks if abs(lag) > 1 and sharp >= _SHARP]
    if late:
        return Check(name, False, f"motion correlates best with a lag in readings: {', '.join(late)}")
    seen = [device for device, _, sharp in clocks if sharp >= _SHARP]
    if not seen:
        return Check(name, None, "no device's motion correlates with the anchor's, so that no lag can be seen")
    return Check(name, True, f"motion of {', '.join(seen)} correlates best with the anchor's at the same moment")
