"""Attacks that lead samples towards another one: `withstand attack RUN --target FILE`, beside clean ones and noise."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import withstand as ws
from withstand.api.asked import attack_of
from withstand.api.front import open_run
from withstand.api.settings import NamedAttack
from withstand.attacks.learnt.perturbations import Universal
from withstand.cli.main import main
from withstand.core.errors import ConfigError
from withstand.core.victims.victim import Victim

SIDE = 16


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos, a run on it, an attack on that run's encoder, and a picture that nobody learnt from."""
    folder = tmp_path_factory.mktemp("aimed")
    draw = np.random.default_rng(0)
    (folder / "photos").mkdir()
    for number in range(20):
        low, high = np.sort(draw.integers(0, 256, (2, 3)), axis=0)
        values = draw.integers(low, high + 1, (SIDE, SIDE, 3)).astype(np.uint8)
        Image.fromarray(values).save(folder / "photos" / f"{number}.png")
    Image.fromarray(np.full((30, 24), 200, np.uint8)).save(folder / "wanted.png")
    data = str(folder / "photos")
    small = {"model": "convnet", "width": 4, "depth": 1, "size": SIDE, "batch": 16}
    ws.train("simclr", data, out=folder / "run", epochs=1, quiet=True, options=small)
    learnt = {"victim": str(folder / "run"), "batch": 8, "decoder_width": 2}
    ws.train("anyattack", data, out=folder / "learnt", epochs=1, quiet=True, options=learnt)
    return folder


def embedded(place: Path, x: Tensor) -> Tensor:
    with torch.no_grad():
        return F.normalize(open_run(place / "run").encoder(x).double())


@pytest.mark.parametrize("learnt", [False, True])
def test_what_is_told_of_a_target_is_what_the_encoder_sees(
    place: Path, learnt: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, out, name = place / "wanted.png", tmp_path / "found.npz", str(place / "learnt") if learnt else "pgd"
    words = ["--attack", name, "--target", str(wanted), "--eps", "0.2", "--out", str(out)]
    assert main(["attack", str(place / "run"), *words]) == 0
    told = " ".join(capsys.readouterr().out.split())
    found = np.load(out)
    x = torch.from_numpy(found["x"]).float() / 255
    moved, target = torch.from_numpy(found["adversarial"]), torch.from_numpy(found["target"])[None]
    torch.testing.assert_close(target, torch.full_like(target, 200 / 255))
    assert float((moved - x).abs().max()) <= 0.2 + 1e-6
    clean, attacked, goal = embedded(place, x), embedded(place, moved), embedded(place, target)
    near = (attacked @ goal.T)[:, 0]
    taken = near > (attacked @ clean.T).amax(1)
    assert found["success"].tolist() == taken.tolist()
    np.testing.assert_allclose(found["loss"], 1 - near, atol=1e-5)
    assert f"{int(taken.sum())} of {len(x)}" in told
    assert f"mean cosine to it {float(near.mean()):.3f} (clean {float((clean @ goal.T).mean()):.3f}, noise " in told


def test_noise_and_clean_samples_stand_beside(place: Path) -> None:
    found = open_run(place / "run").aim(place / "wanted.png", attack="pgd", eps=0.2, steps=20)
    assert not bool(found.taken["clean"].any())
    assert float(found.cosine["attacked"].mean()) > float(found.cosine["noise"].mean())
    assert torch.equal(found.attacked.success, found.taken["attacked"])


def test_a_target_among_the_samples_is_not_held_against_itself(place: Path) -> None:
    run = open_run(place / "run")
    own = run.sources()[1]
    found = run.aim(own[[0]].x, attack="noise", eps=0.01)
    assert bool(found.taken["clean"][0])
    assert float(found.cosine["clean"][0]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "photos"], "target must hold one picture, and holds 20"),
        (["--target", "none.png"], "none.png"),
        (["--target", "wanted.png", "--attack", "ddn"], "ddn seeks the nearest success"),
        (["--target", "wanted.png", "--attack", "fab"], "fab compares classes"),
        (["--target", "wanted.png", "--eps", "any"], "needs a radius"),
        (["--attack", "learnt"], "--target FILE names one"),
    ],
)
def test_what_cannot_be_aimed_is_told(
    place: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    assert main(["attack", "run", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_learnt_attack_that_leads_away_is_not_aimed() -> None:
    asked, victim = NamedAttack("runs/away"), Victim(torch.nn.Flatten())
    with pytest.raises(ConfigError, match="learnt to lead samples away"):
        attack_of(victim, asked, embedding=True, learnt=Universal.example(), aimed=True)
