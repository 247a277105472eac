"""The catalogue: what recipes exist, read from their headers without importing them.

A header is the recipe file's docstring: a title line, then `key: value` lines (a value may run on in
indented lines).
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

from withstand.core.errors import ConfigError, nearest

_SHARED = {
    "__init__",
    "catalogue",
    "certified_pictures",
    "claim",
    "graphs",
    "pictures",
    "reproduction",
    "robust_pictures",
    "tables",
    "trial",
}


@dataclass(frozen=True)
class Entry:
    """One recipe's header.

    Attributes:
        slug: the recipe's name.
        title: its first line.
        facts: its `key: value` lines.
        family: the folder of methods that it draws on first, as "contrastive"; None where nothing is trained by one.
    """

    slug: str
    title: str
    facts: dict[str, str] = field(default_factory=dict)
    family: str | None = None

    @property
    def path(self) -> Path:
        """The recipe's file."""
        return Path(__file__).parent / f"{self.slug.replace('-', '_')}.py"

    def module(self) -> ModuleType:
        """Import the recipe."""
        return import_module(f"withstand.recipes.{self.slug.replace('-', '_')}")


def entries() -> list[Entry]:
    """Return every recipe, by slug."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [_read(path) for path in files if path.stem not in _SHARED]


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
    slugs, families = {item.slug for item in every}, {item.family for item in every if item.family}
    found: dict[str, Entry] = {}
    for name in (name.replace("_", "-").lower() for name in names):
        if name not in slugs | families | {"all"}:
            raise ConfigError(f"there is no method {name!r}: {nearest(name, sorted(slugs | families | {'all'}))}")
        found |= {item.slug: item for item in every if name in ("all", item.slug, item.family)}
    return list(found.values())


def find(words: str, most: int = 5) -> list[Entry]:
    """Return the recipes whose headers share most words with a request, rare words counting more."""
    wanted = _words(words)
    bags = {item.slug: _words(f"{item.slug} {item.title} {' '.join(item.facts.values())}") for item in entries()}
    weight = {word: 1 / max(1, sum(word in bag for bag in bags.values())) for word in wanted}
    score = {slug: sum(weight[word] for word in wanted & bag) for slug, bag in bags.items()}
    ranked = sorted((item for item in entries() if score[item.slug] > 0), key=lambda item: -score[item.slug])
    return ranked[:most]


def _words(text: str) -> set[str]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {word.removesuffix("s") for word in words if len(word) > 2 and word not in {"the", "and", "for", "with"}}


def _read(path: Path) -> Entry:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    title, facts = _header(tree)
    imported = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    folders = (name.split(".")[2] for name in imported if re.fullmatch(r"withstand\.methods\.\w+\.\w+", name))
    if differences := list(filter(None, [facts.get("differences"), *map(_differences, imported)])):
        facts["differences"] = " ".join(differences)
    return Entry(path.stem.replace("_", "-"), title, facts, next(folders, None))


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


@lru_cache
def _differences(module: str) -> str | None:
    """Return how a system's own module says that it differs from paper and official code; None where it does not."""
    room = re.fullmatch(r"withstand\.((?:methods|defenses|verification|evaluation)\.[\w.]+)", module)
    if room is None:
        return None
    path = Path(__file__).parent.parent.joinpath(*room[1].split(".")).with_suffix(".py")
    return _header(ast.parse(path.read_text(encoding="utf-8")))[1].get("differences") if path.is_file() else None
