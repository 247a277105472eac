"""One row of each set of records, and what to do where they contradict each other.

The published way asks a language model, with examples chosen by mutual information. Here the rule is written down, and
a user's own model may stand in its place.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.metrics import mutual_info_score

from withstand.core.errors import DataError
from withstand.data.pairs.texts import plain
from withstand.data.pairs.values import Texts

Resolver: TypeAlias = Callable[[str, Sequence[str]], str]
"""Is given a question in words and the values that stand in a set, and gives one of them."""

RULE = "vote of rows that agree elsewhere; then the most frequent value, the longest, the first"
"""The rule, in words."""
BETA = 0.1
"""Least mutual information, in nats above chance, of a column that helps to decide another."""


@dataclass(frozen=True)
class Conflict:
    """A column in which records of one set contradict each other.

    Attributes:
        set: which set.
        column: which column.
        values: the values that stand in it, as they were read, most frequent first.
        sources: the records that hold each of them.
        chosen: the value of the merged row.
        why: what decided.
    """

    set: int
    column: str
    values: tuple[str, ...]
    sources: tuple[tuple[int, ...], ...]
    chosen: str
    why: str


def mutual_information(columns: Mapping[str, Texts], *, seed: int = 0, draws: int = 5) -> dict[tuple[str, str], float]:
    """Return how much columns tell of each other, in nats above chance, at least 0.

    Rows where either value is missing are left out. In small tables a column of many values, as an id, seems to tell
    everything: the mean of `draws` permutations is taken off. I(X; X) is not given.

    Args:
        columns: by name.
        seed: of the permutations.
        draws: how many.
    """
    codes = {name: _codes(texts) for name, texts in columns.items()}
    found: dict[tuple[str, str], float] = {}
    names, random = list(codes), np.random.default_rng(seed)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            both = (codes[first] >= 0) & (codes[second] >= 0)
            if both.sum() < 2:
                found[first, second] = found[second, first] = 0.0
                continue
            x, y = codes[first][both], codes[second][both]
            chance = np.mean([mutual_info_score(x, random.permutation(y)) for _ in range(draws)])
            found[first, second] = found[second, first] = max(0.0, float(mutual_info_score(x, y) - chance))
    return found


def _codes(texts: Texts) -> npt.NDArray[np.int64]:
    """Return each text's number, -1 where it is missing."""
    values = np.array([plain(text) for text in texts.tolist()], dtype=str)
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    codes[values == ""] = -1
    return codes


class ConflictRules:
    """Decides which value a merged row has.

    No value gives none, and one gives itself; values that differ in case or spacing alone are one. Else every row of
    the table that has one of the candidates and belongs to no record of the set votes for its own, with the sum of
    I(B; A) over the columns B in which it agrees with the set's most frequent values; each record of the set adds a
    small weight, which decides among equals; then the longer value, then the one that stands first.

    Args:
        columns: every column of the tables, one under another.
        resolver: decides in the rule's place, where given. An answer that is none of the candidates is rejected.
        beta: least mutual information of a column that votes.
        demonstrations: rows whose votes count, the most alike.
    """

    def __init__(
        self,
        columns: Mapping[str, Texts],
        *,
        resolver: Resolver | None = None,
        beta: float = BETA,
        demonstrations: int = 10,
    ) -> None:
        self.columns, self.resolver, self.beta, self.demonstrations = dict(columns), resolver, beta, demonstrations
        self._plain = {
            name: np.array([plain(text) for text in texts.tolist()], dtype=object) for name, texts in columns.items()
        }
        self._information: dict[tuple[str, str], float] | None = None
        self._rows: dict[tuple[str, str], list[int]] | None = None

    def merge(self, number: int, members: Sequence[int]) -> tuple[dict[str, str], list[Conflict]]:
        """Return a set's merged row, by column, and its conflicts.

        Args:
            number: of the set.
            members: places of its records in the columns.
        """
        row: dict[str, str] = {}
        conflicts: list[Conflict] = []
        usual: dict[str, str] | None = None
        for name, texts in self.columns.items():
            held: dict[str, list[int]] = {}
            for member in members:
                if value := self._plain[name][member]:
                    held.setdefault(value, []).append(member)
            if not held:
                row[name] = ""
                continue
            ranked = sorted(held, key=lambda value: (-len(held[value]), held[value][0]))
            written = {value: Counter(str(texts[one]) for one in held[value]).most_common(1)[0][0] for value in held}
            if len(ranked) == 1:
                row[name] = written[ranked[0]]
                continue
            if usual is None:
                usual = self._usual(members)
            chosen, why = self._decide(name, ranked, held, usual, members, written)
            row[name] = written[chosen]
            conflicts.append(
                Conflict(
                    number,
                    name,
                    tuple(written[value] for value in ranked),
                    tuple(tuple(held[value]) for value in ranked),
                    written[chosen],
                    why,
                )
            )
        return row, conflicts

    def _usual(self, members: Sequence[int]) -> dict[str, str]:
        """Return a set's most frequent value of each column, where it has one."""
        found = {}
        for name, values in self._plain.items():
            counts = Counter(value for member in members if (value := values[member]))
            if counts:
                found[name] = counts.most_common(1)[0][0]
        return found

    def _decide(
        self,
        name: str,
        ranked: Sequence[str],
        held: Mapping[str, Sequence[int]],
        usual: Mapping[str, str],
        members: Sequence[int],
        written: Mapping[str, str],
    ) -> tuple[str, str]:
        votes, agreeing = self._votes(name, ranked, usual, members)
        if self.resolver is not None:
            question = self._question(name, agreeing, usual, [written[value] for value in ranked])
            answer = plain(self.resolver(question, [written[value] for value in ranked]))
            if answer not in held:
                raise DataError(
                    f"the resolver answered {answer!r} for {name!r}, which is none of the values "
                    f"{', '.join(repr(written[value]) for value in ranked)}"
                )
            return answer, "resolver"
        top = max(votes.values(), default=0.0)
        small = 1e-3 * (top or 1.0) / len(members)
        scores = {value: votes.get(value, 0.0) + small * len(held[value]) for value in ranked}
        best = max(scores.values())
        tied = [value for value in ranked if scores[value] >= best - 1e-12]
        if len(tied) > 1:
            longest = max(len(value) for value in tied)
            longer = [value for value in tied if len(value) == longest]
            return longer[0], "longest" if len(longer) < len(tied) and len(longer) == 1 else "first"
        return tied[0], "rows that agree elsewhere" if votes.get(tied[0], 0.0) > 0 else "most frequent"

    def _votes(
        self, name: str, ranked: Sequence[str], usual: Mapping[str, str], members: Sequence[int]
    ) -> tuple[dict[str, float], list[int]]:
        """Return the votes for each candidate, and the rows that gave them, the most alike first."""
        if self._information is None:
            self._information = mutual_information(self.columns)
        weights = {
            other: told for other in usual if other != name and (told := self._information[name, other]) >= self.beta
        }
        mine, scored = set(members), dict[int, float]()
        for other, weight in weights.items():
            for row in self._index()[other, usual[other]]:
                if row not in mine and self._plain[name][row]:
                    scored[row] = scored.get(row, 0.0) + weight
        most = sorted(scored, key=lambda row: (-scored[row], row))[: self.demonstrations]
        votes: dict[str, float] = {}
        for row in most:
            value = self._plain[name][row]
            if value in ranked:
                votes[value] = votes.get(value, 0.0) + scored[row]
        return votes, most

    def _index(self) -> dict[tuple[str, str], list[int]]:
        """Return the rows that hold each value of each column."""
        if self._rows is None:
            self._rows = {}
            for name, values in self._plain.items():
                for row, value in enumerate(values):
                    if value:
                        self._rows.setdefault((name, value), []).append(row)
        return self._rows

    def _question(self, name: str, rows: Sequence[int], usual: Mapping[str, str], candidates: Sequence[str]) -> str:
        """Return the question for a language model: examples, then the conditions of the set, without the column."""
        lines = [f"{self._conditions(name, self._row(row))} then {name} is {self.columns[name][row]}." for row in rows]
        options = ", ".join(candidates)
        return "\n".join(
            [*lines, f"{self._conditions(name, usual)} is {name} one of: {options}? Answer with one of them."]
        )

    def _row(self, row: int) -> dict[str, str]:
        return {name: values[row] for name, values in self._plain.items() if values[row]}

    def _conditions(self, name: str, values: Mapping[str, str]) -> str:
        return "If " + " and ".join(f"{other} is {value}" for other, value in values.items() if other != name) + ","
