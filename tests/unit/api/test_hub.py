"""Runs on the Hub: what goes up comes down, opens and resumes; what is refused is one line. No network is touched."""

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch

import withstand as ws
from withstand.api.hub import pull, push
from withstand.cli.main import main
from withstand.core.errors import ConfigError, RunError
from withstand.engine.folder import RunFolder

hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ws.Run:
    options = {"width": 2, "batch": 64}
    made = ws.train("dcl", "digits", out=tmp_path_factory.mktemp("hub") / "run", epochs=1, quiet=True, options=options)
    made.probe()
    (made.path / "notes.pkl").write_bytes(b"\x80")
    made.folder.update(places={"source": "/home/somebody/digits"})
    (made.path / "first").mkdir()
    shutil.copy(made.path / "run.json", made.path / "first")
    return made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that stands for the Hub."""
    place = tmp_path / "hub"

    def create(_: Any, name: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        (place / name).mkdir(parents=True, exist_ok=True)
        (place / "private").write_text(str(private))

    def upload(
        _: Any, *, repo_id: str, folder_path: str, allow_patterns: Any = ("*",), ignore_patterns: Any = ()
    ) -> None:
        for path in Path(folder_path).rglob("*"):
            name = str(path.relative_to(folder_path))
            wanted = any(fnmatch(name, one) for one in allow_patterns)
            if path.is_file() and wanted and not any(fnmatch(name, one) for one in ignore_patterns):
                (place / repo_id / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place / repo_id / name)

    def download(name: str, *, revision: str | None, local_dir: str, allow_patterns: list[str]) -> str:
        if not (place / name).is_dir():
            raise OSError(f"404: {name} was not found")
        shutil.copytree(place / name, local_dir)
        return local_dir

    monkeypatch.setattr(hub.HfApi, "create_repo", create)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload)
    monkeypatch.setattr(hub, "snapshot_download", download)
    return place


def test_what_goes_up_comes_down(run: ws.Run, server: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", str(run.path), "people/clothes"]) == 0
    assert capsys.readouterr().out == "https://huggingface.co/people/clothes\n"
    assert (server / "private").read_text() == "True"
    sent = {path.name for path in (server / "people/clothes").rglob("*") if path.is_file()}
    assert {"run.json", "model.safetensors", "optimizer.safetensors", "README.md", "knn.json"} <= sent
    assert not sent & {"notes.pkl", ".lock"}
    records = list((server / "people/clothes").rglob("run.json"))
    assert len(records) == 2
    assert not any("somebody" in record.read_text() for record in records)
    card = (server / "people/clothes/README.md").read_text()
    assert "withstand pull people/clothes" in card
    assert "# dcl, learnt on digits" in card
    assert "untrained" in card, "a figure stands beside its control"
    assert main(["pull", "people/clothes", "--out", str(tmp_path / "mine")]) == 0
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(ws.open_run(tmp_path / "mine").encoder(x), run.encoder(x))
    assert {one.name for one in RunFolder(tmp_path / "mine").findings()} == {one.name for one in run.folder.findings()}
    push(run.path, "people/open", public=True)
    assert (server / "private").read_text() == "False"


def test_what_is_wrong_is_one_line(run: ws.Run, server: Path, tmp_path: Path) -> None:
    for name in ("clothes", "a/b/c", "../x/y", "people/"):
        with pytest.raises(ConfigError, match="is called ORG/NAME"):
            push(run.path, name)
        with pytest.raises(ConfigError, match="is called ORG/NAME"):
            pull(name)
    with pytest.raises(RunError, match="no run folder"):
        push(tmp_path / "none", "people/clothes")
    with pytest.raises(RunError, match="people/none: 404"):
        pull("people/none", out=tmp_path / "mine")
    assert not list(tmp_path.glob(".pull-*"))
    (server / "people/words").mkdir(parents=True)
    with pytest.raises(RunError, match=r"people/words holds no run\.json"):
        pull("people/words", out=tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    with pytest.raises(RunError, match="holds something: name another folder"):
        pull("people/words", out=run.path)
