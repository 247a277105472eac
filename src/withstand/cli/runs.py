"""embed, probe, attack, audit, report, export: what is done with a run."""

from pathlib import Path
from typing import Literal

from withstand.cli.reply import Reply, finding_facts, show_finding
from withstand.core.errors import DataError


def run_embed(
    run: Path,
    *,
    data: str | None = None,
    split: Literal["train", "test"] = "train",
    out: Path | None = None,
    allow: tuple[str, ...] = (),
) -> Reply:
    """Write a run's features of its own data, or of other data.

    Args:
        split: which part of the data
        out: the .npz file, features-SPLIT.npz in the run folder if not said
    """
    import numpy as np

    from withstand.api import open_run
    from withstand.core.files import replacing

    path = out or run / f"features-{split}.npz"
    if path.suffix != ".npz":
        raise DataError(f"--out must name an .npz file, not {str(path)!r}")
    features = open_run(run, allow=allow).embed(data, split=split)
    arrays = {"x": features.x.numpy(), "index": features.index.numpy()}
    if features.y is not None:
        arrays["y"] = features.y.numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    text = f"{path}: features {len(features):,} x {features.width}"
    return Reply(text, {"path": str(path), "count": len(features), "width": features.width})


def run_probe(run: Path, *, data: str | None = None, allow: tuple[str, ...] = ()) -> Reply:
    """Measure what a run's encoder is worth, beside an untrained one; without labels, gauges and neighbors only."""
    from withstand.api import open_run

    findings = open_run(run, allow=allow).probe(data)
    text = "\n".join(show_finding(finding) for finding in findings if finding.numbers)
    facts = {finding.name: finding_facts(finding) for finding in findings}
    return Reply(f"{text}\nnext: withstand audit {run}", {**facts})


def run_attack(
    run: Path,
    *,
    data: str | None = None,
    norm: Literal["linf", "l2"] = "linf",
    eps: str = "8/255",
    steps: int = 40,
    restarts: int = 1,
    samples: int = 64,
    seed: int = 0,
    out: Path | None = None,
    allow: tuple[str, ...] = (),
) -> Reply:
    """Attack a run's encoder by PGD and keep the attacked inputs.

    Args:
        norm: how the size of a change is measured
        eps: the largest change, in input units or like 8/255
        steps: gradient steps
        restarts: independent tries for each sample
        samples: how many test samples
        out: the .npz file, adversarial.npz in the run folder if not said
    """
    import numpy as np

    from withstand.api import open_run
    from withstand.core.files import replacing
    from withstand.core.threat import Ball, parse_eps

    attacked, batch = open_run(run, allow=allow).attack(
        data, norm=norm, eps=eps, samples=samples, steps=steps, restarts=restarts, seed=seed
    )
    path = out or run / "adversarial.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(attacked, name).numpy() for name in ("success", "norm", "loss")}
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez_compressed(
            file, x=batch.x.numpy(), adversarial=attacked.x.numpy(), index=batch.index.numpy(), **arrays
        )
    share = attacked.success.float().mean().item()
    goal = "embeddings moved away from the clean ones" if batch.y is None else "predictions wrong"
    text = f"{Ball(norm, parse_eps(eps))}: {share:.1%} of {len(batch)} {goal}\nattacked inputs: {path}"
    return Reply(text, {"path": str(path), "success": share, "samples": len(batch)})


def run_audit(
    run: Path,
    *,
    data: str | None = None,
    norm: Literal["linf", "l2"] = "linf",
    eps: tuple[str, ...] = ("8/255",),
    samples: int = 500,
    steps: int = 20,
    seed: int = 0,
    allow: tuple[str, ...] = (),
) -> Reply:
    """Measure what a run's encoder is worth and withstands, and whether the numbers can be believed.

    Args:
        norm: of the headline's threat model; curves are drawn for linf and l2
        eps: radii in input units or like 8/255; the largest is the headline
        samples: how many test samples are attacked
        steps: gradient steps at each radius
    """
    from withstand.api import open_run

    opened = open_run(run, allow=allow)
    finding = opened.audit(data, norm=norm, eps=eps, samples=samples, steps=steps, seed=seed)
    findings = [*opened.probe(data), finding]  # a robust accuracy without the clean worth beside it says little
    report = opened.report()
    lines = [show_finding(found) for found in findings if found.name in ("knn", "linear", "audit")]
    text = "\n".join([*lines, str(finding.protocol.get("verdict", "")), f"report: {report}"])
    return Reply(text, {**{found.name: finding_facts(found) for found in findings}, "report": str(report)})


def run_report(run: Path) -> Reply:
    """Write a run's report: one HTML file that opens offline."""
    from withstand.report import render

    path = render(run)
    return Reply(f"report: {path}", {"report": str(path)})


def run_export(
    run: Path,
    *,
    form: Literal["safetensors", "onnx"] = "safetensors",
    out: Path | None = None,
    allow: tuple[str, ...] = (),
) -> Reply:
    """Write the encoder alone.

    Args:
        form: safetensors with a description beside it, or onnx (extra export), compared with torch's outputs
        out: the file, encoder.FORM in the run folder if not said
    """
    from withstand.api import open_run

    path = open_run(run, allow=allow).export(out, form=form)
    return Reply(f"{path}: {path.stat().st_size:,} bytes", {"path": str(path)})
