"""Integration: from a matcher and the records of one or two tables to a merged table, and what to look at."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.data.pairs.blocking import Candidates, candidates, ngram_vectors
from withstand.data.pairs.source import RecordSource
from withstand.data.pairs.texts import TextTable
from withstand.data.pairs.values import Texts
from withstand.evaluation.structured.integration.conflicts import RULE, Conflict, ConflictRules, Resolver
from withstand.evaluation.structured.integration.judges import Limit, limit_of
from withstand.evaluation.structured.integration.selfmade import f1_of, pair_logits, read_records, self_made
from withstand.evaluation.structured.integration.sets import Sets, discover_sets
from withstand.models.tables.records import RecordMatcher

Grouping: TypeAlias = Literal["louvain", "components"]
"""How pairs become sets that share no record."""
SHOWN = 40
"""Rows of a table in a report."""
SOURCES = "sources"


@dataclass(frozen=True)
class Integration:
    """One table made of one or two.

    Attributes:
        merged: a row for each set of records; its column `sources` names them.
        conflicts: a row for each column in which a set's records contradict each other: the set's sources, the values
            and who holds them, what was chosen and why.
        look: pairs that a person should look at, the least sure first.
        sets: the records of each merged row, places in the tables one under another.
        finding: figures and checks.
    """

    merged: TextTable
    conflicts: TextTable
    look: TextTable
    sets: Sets
    finding: Finding


def integrate(
    matcher: RecordMatcher,
    source: RecordSource,
    *,
    grouping: Grouping = "louvain",
    threshold: float | None = None,
    nearest: int = 10,
    look: int = 50,
    resolver: Resolver | None = None,
    seed: int = 0,
) -> Integration:
    """Return the merged table of a source's records.

    Of two tables, records of one are compared with those of the other; of one table, with each other.

    Args:
        matcher: what tells which records are the same.
        source: every record of the tables.
        grouping: how pairs become sets.
        threshold: the least probability of a match; None finds it on self-made pairs.
        nearest: records that each is compared with, by the cosine of their n-grams.
        look: how many of the least sure pairs are listed.
        resolver: decides conflicts in the written rule's place.
        seed: of self-made pairs and communities.

    Raises:
        ConfigError: a threshold outside (0, 1), a number below 0, or a source that holds a part of its records alone.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise ConfigError(f"threshold must lie between 0 and 1, not {threshold!r}")
    if look < 0:
        raise ConfigError(f"look must be at least 0, not {look}")
    if source.part != "all":
        raise ConfigError(f"integration needs every record, and this source holds the {source.part} part")
    tables = source.attributes["table"].numpy()
    vectors = ngram_vectors(source.whole_texts)
    two = tables if len(source.tables) == 2 else None
    pairs = candidates(source.whole_texts, two, nearest=nearest, vectors=vectors)
    read = read_records(matcher, source[range(len(source))].x)
    logits = pair_logits(matcher, read, read, torch.from_numpy(pairs.left), torch.from_numpy(pairs.right))
    made = self_made(source, seed=seed, vectors=vectors)
    said = limit_of(matcher, source, made, None if threshold is None else float(np.log(threshold / (1 - threshold))))
    limit = said.threshold
    same = logits >= limit
    weight = 1 / (1 + np.exp(np.clip(limit - logits[same], -50, 50)))
    groups = discover_sets(len(source), pairs.left[same], pairs.right[same], weight, rule=grouping, seed=seed)
    places = source.places.tolist()
    sets = [tuple(places[record] for record in group) for group in groups]
    kept = set(places)
    empty = [(place,) for place in range(sum(map(len, source.tables))) if place not in kept]
    every: Sets = tuple(sorted([*sets, *empty]))
    merged, conflicts = _merged(source, every, resolver)
    number_of = np.empty(len(source), dtype=np.int64)
    for number, group in enumerate(groups):
        number_of[list(group)] = number
    shown = _to_look_at(source, pairs, logits, said, number_of, look)
    finding = _finding(source, groups, every, conflicts, logits, limit, (said.check, _glued(source, groups)), number_of)
    protocol = {
        **finding.protocol,
        "compared": f"{len(pairs):,} pairs, each record with its {nearest} nearest by the n-grams of its values"
        + (" in the other table" if len(source.tables) == 2 else ""),
        "sets": grouping,
        "threshold": _probability(limit) if threshold is None else threshold,
        "threshold from": "self-made pairs, without labels" if threshold is None else "the user",
        "conflicts": "the user's resolver" if resolver is not None else RULE,
        "seed": seed,
    }
    tables_of = {"conflicts": _first(_conflict_table(source, every, conflicts)), "pairs to look at": _first(shown)}
    whole = Finding(
        finding.name, finding.figures, finding.tables | tables_of, finding.checks, protocol, headline=finding.headline
    )
    return Integration(merged, _conflict_table(source, every, conflicts), shown, every, whole)


def _merged(source: RecordSource, sets: Sets, resolver: Resolver | None) -> tuple[TextTable, list[Conflict]]:
    columns = source.union()
    rules, conflicts = ConflictRules(columns, resolver=resolver), list[Conflict]()
    rows: list[dict[str, str]] = []
    for number, members in enumerate(sets):
        if len(members) == 1:
            rows.append({name: str(texts[members[0]]) for name, texts in columns.items()})
            continue
        row, some = rules.merge(number, members)
        rows.append(row)
        conflicts.extend(some)
    sources = [" ".join(map(source.called, members)) for members in sets]
    label = SOURCES if SOURCES not in columns else f"{SOURCES} of the row"
    held = {name: _column([row[name] for row in rows]) for name in columns}
    return TextTable({label: _column(sources), **held}, f"{source.name} merged"), conflicts


def _column(values: list[str]) -> Texts:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def _conflict_table(source: RecordSource, sets: Sets, conflicts: list[Conflict]) -> TextTable:
    rows = [
        (
            " ".join(map(source.called, sets[one.set])),
            one.column,
            one.chosen,
            one.why,
            "; ".join(
                f"{value!r}: {' '.join(map(source.called, held))}"
                for value, held in zip(one.values, one.sources, strict=True)
            ),
        )
        for one in conflicts
    ]
    return _table(("sources", "column", "chosen", "why", "values and who holds them"), rows, "conflicts")


def _table(names: tuple[str, ...], rows: Sequence[tuple[str, ...]], called: str) -> TextTable:
    return TextTable({name: _column([row[place] for row in rows]) for place, name in enumerate(names)}, called)


def _to_look_at(
    source: RecordSource,
    pairs: Candidates,
    logits: npt.NDArray[np.float64],
    limit: Limit,
    number_of: npt.NDArray[np.int64],
    most: int,
) -> TextTable:
    """Return pairs whose sets say otherwise than their own score does, and then those nearest the threshold."""
    together = number_of[pairs.left] == number_of[pairs.right]
    far = np.abs(logits - limit.threshold)
    torn = together != (logits >= limit.threshold)
    order = np.lexsort((np.arange(len(logits)), far, ~torn))
    order = order[(torn | (far <= limit.reach))[order]][:most]
    rows = []
    for place in order.tolist():
        left, right = int(pairs.left[place]), int(pairs.right[place])
        why = "near the threshold"
        if torn[place]:
            why = "in one set by others' links" if together[place] else "matches, and its sets are apart"
        rows.append(
            (
                source.names[left],
                source.names[right],
                f"{_probability(float(logits[place])):.4f}",
                "same" if together[place] else "different",
                why,
                " | ".join(source.texts(left)),
                " | ".join(source.texts(right)),
            )
        )
    names = ("one", "other", "probability", "taken as", "why", "its values", "the other's values")
    return _table(names, rows, "pairs to look at")


def _probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -50, 50))))


def _glued(source: RecordSource, groups: Sets) -> Check:
    """Return whether sets are as they should be: of two tables, no set holds several records of one of them."""
    largest = max(map(len, groups))
    if len(source.tables) == 1:
        share = largest / len(source)
        detail = f"the largest set has {largest:,} of {len(source):,} records"
        return Check("no set swallows the table", share <= 0.5 or largest <= 2, detail)
    tables = source.attributes["table"].tolist()
    several = [group for group in groups if max(Counter(tables[one] for one in group).values()) > 1]
    detail = (
        f"{len(several):,} of {len(groups):,} sets hold several records of one table, the largest {largest:,} records"
    )
    return Check("sets pair records of two tables", len(several) <= 0.05 * len(groups), detail)


def _finding(
    source: RecordSource,
    groups: Sets,
    every: Sets,
    conflicts: list[Conflict],
    logits: npt.NDArray[np.float64],
    limit: float,
    checks: tuple[Check, ...],
    number_of: npt.NDArray[np.int64],
) -> Finding:
    texts = source.whole_texts
    several = [group for group in groups if len(group) > 1]
    copies = sum(len({texts[one] for one in group}) == 1 for group in several)
    figures = {
        "rows in": Measure(sum(map(len, source.tables)), "count", None),
        "rows out": Measure(len(every), "count", None),
        "sets of several records": Measure(len(several), "count", None),
        "sets of equal records alone": Measure(copies, "count", None),
        "conflicts": Measure(len(conflicts), "count", None),
        "pairs that match": Measure(int((logits >= limit).sum()), "count", None, of=len(logits)),
    }
    if source.pairs is not None and len(known := source.pairs.part("test")):
        together = number_of[known.left.numpy()] == number_of[known.right.numpy()]
        f1 = f1_of(known.match.numpy(), together)
        figures["F1, known test pairs in one set"] = Measure(f1, "share", "higher", of=len(known))
    sizes = sorted(Counter(map(len, groups)).items())
    rows: tuple[tuple[Cell, ...], ...] = tuple((size, number) for size, number in sizes)
    return Finding(
        "match",
        figures=figures,
        tables={"sets by size": Table(("records in a set", "sets"), rows, units={"sets": "count"})},
        checks=checks,
        protocol={
            "tables": [f"{table.name}: {len(table):,} rows, {table.origin}" for table in source.tables],
            "columns compared": list(source.columns),
            "not compared": [f"{what}: {why}" for what, why in source.skipped],
        },
        headline="rows out",
    )


def _first(table: TextTable, most: int = SHOWN) -> Table:
    """Return a table's first rows, for a report."""
    columns = tuple(table.columns)
    rows = tuple(zip(*(table.columns[name][:most].tolist() for name in columns), strict=True))
    note = f"the first {most} of {len(table):,}" if len(table) > most else ""
    return Table(columns, rows, note=note)
