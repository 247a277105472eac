"""The judges of a run: each is given the product that it judges, and all that read features share one pass."""

import re
from collections.abc import Sequence
from typing import Any

from withstand.core.findings.finding import Check, Finding
from withstand.core.roles import Evaluator, Method, Source
from withstand.evaluation.probes.named import DEFAULT, probe
from withstand.evaluation.probes.probe import Probe

STANDARD: tuple[Evaluator, ...] = DEFAULT
"""What judges an encoder unless told otherwise, as far as the data allow."""

NEED_LABELS: tuple[Evaluator, ...] = tuple(one for one in DEFAULT if one.needs_labels)
"""Those of them that measure nothing without labels."""


def judge(
    judges: Sequence[Evaluator],
    method: Method,
    source: Source,
    *,
    test: Source | None = None,
    control: Method | None = None,
) -> list[Finding]:
    """Return one finding of each judge that finds what it needs, in their order.

    Args:
        judges: who judges.
        method: what was trained.
        source: samples that probes are fitted to.
        test: samples that decide; where there are none each judge does as its own description says.
        control: the same method untrained.
    """
    able = [one for one in judges if not _lacking(one, method, source, test)]
    probes = [one for one in able if isinstance(one, Probe) and type(one).evaluate is Probe.evaluate]
    found: dict[int, Finding] = {}
    if probes:
        untrained = None if control is None else _subject(probes[0], control)
        findings = probe(_subject(probes[0], method), source, test, control=untrained, probes=probes)
        found = dict(zip(map(id, probes), findings, strict=True))
    return [
        found[id(one)]
        if id(one) in found
        else one.evaluate(
            _subject(one, method), source, test=test, control=None if control is None else _subject(one, control)
        )
        for one in able
    ]


LEFT_OUT = "left-out"
"""The name of the finding that says which judges had not what they need."""


def left_out(
    judges: Sequence[Evaluator], method: Method, source: Source, *, test: Source | None = None
) -> list[Finding]:
    """Return the finding "left-out", which says why judges do not find what they need; none where all do.

    Arguments as for `judge`.
    """
    told = [(type(one).__name__, _lacking(one, method, source, test)) for one in judges]
    checks = tuple(Check(_in_words(name), None, f"left out: {lacking}") for name, lacking in told if lacking)
    return [Finding(LEFT_OUT, checks=checks)] if checks else []


def left_out_elsewhere(judges: Sequence[str]) -> list[Finding]:
    """Return the finding "left-out" of judges that are made for a run's own data, and judge no other.

    Args:
        judges: names of their classes.
    """
    why = "left out: it judges the run's own data alone, which withstand probe without other data does"
    checks = tuple(Check(_in_words(one), None, why) for one in judges)
    return [Finding(LEFT_OUT, checks=checks)] if checks else []


def _lacking(judge: Evaluator, method: Method, source: Source, test: Source | None) -> str:
    """Return in words what a judge does not find of the method or the data; "" where it finds all."""
    sources = [some for some in (source, test) if some is not None]
    return next(filter(None, (judge.lacks(_subject(judge, method), some) for some in sources)), "")


def _in_words(name: str) -> str:
    """Return the name of a class as words: "target retrieval"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _subject(judge: Evaluator, method: Method) -> Any:
    """Return what a judge is given, whose type is the judge's own."""
    return method if judge.product == "method" else method.product(judge.product)
