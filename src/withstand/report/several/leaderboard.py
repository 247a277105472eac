"""A table of many audited networks: those are ranked whose samples, ball and attacks are the same."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from withstand.core.errors import ConfigError, RunError
from withstand.core.files import replacing
from withstand.core.findings.finding import Finding
from withstand.core.findings.norms import norms
from withstand.core.part import Tree
from withstand.report.folder import StoredRun

COLUMNS = ("place", "network", "robust", "95 % interval", "clean", "standing")
BELIEVABLE = "believable"


@dataclass(frozen=True)
class Entrant:
    """One audited network.

    Attributes:
        name: of its folder.
        robust: the headline's share, and its 95 % interval.
        interval: that interval's ends.
        clean: the share without an attack; None where the audit has none.
        standing: what the number is worth: "believable", "an upper bound by PGD-3", "not believable", "not judged".
        weights: a digest of the network's.
    """

    name: str
    robust: float
    interval: tuple[float, float]
    clean: float | None
    standing: str
    weights: str

    @property
    def believable(self) -> bool:
        """Whether its number may be ranked: others are bounds, or wrong."""
        return self.standing == BELIEVABLE


@dataclass(frozen=True)
class Board:
    """Networks that were attacked alike: on the same samples, within the same ball, by the same attacks.

    Attributes:
        title: figure, ball, data and attacks.
        entrants: the believable ones in order, then the others, whose numbers are shown and not ranked.
        better: whether "higher" or "lower" is better.
    """

    title: str
    entrants: tuple[Entrant, ...]
    better: str

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells below `COLUMNS`, in words; equal shares have one place."""
        ranked = [one.robust for one in self.entrants if one.believable]
        return [
            (
                str(1 + ranked.index(one.robust)) if one.believable else "-",
                one.name,
                f"{one.robust:.1%}",
                f"{one.interval[0]:.1%} to {one.interval[1]:.1%}",
                "-" if one.clean is None else f"{one.clean:.1%}",
                one.standing,
            )
            for one in self.entrants
        ]

    def notes(self) -> list[str]:
        """Return what is to be said of the order: neighbors that the samples do not tell apart, equal networks."""
        ranked = [one for one in self.entrants if one.believable]
        said = []
        for one, other in pairwise(ranked):
            if one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]:
                said.append(f"the intervals of {one.name} and {other.name} overlap")
        seen: dict[str, str] = {}
        for one in self.entrants:
            if one.weights in seen:
                said.append(f"{seen[one.weights]} and {one.name} are one network")
            seen.setdefault(one.weights, one.name)
        return said


def boards(folders: Sequence[Path]) -> list[Board]:
    """Return the boards of audited networks and runs, a board for each set of samples, ball and attacks.

    Args:
        folders: run folders, or those that audits of other networks were kept in.

    Raises:
        ConfigError: none is given.
        RunError: a folder without an audit that has a headline.
    """
    if not folders:
        raise ConfigError("a leaderboard needs folders of audits, say audit-*")
    names = [folder.resolve().name for folder in folders]
    called = names if len(set(names)) == len(names) else [str(folder) for folder in folders]
    groups: dict[tuple[str, ...], list[Entrant]] = {}
    titles: dict[tuple[str, ...], tuple[str, str]] = {}
    for folder, name in zip(folders, called, strict=True):
        finding, told = _audit(folder)
        protocol = finding.protocol
        samples = (str(protocol.get(part)) for part in ("source", "split", "labels", "samples"))
        # Audits of graphs and flows draw samples by the seed, and keep no digest of them. A weaker attack flatters.
        key = (*samples, str(_seed(protocol)), str(told["number"]), str(told["attack"]))
        groups.setdefault(key, []).append(_entrant(name, finding, told))
        data = protocol.get("data")
        where = f"{data['name']}, " if isinstance(data, dict) and "name" in data else ""
        title = f"{norms(str(told['number']))}; {where}{protocol.get('samples')} samples; {norms(str(told['attack']))}"
        titles[key] = title, finding.figures[str(told["number"])].better or "higher"
    return [Board(titles[key][0], _ordered(group, titles[key][1]), titles[key][1]) for key, group in groups.items()]


def in_words(board: Board) -> str:
    """Return a board as text in aligned columns."""
    rows = [COLUMNS, *board.rows()]
    wide = [max(len(row[place]) for row in rows) for place in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, wide, strict=True)).rstrip() for row in rows]
    return "\n".join([board.title, *(f"  {line}" for line in lines), *(f"  note: {note}" for note in board.notes())])


def write(found: Sequence[Board], path: Path) -> None:
    """Write boards as a table: `.csv`, or `.md` in Markdown.

    Raises:
        ConfigError: another suffix.
    """
    if path.suffix == ".csv":
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("board", *COLUMNS))
        for board in found:
            rows.writerows((board.title, *row) for row in board.rows())
        content = text.getvalue()
    elif path.suffix == ".md":
        content = "\n\n".join(_markdown(board) for board in found) + "\n"
    else:
        raise ConfigError(f"out must end in .csv or .md, not {path.name!r}")
    with replacing(path) as aside:
        aside.write_text(content, encoding="utf-8")


def facts(board: Board) -> dict[str, Tree]:
    """Return a board for programs."""
    entrants: list[Tree] = [
        {
            "network": one.name,
            "robust": one.robust,
            "interval": list(one.interval),
            "clean": one.clean,
            "standing": one.standing,
            "ranked": one.believable,
        }
        for one in board.entrants
    ]
    return {"title": board.title, "entrants": entrants, "notes": list(board.notes())}


def _audit(folder: Path) -> tuple[Finding, dict[str, Tree]]:
    finding = StoredRun.read(folder).findings.get("audit")
    if finding is None:
        raise RunError(f"{str(folder)!r} holds no audit: withstand audit makes one")
    told = finding.protocol.get("headline")
    if not isinstance(told, dict):
        raise RunError(f"the audit in {str(folder)!r} has no headline, and cannot be ranked")
    return finding, told


def _seed(protocol: Mapping[str, Tree]) -> Tree:
    """Return the seed by which an audit chose its samples; None where a digest says which they are."""
    audit = protocol.get("audit")
    arguments = audit.get("init_args") if isinstance(audit, dict) and "split" not in protocol else None
    return arguments.get("seed") if isinstance(arguments, dict) else None


def _entrant(name: str, finding: Finding, told: dict[str, Tree]) -> Entrant:
    share = finding.figures[str(told["number"])]
    low, high = told["interval"] if isinstance(told["interval"], list) else (share.value, share.value)
    against = finding.figures.get(str(told["against"]))
    return Entrant(
        name=name,
        robust=share.value,
        interval=(float(str(low)), float(str(high))),
        clean=None if against is None else against.value,
        standing=str(told["standing"]),
        weights=str(finding.protocol.get("weights", name)),
    )


def _ordered(entrants: Sequence[Entrant], better: str) -> tuple[Entrant, ...]:
    sign = -1 if better == "higher" else 1
    return tuple(sorted(entrants, key=lambda one: (not one.believable, sign * one.robust, one.name)))


def _markdown(board: Board) -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *board.rows()]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"**{board.title}**", "", *lines, *(f"\n{note}." for note in board.notes())])
