"""Tables and pictures of the audit of accuracy: curves, classes, and which attack broke what. Sizes: `N` samples."""

from math import inf

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from withstand.attacks.curve import Curve
from withstand.attacks.objectives import pick
from withstand.core.findings.finding import Cell, Table
from withstand.core.findings.pictures import across_classes
from withstand.core.threat import Norm
from withstand.evaluation.robustness.audit_case import Case, ball_name, eps_cells, eps_columns, eps_units, strips
from withstand.evaluation.robustness.classifiers.breaks import Breaks
from withstand.evaluation.statistics.intervals import Share, columns, shares


def over_eps(case: Case, norm: Norm, noise: Curve, found: Breaks | None) -> Table:
    """Return the curves of one norm, from the clean accuracy at eps 0 on; None for a victim without gradients."""
    rows: list[tuple[Cell, ...]] = []
    for eps in (0.0, *case.radii[norm]):
        robust = () if found is None else Share.of(found.holds(norm, eps)).cells
        rows.append((*eps_cells(norm, eps, case.victim.scale), *robust, Share.of(noise.holds(eps)).value))
    robust_accuracy, under_noise = "robust accuracy", "accuracy under noise"
    names = (under_noise,) if found is None else (*columns(robust_accuracy), under_noise)
    note = f"Upper bounds: by {case.quick(norm)} and all else that was run; by AutoAttack at its own radius alone."
    return Table(
        (*eps_columns(norm, case.victim.scale), *names),
        tuple(rows),
        x="eps",
        note="" if found is None else note,
        units=eps_units(norm, case.victim.scale) | shares(*names),
        controls={under_noise: "" if found is None else robust_accuracy},
    )


def details(case: Case, found: Breaks) -> dict[str, Table]:
    """Return the table of classes at the headline's ball, and of which attack broke what."""
    clean, robust = by_class(case, found.right), by_class(case, found.holds(case.ball.norm, case.ball.eps))
    counts = case.labels.bincount().tolist()
    classes = [(_class(case, label), counts[label], clean[label].value, robust[label].value) for label in clean]
    scale = case.victim.scale
    head = ball_name(case.ball.norm, case.ball.eps, scale)
    broke: list[tuple[Cell, ...]] = []
    names = list(found.names)
    for norm, radii in case.radii.items():
        for eps in radii:
            newly = (found.newly(name, norm, eps) for name in names)
            broke.append((ball_name(norm, eps, scale), 1 - Share.of(found.holds(norm, eps)).value, *newly))
    columns_broken = ("share wrong within it, by anything", *(f"newly broken by {name}" for name in names))
    return {
        "classes": Table(
            ("class", "samples", "clean accuracy", f"robust accuracy, {head}"),
            tuple(classes),
            units=shares("clean accuracy", f"robust accuracy, {head}"),
        ),
        "which attack broke what": Table(
            ("ball", *columns_broken),
            tuple(broke),
            units=shares(*columns_broken),
            note="Newly: by this attack at this radius, and by nothing before it. A dash: it was not run.",
        ),
    }


def by_class(case: Case, holds: Tensor) -> dict[int, Share]:
    """Return the share that holds by label, of the labels that occur."""
    return {label: Share.of(holds[case.labels == label]) for label in sorted(set(case.labels.tolist()))}


def pictures(case: Case, found: Breaks) -> tuple[dict[str, npt.NDArray[np.uint8]], dict[str, Table]]:
    """Return pictures under attack, of as many classes as there are, each at the smallest radius that broke it, and
    what stands below them."""
    radius, worst = found.radius(case.ball.norm), found.worst(case.ball.norm)
    broken = ((radius > 0) & radius.isfinite()).nonzero().squeeze(1)
    rows = across_classes(broken, case.labels, case.pictures)
    shown = strips(case.victim, case.x[rows], worst[rows])
    if not shown:
        return {}, {}
    with case.victim.held(), torch.no_grad():
        before, after = (pick(case.victim(x[rows].clone()), "logits").argmax(1).tolist() for x in (case.x, worst))
    notes = [
        (
            _class(case, truth),
            _class(case, clean),
            _class(case, worse),
            ball_name(case.ball.norm, radius, case.victim.scale) if 0 < radius < inf else None,
        )
        for truth, clean, worse, radius in zip(
            case.labels[rows].tolist(), before, after, radius[rows].tolist(), strict=True
        )
    ]
    return shown, {"pictures": Table(("label", "predicted", "predicted under attack", "broken at eps"), tuple(notes))}


def _class(case: Case, label: int) -> str:
    return case.classes[label] if label < len(case.classes) else str(label)
