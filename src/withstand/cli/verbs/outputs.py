"""embed, neighbors, apply, export: what a run makes of samples, and gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from withstand.cli.reply import Reply
from withstand.core.options import Device
from withstand.core.part import Tree


def run_embed(
    run: Path,
    *,
    data: str | None = None,
    split: str = "all",
    id: str | None = None,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Write a run's features of its own data, or of other data: every sample, in the data's order.

    Args:
        split: all; or train, test or another part that the data come in
        id: of a table: the column that names its rows, written as their name; the one that training was told if not
            said
        out: an .npz file, features-SPLIT.npz in the run folder if not said: x, each sample's place (index), and as far
            as known its label (y, -1 for none; classes), name (names) and part (parts); or a .parquet file with a row a
            sample: name, part, label, index and features
    """
    from withstand.api.front import open_run
    from withstand.api.written.feature_files import check_suffix, write_features

    path = out or run / f"features-{split}.npz"
    check_suffix(path)
    features = open_run(run, allow=allow, device=device).embed(data, split=split, id=id)
    write_features(features, path)
    text = "\n".join([f"{path}: features {len(features):,} x {features.width}", *_noted(features.notes)])
    return Reply(text, {"path": str(path), "count": len(features), "width": features.width})


def _noted(notes: Sequence[tuple[str, str]]) -> list[str]:
    """Return what had to be bent to fit what was learnt, a line each."""
    return [f"  {what}: {how}" for what, how in notes]


def run_neighbors(
    run: Path,
    files: tuple[str, ...],
    *,
    k: int = 5,
    split: Literal["train", "test", "all"] = "train",
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Find the run's own samples that its encoder takes for most like others, by cosine of their features.

    Args:
        files: of pictures; or whatever --data takes, as a folder, an array or a table of rows
        k: how many
        split: whose neighbors: train, what was learnt from; test; or all
    """
    from withstand.api.front import open_run

    found = open_run(run, allow=allow, device=device).neighbors(*files, k=k, split=split)
    return Reply(str(found), {"neighbors": found.facts()})


def run_apply(
    run: Path,
    *,
    data: str | None = None,
    split: str = "all",
    part: Literal["generator", "purifier", "segmenter", "keypoints", "classifier", "condensed"] | None = None,
    set: tuple[str, ...] = (),
    id: str | None = None,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Write what a run makes of every sample: predictions, pictures, masks, keypoints, or its condensed set.

    Args:
        split: all; or train, test or another part that the data come in
        part: what the run gives that is applied; what its method holds to be its output if not said. A run that only
            embeds predicts by a probe on its encoder, where its data say what
        set: settings of what the method makes, NAME=VALUE
        id: of a table: the column that names its rows; the one that training was told if not said
        out: a new folder, outputs in the run folder if not said: PNG files named as their samples, and CSV tables
    """
    from withstand.api.front import open_run
    from withstand.cli.verbs.training import read_setting

    folder = out or run / "outputs"
    opened = open_run(run, allow=allow, device=device)
    applied = opened.apply_to(folder, data, part=part, split=split, id=id, **dict(map(read_setting, set)))
    lines = [f"{applied.folder}: outputs of {applied.count:,} samples", *(f"  {line}" for line in applied.outputs)]
    lines += _noted(applied.notes)
    facts: dict[str, Tree] = {"path": str(applied.folder), "count": applied.count, "outputs": list(applied.outputs)}
    return Reply("\n".join(lines), facts)


def run_export(
    run: Path,
    *,
    form: Literal["safetensors", "onnx"] = "safetensors",
    part: str = "encoder",
    out: Path | None = None,
    allow: tuple[str, ...] = (),
) -> Reply:
    """Write one of the networks that a run gives, or the attack that it learnt.

    Args:
        form: safetensors with a description beside it, or onnx (extra export), compared with torch's outputs
        part: encoder; classifier, the trained one or a linear probe on the encoder; or any other that the run gives,
            as generator, purifier or attack
        out: the file, PART.FORM in the run folder if not said
    """
    from withstand.api.front import open_run

    path = open_run(run, allow=allow).export(out, form=form, part=part)
    return Reply(f"{path}: {path.stat().st_size:,} bytes", {"path": str(path)})
