"""The catalogue: what recipes exist, read from their folders and headers without importing them.

A folder is a family, and every file in it a recipe; `setups` holds what recipes share. A header is the recipe file's
docstring: a title line, then `key: value` lines (a value may run on in indented lines).

Recipes that learn from pictures without labels say by the words of `TAXONOMY` how they do: the axes of A Survey of the
Self Supervised Learning Mechanisms for Vision Transformers (2024).
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from withstand.core.errors import ConfigError, nearest

_ROOM = Path(__file__).parent
UNLABELLED = "unlabelled pictures"
"""How "learns from" begins in recipes that `TAXONOMY` is for."""
TAXONOMY: dict[str, tuple[str, ...]] = {
    "mechanism": (
        "pretext", "contrastive", "non-contrastive", "clustering", "self-distillation", "masked", "predictive",
    ),
    "target": ("pixels", "color", "tokens", "features", "instance", "cluster", "transformation", "position"),
    "granularity": ("picture", "patch", "place"),
    "guard": (
        "negatives", "predictor", "teacher", "centering", "balanced assignment", "decorrelation", "reconstruction",
        "known answers",
    ),
    "needs": (
        "one view", "two views", "several views", "patches", "maps", "teacher", "queue", "tokenizer", "decoder",
        "batch statistics", "three channels", "trained run",
    ),
}  # fmt: skip
"""What a header may say in these of its lines, one or several joined by ", ". `mechanism`: what kind of task teaches;
several make a hybrid. `target`: what is told. `granularity`: of what it is told. `guard`: what keeps all pictures from
being given one code. `needs`: what it takes beside pictures and a network; "patches" is a network that reads them,
"maps" one that has stages of them, whose places are told."""


KINDS: dict[str, frozenset[str]] = {
    kind: frozenset(words.split())
    for kind, words in {
        "pictures": "picture photo image jpg jpeg png",
        "captions": "caption",
        "tables": "table tabular row column csv parquet spreadsheet",
        "graphs": "graph node edge",
        "sensors": "sensor window device accelerometer",
        "packets": "packet pcap pcapng flow traffic capture",
        "volumes": "volume slice nifti dicom mri scan",
        "clips": "clip video frame",
        "items": "item rating click purchase interaction recommendation",
        "language": "language text answer prompt preference llm",
    }.items()
}
"""Words that say what kind of data somebody has, in a request as in what a recipe "learns from"."""


@dataclass(frozen=True)
class Entry:
    """One recipe's header.

    Attributes:
        slug: the recipe's name.
        title: its first line.
        family: the folder that it lies in, as "contrastive" or "non-contrastive".
        path: its file.
        facts: its `key: value` lines.
        trains: whether it trains something; others evaluate, and `withstand reproduce` runs them.
    """

    slug: str
    title: str
    family: str
    path: Path
    facts: Mapping[str, str] = field(default_factory=dict)
    trains: bool = True

    def said(self, axis: str) -> tuple[str, ...]:
        """Return what the recipe says on an axis of `TAXONOMY`, or its family; nothing where it says nothing."""
        text = self.family if axis == "family" else self.facts.get(axis, "")
        return tuple(filter(None, text.split(", ")))

    def module(self) -> ModuleType:
        """Import the recipe."""
        return import_module(f"withstand.recipes.{self.path.parent.name}.{self.path.stem}")


def entries() -> list[Entry]:
    """Return every recipe, by slug."""
    files = (path for path in _ROOM.glob("*/*.py") if path.stem != "__init__" and path.parent.name != "setups")
    return sorted((_read(path, path.stat().st_mtime_ns) for path in files), key=lambda item: item.slug)


def entry(slug: str) -> Entry:
    """Return one recipe's entry.

    Raises:
        ConfigError: there is no such recipe; names the nearest.
    """
    found = {item.slug: item for item in entries()}
    name = slug.replace("_", "-").lower()
    if name not in found:
        raise ConfigError(f"there is no method {slug!r}: {nearest(name, found)}")
    return found[name]


def chosen(names: Sequence[str]) -> list[Entry]:
    """Return the entries that slugs, families ("contrastive") and "all" name, each once, in their order.

    Raises:
        ConfigError: a name is none of them; names the nearest.
    """
    every = entries()
    slugs, families = {item.slug for item in every}, {item.family for item in every}
    found: dict[str, Entry] = {}
    for name in (name.replace("_", "-").lower() for name in names):
        if name not in slugs | families | {"all"}:
            raise ConfigError(f"there is no method {name!r}: {nearest(name, sorted(slugs | families | {'all'}))}")
        found |= {item.slug: item for item in every if name in ("all", item.slug, item.family)}
    return list(found.values())


def of_kind(**asked: str | None) -> list[Entry]:
    """Return the recipes that say all of this, by slug.

    Args:
        asked: a word for "family", or for an axis of `TAXONOMY`; None asks for nothing.

    Raises:
        ConfigError: a word, or an axis, that is none; names the nearest.
    """
    found = entries()
    axes = {"family": tuple(sorted({item.family for item in found})), **TAXONOMY}
    for axis, word in asked.items():
        if axis not in axes:
            raise ConfigError(f"recipes say nothing of {axis!r}: {nearest(axis, axes)}")
        if word is None:
            continue
        word = _dashed(word) if axis == "family" else word.replace("_", " ")
        if word not in axes[axis]:
            raise ConfigError(f"{axis} {word!r} is unknown: {nearest(word, axes[axis])}")
        found = [item for item in found if word in item.said(axis)]
    return found


def find(words: str, most: int = 5) -> list[Entry]:
    """Return the recipes whose headers share most words with a request, rare words counting more.

    A request that names a kind of data is first answered with what learns from that kind, and one that says to have no
    labels with what needs none; what builds on a trained run comes after what does not.
    """
    wanted = _words(words)
    kinds = _kinds(wanted)
    bags = {item.slug: _words(f"{item.slug} {item.title} {' '.join(item.facts.values())}") for item in entries()}
    weight = {word: 1 / max(1, sum(word in bag for bag in bags.values())) for word in wanted}
    score = {slug: sum(weight[word] for word in wanted & bag) for slug, bag in bags.items()}

    def place(item: Entry) -> tuple[bool, bool, bool, float]:
        said = _words(item.facts.get("learns from", ""))
        others = ("label" in wanted and "label" not in said) or (NO_LABELS in wanted and "label" in said)
        needs_more = "run" in said and "run" not in wanted
        return bool(kinds) and not kinds & _kinds(said), others, needs_more, -score[item.slug]

    return sorted((item for item in entries() if score[item.slug] > 0), key=place)[:most]


NO_LABELS = "unlabelled"
_UNSAID = {"the", "and", "for", "with"}


def _words(text: str) -> set[str]:
    """Return the words of a text, each without the s at its end; having no labels is one of them."""
    text = re.sub(r"\b(without|no)( any)? labels?\b|\bunlabell?ed\b", NO_LABELS, text.lower())
    text = re.sub(r"\blabell?ed\b", "label", text)
    return {word.removesuffix("s") for word in re.findall(r"[a-z0-9]+", text) if len(word) > 2 and word not in _UNSAID}


def _kinds(words: set[str]) -> frozenset[str]:
    return frozenset(kind for kind, told in KINDS.items() if told & words)


@cache
def _read(path: Path, changed: int) -> Entry:
    """Return a recipe's entry; parsing all of them takes a third of a second, and every verb asks for them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    title, facts = _header(tree)
    imported = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    if differences := list(filter(None, [facts.get("differences"), *map(_differences, imported)])):
        first, *further = (f"{said.rstrip('.')}." for said in differences)
        facts["differences"] = " ".join([first, *(f"{said[0].upper()}{said[1:]}" for said in further)])
    trains = any(isinstance(node, ast.FunctionDef) and node.name == "experiment" for node in tree.body)
    return Entry(_dashed(path.stem), title, _dashed(path.parent.name), path, facts, trains)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _header(tree: ast.Module) -> tuple[str, dict[str, str]]:
    """Return a file's title, and the `key: value` lines below it."""
    title, _, rest = (ast.get_docstring(tree) or "").partition("\n")
    facts: dict[str, str] = {}
    for line in rest.splitlines():
        start = re.match(r"([a-z][a-z ]*): (.*)", line)
        if start:
            facts[start[1]] = start[2].strip()
        elif facts and line.startswith(" "):
            last = next(reversed(facts))
            facts[last] = f"{facts[last]} {line.strip()}"
    return title.strip(), facts


@cache
def _differences(module: str) -> str | None:
    """Return how a system's own module says that it differs from paper and official code; None where it does not."""
    room = re.fullmatch(r"withstand\.((?:methods|defenses|verification|evaluation)\.[\w.]+)", module)
    if room is None:
        return None
    path = _ROOM.parent.joinpath(*room[1].split(".")).with_suffix(".py")
    return _header(ast.parse(path.read_text(encoding="utf-8")))[1].get("differences") if path.is_file() else None
