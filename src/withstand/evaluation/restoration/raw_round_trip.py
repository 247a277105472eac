"""The way to RAW and back: what it keeps of clean pictures, and what it lets pass of noise."""

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Check, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes
from withstand.core.part import describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.pictures.raw.raw_frames import RAW
from withstand.evaluation.restoration.fidelity import psnr
from withstand.evaluation.small import small_pictures
from withstand.models.restoration.bayer import COLORS, Pattern, unpacked

PSNR, PASSED, ERROR = "PSNR of cleaned pictures", "noise that passes", "error of RAW"
_UNITS = {PSNR: "dB", PASSED: "ratio", ERROR: "share"}
_AT_ONCE = 64
_PIXELS = 256 * 256


@runtime_checkable
class ThroughRaw(Protocol):
    """A filter that goes by way of RAW."""

    omega: float

    @property
    def pattern(self) -> Pattern:
        """Of the RAW."""
        ...

    def raw(self, x: Tensor) -> Tensor:
        """Return packed RAW in [0, 1] of pictures, with sides that may have grown."""
        ...

    def learnt(self, raw: Tensor) -> Tensor:
        """Return what the learnt rendering makes of RAW."""
        ...

    def classic(self, raw: Tensor) -> Tensor:
        """Return what the classic pipeline makes of RAW."""
        ...

    def __call__(self, x: Tensor) -> Tensor:
        """Return the cleaned pictures."""
        ...


@dataclass(frozen=True)
class RawRoundTrip(Evaluator):
    """Compare clean pictures with what comes back of them, by the blend, the learnt and the classic rendering.

    Noise that passes is the length of the change that noise of the input makes in the output, over its own length: 1
    where a filter does nothing. Where the pictures bring RAW along, the error of RAW is the mean absolute one.

    Args:
        samples: most pictures that are judged, drawn by (seed, index).
        noise: standard deviation of the Gaussian noise.
        shown: of which pictures are shown.
        seed: of the choice of pictures and of the noise.
    """

    samples: int = 200
    noise: float = 8 / 255
    shown: int = 8
    seed: int = 0

    product = "purifier"

    def __post_init__(self) -> None:
        if min(self.samples, self.shown) < 1 or not 0 < self.noise < float("inf"):
            raise ConfigError(
                "samples and shown must be at least 1 and noise above 0, not "
                f"{(self.samples, self.shown, self.noise)!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(samples=8, shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.restoration.raw_isp import RawISP

        return Trial(RawISP.example().product("purifier"), small_pictures(24, 9), RawISP.example().product("purifier"))

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the filter does not go by way of RAW, or that the data are no color pictures."""
        if not isinstance(subject, ThroughRaw):
            return f"{type(subject).__name__} does not go by way of RAW"
        if len(source.shape) != 3 or source.shape[0] != 3:
            return f"RAW is made of color pictures (3, H, W), not of samples of shape {source.shape}"
        return ""

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "raw-round-trip".

        Args:
            subject: a filter by way of RAW.
            source: pictures, where there is no test.
            test: pictures that are judged.
            control: an untrained one.

        Raises:
            ConfigError: the subject is no such filter.
            DataError: no pictures, or none in color.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (DataError if isinstance(subject, ThroughRaw) else ConfigError)(lacking)
        if not len(judged):
            raise DataError("there are no pictures to judge")
        rows = Draws(derive(self.seed, "round trip"), torch.arange(len(judged))).bits(1)[:, 0].argsort(stable=True)
        rows = rows[: self.samples]
        ways = {"blend": subject, "learnt alone": None, "classic alone": None}
        found = self._told(subject, judged, rows)
        beside = self._told(control, judged, rows) if isinstance(control, ThroughRaw) else None
        own = found["blend"]
        figures = {
            name: Measure(
                own[name],
                _UNITS[name],
                "higher" if name == PSNR else "lower",
                of=len(rows),
                control=None
                if beside is None
                else Measure(beside["blend"][name], _UNITS[name], "higher" if name == PSNR else "lower"),
            )
            for name in own
        }
        heads = ("rendering", PSNR, PASSED)
        passes = own[PASSED]
        return Finding(
            name="raw-round-trip",
            figures=figures,
            headline=PSNR,
            tables={
                "renderings": Table(
                    heads,
                    tuple((way, found[way][PSNR], found[way][PASSED]) for way in ways),
                    units={PSNR: "dB", PASSED: "ratio"},
                )
            },
            checks=(Check("less noise comes out than goes in", passes < 1, f"{passes:.1%} of its length"),),
            protocol={
                "evaluator": describe(self),
                "samples": len(rows),
                "samples given": len(judged),
                "pattern": subject.pattern,
                "omega": subject.omega,
                "PSNR": "over all channels, of pictures in 8 bits; mean over pictures",
            },
            pictures=self._pictures(subject, judged, rows),
        )

    def _told(self, subject: ThroughRaw, source: Source, rows: Tensor) -> dict[str, dict[str, float]]:
        """Return the figures of each rendering."""
        near: dict[str, list[Tensor]] = {}
        moved: dict[str, list[Tensor]] = {}
        errors: list[Tensor] = []
        with Victim(subject).held(), torch.no_grad():
            for some in torch.split(rows, _at_once(source)):
                batch = source[some]
                x = unit_range(batch.x).to(device_of_network(subject))
                noise = self.noise * Draws(derive(self.seed, "noise"), some.to(x.device)).normal(*x.shape[1:])
                clean, noisy = _renderings(subject, x), _renderings(subject, x + noise)
                length = noise.flatten(1).norm(dim=1)
                for way, made in clean.items():
                    near.setdefault(way, []).append(psnr((made * 255).round(), x * 255).cpu())
                    away = (noisy[way] - made).flatten(1).norm(dim=1) / length
                    moved.setdefault(way, []).append(away.cpu())
                if RAW in batch.extras:
                    errors.append((subject.raw(x).cpu() - batch.extras[RAW]).abs().flatten(1).mean(1))
        found = {way: {PSNR: _mean(near[way]), PASSED: _mean(moved[way])} for way in near}
        if errors:
            found["blend"][ERROR] = _mean(errors)
        return found

    def _pictures(self, subject: ThroughRaw, source: Source, rows: Tensor) -> dict[str, npt.NDArray[np.uint8]]:
        """Return some pictures before, as RAW in the colors of its mosaic, and after."""
        x = unit_range(source[rows[: self.shown]].x)
        with Victim(subject).held(), torch.no_grad():
            on = x.to(device_of_network(subject))
            made, raw = _renderings(subject, on), subject.raw(on)
        shown = {
            "before": x,
            "RAW": _colored(raw, subject.pattern)[..., : x.shape[2], : x.shape[3]],
            "after": made["blend"],
            "learnt alone": made["learnt alone"],
            "classic alone": made["classic alone"],
        }
        return {name: as_bytes(some) for name, some in shown.items()}


def _renderings(subject: ThroughRaw, x: Tensor) -> dict[str, Tensor]:
    raw = subject.raw(x)
    made = {"blend": subject(x), "learnt alone": subject.learnt(raw), "classic alone": subject.classic(raw)}
    return {way: some[..., : x.shape[2], : x.shape[3]].float() for way, some in made.items()}


def _colored(raw: Tensor, pattern: Pattern) -> Tensor:
    """Return packed RAW as a picture `(B, 3, H, W)` in which each pixel has its filter's color, made brighter."""
    bright = raw.clamp(0, 1) ** (1 / 2.2)
    planes = [
        unpacked(torch.stack([bright[:, at] * (one == color) for at, one in enumerate(pattern)], 1)) for color in COLORS
    ]
    return torch.cat(planes, 1)


def _at_once(source: Source) -> int:
    return max(1, min(_AT_ONCE, _AT_ONCE * _PIXELS // (source.shape[1] * source.shape[2])))


def _mean(values: list[Tensor]) -> float:
    return float(torch.cat(values).double().mean())
