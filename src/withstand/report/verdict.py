"""The run in one sentence and a few tiles, built from its numbers alone."""

from dataclasses import dataclass

from withstand.core.finding import Check, Finding
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.folder import StoredRun, dig, number, text
from withstand.report.scores import Score, Strength, scores, strength


@dataclass(frozen=True)
class Tile:
    """One headline figure: its name, the figure in words, its exact value, and what to compare it with."""

    name: str
    figure: str
    value: float | None
    note: str


def part_name(tree: Tree) -> str:
    """Return the class of a described part, without its module."""
    return (text(tree, "class_path") or text(tree, "external")).rpartition(".")[2]


def samples(run: StoredRun) -> str:
    """Return what the run's samples are called: pictures, or samples."""
    shape = dig(run.record, "data", "shape")
    return "picture" if isinstance(shape, list) and len(shape) == 3 and shape[0] in (1, 3) else "sample"


def all_checks(findings: dict[str, Finding]) -> list[Check]:
    """Return the checks of all findings."""
    return [check for finding in findings.values() for check in finding.checks]


def verdict(run: StoredRun) -> str:
    """Return what a reader should take away, in plain sentences."""
    found = scores(run.findings)
    audit = strength(run.findings["audit"]) if "audit" in run.findings else None
    return " ".join([_learning(run) + _worth(found), _strength(audit, all_checks(run.findings))])


def _learning(run: StoredRun) -> str:
    method = dig(run.record, "tree", "init_args", "method")
    encoder = dig(method, "init_args", "encoder")
    name, model = part_name(method) or run.name, part_name(encoder)
    width = number(encoder, "init_args", "width")
    inside = ", ".join([model] * bool(model) + [f"width {width:g}"] * (width is not None))
    subject = f"{wording.article(name)} {name} encoder" + (f" ({inside})" if inside else "")
    count, seconds = number(run.record, "data", "count"), number(run.record, "seconds")
    source = f"{wording.counted(int(count), f'unlabelled {samples(run)}')}" if count is not None else "unlabelled data"
    spent = f" in {wording.duration(seconds)}" if seconds else ""
    status = text(run.record, "status")
    if status == "running":
        return f"{subject} is still learning from {source}"
    return f"{subject} learnt from {source}{spent}" + (" before it was stopped" if status == "stopped" else "")


def _worth(found: list[Score]) -> str:
    if not found:
        return ". What it is worth has not been measured yet."
    best = found[0]
    name, accuracy = wording.title(best.name), wording.percent(best.accuracy)
    if best.untrained is None:
        return f": {name} {accuracy}, with no untrained encoder to compare with."
    against = wording.percent(best.untrained)
    if best.clear:
        return f": {name} {accuracy} against {against} untrained."
    relation = "no more than" if (best.gain or 0.0) <= 0 else "not clearly more than"
    return f": {name} {accuracy}, {relation} the {against} of the untrained encoder."


def _strength(audit: Strength | None, checks: list[Check]) -> str:
    if audit is None:
        return "What it withstands has not been measured yet."
    fall = (
        f"Under {audit.ball} attacks its accuracy falls from {wording.percent(audit.clean)} "
        f"to {wording.percent(audit.robust)}"
    )
    failed = [check.name for check in checks if check.passed is False]
    unknown = [check.name for check in checks if check.passed is None]
    if failed:
        return (
            f"{fall}, but {wording.counted(len(failed), 'check')} failed ({', '.join(failed)}): do not rely on it yet."
        )
    if not checks:
        return f"{fall}; no check says whether this number can be believed."
    if unknown:
        return f"{fall}; no check speaks against this, but {len(unknown)} of {len(checks)} could not be judged."
    return f"{fall}; the checks find nothing that speaks against this number."


def tiles(run: StoredRun) -> list[Tile]:
    """Return the headline figures that the run has."""
    made = []
    for one in scores(run.findings)[:2]:
        note = "" if one.untrained is None else f"untrained {wording.percent(one.untrained)}"
        made.append(Tile(f"{wording.title(one.name)} accuracy", wording.percent(one.accuracy), one.accuracy, note))
    audit = strength(run.findings["audit"]) if "audit" in run.findings else None
    if audit is not None:
        note = f"without attack {wording.percent(audit.clean)}"
        made.append(Tile(f"Accuracy under {audit.ball}", wording.percent(audit.robust), audit.robust, note))
    checks = all_checks(run.findings)
    if checks:
        passed, failed = (sum(check.passed is state for check in checks) for state in (True, False))
        note = f"{failed} failed, {len(checks) - passed - failed} could not be judged"
        made.append(Tile("Checks passed", f"{passed} of {len(checks)}", float(passed), note))
    count = number(run.record, "data", "count")
    if count is not None:
        made.append(Tile(f"Unlabelled {samples(run)}s", f"{int(count):,}", count, text(run.record, "data", "name")))
    seconds = number(run.record, "seconds")
    if seconds:
        rates = [row["rate"] for row in run.metrics if "rate" in row]
        note = f"{rates[-1]:,.0f} {samples(run)}s a second" if rates else ""
        made.append(Tile("Time to learn", wording.duration(seconds), seconds, note))
    return made
