"""Findings of earlier versions: plain numbers, whose names alone told units, spreads, intervals and controls.

`modern` turns their JSON into today's. Nothing else in the library reads meaning out of a name.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from withstand.core.part import Tree

_SPREAD, _LOW, _HIGH = " ±", ", 95 % low", ", 95 % high"
_SHARES = ("accuracy", "share ", "recall", "precision", "f1", "success", "broken by ")
"""A number is a share, in percent, where its name or those beside it hold one of these."""
_OTHERS = (
    "loss",
    "norm",
    "eps",
    "radius",
    "distance",
    "similarity",
    "temperature",
    "rank",
    "seconds",
    "step",
    "width",
    "cosine",
    "alignment",
    "uniformity",
    "tolerance",
    "entropy",
    "evenness",
    "condition number",
)
"""It is none, whatever stands beside it, where its own name holds one of these and none of the former."""
_BETTER = {"accuracy": "higher", "share nearer to another": "lower", "loss": "lower", "RMSE": "lower"}
"""Which way is better, by a word of the name."""
_SINGLE = ("knn", "linear", "naive-bayes", "centroid", "nodes", "audit", "detection", "certificate", "corruptions")
"""Findings on one pass over samples: their ± was half the width of a share's 95 % interval, others' a deviation."""


def modern(record: Any) -> Any:
    """Return a finding's JSON in today's form; what already has it, or is no finding, as it is."""
    if not isinstance(record, dict) or "numbers" not in record:
        return record
    given = dict(record)
    numbers, name = given.pop("numbers"), str(given.get("name")).partition(", on ")[0]
    given["figures"] = _figures(name, numbers)
    context = " ".join([*(["accuracy"] if name in ("few-shot", "learning-curve") else []), *numbers])
    given["tables"] = {key: _table(f"{context} {key}", table) for key, table in given["tables"].items()}
    given["protocol"] = dict(given.get("protocol", {}))
    given["headline"] = _headline(name, given["figures"], given["protocol"])
    if _of_subjects(given["figures"].get("accuracy"), given["tables"].get("accuracy")):
        del given["tables"]["accuracy"]
    return given


def _figures(name: str, numbers: Mapping[str, float]) -> dict[str, dict[str, Tree]]:
    """Return plain numbers as records of measures, spreads, intervals and controls inside what they belong to."""
    context = " ".join([*(["accuracy"] if name in ("few-shot", "learning-curve") else []), *numbers])
    own = [key for key in numbers if not _around(key, numbers)]
    controls = {key: base for key in own if (base := _subject(key)) != key and base in own}
    found = {key: _measure(name, key, numbers, context) for key in own}
    for key, base in controls.items():
        found[base]["control"] = found.pop(key)
    return found


def _subject(key: str) -> str:
    """Return the figure that a control's name belongs to; other names are their own."""
    return re.sub(r", untrained[^,]*", "", key).replace(" on untrained features", " on features")


def _measure(finding: str, key: str, numbers: Mapping[str, float], context: str) -> dict[str, Tree]:
    value = numbers[key]
    unit = "share" if _is_share(key, [value], context) else "seconds" if "seconds" in key else ""
    better = next((way for word, way in _BETTER.items() if word in key), None)
    found: dict[str, Tree] = {"value": value, "unit": unit, "better": better}
    low, high, spread = (numbers.get(key + end) for end in (_LOW, _HIGH, _SPREAD))
    if low is not None and high is not None:
        found["interval"] = [low, high]
    elif spread is not None and math.isfinite(spread):
        if finding in _SINGLE and unit == "share":
            found["interval"] = [max(value - spread, 0.0 if value >= 0 else -1.0), min(value + spread, 1.0)]
        else:
            found["spread"] = spread
    return found


def _of_subjects(accuracy: dict[str, Tree] | None, table: dict[str, Any] | None) -> bool:
    """Give a probe's accuracy what stood in a table of its own: intervals, the gain, what guessing reaches."""
    if accuracy is None or table is None or tuple(table["columns"]) != ("subject", "accuracy", "low", "high"):
        return False
    rows: dict[str, tuple[float, list[Tree]]] = {name: (value, [low, high]) for name, value, low, high in table["rows"]}
    control = accuracy.get("control")
    for found, name in ((accuracy, "encoder"), (control, "untrained control")):
        if isinstance(found, dict) and name in rows:
            found["interval"] = rows[name][1]
    if isinstance(control, dict) and "encoder less control" in rows:
        accuracy["gain"] = rows["encoder less control"][1]
    if "always the most frequent class" in rows:
        accuracy["chance"] = rows["always the most frequent class"][0]
    return True


def _table(context: str, table: dict[str, Any]) -> dict[str, Any]:
    """Return a table's JSON with the units and controls of its columns."""
    columns: list[str] = table["columns"]
    cells = {name: [row[place] for row in table["rows"]] for place, name in enumerate(columns)}
    units: dict[str, str] = {}
    numeric = [name for name, values in cells.items() if not any(isinstance(value, str) for value in values)]
    for name, values in cells.items():
        given = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if name.startswith("eps"):
            units[name] = "k/255" if "k/255" in columns else "radius"
        elif (
            name != table["x"]
            and not all(isinstance(value, int) for value in given)
            and _is_share(name, given, context)
        ):
            units[name] = "share"
    return {**table, "units": units, "controls": _controls(numeric, table["x"])}


def _controls(columns: Sequence[str], x: str | None) -> dict[str, str]:
    """Return the columns of controls, by name, with the columns that they are of, "" for all."""
    if x is None:
        return {}
    own = [name for name in columns if name != x and not _around(name, columns)]
    control = [name for name in own if "untrained" in name or "noise" in name]
    subjects = [name for name in own if name not in control]
    stems = {_stem(name): name for name in reversed(subjects)}
    return {name: stems.get(_stem(name), subjects[0] if len(subjects) == 1 else "") for name in control}


def _stem(column: str) -> str:
    return re.split(r" under |, untrained", column)[0]


def _headline(finding: str, figures: dict[str, dict[str, Tree]], protocol: dict[str, Tree]) -> str | None:
    """Return the figure that a finding was read for; an audit's protocol learns what it fell from."""
    if finding == "audit":
        return _attacked(figures, protocol)
    if finding == "certificate":
        return _certified(figures, protocol)
    if finding.startswith("claim-"):
        return "effect" if "effect" in figures else None
    accuracies = [key for key in figures if "accuracy" in key]
    return "accuracy" if "accuracy" in accuracies else accuracies[0] if accuracies else None


def _attacked(figures: dict[str, dict[str, Tree]], protocol: dict[str, Tree]) -> str | None:
    of_codes = not any(key.startswith("clean accuracy") for key in figures)
    clean = "share nearer to another sample under noise" if of_codes else "clean accuracy"
    words = "share nearer to another sample under attack" if of_codes else "robust accuracy"
    told = protocol.get("headline")
    facts: dict[str, Tree] = dict(told) if isinstance(told, dict) else {}
    number = str(facts.get("number") or next((key for key in figures if key.startswith(words)), ""))
    against = next((key for key in figures if key.startswith(clean)), None)
    if number not in figures or against is None:
        return None
    if not facts.get("standing") and "AutoAttack" in protocol and protocol["AutoAttack"] is None:
        facts["standing"] = "an upper bound by gradient steps"
    protocol["headline"] = {**facts, "number": number, "against": against, "ball": number.rpartition(", ")[2]}
    return number


def _certified(figures: dict[str, dict[str, Tree]], protocol: dict[str, Tree]) -> str | None:
    found = {key.partition(" share, ")[0]: key for key in figures if " share, " in key}
    if not {"proven", "broken", "undecided"} <= found.keys():
        return next((key for key in figures if key.startswith("certified accuracy")), None)
    number = found.pop("proven")
    protocol["headline"] = {"number": number, "ball": number.partition(", ")[2], **found}
    return number


def _around(name: str, stored: Mapping[str, float] | Sequence[str]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in stored for end in (_SPREAD, _LOW, _HIGH))


def _is_share(name: str, values: Sequence[float], context: str) -> bool:
    own, around = name.lower(), context.lower()
    named = any(word in own for word in _SHARES) or (
        any(word in around for word in _SHARES) and not any(word in own for word in _OTHERS)
    )
    return named and all(-1 <= value <= 1 for value in values if math.isfinite(value))
