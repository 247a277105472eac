"""steer: a vision-language model of a user's own, from a folder to a report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("transformers")

import withstand as ws
from vision_language import MODELS, SIDE
from withstand.cli.main import main
from withstand.core.errors import ConfigError
from withstand.data.load import load
from withstand.defenses.filters import by_jpeg
from withstand.evaluation.robustness.vision_language.susceptibility import Susceptibility
from withstand.models.tokens.hugging_face_vision import HuggingFaceVision

ASKED = ["--target", "red boat", "--prompts", "what is this", "--held-out", "describe it", "--samples", "4"]
ASKED += ["--steps", "2", "--eps", "8/255", "--headline", "8/255", "--guards", "jpeg"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models, as their users saved them, and of photos of no one size."""
    folder = tmp_path_factory.mktemp("own")
    for name, make in MODELS.items():
        torch.manual_seed(0)
        model, processor = make()
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    (folder / "photos").mkdir()
    values = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    for number, value in enumerate(values):
        Image.fromarray(value).resize((30 + number, 40)).save(folder / "photos" / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_from_a_folder_is_judged_as_its_judge_judges_it(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["steer", str(place / name), "--data", str(place / "photos"), *ASKED, "--out", str(tmp_path / "out")]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    network = HuggingFaceVision.load(str(place / name), (3, SIDE, SIDE))
    judge = Susceptibility(
        "red boat", ("what is this",), ("describe it",), ("8/255",), "8/255", {"jpeg": by_jpeg}, samples=4, steps=2
    )
    finding = judge.evaluate(network, load(place / "photos", size=SIDE))
    stored = json.loads((tmp_path / "out" / "findings" / "susceptibility.json").read_text(encoding="utf-8"))
    for figure, value in finding.numbers.items():
        assert stored["figures"][figure]["value"] == pytest.approx(value), figure
    page = Path(told["report"]).read_text(encoding="utf-8")
    assert "red boat" in page
    assert "describe it" in page
    assert main([*words, "--seed", "1"]) == 0, "the same folder takes another look at the same model"
    assert main([*words[:3], str(place / "photos"), *ASKED[2:], "--out", str(tmp_path / "none")]) == 2
    assert "name a harmless sentence by target" in capsys.readouterr().err
    assert not (tmp_path / "none").exists(), "what is refused leaves nothing behind"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{place}/git", "--data", "fashion-mnist-small"], "rounds resized pictures to bytes"),
        (["{place}/photos", "--data", "{place}/photos"], "cannot be opened as a vision-language model"),
        (["{place}/git"], "steer needs --data"),
        (["{place}/git", "--data", "{place}/photos", "--guards", "jpg"], "did you mean 'jpeg'"),
        (["{place}/git", "--data", "{place}/photos", "--target", "red house"], "the word 'house'"),
        (["{place}/git", "--data", "{place}/photos", "--prompts", "who is it"], "the word 'who'"),
        (["{place}/git", "--data", "{place}/photos", "--headline", "5/255"], "headline must be one of eps"),
    ],
)
def test_what_cannot_be_steered_is_said_in_one_line(
    words: list[str], message: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [word.format(place=place) for word in words]
    out = tmp_path / "out"
    assert main(["steer", said[0], *ASKED, *said[1:], "--out", str(out)]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("withstand: error:"))
    assert message in line
    assert not out.exists()


def test_a_run_and_another_networks_folder_are_refused(place: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "target": "red boat", "prompts": ("what",), "held_out": ("describe it",), "samples": 2, "steps": 1,
        "guards": ("none",), "eps": ("8/255",), "headline": "8/255",
    }  # fmt: skip
    out = tmp_path / "out"
    finding = ws.steer(place / "llava", place / "photos", out=out, **asked)
    assert finding.numbers.keys() == ws.steer(place / "llava", place / "photos", **asked).numbers.keys()
    with pytest.raises(ConfigError, match="is a run, and steer takes a model"):
        ws.steer(out, place / "photos", **asked)
