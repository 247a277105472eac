"""Videos are read frame by frame as they were written, without loss where the codec has none."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from withstand.core.errors import DataError, MissingExtra
from withstand.data.clips.whole import Clips, is_clips


def write(path: Path, count: int = 5) -> np.ndarray:
    """Write a video without loss, and return its frames."""
    av = pytest.importorskip("av")
    pixels = np.random.default_rng(count).integers(0, 256, (count, 16, 24, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 24, 16, "bgr0"
        for frame in pixels:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return pixels


def test_what_a_video_holds_arrives(tmp_path: Path) -> None:
    pixels, other = write(tmp_path / "films" / "one.mkv"), write(tmp_path / "films" / "more" / "two.mkv", 3)
    alone = Clips(tmp_path / "films" / "one.mkv")
    assert is_clips(str(tmp_path / "films" / "one.mkv"))
    assert (alone.names, alone.shape) == (("one",), (5, 3, 16, 24))
    wanted = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    assert torch.equal(alone[[0]].x[0], wanted)
    both = Clips(tmp_path / "films")
    assert both.names == ("more/two.mkv", "one.mkv")
    assert both.lengths.tolist() == [3, 5]
    assert torch.equal(both.frames(1, 2, 4), wanted[2:4])
    assert torch.equal(both._files[1].read(2, 4), wanted[2:4]), "also where clips are too long to be kept"
    assert torch.equal(both[[0]].x[0], torch.from_numpy(other).permute(0, 3, 1, 2))


def test_files_that_are_no_videos_are_named(tmp_path: Path) -> None:
    pytest.importorskip("av")
    (tmp_path / "x.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(DataError, match=r"x\.mp4 cannot be read as a video"):
        Clips(tmp_path / "x.mp4")
    (tmp_path / "frames").mkdir()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "frames" / "0.png")
    (tmp_path / "frames" / "x.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="1 frames beside other clips"):
        Clips(tmp_path / "frames")


def test_without_pyav_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return bring(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    (tmp_path / "x.mp4").write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"reading video files needs av: pip install 'withstand\[video\]'"):
        Clips(tmp_path / "x.mp4")
