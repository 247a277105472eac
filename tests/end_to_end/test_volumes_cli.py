"""A folder of scans from NIfTI files to a report, as a user does it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from withstand.cli.main import main

nibabel = pytest.importorskip("nibabel", reason="extra medical")

pytestmark = pytest.mark.filterwarnings("ignore:the embeddings are collapsing")


def scans(folder: Path, count: int = 5) -> Path:
    """Boxes in noise, their left side to the right as scanners write them, with masks of all but the last."""
    draws = np.random.default_rng(0)
    folder.mkdir()
    for place in range(count):
        x = draws.normal(300, 40, (14, 15, 8)).astype(np.float32)
        mask = np.zeros(x.shape, np.uint8)
        mask[4 : 9 + place % 2, 5:11, 1:7] = 1
        affine = np.diag([-1.0, 1.0, 4.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(x + 300.0 * mask, affine), folder / f"p{place}.nii.gz")
        if place < count - 1:
            nibabel.save(nibabel.Nifti1Image(mask, affine), folder / f"p{place}_seg.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), folder / "functional.nii.gz")
    return folder


@pytest.mark.thorough
def test_train_embed_probe_audit_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, data = tmp_path / "run", scans(tmp_path / "scans")
    command = [
        "train", "global-local", "--data", str(data), "--out", str(out), "--epochs", "1", "--batch", "16",
        "--width", "2", "--set", "judges.0.steps=4", "--set", "judges.0.choices=1",
    ]  # fmt: skip
    assert main(command) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "data: scans, 32 slices learn, 8 are kept to judge by: scans; 5 volumes, axial slices" in said
    assert "5 of 5 turned to the nearest axes" in said
    assert "masks of 4 volumes" in said
    record = json.loads((out / "run.json").read_text())
    assert record["data"]["kind"] == "slice"
    assert main(["probe", str(out)]) == 0
    assert "Dice" in capsys.readouterr().out
    assert main(["audit", str(out), "--samples", "8", "--steps", "2", "--ensemble", "none"]) == 0
    assert main(["embed", str(out), "--out", str(tmp_path / "codes.npz")]) == 0
    assert main(["report", str(out)]) == 0
    report = (out / "report.html").read_text(encoding="utf-8")
    for wanted in ("slices", "Worst slices", "True masks", "functional.nii.gz", "4 axes"):
        assert wanted in report, wanted
    with np.load(tmp_path / "codes.npz") as codes:
        assert len(codes["x"]) == 40
        assert str(codes["names"][0]) == "p0 slice 0"


def test_masks_of_few_volumes_teach_a_segmenter_that_writes_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "run", scans(tmp_path / "scans")
    command = ["train", "segmentation", "--data", str(data), "--volumes", "2", "--out", str(out), "--width", "4"]
    assert (
        main([*command, "--levels", "2", "--epochs", "60", "--batch", "8", "--learning-rate", "0.01", "--quiet"]) == 0
    )
    assert main(["probe", str(out), "--json"]) == 0
    told = json.loads("{" + capsys.readouterr().out.partition("{")[2])
    assert told["dice"]["figures"]["Dice"]["value"] > 0.5, "bright boxes in noise"
    assert main(["apply", str(out), "--data", str(data), "--out", str(tmp_path / "masks")]) == 0
    files = sorted((tmp_path / "masks" / "masks").iterdir())
    assert len(files) == 40
    assert set(np.unique(np.asarray(Image.open(files[3]))).tolist()) <= {0, 1}
    assert main(["train", "segmentation", "--data", str(data), "--volumes", "9", "--out", str(tmp_path / "no")]) == 2
    assert "volumes must lie between 1 and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--batch", "12"], "use --batch 8 or 16"),
        (["--size", "20", "--levels", "6"], "levels must fit"),
        (["--axis", "axail"], "axial"),
        (["--partitions", "9", "--batch", "18"], "9 partitions"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    command = ["train", "global-local", "--data", str(scans(tmp_path / "scans")), "--width", "2"]
    assert main([*command, "--out", str(tmp_path / "run"), *words]) == 2
    line = capsys.readouterr().err.strip()
    assert told in line
    assert "\n" not in line
