"""tOF, tLP and drift of clips whose motion is known, and what their judge tells."""

import builtins
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from withstand.core.errors import DataError, MissingExtra
from withstand.data.clips.whole import Clips
from withstand.evaluation.restoration import clips as judging
from withstand.evaluation.restoration.clips import DRIFT, TOF, ClipsRestored
from withstand.evaluation.restoration.temporal import change_difference, flow_difference, judged_part, opencv
from withstand.evaluation.restoration.upscaling import BICUBIC, PSNR, SSIM
from withstand.models.restoration.resampling import spread


def smooth(height: int, width: int) -> Tensor:
    """A picture with structure at every place, `(3, H, W)`."""
    coarse = torch.rand(1, 3, height // 6 + 2, width // 6 + 2, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    return large[0].clamp(0, 1)


def panned(count: int, step: int, side: int = 96) -> Tensor:
    """A clip of a window that moves right by some pixels a frame."""
    world = smooth(side, side + step * count)
    return torch.stack([world[..., step * k : step * k + side] for k in range(count)])


def test_a_clip_beside_itself_moves_alike() -> None:
    pytest.importorskip("cv2")
    clip = panned(4, 2)
    assert flow_difference(clip, clip).tolist() == [0, 0, 0]
    assert change_difference(clip, clip, lambda a, b: (a - b).abs().flatten(1).mean(1)).tolist() == [0, 0, 0]


def test_motion_counts_and_place_does_not() -> None:
    pytest.importorskip("cv2")
    whole = panned(4, 2, 100)
    clip, shifted = whole[..., :96, :96], whole[..., 1:97, 1:97]
    still = clip[:1].expand(4, -1, -1, -1)
    assert float(flow_difference(shifted, clip).mean()) < 0.15
    moving = float(flow_difference(still, clip)[:,].mean())
    assert moving == pytest.approx(2, abs=0.4), "what stands still is 2 pixels a frame behind"


def test_flows_are_those_of_the_official_settings() -> None:
    cv2 = pytest.importorskip("cv2")
    one, other = panned(2, 3), panned(2, 1)

    def flow(clip: Tensor) -> Any:
        grey = [
            cv2.cvtColor((frame * 255).round().byte().permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY) for frame in clip
        ]
        return cv2.calcOpticalFlowFarneback(grey[0], grey[1], None, 0.5, 3, 15, 3, 5, 1.2, 0)

    wanted = np.sqrt(((flow(one) - flow(other)) ** 2).sum(-1)).mean()
    assert float(flow_difference(one, other)[0]) == pytest.approx(wanted, rel=1e-6)


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    bring = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "cv2":
            raise ImportError(name)
        return bring(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    opencv.cache_clear()
    with pytest.raises(MissingExtra, match=r"tOF.*needs opencv-python-headless: pip install 'withstand\[video\]'"):
        flow_difference(panned(2, 1), panned(2, 1))
    finding = ClipsRestored(still=6).evaluate(Ways(), film())
    (check,) = finding.checks
    assert check.passed is None
    assert "withstand[video]" in check.detail
    assert TOF not in finding.figures


def test_tlp_is_the_difference_of_changes() -> None:
    level = torch.tensor([0.0, 0.5, 0.5]).view(3, 1, 1, 1)
    true = torch.tensor([0.0, 0.2, 0.6]).view(3, 1, 1, 1)

    def apart(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().flatten(1).mean(1)

    torch.testing.assert_close(change_difference(level, true, apart), torch.tensor([0.3, 0.4]))
    with pytest.raises(DataError, match="alike in shape, and two or more"):
        change_difference(level[:1], true[:1], apart)


def test_what_is_judged_of_a_clip() -> None:
    clip = torch.arange(9.0).view(9, 1, 1, 1).expand(9, 1, 80, 113)
    part = judged_part(clip)
    assert part.shape == (5, 1, 64, 96)
    assert part[:, 0, 0, 0].tolist() == [2, 3, 4, 5, 6]
    assert judged_part(torch.zeros(6, 1, 79, 48)).shape == (2, 1, 32, 32)
    with pytest.raises(DataError, match="6 frames of 48 x 48 at least, not on 5 of 80 x 113"):
        judged_part(clip[:5])


class Steady(nn.Module):
    """Bicubic enlargement, and so no drift; or one that is brighter from frame to frame."""

    def __init__(self, rise: float = 0.0) -> None:
        super().__init__()
        self.rise = rise

    def forward(self, x: Tensor) -> Tensor:
        large = spread(x.flatten(0, 1), 4, "bicubic").clamp(0, 1).view(*x.shape[:3], 4 * x.shape[3], 4 * x.shape[4])
        return large + self.rise * torch.arange(x.shape[1]).view(1, -1, 1, 1, 1)


class Ways:
    """A method that enlarges clips."""

    scale = 4

    def upscalers(self) -> Mapping[str, nn.Module]:
        return {"first": Steady(), "drifting": Steady(0.01)}


def film() -> Clips:
    return Clips(torch.stack([panned(8, 1), panned(8, 2)]))


def test_ways_stand_beside_bicubic_and_drift_is_told() -> None:
    finding = ClipsRestored(still=9, shown=3, side=32).evaluate(Ways(), film(), control=None)
    ways = {row[0]: dict(zip(finding.tables["ways"].columns, row, strict=True)) for row in finding.tables["ways"].rows}
    assert list(ways) == [BICUBIC, "first", "drifting"]
    for name in (PSNR, SSIM):
        assert ways["first"][name] == pytest.approx(ways[BICUBIC][name])
        assert ways["drifting"][name] < ways["first"][name]
    assert ways["first"][DRIFT] == pytest.approx(0, abs=1e-7)
    assert ways["drifting"][DRIFT] == pytest.approx(0.04, abs=1e-5), "frames 5 and 9 are four steps apart"
    assert finding.numbers[DRIFT] == ways["drifting"][DRIFT]
    assert finding.pictures["original"].shape == (3, 32, 32, 3)
    assert finding.pictures["row over time, original"].shape == (1, 16, 32, 3)
    assert {"low", BICUBIC, "first", "drifting", "original"} <= set(finding.pictures)


def test_frames_that_are_equal_have_no_error() -> None:
    same = film()[[0]].x[0] / 255
    assert judging._figures(same, same, flow=False)[PSNR] == math.inf


def test_clips_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(DataError, match=r"no clip has 6 frames of 56 x 56 pixels"):
        ClipsRestored().evaluate(Ways(), Clips(torch.zeros(2, 5, 3, 60, 60, dtype=torch.uint8)))
