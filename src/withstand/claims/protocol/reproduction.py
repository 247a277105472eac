"""Reproduction: test a recipe's claim seed by seed, keep every seed, and keep the finding until the code changes."""

import ast
import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch

from withstand.claims.protocol.claim import Budget, Claim
from withstand.claims.protocol.compare import Comparison, Seed, compare
from withstand.core.errors import ConfigError, DataError
from withstand.core.files import replacing
from withstand.core.findings.finding import Finding
from withstand.core.part import Tree
from withstand.core.version import __version__
from withstand.recipes.catalogue import Entry

RUN = "run"
"""Where a claim's protocol says what was run; a finding is current while this says what would be run now."""
_ROOM = Path(__file__).parents[1]


def file_of(item: Entry) -> Path:
    """Return where a recipe's claim lies, if it makes one: at the recipe's own place, in this room."""
    return _ROOM / item.path.parent.name / item.path.name


def has_claim(item: Entry) -> bool:
    """Return whether a recipe's claim can be tested."""
    return file_of(item).is_file()


def claim_of(item: Entry, scale: str = "small") -> Claim[Any, Any]:
    """Return a recipe's claim.

    Raises:
        ConfigError: the recipe makes none, or none at this scale.
    """
    if not has_claim(item):
        raise ConfigError(f"{item.slug!r} makes no claim that can be tested here")
    module = import_module(f"withstand.claims.{item.path.parent.name}.{item.path.stem}")
    make: Callable[..., Claim[Any, Any]] = module.claim
    scales = scales_of(make)
    if scale not in scales:
        known = " and ".join(map(repr, scales))
        raise ConfigError(f"the claim of {item.slug!r} has no scale {scale!r}: it is tested at {known}")
    return make(scale) if len(scales) > 1 else make()


def scales_of(make: Callable[..., object]) -> tuple[str, ...]:
    """Return the scales that a claim knows: what its argument `scale` may be, or "small" alone."""
    if "scale" not in inspect.signature(make).parameters:
        return ("small",)
    return get_args(get_type_hints(make)["scale"])


def wanted_run(item: Entry, scale: str, seeds: int | None) -> dict[str, Tree]:
    """Return what a test of the claim would run: scale, seeds (None for the claim's own budget), code, version.

    The recipe and the claim are told by a digest of their code. A change elsewhere, in the method say, is not seen: the
    version stands for it.
    """
    digest = code_digest(item.path, file_of(item))
    return {"scale": scale, "seeds": seeds, "code": digest, "version": __version__}


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


def reproduce(
    item: Entry,
    folder: Path,
    scale: str = "small",
    seeds: int | None = None,
    *,
    fresh: bool = False,
    begin: Callable[[int, str], None] | None = None,
    after: Callable[[Comparison[Any, Any]], None] | None = None,
) -> Finding:
    """Test a recipe's claim, and return its finding with what was run and how long it took.

    Every seed is kept in `folder/seeds-<slug>.json` as soon as it is measured: the same call again goes on after the
    last one, and one for more seeds adds to them. `seconds` went by on the wall, with `threads`; `processor seconds`
    are those of all threads, which other work on the machine does not lengthen by much.

    Args:
        item: the recipe.
        folder: where the seeds are kept; the finding is not written.
        scale: how large.
        seeds: how many; None adds seeds until the interval decides or the claim's budget is spent.
        fresh: forget the seeds that are kept.
        begin: called with seed and name before an arm is measured.
        after: called with what is known after each seed.

    Raises:
        ConfigError: no claim, or none at this scale; fewer than two seeds.
        DataError: the kept seeds cannot be read.
    """
    claim, run = claim_of(item, scale), wanted_run(item, scale, seeds)
    budget = claim.budget if seeds is None else Budget(least=seeds, most=seeds)
    path, basis = folder / f"seeds-{item.slug}.json", {**run, "seeds": None}

    def keep(now: Comparison[Any, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        record = {RUN: basis, "seeds": [asdict(seed) for seed in now.seeds]}
        with replacing(path) as part:
            part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if after is not None:
            after(now)

    known = () if fresh else _kept(path, basis)
    found = compare(claim, budget, known=known, begin=begin, after=keep)
    finding = found.finding(item.slug)
    took: dict[str, Tree] = {
        "seconds": round(sum(seed.seconds for seed in found.seeds), 1),
        "processor seconds": round(sum(seed.processor_seconds for seed in found.seeds), 1),
        "threads": torch.get_num_threads(),
    }
    return replace(finding, protocol={**finding.protocol, **took, RUN: run})


def _kept(path: Path, run: dict[str, Tree]) -> tuple[Seed[Any], ...]:
    """Return the seeds that are kept of the same run.

    Raises:
        DataError: the file is damaged.
    """
    if not path.is_file():
        return ()
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return tuple(Seed(**seed) for seed in record["seeds"]) if record[RUN] == run else ()
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no seeds of a claim ({error}): remove it, or use --fresh") from error


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
