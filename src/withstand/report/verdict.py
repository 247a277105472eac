"""The run in one sentence and a few tiles, built from its numbers alone."""

from dataclasses import dataclass

from withstand.core.findings.finding import Check, Finding
from withstand.core.findings.measure import UNTRAINED
from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.findings import withstands
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
    """Return what one of the run's samples is called, as its source says; records from before sources said it tell by
    the shape."""
    if kind := text(run.record, "data", "kind"):
        return kind
    shape = dig(run.record, "data", "shape")
    return "picture" if isinstance(shape, list) and len(shape) == 3 and shape[0] in (1, 3) else "sample"


def verdict(run: StoredRun) -> str:
    """Return what a reader should take away, in plain sentences."""
    beginning = _learning(run) + _worth(scores(run.findings)) if run.trained else _audited(run)
    sentences = [beginning, _strength(run), _other_doubts(run.findings)]
    return " ".join(sentence for sentence in sentences if sentence)


def _learning(run: StoredRun) -> str:
    method = dig(run.record, "tree", "init_args", "method")
    encoder = _innermost(method)
    name, model = part_name(method) or run.name, part_name(encoder)
    width = number(encoder, "init_args", "width")
    inside = ", ".join(word for word in (model, f"width {width:g}" if width is not None else "") if word)
    made = "encoder" if "encoder" in run.gives else run.gives[0]
    subject = f"{wording.article(name)} {name} {made}" + (f" ({inside})" if inside else "")
    if run.frozen:  # what was learnt is about an encoder, and is none
        subject = f"{name}, which leaves its encoder{f' ({inside})' if inside else ''} as it came,"
    count, seconds = number(run.record, "data", "count"), number(run.record, "seconds")
    source = _kind(run, wording.counted(int(count), samples(run)) if count is not None else "data")
    spent = f" in {wording.duration(seconds)}" if seconds else ""
    status = text(run.record, "status")
    if status == "running":
        return f"{subject} is still learning from {source}"
    return f"{subject} learnt from {source}{spent}" + (" before it was stopped" if status == "stopped" else "")


def _audited(run: StoredRun) -> str:
    return f"{run.name}, a network that was not trained here, was put to the test."


def _kind(run: StoredRun, named: str) -> str:
    """Return samples, "64 slices", with what was known of them: "64 slices with masks"."""
    number, _, noun = named.rpartition(" ")
    before = f"{number} " if number else ""
    if not run.trained:
        return f"{before}test {noun}"
    if run.taught_by in ("", "labels"):
        return f"{before}{'labelled' if run.taught_by else 'unlabelled'} {noun}"
    return f"{named} with {run.taught_by}"


def _innermost(part: Tree) -> Tree:
    """Return the network inside a method and its wrappers: what normalizes inputs, say."""
    inner = dig(part, "init_args", "encoder") or dig(part, "init_args", "method")
    return _innermost(inner) if isinstance(inner, dict) else part


def _worth(found: list[Score]) -> str:
    if not found:
        return ". What it is worth has not been measured yet."
    best = found[0]
    name, accuracy = wording.title(best.name), wording.percent(best.accuracy.value)
    if best.untrained is None:
        return f": {name}{wording.NBSP}{accuracy}, with no untrained encoder to compare with."
    against = wording.percent(best.untrained.value)
    if best.clear:
        return f": {name}{wording.NBSP}{accuracy} against {against} {best.control_name}."
    relation = "no more than" if best.gain is None or best.gain <= 0 else "not clearly more than"
    return f": {name}{wording.NBSP}{accuracy}, {relation} the {against} {_of(best)}."


def _of(score: Score) -> str:
    """Return of what a control's figure is."""
    return "of the untrained encoder" if score.control_name == UNTRAINED else score.control_name


def _strength(run: StoredRun) -> str:
    if "audit" not in run.findings:
        unknown = "What it withstands has not been measured yet." if run.auditable else "No audit measures such a run."
        return _certified(run) or _told_elsewhere(run) or unknown
    finding = run.findings["audit"]
    audit = strength(finding)
    if audit is None:
        return f"The audit gave no number for what it withstands{_belief(finding.checks, 'it')}"
    clean, attacked = wording.percent(audit.clean), wording.percent(audit.attacked.value, audit.attacked.interval)
    of = "" if audit.samples is None else f" of {wording.counted(audit.samples, samples(run))}"
    least = "at least " if audit.of_codes else "at most "
    by = f" ({audit.attack}, {audit.access})" if audit.attack else ""
    if audit.of_codes:
        them = of or f" of the {samples(run)}s"
        fall = f"Attacks within {audit.ball} give {least}{attacked}{them} a code that is nearer to another's"
        fall += f", noise {clean}{by}"
    else:
        fall = f"Under {audit.ball} attacks its accuracy falls from {clean} to {least}{attacked}{of}{by}"
    return fall + _belief(finding.checks, "this number", audit)


def _told_elsewhere(run: StoredRun) -> str:
    """Return which findings say what is withstood where no audit in accuracies or codes does; "" where none do."""
    told = [finding for finding in run.findings.values() if withstands(finding)]
    if not told:
        return ""
    names = ", ".join(wording.title(finding.name) for finding in told)
    checks = tuple(check for finding in told for check in finding.checks)
    return f"What it withstands is told below ({names}){_belief(checks, 'these numbers')}"


def _certified(run: StoredRun) -> str:
    """Return what a certificate says, where there is one."""
    if "certificate" not in run.findings:
        return ""
    finding = run.findings["certificate"]
    told = dig(finding.protocol, "headline")
    figures = [finding.figures.get(text(told, key)) for key in ("number", "broken", "undecided")]
    shares = [wording.percent(one.value) for one in figures if one is not None]
    if len(shares) < len(figures):
        return ""
    held = f"Within {wording.title(text(told, 'ball'))} {shares[0]} of its answers are proven right"
    return f"{held}, {shares[1]} are broken; {shares[2]} are undecided."


def _belief(checks: tuple[Check, ...], what: str, audit: Strength | None = None) -> str:
    failed = [check.name for check in checks if check.passed is False]
    unknown = sum(check.passed is None for check in checks)
    if audit is not None and audit.bounded:
        return f": {audit.standing}, and no more, for no stronger attack was run."
    if failed:
        return f", but {_failures(failed)}: do not rely on {what} yet."
    if not checks:
        return f"; no check says whether {what} can be believed."
    if audit is not None and audit.standing == "not judged":
        return f", but {unknown} of {len(checks)} checks could not be judged: do not rely on {what} yet."
    if unknown:
        return f"; no check speaks against {what}, but {unknown} of {len(checks)} could not be judged."
    return f"; the checks find nothing that speaks against {what}."


def _other_doubts(findings: dict[str, Finding]) -> str:
    failed = [
        check.name
        for name, finding in findings.items()
        for check in finding.checks
        if name != "audit" and check.passed is False
    ]
    return f"Beware: {_failures(failed)}." if failed else ""


TRUST = {
    True: ("Why the numbers are believable", "Why believe it"),
    None: ("How far the numbers can be believed", "How far to believe it"),
    False: ("Why the numbers are not to be believed", "Why not to believe it"),
}
"""What the section of checks is called, in full and in the list of sections, by what `trust` says."""


def trust(run: StoredRun) -> bool | None:
    """Return False where a check failed, None where some could not be judged, none was made, or all is a bound."""
    audit = strength(run.findings["audit"]) if "audit" in run.findings else None
    bounded = audit is not None and audit.bounded  # then the one check that failed says that it is a bound
    found = {name: finding.checks for name, finding in run.findings.items() if not (bounded and name == "audit")}
    passed = [check.passed for checks in found.values() for check in checks]
    if False in passed:
        return False
    return None if bounded or None in passed or not passed else True


def _failures(names: list[str]) -> str:
    return f"{wording.counted(len(names), 'check')} failed ({', '.join(names)})"


def tiles(run: StoredRun) -> list[Tile]:
    """Return the headline figures that the run has."""
    made = []
    for one in scores(run.findings)[:2]:
        note = "" if one.untrained is None else f"{one.control_name} {wording.percent(one.untrained.value)}"
        made.append(
            Tile(f"{wording.title(one.name)} {one.what}", wording.percent(one.accuracy.value), one.accuracy.value, note)
        )
    audit = strength(run.findings["audit"]) if "audit" in run.findings else None
    if audit is not None:
        made.append(_under_attack(audit, samples(run)))
    checks = [check for finding in run.findings.values() for check in finding.checks]
    if checks:
        passed, failed = (sum(check.passed is state for check in checks) for state in (True, False))
        unknown = len(checks) - passed - failed
        counts = ((failed, "failed"), (unknown, "not judged"))
        note = ", ".join(f"{count} {state}" for count, state in counts if count)
        made.append(Tile("Checks passed", f"{passed} of {len(checks)}", float(passed), note))
    count = number(run.record, "data", "count")
    if count is not None:
        made.append(
            Tile(
                wording.title(_kind(run, f"{samples(run)}s")),
                f"{int(count):,}",
                count,
                text(run.record, "data", "name"),
            )
        )
    seconds = number(run.record, "seconds")
    if seconds:
        rates = [row["rate"] for row in run.metrics if "rate" in row]
        note = f"{rates[-1]:,.0f} {samples(run)}s/s" if rates else ""
        made.append(Tile("Time to learn", wording.duration(seconds), seconds, note))
    return made


def _under_attack(audit: Strength, noun: str) -> Tile:
    name = "Codes confused by attack" if audit.of_codes else "Under attack"
    sign = "≥" if audit.of_codes else "≤"
    notes = [
        audit.ball,
        *([f"{wording.range_of(audit.attacked.interval)}"] if audit.attacked.interval else []),
        *([wording.counted(audit.samples, noun)] if audit.samples is not None else []),
        f"{'by noise' if audit.of_codes else 'without'} {wording.percent(audit.clean)}",
        *([audit.standing] if audit.standing and audit.standing != "believable" else []),
    ]
    figure = f"{sign}{wording.NBSP}{wording.percent(audit.attacked.value)}"
    return Tile(name, figure, audit.attacked.value, "; ".join(notes))
