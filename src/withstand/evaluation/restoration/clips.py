"""What enlarged clips are worth: frame by frame, and from frame to frame."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.core.findings.finding import Better, Check, Finding, Measure, Table
from withstand.core.findings.pictures import as_bytes
from withstand.core.part import describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.clips.whole import Clips
from withstand.evaluation.restoration.fidelity import gradient_energy_ratio, luma, psnr, ssim
from withstand.evaluation.restoration.super_resolution import (
    BICUBIC,
    PSNR,
    RATIO,
    SSIM,
    UNTRAINED,
    Adversarial,
    Upscales,
)
from withstand.evaluation.restoration.temporal import (
    EDGE,
    ENDS,
    change_difference,
    flow_difference,
    judged_part,
    opencv,
)
from withstand.models.restoration.frame_recurrent import MARGIN, SCALE, blurred_clip, without_margin
from withstand.models.restoration.resampling import spread

TOF, CHANGE, DRIFT = "tOF", "tLP by 1 - SSIM", "drift on a still clip"
_KINDS: dict[str, tuple[str, Better]] = {
    PSNR: ("dB", "higher"),
    SSIM: ("ratio", "higher"),
    RATIO: ("ratio", None),
    TOF: ("distance", "lower"),
    CHANGE: ("distance", "lower"),
    DRIFT: ("distance", "lower"),
}


@dataclass(frozen=True)
class ClipsRestored(Evaluator):
    """PSNR, SSIM, gradient energy, tOF and tLP of clips made small and enlarged again, and drift on a still clip.

    Clips are blurred by a Gaussian of 1.5 pixels, and every fourth pixel is kept, in 8 bits. By the paper's protocol
    the first and last two frames and a border of 8 pixels at least are not judged. tLP takes 1 - SSIM of the luma as
    the distance of frames, for no package brings the weights of LPIPS: it compares ways, and not with papers. Drift
    is the mean difference of the last frame and the fifth, in [0, 1], of a clip that shows one small frame again and
    again: 0 for what makes each frame alone.

    Args:
        samples: most clips that are judged, drawn by (seed, index).
        frames: of a clip that are judged at most, the first ones.
        still: frames of the still clip.
        shown: frames of the first clip that are shown.
        side: of the square that is shown.
        seed: of the choice of clips.
    """

    samples: int = 10
    frames: int = 60
    still: int = 40
    shown: int = 6
    side: int = 96
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if min(self.samples, self.shown, self.side) < 1 or self.frames < 2 * ENDS + 2 or self.still < 6:
            raise ConfigError(
                f"samples, shown and side must be at least 1, frames and still at least {2 * ENDS + 2}, not "
                f"{(self.samples, self.shown, self.side, self.frames, self.still)!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(samples=2, still=6, shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.restoration.tecogan import TecoGAN

        generator = torch.Generator().manual_seed(0)
        frames = torch.randint(0, 256, (2, 6, 3, 56, 60), dtype=torch.uint8, generator=generator)
        return Trial(TecoGAN.example(), Clips(frames), TecoGAN.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method enlarges nothing, or that the data are no clips."""
        if not isinstance(subject, Upscales):
            return f"{type(subject).__name__} enlarges no clips"
        if len(source.shape) != 4 or source.shape[1] not in (1, 3):
            return f"clips (T, C, H, W) with 1 or 3 channels are enlarged, not samples of shape {source.shape}"
        return ""

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "super-resolution of clips".

        Args:
            subject: a method that `Upscales`, and maybe `Adversarial`.
            source: clips.
            test: clips that are judged in place of the source's.
            control: the method untrained.

        Raises:
            ConfigError: the subject enlarges nothing.
            DataError: no clip is long and large enough.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (DataError if isinstance(subject, Upscales) else ConfigError)(lacking)
        rows = Draws(derive(self.seed, "super-resolution"), torch.arange(len(judged))).bits(1)[:, 0]
        rows = rows.argsort(stable=True)[: self.samples].sort().values
        ways = dict(subject.upscalers())
        own = list(ways)[-1]
        if control is not None:
            ways[UNTRAINED] = list(control.upscalers().values())[-1]
        missing = ""
        try:
            opencv()
        except MissingExtra as error:
            missing = str(error)
        names = [name for name in _KINDS if name != TOF or not missing]
        found, pictures, used = self._measured(ways, judged, rows, names)
        means = {way: {name: _mean(values) for name, values in some.items()} for way, some in found.items()}
        figures = {}
        for name in names:
            unit, better = _KINDS[name]
            beside = None if control is None else Measure(means[UNTRAINED][name], unit, better)
            figures[name] = Measure(means[own][name], unit, better, of=len(used), control=beside)
        checks = []
        if isinstance(subject, Adversarial):
            said = subject.diverged()
            checks.append(Check("the critic is in the game", not said, said or "it is fooled now and then"))
        if missing:
            checks.append(Check("motion is judged by tOF", None, missing))
        called = [judged.names[row] if judged.names else str(row) for row in used]
        return Finding(
            name="super-resolution of clips",
            figures=figures,
            headline=PSNR,
            tables={
                "ways": _table("way", names, {way: [some[name] for name in names] for way, some in means.items()}),
                f"clips, {own}": _table(
                    "clip", names, {clip: [found[own][name][k] for name in names] for k, clip in enumerate(called)}
                ),
            },
            checks=tuple(checks),
            protocol={
                "evaluator": describe(self),
                "samples": len(used),
                "samples given": len(judged),
                "scale": subject.scale,
                "luma": "ITU-R BT.601 in studio range, of frames rounded to 8 bits",
                "left out": f"{ENDS} frames at either end, and {EDGE} pixels a side at least, to multiples of 32",
                "SSIM": "Gaussian window of 11 x 11, sigma 1.5, where it fits",
                "small clips": "Gaussian of sigma 1.5, every fourth pixel, in 8 bits",
                "bicubic": "a = -0.75, on the grid of the small pixels",
                TOF: "Farneback's flow by OpenCV, in pixels; papers show ten times as much",
                DRIFT: f"mean difference of frames 5 and {self.still}, values from 0 to 1",
            },
            pictures=pictures,
        )

    def _measured(
        self, ways: Mapping[str, nn.Module], source: Source, rows: Tensor, names: list[str]
    ) -> tuple[dict[str, dict[str, list[float]]], dict[str, npt.NDArray[np.uint8]], list[int]]:
        """Return each way's figures of each clip, what is shown of the first, and which clips were judged."""
        least = max(2 * EDGE + 32, SCALE * 8) + 2 * MARGIN
        found: dict[str, dict[str, list[float]]] = {way: {name: [] for name in names} for way in (BICUBIC, *ways)}
        pictures: dict[str, npt.NDArray[np.uint8]] = {}
        used: list[int] = []
        for row in rows.tolist():
            clip = unit_range(source[[row]].x)[:, : self.frames]
            if clip.shape[1] < 2 * ENDS + 2 or min(clip.shape[3:]) < least:
                continue
            used.append(row)
            true = without_margin(clip)[0]
            small = (blurred_clip(clip) * 255).round() / 255
            made = {BICUBIC: _bicubic(small)} | {way: _run(network, small) for way, network in ways.items()}
            still = small[:, :1].expand(-1, self.still, -1, -1, -1)
            for way, frames in made.items():
                values = _figures(frames, true, flow=TOF in names)
                values[DRIFT] = 0.0
                if way != BICUBIC:
                    same = _run(ways[way], still)
                    values[DRIFT] = float((same[-1] - same[4]).abs().mean())
                for name in names:
                    found[way][name].append(values[name])
            if not pictures:
                shown = {way: frames for way, frames in made.items() if way != UNTRAINED}
                pictures = self._shown(small[0], shown, true)
        if not used:
            raise DataError(
                f"no clip has {2 * ENDS + 2} frames of {least} x {least} pixels, which clips are judged on at least"
            )
        return found, pictures, used

    def _shown(self, small: Tensor, made: Mapping[str, Tensor], true: Tensor) -> dict[str, npt.NDArray[np.uint8]]:
        """Return frames of a square in the middle of a clip, and a row of its pixels over time."""
        side = min(self.side, *true.shape[2:])
        top, left = ((length - side) // 2 for length in true.shape[2:])
        repeated = small.repeat_interleave(SCALE, 2).repeat_interleave(SCALE, 3)
        every = {"low": repeated, **made, "original": true}
        chosen = torch.linspace(0, len(true) - 1, min(self.shown, len(true))).round().long()
        found = {}
        for name, frames in every.items():
            square = frames[..., top : top + side, left : left + side]
            found[name] = as_bytes(square[chosen])
        for name, frames in every.items():
            # Time runs down, each frame two pixels high.
            line = frames[:, :, top + side // 2, left : left + side].movedim(0, 1).repeat_interleave(2, 1)
            found[f"row over time, {name}"] = as_bytes(line)[None]
        return found


def _figures(made: Tensor, true: Tensor, *, flow: bool) -> dict[str, float]:
    """Return the means over frames of what is measured of frames `(T, C, H, W)` in [0, 1]."""
    one, other = judged_part((made.clamp(0, 1) * 255).round() / 255), judged_part(true)
    grey, plain = luma(one), luma(other)
    values = {
        PSNR: float(psnr(grey, plain).mean()),
        SSIM: float(ssim(grey, plain).mean()),
        RATIO: _mean(gradient_energy_ratio(grey, plain).tolist()),
        CHANGE: float(change_difference(grey, plain, _unlike).mean()),
    }
    return values | ({TOF: float(flow_difference(one, other).mean())} if flow else {})


def _unlike(one: Tensor, other: Tensor) -> Tensor:
    return 1 - ssim(one, other)


def _bicubic(small: Tensor) -> Tensor:
    return spread(small[0], SCALE, "bicubic").clamp(0, 1)


def _run(network: nn.Module, small: Tensor) -> Tensor:
    """Return what a network makes of one clip, `(T, C, H, W)`."""
    with Victim(network).held(), torch.no_grad():
        made: Tensor = network(small.to(device_of_network(network)))[0].float().cpu()
        return made


def _mean(values: list[float]) -> float:
    """Return the mean of what is known."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _table(head: str, names: list[str], rows: Mapping[str, list[float]]) -> Table:
    return Table(
        (head, *names),
        tuple((name, *row) for name, row in rows.items()),
        units={name: _KINDS[name][0] for name in names},
    )
