"""What is kept to judge by is told, and where nothing is kept no number passes for one on new samples."""

from pathlib import Path

import numpy as np
import pytest

import withstand as ws
from unit.api.conftest import kind_of
from withstand.cli.main import main
from withstand.core.errors import ConfigError, DataError
from withstand.data.load import splits_or_all

PICTURES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)


@pytest.mark.filterwarnings("default")
def test_all_photos_are_learnt_from_and_probes_say_so(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = tmp_path / "run"
    words = [
        "train",
        "simclr",
        "--data",
        str(photos),
        "--size",
        "16",
        "--width",
        "4",
        "--batch",
        "30",
        "--out",
        str(out),
    ]
    assert main([*words, "--epochs", "1", "--holdout", "0"]) == 0
    assert "my photos, 60 pictures learn, all there are; none is kept to judge by" in capsys.readouterr().err
    run = ws.open_run(out)
    assert len(run.source) == len(run.embed()) == 60
    table = tmp_path / "labels.csv"
    table.write_text("file,label\n" + "".join(f"{name},{kind_of(name)}\n" for name in run.embed().names))
    found = {finding.name: finding for finding in run.with_labels(table).probe()}
    last = found["knn"].checks[-1]
    assert (last.passed, last.name) == (None, "what new samples would show")
    assert "the 12 pictures judged are of the 60 that it learnt from" in last.detail

    capsys.readouterr()
    assert main([*words, "--epochs", "2", "--holdout", "0"]) == 0  # a longer run goes on where it was
    assert "simclr: goes on at step 2 of 4, in epoch 2 of 2" in capsys.readouterr().err
    assert main([*words, "--epochs", "2", "--holdout", "0"]) == 0
    assert "simclr: all 4 steps are done already" in capsys.readouterr().err
    assert main([*words, "--epochs", "2"]) == 2  # another division is another experiment
    assert "belongs to another experiment" in capsys.readouterr().err


def test_what_learnt_from_all_labels_is_not_judged_by_them(tmp_path: Path) -> None:
    options = {"width": 4, "batch": 10, "holdout": 0.0}
    pair = (PICTURES, np.arange(20) % 2)
    run = ws.train("pgd-at", pair, out=tmp_path / "run", epochs=1, options=options, quiet=True)
    for verb in (run.probe, run.audit):
        with pytest.raises(DataError, match="kept no test samples, and learnt from the labels of all: name data"):
            verb()
    assert run.sources(pair)[1].labels is not None


def test_shares_are_kept_as_asked_for(tmp_path: Path) -> None:
    train, test = splits_or_all(PICTURES, share=0.5)
    assert test is not None
    assert (len(train), len(test)) == (10, 10)
    for share in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="holdout must be at least 0 and below 1"):
            splits_or_all(PICTURES, share=share)
    with pytest.raises(ConfigError, match="test part of its own"):
        splits_or_all("digits", share=0.0)
    np.savez(tmp_path / "parts.npz", x_train=PICTURES[:10], x_test=PICTURES[10:])
    with pytest.raises(ConfigError, match="test part of its own"):
        splits_or_all(tmp_path / "parts.npz", share=0.1)
    with pytest.raises(ConfigError, match="judged on samples that were kept"):
        ws.train("imaginet", PICTURES, options={"holdout": 0.0, "generate": True})
