"""What the tracing says of examples whose makers are known, and whether it may be believed."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from withstand.core.findings.finding import Cell, Check, Measure, Table
from withstand.core.random import derive, permutation
from withstand.evaluation.defenses.tracing.attempts import BACK, BARE, ONE, Attempt
from withstand.evaluation.defenses.tracing.calibration import Calibration, Worth
from withstand.evaluation.statistics.intervals import Share, columns, shares

UNKNOWN = "source unknown"
RIGHT, WRONG, FIRST = "named rightly", "named wrongly", "highest score of a part"
CALIBRATION = "calibration gap, half of the sources unknown"
_BINS = 5


@dataclass(frozen=True)
class Verdicts:
    """What was said.

    Attributes:
        table: a row for each kind of attacker, of one example at a time.
        together: for numbers of examples of one source together, whether the highest score was right, by name.
        figures: how often a copy was named wrongly, and how far confidences are off.
        checks: whether accusations may be believed.
    """

    table: Table
    together: Mapping[str, Tensor]
    figures: Mapping[str, Measure]
    checks: tuple[Check, ...]


def verdicts(
    tried: Mapping[str, Attempt], calibration: Calibration, confidence: float, level: float, counts: tuple[int, ...]
) -> Verdicts:
    """Return what the tracing says of every kind's examples.

    Args:
        tried: kinds by name, `ONE` among them.
        calibration: learnt from other pictures.
        confidence: from which a copy is named.
        level: of the corrected p-value up to which a copy is named.
        counts: how many examples of one source are looked at together.
    """
    heads = ("fooled", *columns(FIRST), RIGHT, *columns(WRONG), UNKNOWN)
    rows: list[tuple[Cell, ...]] = []
    accusing, worths, wrongly = [], {}, {}
    for kind, one in tried.items():
        worths[kind] = calibration.each(one.score) if len(one.score) else []
        named = torch.tensor([-1 if (place := w.named(confidence, level)) is None else place for w in worths[kind]])
        said = named >= 0
        part = one.parts.gather(1, named.clamp_min(0)[:, None])[:, 0] if len(named) else said
        right, wrong = said & part, said & ~part
        wrongly[kind] = wrong
        made = sum(len(made.x) for made in one.made)
        if not len(named):
            rows.append((kind, made / max(one.tried, 1), *[None] * 8, 0))
            continue
        first, accused = Share.of(one.right), Share.of(wrong)
        if accused.interval[0] > level:
            accusing.append(f"{kind} ({accused})")
        known = any(one.members)
        top = (first.value, *first.interval) if known else (None, None, None)
        shown = (Share.of(right).value if known else None, accused.value, *accused.interval, Share.of(~said).value)
        rows.append((kind, made / max(one.tried, 1), *top, *shown, len(named)))
    table = Table(
        ("examples made on", *heads, "examples"),
        tuple(rows),
        note="one example at a time; those that fool no copy leave no evidence",
        units={**shares(*heads), "examples": "count"},
    )
    together = {f"traced from {count} examples": hits for count in counts if len(hits := _pooled(tried[ONE], count))}
    figures = {
        "one example named wrongly": Share.of(wrongly[ONE]).measure("lower"),
        CALIBRATION: Measure(_calibration_error(tried, worths), "share", "lower"),
    }
    detail = (
        f"at {level:.0%} too many examples are laid to copies without a part: {'; '.join(accusing)}"
        if accusing
        else f"no kind of attacker gets other copies accused more often than the {level:.0%} that is allowed"
    )
    return Verdicts(table, together, figures, (Check("accusations", not accusing, detail),))


def _pooled(one: Attempt, count: int) -> Tensor:
    """Return whether the highest mean score of groups of examples of one source is that of a part, bool `(G,)`."""
    found = []
    for source in range(len(one.members)):
        rows = (one.source == source).nonzero()[:, 0]
        rows = rows[permutation(len(rows), derive("groups"), count, source)]
        for group in rows[: len(rows) // count * count].view(-1, count):
            best = int(one.score[group].mean(0).argmax())
            found.append(best in one.members[source])
    return torch.tensor(found, dtype=torch.bool)


def _calibration_error(tried: Mapping[str, Attempt], worths: Mapping[str, list[Worth]]) -> float:
    """Return the mean distance of confidence and share of right answers, "unknown" among them.

    Over examples of registered copies and of other sources, which weigh one half each, in bins of confidence.
    """
    sure, right, weight = [], [], []
    outside = [kind for kind in (BARE, BACK) if worths.get(kind)]
    for kind in (ONE, *outside):
        one, share = tried[kind], 0.5 if kind == ONE and outside else 0.5 / len(outside) if outside else 1.0
        for worth, parts in zip(worths[kind], one.parts, strict=True):
            told = torch.cat([worth.confidence, torch.tensor([worth.unknown], dtype=torch.float64)])
            place = int(told.argmax())
            sure.append(float(told[place]))
            right.append(not any(one.members) if place == len(parts) else bool(parts[place]))
            weight.append(share / len(one.score))
    if not sure:
        return 0.0
    p, hit, mass = (torch.tensor(values, dtype=torch.float64) for values in (sure, right, weight))
    bins = (p * _BINS).ceil().long().sub(1).clamp_min(0)
    gap = torch.zeros(_BINS, dtype=torch.float64).index_add_(0, bins, mass / mass.sum() * (p - hit))
    return float(gap.abs().sum())
