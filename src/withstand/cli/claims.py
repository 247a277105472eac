"""reproduce: put papers' claims to the test."""

import sys
from pathlib import Path

from withstand.cli.reply import Reply, figure_facts, show_measure
from withstand.core.errors import WithstandError
from withstand.core.finding import Finding
from withstand.core.part import Tree
from withstand.recipes.catalogue import Entry, chosen
from withstand.recipes.reproduction import claim_of, reproduce, stored


def run_reproduce(
    methods: tuple[str, ...],
    *,
    scale: str = "small",
    seeds: int | None = None,
    out: Path | None = None,
    fresh: bool = False,
) -> Reply:
    """Test papers' claims on real data, against the papers' own baselines; what is stored and current stands.

    Args:
        methods: whose claims: methods, families (contrastive, robust, ...), or all
        scale: how large; every claim knows "small"
        seeds: how many repetitions, the claim's own number if not said; the spread over them decides what can be said
        out: the folder that gets the findings, claims/METHOD if not said
        fresh: test again what is stored and current
    """
    items = chosen(methods)
    if len(items) == 1:
        claim_of(items[0])  # refuse a method without a claim; among several it is passed over
    items = [item for item in items if hasattr(item.module(), "claim")]
    lines, facts, failed = list[str](), dict[str, Tree](), False
    for item in items:
        folder = out or Path("claims") / item.slug
        try:
            kept = None if fresh else stored(item, folder, scale, seeds)
            finding = kept or reproduce(item, scale, seeds)
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


def _lines(item: Entry, finding: Finding, path: Path, *, again: bool) -> list[str]:
    took = f"{finding.protocol['seconds']} s, {finding.protocol['processor seconds']} s of a processor"
    return [
        f"{item.slug}: {finding.protocol['statement']}",
        *(f"  {name}: {show_measure(measure)}" for name, measure in finding.measures.items()),
        f"verdict: {finding.protocol['verdict']}",
        f"finding: {path}, {took if again else f'stored and current, once {took}; --fresh tests again'}",
    ]


def _facts(finding: Finding, path: Path) -> dict[str, Tree]:
    return {"verdict": finding.protocol["verdict"], "figures": figure_facts(finding), "finding": str(path)}
