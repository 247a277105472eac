"""embed, apply, probe, audit, report, export: what is done with a run."""

from pathlib import Path
from typing import Any, Literal

from withstand.api.settings import Audit, Inputs, LabelTable
from withstand.cli.interrupted import of_audit, when_interrupted
from withstand.cli.network import folder_of, is_network, refuse_for_runs
from withstand.cli.reply import Reply, finding_facts
from withstand.core.errors import ConfigError, DataError
from withstand.core.options import Device
from withstand.core.part import Tree


def run_embed(
    run: Path,
    *,
    data: str | None = None,
    split: str = "all",
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Write a run's features of its own data, or of other data: every sample, in the data's order.

    Args:
        split: all; or train, test or another part that the data come in
        out: the .npz file, features-SPLIT.npz in the run folder if not said: x, each sample's place (index), and as far
            as known its label (y, -1 for none; classes), name (names) and part (parts)
    """
    import numpy as np

    from withstand.api.front import open_run
    from withstand.core.files import printable, replacing

    path = out or run / f"features-{split}.npz"
    if path.suffix != ".npz":
        raise DataError(f"--out must name an .npz file, not {str(path)!r}")
    features = open_run(run, allow=allow, device=device).embed(data, split=split)
    arrays: dict[str, Any] = {"x": features.x.numpy(), "index": features.index.numpy()}
    if features.y is not None:
        arrays["y"] = features.y.numpy()
    words = {"classes": features.classes, "names": features.names, "parts": features.parts}
    arrays |= {name: np.array([printable(word) for word in some]) for name, some in words.items() if some}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)
    text = f"{path}: features {len(features):,} x {features.width}"
    return Reply(text, {"path": str(path), "count": len(features), "width": features.width})


def run_apply(
    run: Path,
    *,
    data: str | None = None,
    split: str = "all",
    part: Literal["generator", "purifier", "segmenter", "keypoints", "classifier", "condensed"] | None = None,
    set: tuple[str, ...] = (),
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Write what a run makes of every sample: predictions, pictures, masks, keypoints, or its condensed set.

    Args:
        split: all; or train, test or another part that the data come in
        part: what the run gives that is applied; what its method holds to be its output if not said
        set: settings of what the method makes, NAME=VALUE
        out: a new folder, outputs in the run folder if not said: PNG files named as their samples, and CSV tables
    """
    from withstand.api.front import open_run
    from withstand.cli.verbs.training import read_setting

    folder = out or run / "outputs"
    opened = open_run(run, allow=allow, device=device)
    applied = opened.apply_to(folder, data, part=part, split=split, **dict(map(read_setting, set)))
    lines = [f"{applied.folder}: outputs of {applied.count:,} samples", *(f"  {line}" for line in applied.outputs)]
    facts: dict[str, Tree] = {"path": str(applied.folder), "count": applied.count, "outputs": list(applied.outputs)}
    return Reply("\n".join(lines), facts)


def run_audit(
    run: Path,
    *,
    data: str | None = None,
    asked: Audit = Audit(),  # noqa: B008 - a frozen value
    inputs: Inputs = Inputs(),  # noqa: B008 - a frozen value
    table: LabelTable = LabelTable(),  # noqa: B008 - a frozen value
    corruptions: bool = False,
    surrogate: str | None = None,
    attack: str | None = None,
    out: Path | None = None,
    device: Device = "auto",
    allow: tuple[str, ...] = (),
) -> Reply:
    """Measure what a run's encoder, or any network, is worth and withstands, and whether the numbers can be believed.

    Args:
        run: a run folder; or a network: FILE.onnx, FILE.safetensors with its FILE.json, FILE.py:NAME or MODULE:NAME
        corruptions: also count what is left under the fifteen common corruptions
        surrogate: another network, whose attacks are carried over to this one as a check
        attack: one that was learnt, run at every radius: a run folder that gives it, or FILE.safetensors
        out: for a network that is no run: the folder of its finding and report, audit-NAME if not said
    """
    from withstand.cli.bar import audit_bar

    folder = out or folder_of("audit", run) if is_network(run) else run
    with when_interrupted(lambda: of_audit(folder)), audit_bar() as progress:
        if is_network(run):
            table.refuse_for_networks()
            from withstand.api.networks import audit
            from withstand.engine.folder import RunFolder

            if data is None:
                raise ConfigError("a network that is no run needs --data: on what shall it be attacked?")
            audit(
                str(run), data, asked, inputs, out=folder, surrogate=surrogate, attack=attack, corruptions=corruptions,
                device=device, allow=allow, progress=progress,
            )  # fmt: skip
            findings, report = RunFolder(folder).findings(), folder / "report.html"
        else:
            from withstand.api.front import open_run

            refuse_for_runs(inputs, out=out)
            opened = open_run(run, allow=allow, device=device, labels=table.labels, label_column=table.label_column)
            others = [opened.corruptions(data, samples=asked.samples, seed=asked.seed)] if corruptions else []
            finding = opened.audit(data, asked, surrogate=surrogate, attack=attack, progress=progress)
            # A robust accuracy without the clean worth beside it says little.
            findings = [*opened.probe(data), finding, *others]
            report = opened.report()
    told = {found.name: found for found in findings}
    lines = [str(told[name]) for name in ("knn", "linear", "audit", "corruptions") if name in told]
    text = "\n".join([*lines, str(told["audit"].protocol.get("verdict", "")), f"report: {report}"])
    return Reply(text, {**{name: finding_facts(found) for name, found in told.items()}, "report": str(report)})


def run_report(run: Path) -> Reply:
    """Write a run's report: one HTML file that opens offline."""
    from withstand.report import render

    path = render(run)
    return Reply(f"report: {path}", {"report": str(path)})


def run_compare(runs: tuple[Path, ...], *, out: Path = Path("comparison.html")) -> Reply:
    """Put runs side by side: one HTML file with the figures and curves that they have in common.

    Args:
        runs: run folders, two or more
        out: the page
    """
    from withstand.report.compare import compare

    found = compare(runs, out)
    text = "\n".join([*(f"beware: {caution}" for caution in found.cautions), found.text, f"comparison: {out}"])
    return Reply(text, {"comparison": str(out), "cautions": list(found.cautions)})


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
