"""Runs open from any folder, wherever run and data lie now, and never on data of another content."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import withstand as ws
from unit.api.conftest import draw
from withstand.cli.main import main
from withstand.core.errors import DataError

OPTIONS = {"width": 4, "batch": 24, "size": 16}


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos and a run on them, trained by a relative path; tests copy it."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(photos, home / "my-photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        patch.chdir(home)
        ws.train("simclr", "my-photos", out="runs/one", epochs=1, options=OPTIONS, quiet=True)
    return home


@pytest.fixture
def home(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, with the present folder elsewhere, and the original out of sight."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(trained / "runs", tmp_path / "runs")
    shutil.copytree(trained / "my-photos", tmp_path / "my-photos")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


@pytest.fixture
def gone(trained: Path, home: Path) -> Iterator[None]:
    """While a test runs, nothing lies where the run was trained."""
    aside = (trained / "my-photos").rename(trained / "aside")
    yield
    aside.rename(trained / "my-photos")


def test_where_it_was_trained_from_any_folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(trained / "cache"))
    monkeypatch.chdir(tmp_path)
    assert len(ws.open_run(trained / "runs/one").source) == 48
    run = shutil.copytree(trained / "runs/one", tmp_path / "far/away/run")
    opened = ws.open_run(run)
    assert len(opened.embed()) == 60
    assert opened.source.origin == f"pictures below {trained / 'my-photos'}"


@pytest.mark.usefixtures("gone")
def test_run_and_data_moved_together(home: Path) -> None:
    assert len(ws.open_run("../runs/one").embed()) == 60
    beside = home / "elsewhere"
    shutil.move(home / "runs/one", beside / "run")
    shutil.move(home / "my-photos", beside / "my-photos")
    assert len(ws.open_run(beside / "run").embed()) == 60


@pytest.mark.usefixtures("gone")
def test_other_pictures_are_embedded_without_the_runs_own(home: Path) -> None:
    one, array = home / "one.png", home / "some.npz"
    draw(3).save(one)
    np.savez(array, x=np.zeros((2, 16, 16, 3), np.uint8))
    few = home / "few"
    few.mkdir()
    shutil.copy(one, few)
    run = ws.open_run(home / "runs/one")
    before = [run.embed(path).x for path in (one, array, few)]
    shutil.rmtree(home / "my-photos")
    bare = ws.open_run(home / "runs/one")
    for path, features in zip((one, array, few), before, strict=True):
        np.testing.assert_array_equal(bare.embed(path).x, features)
    for needed in (bare.embed, bare.probe, lambda: bare.neighbors(one)):
        with pytest.raises(DataError, match="are neither there nor beside the run"):
            needed()


@pytest.mark.usefixtures("gone")
def test_moved_data_are_found_again_by_their_content(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(shutil.move(home / "runs/one", home / "moved-run"))
    shutil.move(home / "my-photos", home / "elsewhere/photos of mine")
    assert main(["probe", run]) == 2
    assert "my-photos', are neither there nor beside the run: --data PATH finds them again" in capsys.readouterr().err
    assert main(["probe", run, "--data", "photos of mine"]) == 0
    found = ws.open_run(run).folder.findings()
    assert found
    assert not [finding.name for finding in found if " on " in finding.name]
    data = next(finding for finding in found if finding.name == "gauges").protocol["data"]
    assert (data["samples"], data["name"]) == (12, "photos of mine")
    assert main(["probe", run]) == 0  # the run remembers


@pytest.mark.usefixtures("gone")
def test_other_pictures_are_never_taken_for_the_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = shutil.move(home / "my-photos", home / "kept")
    other = Path("my-photos")
    other.mkdir()
    for place in range(40):
        draw(place + 100).save(other / f"photo {place:02}.png")
    run = str(home / "runs/one")
    assert main(["probe", run]) == 2
    assert "my-photos no longer holds what" in capsys.readouterr().err
    with pytest.raises(DataError, match="no longer holds what"):
        ws.open_run(run).embed()
    findings = ws.open_run(run).probe("my-photos")
    assert {finding.protocol["data"]["samples"] for finding in findings} == {8}
    assert {finding.name.partition(", ")[2] for finding in ws.open_run(run).folder.findings()} == {"on my-photos"}
    draw(200).save(Path(own) / "photo 99.png")  # one more, and it is other data too
    ws.open_run(run).probe(own)
    assert any(finding.name.endswith(", on kept") for finding in ws.open_run(run).folder.findings())


@pytest.mark.usefixtures("gone")
def test_parts_are_found_below_what_is_named(home: Path) -> None:
    for part, places in (("train", range(30)), ("valid", range(30, 40))):
        folder = home / "split" / part
        folder.mkdir(parents=True)
        for place in places:
            draw(place).save(folder / f"{place}.png")
    run = ws.train("simclr", home / "split", out=home / "two", epochs=1, options=OPTIONS, quiet=True)
    assert ws.open_run(home / "two").others(str(home / "split")) is None
    shutil.move(home / "split", "far")
    with pytest.raises(DataError, match="--data PATH finds them again"):
        ws.open_run(run.path).sources()
    assert [len(part) for part in ws.open_run(run.path).sources("far")] == [30, 10]


def test_arrays_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    np.save("a.npy", pixels)
    run = ws.train("simclr", "a.npy", out="run", epochs=1, options={"width": 4, "batch": 12}, quiet=True)
    (tmp_path / "b").mkdir()
    shutil.move("a.npy", "b/c.npy")
    np.save("a.npy", pixels[::-1])
    run = ws.open_run(tmp_path / "run")
    with pytest.raises(DataError, match="no longer holds"):
        run.sources()
    assert run.others("a.npy") == "a.npy"
    assert run.others("b/c.npy") is None
    assert len(run.source) == 24
