"""A run folder as a whole run leaves it, from realistic findings, without training anything."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from withstand.core.findings.finding import Check, Finding, Measure, Table

CLASSES = ["T-shirt", "trouser", "pullover", "<script>alert(1)</script>"]


def record() -> dict:
    network = {
        "class_path": "withstand.models.pictures.convnets.resnet.ResNet",
        "init_args": {"width": 16, "depth": 18},
    }
    encoder = {
        "class_path": "withstand.models.pictures.normalized.Normalized",
        "init_args": {"encoder": network, "mean": [0.5]},
    }
    method = {
        "class_path": "withstand.methods.contrastive.dcl.DCL",
        "init_args": {"encoder": encoder, "temperature": 0.1, "weights": None},
    }
    view = {"class_path": "withstand.views.presets.TwoViews", "init_args": {"scale": [0.2, 1.0]}}
    source = {"class_path": "withstand.data.pictures.named.NamedSet", "init_args": {"name": "fashion-mnist"}}
    plan = {
        "class_path": "withstand.engine.experiment.Plan",
        "init_args": {
            "epochs": 10,
            "batch": 256,
            "optimizer": {"class_path": "withstand.engine.optimizers.SGD", "init_args": {"lr": 0.06, "momentum": 0.9}},
        },
    }
    return {
        "name": "dcl",
        "created": "2026-03-01T12:00:00+00:00",
        "status": "finished",
        "seconds": 51.2,
        "seed": 0,
        "tree": {
            "class_path": "withstand.engine.experiment.Experiment",
            "init_args": {"name": "dcl", "source": source, "view": view, "method": method, "plan": plan},
        },
        "versions": {"withstand": "0.1.0", "torch": "2.14.0", "python": "3.11.2"},
        "git": "92deb51",
        "data": {
            "name": "fashion-mnist",
            "origin": "embedded subset of Fashion-MNIST",
            "count": 10000,
            "shape": [1, 28, 28],
            "labelled": True,
            "classes": CLASSES,
            "fingerprint": "b2:4f1c",
            "skipped": [["broken <b>.png", "truncated file"]],
        },
        "engine": {
            "device": "cpu",
            "precision": "bfloat16",
            "channels_last": True,
            "processes": 1,
            "reason": "bfloat16 was 1.7 times as fast as float32",
        },
    }


def metrics(steps: int = 390, every: int = 2) -> list[dict]:
    rows = []
    for step in range(every, steps + 1, every):
        done = step / steps
        row = {
            "step": step,
            "epoch": 10 * done,
            "loss": 2.4 + 2.8 * np.exp(-5 * done) + 0.03 * np.sin(step),
            "lr": 0.06 * min(1.0, 10 * done) * 0.5 * (1 + np.cos(np.pi * done)),
            "seconds": 51.2 * done,
            "rate": 1953.0,
            "temperature": 0.1,
        }
        if step % 10 == 0:
            row |= {"std": 0.9 - 0.2 * done, "effective_rank": 20 + 30 * done}
            row |= {"alignment": 0.6 - 0.3 * done, "uniformity": -1.5 - 1.5 * done}
        rows.append(row)
    return rows


def pictures(*shape: int, size: int = 28) -> np.ndarray:
    numbers = np.random.default_rng(0)
    ramp = np.linspace(0, 200, size)[:, None, None] * np.ones((size, size, 1))
    return (ramp + numbers.integers(0, 55, (*shape, size, size, 1))).astype(np.uint8)


def share(value: float, *ends: float) -> Measure:
    """Return a share of which more is better, with both ends of its interval where they are given."""
    return Measure(value, "share", "higher", interval=(ends[0], ends[1]) if ends else None)


def probe(name: str, accuracy: float, control: float) -> Finding:
    """Return a probe's finding as the evaluation writes it."""
    return Finding(
        name,
        figures={
            "accuracy": Measure(
                accuracy,
                "share",
                "higher",
                interval=(accuracy - 0.019, accuracy + 0.017),
                of=2000,
                control=share(control, control - 0.021, control + 0.019),
                gain=(accuracy - control - 0.012, accuracy - control + 0.012),
                chance=0.1,
            )
        },
        headline="accuracy",
        tables={
            "classes": Table(
                ("class", "samples", "encoder", "untrained control"),
                tuple((name, 200, accuracy, control) for name in CLASSES),
                units={"encoder": "share", "untrained control": "share"},
            ),
        },
        checks=(Check("the fit converged", True, "112 of at most 1000 iterations"),),
        protocol={
            "probe": {"class_path": f"withstand.evaluation.probes.{name}", "init_args": {"k": 20}},
            "split": "test set given",
            "train": {"samples": 10000, "digest": "b2:aa"},
            "interval": "95 %, Wilson",
        },
    )


def findings() -> list[Finding]:
    numbers = np.random.default_rng(0)
    probes = [("knn", 0.80, 0.711), ("linear", 0.842, 0.79), ("naive-bayes", 0.71, 0.60), ("centroid", 0.69, 0.62)]
    found = [probe(*one) for one in probes]
    directions = np.arange(1, 65)
    found.append(
        Finding(
            "gauges",
            figures={
                "effective rank": Measure(48.2, "directions", "higher", control=Measure(6.1, "directions", "higher")),
                "spread": Measure(0.81, "ratio", "higher", control=Measure(0.31, "ratio", "higher")),
            },
            tables={
                "spectrum": Table(
                    ("direction", "share of variance", "share of variance, untrained control"),
                    tuple((int(k), float(0.1 * 0.95**k), float(0.5 * 0.6**k)) for k in directions),
                    x="direction",
                    units={"share of variance": "share", "share of variance, untrained control": "share"},
                    controls={"share of variance, untrained control": "share of variance"},
                )
            },
            checks=(Check("the features have not collapsed", True, "spread 0.81 (1 is even), effective rank 48.2"),),
        )
    )
    found.append(
        Finding(
            "few-shot",
            figures={"knn, 10 labels a class": replace(share(0.6), spread=0.02, of=5, control=share(0.5))},
            tables={
                "curve": Table(
                    ("labels a class", "knn", "knn ±", "linear", "linear ±", "knn, untrained control"),
                    tuple(few_labels(count) for count in (1, 2, 5, 10, 20, 50)),
                    x="labels a class",
                    units=dict.fromkeys(("knn", "linear", "knn, untrained control"), "share"),
                    controls={"knn, untrained control": "knn"},
                )
            },
            protocol={"draws": 5},
        )
    )
    centers = numbers.normal(0, 6, (len(CLASSES), 2))
    points = [(*(centers[k % 4] + numbers.normal(0, 1.2, 2)), CLASSES[k % 4], k) for k in range(400)]
    rows = tuple((float(x), float(y), label, index) for x, y, label, index in points)
    near = tuple(
        (q, CLASSES[q % 4], k, 10 * q + k, CLASSES[(q + (k > 6)) % 4], 0.9) for q in range(6) for k in range(1, 9)
    )
    found.append(
        Finding(
            "map",
            tables={
                "map": Table(("x", "y", "label", "index"), rows),
                "neighbors": Table(("query", "query label", "rank", "neighbor", "neighbor label", "cosine"), near),
            },
            protocol={"layout": "tsne", "points": 400},
            pictures={"neighbors": pictures(6, 9)},
        )
    )
    linf, l2 = tuple(k / 255 for k in (0, 1, 2, 4, 8, 16)), (0.0, 0.125, 0.25, 0.5, 1.0, 2.0)
    found.append(
        Finding(
            "audit",
            figures={
                "clean accuracy": share(0.794, 0.757, 0.827),
                "robust accuracy, linf 8/255": share(0.12, 0.094, 0.152),
                "worst class's robust accuracy, linf 8/255": share(0.02),
                "accuracy under noise, linf 8/255": share(0.78),
                "worst class's clean accuracy": share(0.55),
                "robust accuracy, linf 4/255": share(0.41),
            },
            headline="robust accuracy, linf 8/255",
            tables={
                "accuracy against eps, linf": over_eps(linf, 30),
                "accuracy against eps, l2": over_eps(l2, 1.5),
                "classes": Table(
                    ("class", "samples", "clean accuracy", "robust accuracy, linf 8/255"),
                    tuple((name, 50, 0.8, 0.1) for name in CLASSES),
                    units={"clean accuracy": "share", "robust accuracy, linf 8/255": "share"},
                ),
                "which attack broke what": Table(
                    ("norm", "ball", "newly broken by PGD, cross-entropy", "newly broken by APGD-CE"),
                    (("linf", "linf 4/255", 0.3, None), ("linf", "linf 8/255", 0.25, 0.03)),
                    note="A dash: it was not run.",
                    units=dict.fromkeys(("newly broken by PGD, cross-entropy", "newly broken by APGD-CE"), "share"),
                ),
                "pictures": Table(
                    ("label", "predicted", "predicted under attack", "broken at eps"),
                    tuple((CLASSES[k % 4], CLASSES[k % 4], CLASSES[1], "4/255") for k in range(8)),
                ),
            },
            checks=(
                Check("gradients are there", True, "the gradient is zero on 0% of 100 samples"),
                Check("more steps do not help the defender", True, "5 steps break 50 %, 20 steps break 60 %"),
                Check("unlimited eps reaches 0 %", True, "accuracy 0.0 % with the whole range allowed"),
            ),
            protocol={
                "ball": {"norm": "linf", "eps": 8 / 255},
                "goal": "labels",
                "samples": 500,
                "headline": {
                    "number": "robust accuracy, linf 8/255",
                    "against": "clean accuracy",
                    "ball": "linf 8/255",
                    "value": 0.12,
                    "interval": [0.094, 0.152],
                    "samples": 500,
                    "attack": "PGD-20 and AutoAttack (standard)",
                    "access": "with gradients and outputs",
                    "standing": "believable",
                },
            },
            pictures={
                "clean": pictures(8),
                "adversarial": pictures(8),
                "difference (magnified x16)": pictures(8),
            },
        )
    )
    found.append(
        Finding(
            "claim-dcl",
            figures={
                "kNN accuracy, DCL": Measure(0.79, "share", "higher", spread=0.004, of=2),
                "effect": Measure(0.02, "share", "higher", interval=(0.014, 0.026), of=2),
            },
            headline="effect",
            tables={
                "seeds": Table(
                    ("seed", "DCL", "SimCLR"),
                    ((0, 0.79, 0.77), (1, 0.788, 0.771)),
                    units={"DCL": "share", "SimCLR": "share"},
                )
            },
            protocol={"statement": "DCL needs no large batch.", "verdict": "reproduced", "seeds": 2},
        )
    )
    return found


def few_labels(count: int) -> tuple[float, ...]:
    missing = count**-0.3
    return (count, 0.8 - 0.4 * missing, 0.1 * missing, 0.88 - 0.6 * missing, 0.12 * missing, 0.7 - 0.4 * missing)


def over_eps(radii: tuple[float, ...], slope: float) -> Table:
    rows = []
    for e in radii:
        robust = max(0.794 - slope * e, 0)
        rows.append((e, f"{e * 255:.3g}/255", robust, 0.9 * robust, robust + 0.03, 0.794 - slope * e / 20))
    names = ("robust accuracy", "robust accuracy, 95 % low", "robust accuracy, 95 % high")
    return Table(
        ("eps", "k/255", *names, "accuracy under noise"),
        tuple(rows),
        x="eps",
        units={"eps": "k/255", "robust accuracy": "share", "accuracy under noise": "share"},
        controls={"accuracy under noise": "robust accuracy"},
    )


def write_run(folder: Path, *, only: set[str] | None = None, **changes: object) -> Path:
    """Write a run folder with the named findings (all by default) and some entries of run.json changed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(record() | changes))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics()))
    for finding in findings():
        if only is None or finding.name in only:
            finding.save(folder / "findings")
    return folder
