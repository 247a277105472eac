"""What enlarged clips are worth: frame by frame, and from frame to frame."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError, MissingExtra
from withstand.core.findings.finding import Check, Finding
from withstand.core.findings.pictures import as_bytes
from withstand.core.part import describe
from withstand.core.random import ranked
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.clips.whole import Clips
from withstand.evaluation.restoration.fidelity import gradient_energy_ratio, luma, psnr, ssim
from withstand.evaluation.restoration.temporal import (
    EDGE,
    ENDS,
    change_difference,
    flow_difference,
    judged_part,
    opencv,
)
from withstand.evaluation.restoration.upscaling import (
    BICUBIC,
    PSNR,
    RATIO,
    SSIM,
    UNTRAINED,
    Kind,
    Upscales,
    critic_checks,
    enlarged_by,
    figures_of,
    figures_table,
    mean_known,
    ways_of,
)
from withstand.models.restoration.frame_recurrent import MARGIN, SCALE, blurred_clip, without_margin
from withstand.models.restoration.resampling import spread

TOF, CHANGE, DRIFT = "tOF", "tLP by 1 - SSIM", "drift on a still clip"
_KINDS: dict[str, Kind] = {
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
        rows = ranked(len(judged), self.seed, "super-resolution")[: self.samples].sort().values
        ways, own = ways_of(subject, control)
        missing = ""
        try:
            opencv()
        except MissingExtra as error:
            missing = str(error)
        kinds = {name: kind for name, kind in _KINDS.items() if name != TOF or not missing}
        found, pictures, used = self._measured(ways, judged, rows, kinds)
        means = {way: {name: mean_known(values) for name, values in some.items()} for way, some in found.items()}
        untold = (Check("motion is judged by tOF", None, missing),) if missing else ()
        called = [judged.names[row] if judged.names else str(row) for row in used]
        return Finding(
            name="super-resolution of clips",
            figures=figures_of(means, own, kinds, len(used)),
            headline=PSNR,
            tables={
                "ways": figures_table("way", kinds, means),
                f"clips, {own}": figures_table(
                    "clip",
                    kinds,
                    [(clip, {name: found[own][name][k] for name in kinds}) for k, clip in enumerate(called)],
                ),
            },
            checks=(*critic_checks(subject), *untold),
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
        self, ways: Mapping[str, nn.Module], source: Source, rows: Tensor, names: Collection[str]
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
            made = {BICUBIC: _bicubic(small)} | {way: enlarged_by(network, small)[0] for way, network in ways.items()}
            still = small[:, :1].expand(-1, self.still, -1, -1, -1)
            for way, frames in made.items():
                values = _figures(frames, true, flow=TOF in names)
                values[DRIFT] = 0.0
                if way != BICUBIC:
                    same = enlarged_by(ways[way], still)[0]
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
        RATIO: mean_known(gradient_energy_ratio(grey, plain).tolist()),
        CHANGE: float(change_difference(grey, plain, _unlike).mean()),
    }
    return values | ({TOF: float(flow_difference(one, other).mean())} if flow else {})


def _unlike(one: Tensor, other: Tensor) -> Tensor:
    return 1 - ssim(one, other)


def _bicubic(small: Tensor) -> Tensor:
    return spread(small[0], SCALE, "bicubic").clamp(0, 1)
