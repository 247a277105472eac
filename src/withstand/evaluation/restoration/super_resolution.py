"""What enlarged pictures are worth: beside bicubic enlargement, the stage before, and the true pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from withstand.core.batch import unit_range
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.core.findings.pictures import as_bytes
from withstand.core.part import describe
from withstand.core.random import ranked
from withstand.core.roles import Evaluator, Source, Trial
from withstand.evaluation.restoration.fidelity import gradient_energy_ratio, luma, psnr, shaved, ssim
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
from withstand.evaluation.small import small_pictures
from withstand.models.restoration.resampling import divisible, enlarged, reduced

_KINDS: dict[str, Kind] = {PSNR: ("dB", "higher"), SSIM: ("ratio", "higher"), RATIO: ("ratio", None)}
_TAPS = 11
_NAMED = 20


@dataclass(frozen=True)
class SuperResolved(Evaluator):
    """PSNR, SSIM and gradient energy of pictures that were made small and enlarged again, of the luma.

    Pictures are cut at the right and below to a multiple of the scale, made small by the antialiased bicubic kernel
    in 8 bits, enlarged, rounded to 8 bits, and compared without a border as wide as the scale. Figures are means over
    pictures. Which picture looks better only people can say: the gradient-energy ratio stands in for one side of it.

    Args:
        samples: most pictures that are judged, drawn by (seed, index).
        shown: of which a square is shown, where the true picture has most detail.
        side: of that square, at full resolution.
        seed: of the choice of pictures.
    """

    samples: int = 100
    shown: int = 6
    side: int = 96
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if min(self.samples, self.shown, self.side) < 1:
            raise ConfigError(
                f"samples, shown and side must be at least 1, not {(self.samples, self.shown, self.side)!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(samples=4, shown=2)

    def example_trial(self) -> Trial:
        from withstand.methods.restoration.srgan import SRGAN

        return Trial(SRGAN.example(), small_pictures(6, 16), SRGAN.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method enlarges nothing, or that the data are no pictures."""
        if not isinstance(subject, Upscales):
            return f"{type(subject).__name__} enlarges no pictures"
        if len(source.shape) != 3 or source.shape[0] not in (1, 3):
            return f"pictures with 1 or 3 channels are enlarged, not samples of shape {source.shape}"
        return ""

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "super-resolution".

        Args:
            subject: a method that `Upscales`, and maybe `Adversarial`.
            source: pictures.
            test: pictures that are judged in place of the source's.
            control: the method untrained.

        Raises:
            ConfigError: the subject enlarges nothing.
            DataError: no picture is large enough.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise (DataError if isinstance(subject, Upscales) else ConfigError)(lacking)
        rows = ranked(len(judged), self.seed, "super-resolution")[: self.samples].sort().values
        ways, own = ways_of(subject, control)
        found, pictures, used = self._measured(subject.scale, ways, judged, rows)
        means = {way: {name: mean_known(values) for name, values in some.items()} for way, some in found.items()}
        called = [judged.names[row] if judged.names else str(row) for row in used]
        return Finding(
            name="super-resolution",
            figures=figures_of(means, own, _KINDS, len(used)),
            headline=PSNR,
            tables={
                "ways": figures_table("way", _KINDS, means),
                f"pictures, {own}": figures_table("picture", _KINDS, _each(called, found[own])),
            },
            checks=critic_checks(subject),
            protocol={
                "evaluator": describe(self),
                "samples": len(used),
                "samples given": len(judged),
                "scale": subject.scale,
                "luma": "ITU-R BT.601 in studio range, of pictures rounded to 8 bits",
                "border left out": subject.scale,
                "SSIM": "Gaussian window of 11 x 11, sigma 1.5, where it fits",
                "small pictures": "antialiased bicubic (a = -0.5), in 8 bits",
            },
            pictures=pictures,
        )

    def _measured(
        self, scale: int, ways: Mapping[str, nn.Module], source: Source, rows: Tensor
    ) -> tuple[dict[str, dict[str, list[float]]], dict[str, npt.NDArray[np.uint8]], list[int]]:
        """Return each way's figures of each picture, squares to be shown, and which pictures were judged."""
        least = _TAPS + 2 * scale
        found: dict[str, dict[str, list[float]]] = {way: {name: [] for name in _KINDS} for way in (BICUBIC, *ways)}
        strips: dict[str, list[Tensor]] = {}
        used: list[int] = []
        for row in rows.tolist():
            x = unit_range(source[[row]].x)
            if min(x.shape[2:]) // scale * scale < least:
                continue
            true = divisible(x, scale)
            used.append(row)
            small = reduced(true, scale)
            made = {BICUBIC: enlarged(small, scale)} | {
                way: enlarged_by(network, small) for way, network in ways.items()
            }
            plain = shaved(luma(true), scale)
            for way, large in made.items():
                one = shaved(luma(large), scale)
                for name, measure in ((PSNR, psnr), (SSIM, ssim), (RATIO, gradient_energy_ratio)):
                    found[way][name].append(float(measure(one, plain)[0]))
            side = strips["original"][0].shape[2] if strips else min(self.side // scale * scale, *true.shape[2:])
            if side and min(true.shape[2:]) >= side and len(strips.get("original", ())) < self.shown:
                shown = {way: large for way, large in made.items() if way != UNTRAINED}
                for name, square in _squares(side, scale, small, shown, true).items():
                    strips.setdefault(name, []).append(square)
        if not used:
            raise DataError(f"no picture is as large as {least} x {least}, which scale {scale} is judged on at least")
        pictures = {name: as_bytes(torch.cat(some)) for name, some in strips.items()}
        return found, pictures, used


def _squares(side: int, scale: int, small: Tensor, made: Mapping[str, Tensor], true: Tensor) -> dict[str, Tensor]:
    """Return a square of each, where the true picture has most detail; the small one's pixels are repeated."""
    grey = true.mean(1, keepdim=True)
    detail = avg_pool2d((grey - avg_pool2d(grey, 3, 1, 1)).abs(), side, stride=scale)[0, 0]
    top, left = (scale * place for place in divmod(int(detail.argmax()), detail.shape[1]))
    repeated = small.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    every = {"low": repeated, **made, "original": true}
    return {name: x[..., top : top + side, left : left + side].clamp(0, 1) for name, x in every.items()}


def _each(called: Sequence[str], found: Mapping[str, list[float]]) -> list[tuple[str, Mapping[str, float]]]:
    """Return the figures of each of the first pictures, which may be called alike."""
    return [(name, {kind: found[kind][k] for kind in _KINDS}) for k, name in enumerate(called[:_NAMED])]
