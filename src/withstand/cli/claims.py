"""reproduce: put a paper's claim to the test."""

from pathlib import Path

from withstand.cli.reply import Reply
from withstand.core.errors import ConfigError
from withstand.recipes.catalogue import entry


def run_reproduce(method: str, *, scale: str = "small", seeds: int = 3, out: Path | None = None) -> Reply:
    """Test a paper's claim on real data, against the paper's own baseline.

    Args:
        method: whose claim
        scale: how large; every claim knows "small"
        seeds: how many repetitions; the spread over them decides what can be said
        out: the folder that gets the finding, claims/METHOD if not said
    """
    item = entry(method)
    make = getattr(item.module(), "claim", None)
    if make is None:
        raise ConfigError(f"{method!r} makes no claim that can be tested here")
    claim = make(scale=scale, seeds=seeds)
    finding = claim.finding()
    path = finding.save(out or Path("claims") / item.slug)
    lines = [
        f"{item.slug}: {claim.statement}",
        *(f"  {name}: {value:.4f}" for name, value in finding.numbers.items()),
        f"verdict: {claim.verdict}",
        f"finding: {path}",
    ]
    facts = {"verdict": claim.verdict, "numbers": dict(finding.numbers), "finding": str(path)}
    return Reply("\n".join(lines), facts)
