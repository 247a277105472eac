"""What heads on rows reached, as figures, tables and checks of a finding."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from withstand.core.findings.finding import SPREAD, Cell, Check, Measure, Table
from withstand.core.part import Tree
from withstand.evaluation.probes.linear import INSIDE
from withstand.evaluation.statistics.intervals import Share, paired_difference
from withstand.evaluation.structured.rows.folds import Split
from withstand.evaluation.structured.rows.scores import BINS, unit_of
from withstand.evaluation.structured.rows.trial import Judged

Found = Mapping[tuple[str, str], Judged]
"""What was found by (head, input)."""
FEATURES, RAW, UNTRAINED = "features", "raw columns", "untrained features"


def figures(found: Found, constant: Mapping[str, Judged]) -> dict[str, Measure]:
    """Return the first score of every head on every input, then the others of the first head and of boosting.

    What was reached on an untrained encoder's features is the control of what was on the encoder's.
    """
    chance = next(iter(constant.values()))
    shown: dict[str, Measure] = {}
    heads = list(dict.fromkeys(head for head, _ in found))
    for head, on in found:
        if on != UNTRAINED:
            shown |= _figure(found, chance.main, head, on, chance)
    shown |= {f"{one.main}, {name}": _measure(one, one.main) for name, one in constant.items()}
    named = [(heads[0], FEATURES)] if heads else []
    named += [("boosting", RAW)] if ("boosting", RAW) in found else []
    for score in _scores(found, constant)[1:]:
        for head, on in named:
            shown |= _figure(found, score, head, on, None)
    return shown


def by_input(heads: Sequence[str], inputs: Sequence[str], found: Found) -> Table:
    """Return the first score, a row a head and a column an input."""
    score = next(iter(found.values())).main
    varied = any(len(one.scores) > 1 for one in found.values())
    columns = ["head"]
    for on in inputs:
        columns += [f"on {on}", *([f"on {on}{SPREAD}"] if varied else [])]
    rows: list[tuple[Cell, ...]] = []
    for head in heads:
        row: list[Cell] = [head]
        for on in inputs:
            value, spread = _of(found.get((head, on)), score)
            row += [value, *([spread] if varied else [])]
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows), units={f"on {on}": unit_of(score)[0] for on in inputs})


def by_score(found: Found, constant: Mapping[str, Judged]) -> Table:
    """Return all scores, a row a head on an input, below constant answers."""
    scores = _scores(found, constant)
    rows = {name: ("–", one) for name, one in constant.items()}
    varied = any(len(one.scores) > 1 for one in found.values())
    columns: list[str] = ["head", "on"]
    for score in scores:
        columns += [score, *([score + SPREAD] if varied else [])]
    cells: list[tuple[Cell, ...]] = []
    for head, on, one in [*((name, on, one) for name, (on, one) in rows.items()), *((*k, v) for k, v in found.items())]:
        row: list[Cell] = [head, on]
        for score in scores:
            value, spread = _of(one, score)
            row += [value, *([spread] if varied else [])]
        cells.append(tuple(row))
    return Table(tuple(columns), tuple(cells), units={score: unit_of(score)[0] for score in scores})


def checks(found: Found, constant: Mapping[str, Judged]) -> tuple[Check, ...]:
    """Return which scores are not defined, and whose penalties lie at an end of their grid."""
    lacking: dict[str, dict[str, list[str]]] = {}
    shown = found or {(name, ""): one for name, one in constant.items()}
    for (head, on), one in shown.items():
        for score, why in {score: why for some in one.scores for score, why in some.undefined.items()}.items():
            lacking.setdefault(why, {}).setdefault(score, []).append(f"{head} on {on}")
    said = [
        f"no {' and no '.join(_of_whom(score, who, len(shown)) for score, who in scores.items())}: {why}"
        for why, scores in lacking.items()
    ]
    made = [Check("every score is defined", None, "; ".join(said))] if said else []
    edges = [
        f"{head} on {on}: {edge}{f' in {count} of {one.folds} fits' if one.folds > 1 else ''}"
        for (head, on), one in found.items()
        for edge, count in one.edges.items()
    ]
    made += [Check(INSIDE.replace("C", "penalty"), None, "; ".join(edges))] if edges else []
    return tuple(made)


def told(found: Found, rows: Split) -> dict[str, Tree]:
    """Return how scores are made, and what was chosen for networks."""
    facts: dict[str, Tree] = {}
    if len(rows.classes) == 2:
        facts["scores"] = f"AUROC, average precision and F1 of {rows.classes[1]!r}"
    elif rows.classes:
        facts["scores"] = "AUROC, average precision and F1: plain means over classes, each against all others"
    if rows.classes:
        facts["expected calibration error"] = (
            f"{BINS} bins of equal width, by the probability of the most probable class; the rows' mean of each bin's "
            "|share of right classes - mean probability|"
        )
    chosen: dict[str, Tree] = {
        f"{head} on {on}": {"hidden": one.head.hidden, "learning rate": one.head.learning_rate, "fits": len(one.scores)}
        for (head, on), one in found.items()
        if one.head is not None and head == "mlp"
    }
    return {**facts, **({"perceptrons": chosen} if chosen else {})}


def _of_whom(score: str, who: Sequence[str], every: int) -> str:
    return score if len(who) == every else f"{score} of {', '.join(who)}"


def _figure(found: Found, score: str, head: str, on: str, chance: Judged | None) -> dict[str, Measure]:
    """Return one figure by its name, with the control's beside it; none where the score is not defined."""
    one, control = found[head, on], found.get((head, UNTRAINED))
    if one.value(score) is None:
        return {}
    made = _measure(one, score)
    if chance is not None and "accuracy" in score:
        made = replace(made, chance=chance.scores[0].values[score])
    if on == FEATURES and control is not None and control.value(score) is not None:
        made = replace(made, control=_measure(control, score))
        if score == one.main and made.spread is None and one.right is not None and control.right is not None:
            _, low, high = paired_difference(one.right, control.right)
            made = replace(made, gain=(low, high))
    return {f"{score}, {head} on {on}": made}


def _measure(one: Judged, score: str) -> Measure:
    value, spread = _of(one, score)
    assert value is not None
    unit, better = unit_of(score)
    if spread is not None:
        return Measure(value, unit, better, spread=spread, of=len(one.scores))
    if one.right is not None and score == one.main:
        return Share.of(one.right).measure()
    return Measure(value, unit, better)


def _of(one: Judged | None, score: str) -> tuple[float | None, float | None]:
    found = None if one is None else one.value(score)
    return (None, None) if found is None else found


def _scores(found: Found, constant: Mapping[str, Judged]) -> list[str]:
    """Return the scores that are defined for any, the first one first."""
    every = [one for part in (constant.values(), found.values()) for one in part]
    order = dict.fromkeys(score for one in every for score in one.scores[0].values)
    return [score for score in order if any(one.value(score) is not None for one in every)]
