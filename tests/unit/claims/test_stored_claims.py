"""What a stored claim says was run is what its arms are today: same data, length, optimizer and settings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from withstand.claims.protocol.compare import arms_of
from withstand.claims.protocol.measures import budget
from withstand.claims.protocol.reproduction import claim_of
from withstand.core.errors import DataError
from withstand.core.findings.finding import Finding
from withstand.engine.experiment import Experiment
from withstand.recipes.catalogue import Entry, entries

STORED = Path(__file__).parents[3] / "docs" / "claims"
TOLD = [
    item for item in entries() if (STORED / f"claim-{item.slug}.json").is_file() and hasattr(item.module(), "SETUP")
]


def experiments(arm: object) -> Iterator[Experiment]:
    """Yield the experiments of an arm that is one, or holds some, with the stages before them."""
    if isinstance(arm, Experiment):
        yield arm
        yield from experiments(arm.first)
    elif isinstance(arm, list | tuple):
        for one in arm:
            yield from experiments(one)


def differences(before: Any, now: Any, path: str) -> Iterator[str]:
    """Yield where two descriptions differ in what both say; arguments come and go, classes move."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() & now.keys():
            yield from differences(before[key], now[key], f"{path}.{key}")
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for place, (one, other) in enumerate(zip(before, now, strict=True)):
            yield from differences(one, other, f"{path}[{place}]")
    elif path.endswith("class_path"):
        if before.rpartition(".")[2] != now.rpartition(".")[2]:
            yield f"{path}: {before} -> {now}"
    elif before != now:
        yield f"{path}: {before!r} -> {now!r}"


@pytest.mark.thorough
@pytest.mark.parametrize("item", TOLD, ids=lambda item: item.slug)
def test_arms_are_what_was_run(item: Entry) -> None:
    finding = Finding.load(STORED / f"claim-{item.slug}.json")
    try:
        arms = arms_of(claim_of(item), len(finding.tables["seeds"].rows) - 1)
    except DataError as error:
        pytest.skip(str(error))
    told = {name: finding.protocol[name] for name in ("train samples", "epochs", "batch", "optimizer")}
    told["method of the last seed"] = finding.protocol["method of the last seed"]
    found = [list(differences(told, budget(one), "")) for arm in arms.values() for one in experiments(arm)]
    if not found:
        pytest.skip("its arms are made of other things than experiments alone")
    assert [] in found, min(found, key=len)
