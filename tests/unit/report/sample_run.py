"""A run folder as a whole run leaves it, from realistic findings, without training anything."""

import json
from pathlib import Path

import numpy as np

from withstand.core.finding import Check, Finding, Table

CLASSES = ["T-shirt", "trouser", "pullover", "<script>alert(1)</script>"]


def record() -> dict:
    encoder = {"class_path": "withstand.models.resnet.ResNet", "init_args": {"width": 16, "depth": 18}}
    method = {
        "class_path": "withstand.methods.contrastive.dcl.DCL",
        "init_args": {"encoder": encoder, "temperature": 0.1, "weights": None},
    }
    view = {"class_path": "withstand.views.presets.TwoViews", "init_args": {"scale": [0.2, 1.0]}}
    source = {"class_path": "withstand.data.named.NamedSet", "init_args": {"name": "fashion-mnist"}}
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


def findings() -> list[Finding]:
    numbers = np.random.default_rng(0)
    probes = [("knn", 0.80, 0.711), ("linear", 0.842, 0.79), ("naive-bayes", 0.71, 0.60), ("centroid", 0.69, 0.62)]
    found = [
        Finding(
            name,
            numbers={
                "accuracy": accuracy,
                "accuracy ±": 0.018,
                "untrained accuracy": control,
                "untrained accuracy ±": 0.02,
            },
            checks=(Check("beats the untrained encoder", True, f"{accuracy - control:+.3f} of accuracy"),),
            protocol={"train": 10000, "test": 2000, "standardize": True, "grid": [0.01, 0.1, 1.0]},
        )
        for name, accuracy, control in probes
    ]
    sizes = (10, 20, 50, 100, 500, 1000, 10000)
    found.append(
        Finding(
            "few-shot",
            tables={
                "accuracy by number of labels": Table(
                    ("labels", "naive-bayes", "naive-bayes ±", "linear", "linear ±"),
                    tuple(
                        (n, 0.8 - 0.4 * n**-0.3, 0.1 * n**-0.4, 0.88 - 0.9 * n**-0.3, 0.12 * n**-0.4) for n in sizes
                    ),
                    x="labels",
                )
            },
            protocol={"draws": 5},
        )
    )
    centers = numbers.normal(0, 6, (len(CLASSES), 2))
    points = [(*(centers[k % 4] + numbers.normal(0, 1.2, 2)), CLASSES[k % 4], k) for k in range(400)]
    columns = ("x", "y", "label", "index")
    found.append(Finding("map", tables={"map": Table(columns, tuple((float(x), float(y), *r) for x, y, *r in points))}))
    found.append(Finding("neighbours", pictures={"neighbours": pictures(6, 9)}))
    grid = tuple(k / 255 for k in (0, 1, 2, 4, 8))
    found.append(
        Finding(
            "audit",
            numbers={"clean accuracy": 0.794, "robust accuracy": 0.12, "eps": 8 / 255},
            tables={
                "accuracy": Table(
                    ("eps", "PGD", "PGD ±", "FGSM"),
                    tuple((e, 0.794 - 21 * e, 0.018, 0.794 - 16 * e) for e in grid),
                    x="eps",
                ),
                "accuracy by class": Table(
                    ("class", "clean", "robust", "samples"), tuple((name, 0.8, 0.1, 200) for name in CLASSES)
                ),
                "pictures": Table(("label", "seen as"), tuple((CLASSES[k % 4], CLASSES[1]) for k in range(8))),
            },
            checks=(
                Check("gradients are not zero", True, "0 of 2,000 samples have a zero gradient"),
                Check("more steps do not help the defender", True, "100 steps: 11.9 %, 50 steps: 12.0 %"),
                Check("unlimited eps reaches 0 %", True, "0.0 % at eps 1"),
                Check("a black-box attack is weaker", None, "not run: it needs --thorough"),
            ),
            protocol={"ball": {"norm": "Linf", "eps": 8 / 255}, "attack": "PGD", "steps": 50, "restarts": 2},
            pictures={"clean": pictures(8), "adversarial": pictures(8), "difference x 8": pictures(8)},
        )
    )
    found.append(
        Finding(
            "claim-dcl",
            numbers={"kNN accuracy, DCL": 0.79, "kNN accuracy, DCL ±": 0.004, "effect": 0.02, "effect ±": 0.006},
            tables={"seeds": Table(("seed", "DCL", "SimCLR"), ((0, 0.79, 0.77), (1, 0.788, 0.771)))},
            protocol={"statement": "DCL needs no large batch.", "verdict": "reproduced", "seeds": 2},
        )
    )
    return found


def write_run(folder: Path, *, only: set[str] | None = None, **changes: object) -> Path:
    """Write a run folder with the named findings (all by default) and some entries of run.json changed."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record() | changes))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics()))
    for finding in findings():
        if only is None or finding.name in only:
            finding.save(folder / "findings")
    return folder
