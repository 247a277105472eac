"""What was run, as pairs of a name and a text."""

from withstand.core.part import Tree
from withstand.report import wording
from withstand.report.folder import StoredRun, dig, number, text

Facts = list[tuple[str, str]]


def facts(run: StoredRun) -> list[tuple[str, Facts]]:
    """Return the facts of a run by heading; what the run did not record is left out."""
    record = run.record
    seconds, seed, count = (number(record, *keys) for keys in (("seconds",), ("seed",), ("data", "count")))
    shape, classes = dig(record, "data", "shape"), dig(record, "data", "classes")
    processes = number(record, "engine", "processes")
    steps = [row["step"] for row in run.metrics]
    groups: list[tuple[str, Facts]] = [
        (
            "Run",
            [
                ("Status", text(record, "status")),
                ("Created", text(record, "created")),
                ("Time", wording.duration(seconds) if seconds else ""),
                ("Steps", f"{steps[-1]:,.0f}" if steps else ""),
                ("Began with", _begun(run)),
                ("Seed", f"{seed:.0f}" if seed is not None else ""),
                ("Code", text(record, "git")),
            ],
        ),
        (
            "Data",
            [
                ("Name", text(record, "data", "name")),
                ("Origin", text(record, "data", "origin")),
                ("Samples", f"{int(count):,}" if count is not None else ""),
                ("Shape", " × ".join(str(side) for side in shape) if isinstance(shape, list) else ""),
                ("Labels", _either(dig(record, "data", "labelled"), _labels(run), "none")),
                ("Classes", ", ".join(str(name) for name in classes) if isinstance(classes, list) else ""),
                ("Fingerprint", text(record, "data", "fingerprint")),
            ],
        ),
        (
            "Engine",
            [
                ("Device", text(record, "engine", "device")),
                ("Precision", text(record, "engine", "precision")),
                ("Memory layout", _either(dig(record, "engine", "channels_last"), "channels last", "contiguous")),
                ("Processes", f"{processes:.0f}" if processes is not None else ""),
                ("Why so", text(record, "engine", "reason")),
            ],
        ),
        ("Versions", _strings(dig(record, "versions"))),
    ]
    kept = [(heading, [pair for pair in pairs if pair[1]]) for heading, pairs in groups]
    return [(heading, pairs) for heading, pairs in kept if pairs]


def _begun(run: StoredRun) -> str:
    """Return whose weights the run began with; "" for drawn ones."""
    if dig(run.record, "begins with") is None:
        return ""
    weights = text(run.record, "begins with", "weights")
    return f"{'all weights' if weights == 'all' else 'the encoder'} of {text(run.record, 'begins with', 'run')}"


def _labels(run: StoredRun) -> str:
    return "there are; only probes saw them" if run.trained and not run.saw_labels else "there are"


def _either(value: Tree, yes: str, no: str) -> str:
    return "" if value is None else yes if value else no


def _strings(tree: Tree) -> Facts:
    return [(name, str(value)) for name, value in tree.items()] if isinstance(tree, dict) else []


def skipped(run: StoredRun) -> list[tuple[str, str]]:
    """Return the files that could not be read, with the reasons."""
    entries = dig(run.record, "data", "skipped")
    pairs = entries if isinstance(entries, list) else []
    return [(str(pair[0]), str(pair[1])) for pair in pairs if isinstance(pair, list) and len(pair) == 2]
