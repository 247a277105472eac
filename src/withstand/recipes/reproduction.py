"""Reproduction: run a recipe's claim, note what it took, and keep the finding until the recipe changes."""

import ast
import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.finding import Finding
from withstand.core.part import Tree
from withstand.core.version import __version__
from withstand.recipes.catalogue import Entry
from withstand.recipes.claim import Claim

RUN = "run"
"""Where a claim's protocol says what was run; a finding is current while this says what would be run now."""


def claim_of(item: Entry) -> Callable[..., Claim]:
    """Return what tests a recipe's claim.

    Raises:
        ConfigError: the recipe makes none.
    """
    make: Callable[..., Claim] | None = getattr(item.module(), "claim", None)
    if make is None:
        raise ConfigError(f"{item.slug!r} makes no claim that can be tested here")
    return make


def wanted_run(item: Entry, scale: str, seeds: int | None) -> dict[str, Tree]:
    """Return what a test of the claim would run: scale, seeds (None for the claim's own number), recipe, version.

    The recipe is told by a digest of its code. A change elsewhere, in the method say, is not seen: the version stands
    for it.
    """
    return {"scale": scale, "seeds": seeds, "recipe": code_digest(item.path), "version": __version__}


def stored(item: Entry, folder: Path, scale: str = "small", seeds: int | None = None) -> Finding | None:
    """Return the claim's finding in `folder` if it is what would be found now; else None."""
    path = folder / f"claim-{item.slug}.json"
    if not path.is_file():
        return None
    try:
        finding = Finding.load(path)
    except DataError:
        return None
    return finding if finding.protocol.get(RUN) == wanted_run(item, scale, seeds) else None


def reproduce(item: Entry, scale: str = "small", seeds: int | None = None) -> Finding:
    """Test a recipe's claim, and return its finding with what was run and how long it took.

    `seconds` went by on the wall, with `threads`; `processor seconds` are those of all threads, which other work on the
    machine does not lengthen by much.
    """
    make, run = claim_of(item), wanted_run(item, scale, seeds)
    began, busy = time.perf_counter(), time.process_time()
    finding = make(scale=scale, **({} if seeds is None else {"seeds": seeds})).finding()
    took: dict[str, Tree] = {
        "seconds": round(time.perf_counter() - began, 1),
        "processor seconds": round(time.process_time() - busy, 1),
        "threads": torch.get_num_threads(),
    }
    return replace(finding, protocol={**finding.protocol, **took, RUN: run})


def code_digest(*paths: Path) -> str:
    """Return a short digest of Python files' code, the same under every version of Python.

    Imports, docstrings, comments, layout and where a file lies do not count.
    """
    code = [_code(ast.parse(path.read_text(encoding="utf-8"))) for path in paths]
    return hashlib.sha256(repr(code).encode()).hexdigest()[:12]


def _code(node: object) -> object:
    """Return a syntax tree as nested tuples, without what is empty: newer versions of Python have more such fields."""
    if isinstance(node, list):
        return [_code(item) for item in node if not isinstance(item, ast.Import | ast.ImportFrom)]
    if not isinstance(node, ast.AST):
        return node
    fields: dict[str, object] = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node):
        fields["body"] = node.body[1:]
    kept = ((name, _code(value)) for name, value in fields.items() if value is not None and value != [])
    return type(node).__name__, *kept
