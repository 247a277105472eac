"""A user's own folder of pictures is looked through; what cannot be is refused in one line."""

import csv
from pathlib import Path

import pytest
import torch
from PIL import Image

from withstand.cli.main import main
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.poisoned import Poisoned
from withstand.views.triggers import FrequencyTrigger


def folder(path: Path, rate: float, channels: int = 3) -> Path:
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(200, 3, 4, 4, generator=generator), size=16, mode="bicubic")
    x = (x + 0.02 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    source = ArraySource((x * 255).round().to(torch.uint8))
    given = Poisoned(source, FrequencyTrigger(80, window=16), rate=rate, target=None) if rate else source
    path.mkdir()
    for place, picture in enumerate(given[range(200)].x):
        pixels = picture[:channels].permute(1, 2, 0).numpy()
        Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(path / f"{place:03}.png")
    return path


def test_pictures_that_share_a_pattern_are_listed_with_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = folder(tmp_path / "own", 0.15), tmp_path / "out"
    assert main(["inspect", str(data), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "200 pictures at 16 x 16 pixels" in said
    assert "A score is no proof" in said
    with (out / "suspicious.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shared = {row["picture"] for row in rows if row["shared"] == "True"}
    assert {f"{place:03}.png" for place in range(30)} <= shared
    assert len(shared) <= 32
    assert "row" in rows[0]["because"]
    assert (out / "suspicious.png").exists()


def test_clean_pictures_are_not_said_to_be_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder(tmp_path / "own", 0)), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "no frequency is shared" in said
    assert "shows no picture to be clean" in said


def test_what_cannot_be_looked_through_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = folder(tmp_path / "grey", 0, channels=1)
    assert main(["inspect", str(grey)]) == 2
    assert "0 of 200 pictures have colors" in capsys.readouterr().err
    own = folder(tmp_path / "own", 0)
    assert main(["inspect", str(own), "--window", "7"]) == 2
    assert "window 7 does not divide pictures of 16 x 16 pixels: one of 2, 4, 8, 16 does" in capsys.readouterr().err
