"""reproduce: put papers' claims to the test."""

import sys
from pathlib import Path
from typing import Any

from withstand.claims.protocol.compare import Comparison
from withstand.claims.protocol.reproduction import claim_of, has_claim, reproduce, stored
from withstand.cli.reply import Reply, figure_facts
from withstand.core.errors import WithstandError
from withstand.core.findings.finding import Finding
from withstand.core.part import Tree
from withstand.recipes.catalogue import Entry, chosen


def run_reproduce(
    methods: tuple[str, ...],
    *,
    scale: str = "small",
    seeds: int | None = None,
    out: Path | None = None,
    fresh: bool = False,
) -> Reply:
    """Test papers' claims on real data, against the papers' own baselines; what is stored and current stands.

    Every seed is kept as soon as it is measured: the same command goes on where it was interrupted.

    Args:
        methods: whose claims: methods, families (contrastive, robust, ...), or all
        scale: how large: every claim knows "small", many know "gpu", a larger network on all data
        seeds: how many repetitions; if not said, they are added until the interval of the effect decides, or the
            claim's own budget is spent
        out: the folder that gets the findings, claims/METHOD if not said
        fresh: test again what is stored and current
    """
    items = chosen(methods)
    if len(items) == 1:
        claim_of(items[0], scale)  # refuse a method without a claim; among several it is passed over
    items = [item for item in items if has_claim(item)]
    lines, facts, failed = list[str](), dict[str, Tree](), False
    for item in items:
        folder = out or Path("claims") / item.slug
        try:
            kept = None if fresh else stored(item, folder, scale, seeds)
            finding = kept or _tested(item, folder, scale, seeds, fresh=fresh)
        except WithstandError as error:
            if len(items) == 1:
                raise
            failed = True
            lines.append(f"{item.slug}: not tested: {error}")
            facts[item.slug] = {"error": str(error)}
            continue
        path = folder / f"{finding.name}.json" if kept else finding.save(folder)
        lines += _lines(item, finding, path, again=kept is None)
        facts[item.slug] = _facts(finding, path)
        if len(items) > 1 and kept is None:  # hours may pass before all are there
            sys.stderr.write(f"{item.slug}: {finding.protocol['verdict']}, {finding.protocol['seconds']} s\n")
    if len(items) == 1:
        return Reply("\n".join(lines), _facts(finding, path))
    return Reply("\n".join(lines), facts, int(failed))


def _tested(item: Entry, folder: Path, scale: str, seeds: int | None, *, fresh: bool) -> Finding:
    """Test a claim, and tell on the way what is at work and what came out."""

    def begin(seed: int, name: str) -> None:
        sys.stderr.write(f"{item.slug}, seed {seed}: {name}\n")

    def after(now: Comparison[Any, Any]) -> None:
        sides = ", ".join(f"{name} {figure:.4f}" for name, figure in zip(now.claim.names, now.pairs[-1], strict=True))
        sys.stderr.write(f"{item.slug}, seed {len(now.seeds) - 1}: {sides}{_so_far(now)}\n")

    return reproduce(item, folder, scale, seeds, fresh=fresh, begin=begin, after=after)


def _so_far(now: Comparison[Any, Any]) -> str:
    if len(now.seeds) < 2:
        return ""
    low, high = now.interval
    return f"; effect so far {sum(now.differences) / len(now.seeds):.4f} [{low:.4f}, {high:.4f}], {now.verdict}"


def _lines(item: Entry, finding: Finding, path: Path, *, again: bool) -> list[str]:
    took = f"{finding.protocol['seconds']} s, {finding.protocol['processor seconds']} s of a processor"
    return [
        f"{item.slug}: {finding.protocol['statement']}",
        *(f"  {name}: {measure}" for name, measure in finding.figures.items()),
        f"verdict: {finding.protocol['verdict']}, {len(finding.tables['seeds'].rows)} seeds",
        f"finding: {path}, {took if again else f'stored and current, once {took}; --fresh tests again'}",
    ]


def _facts(finding: Finding, path: Path) -> dict[str, Tree]:
    return {"verdict": finding.protocol["verdict"], "figures": figure_facts(finding), "finding": str(path)}
