"""What the recipe on clips refuses in one line, how its stages are made, and a run on a user's own folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import withstand as ws
from withstand.cli.main import main
from withstand.core.errors import ConfigError, DataError
from withstand.data.clips.stretches import Stretches
from withstand.data.clips.whole import Clips
from withstand.engine.experiment import Experiment
from withstand.methods.restoration.tecogan import FRVSR, TecoGAN
from withstand.models.restoration.layer_maps import ExportedMaps
from withstand.recipes.restoration import tecogan

SMALL = {"frames": 3, "crop": 32, "stride": 40, "width": 2, "blocks": 1, "flow_width": 2, "batch": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for clip in range(3):
        (tmp_path / "films" / f"film {clip}").mkdir(parents=True)
        for place in range(6):
            pixels = draws.integers(0, 256, (57, 60, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "films" / f"film {clip}" / f"{place}.png")
    return tmp_path / "films"


def test_stretches_are_learnt_from_and_whole_clips_judged(folder: Path) -> None:
    setup = replace(tecogan.SETUP, data=str(folder), **SMALL)  # type: ignore[arg-type]
    made = tecogan.experiment(setup, first_epochs=3, critic_width=2)
    made.check()
    assert isinstance(made.source, Stretches)
    assert made.source.shape == (3, 3, 40, 40)
    assert made.test is not None
    assert (len(made.test), made.test.shape) == (1, (6, 3, 57, 60))
    assert isinstance(made.method, TecoGAN)
    first = made.first
    assert isinstance(first, Experiment)
    assert isinstance(first.method, FRVSR)
    assert first.plan.epochs == 3
    assert first.method.encoder is not made.method.encoder
    assert tecogan.experiment(setup, start="run", critic_width=2).first == "run"
    other = tecogan.experiment(replace(setup, test=str(folder)))
    assert isinstance(other.test, Clips)
    assert len(other.test) == 3


def test_what_cannot_be_learnt_from_is_refused(folder: Path) -> None:
    setup = replace(tecogan.SETUP, data=str(folder), **SMALL)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="every clip of films is shorter than 10 frames or smaller than 40 x 40"):
        tecogan.experiment(replace(setup, frames=10))
    with pytest.raises(ConfigError, match="crop must be a multiple of 32, not 50: say 32 or 64"):
        tecogan.experiment(replace(setup, crop=50))
    with pytest.raises(ConfigError, match="film 0 holds a single clip, of which none can be held out"):
        tecogan.experiment(replace(setup, data=str(folder / "film 0")))
    with pytest.raises(DataError, match="clips need 3 frames of 40 x 40 at least to be learnt from, not 2 of 40 x 40"):
        tecogan.experiment(replace(setup, frames=2)).check()


def test_features_without_their_file_say_what_to_give(folder: Path, tmp_path: Path) -> None:
    from withstand.engine.export import to_safetensors
    from withstand.models.pictures.normalized import Normalized

    setup = replace(tecogan.SETUP, data=str(folder), **SMALL)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"perceptual vgg19 needs VGG19's weights.*--weights vgg19\.pth"):
        tecogan.experiment(setup, perceptual="vgg19")
    with pytest.raises(ConfigError, match=r"withstand export wrote: give it by --weights FILE\.safetensors"):
        tecogan.experiment(setup, perceptual="features")
    with pytest.raises(ConfigError, match="say which --perceptual"):
        tecogan.experiment(setup, weights="vgg19.pth")
    with pytest.raises(ConfigError, match="perceptual 'vgg' is unknown: did you mean 'vgg19'"):
        tecogan.experiment(setup, perceptual="vgg")  # type: ignore[arg-type]
    path = str(to_safetensors(Normalized.example().eval(), tmp_path / "encoder.safetensors"))
    method = tecogan.experiment(setup, perceptual="features", weights=path, critic_width=2).method
    assert isinstance(method, TecoGAN)
    assert isinstance(method.features, ExportedMaps)
    batch = method.example_batch()
    found, made = method.step(batch), method.made(batch)
    true, own = (method.features((x.flatten(0, 1) + 1) / 2) for x in (made.true, made.frames))
    wanted = 1 - torch.nn.functional.cosine_similarity(own, true, dim=1).mean()
    torch.testing.assert_close(found["perceptual"], wanted.detach())
    found["loss"].backward()
    assert not any("features" in name for name in method.state_dict())


def test_a_users_own_clips_go_the_whole_way(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = {name: value for name, value in SMALL.items() if name != "batch"}
    run = ws.train(
        "tecogan", str(folder), out=tmp_path / "run", epochs=1, quiet=True, device="cpu",
        options={**options, "batch": 2, "first_epochs": 1, "critic_width": 2},
    )  # fmt: skip
    findings = {finding.name: finding for finding in run.probe()}
    assert [row[0] for row in findings["super-resolution of clips"].tables["ways"].rows] == [
        "bicubic", "FRVSR", "TecoGAN", "untrained",
    ]  # fmt: skip
    low = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 9, 13), dtype=np.uint8)
    np.save(tmp_path / "low.npy", low)
    words = ["apply", str(tmp_path / "run"), "--data"]
    assert main([*words, str(tmp_path / "low.npy"), "--out", str(tmp_path / "a")]) == 0
    frames = sorted((tmp_path / "a" / "clips" / "000001").iterdir())
    assert [frame.name for frame in frames] == [f"{place:06}.png" for place in range(3)]
    with Image.open(frames[2]) as picture:
        assert picture.size == (52, 36), "sides that 8 does not divide are padded, and cut again"
        read = np.asarray(picture)
    held = run.apply(low)["clips"].values
    assert isinstance(held, torch.Tensor)
    assert held.shape == (2, 3, 3, 36, 52)
    assert np.array_equal((held[1, 2] * 255).round().byte().permute(1, 2, 0).numpy(), read)
    capsys.readouterr()
    assert main([*words, str(folder / "nowhere"), "--out", str(tmp_path / "b")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert "Row over time, TecoGAN" in run.report().read_text()
