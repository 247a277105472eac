"""The audit of recommended items on the command line: it gives no verdict, and no empty line in its place."""

from pathlib import Path

import withstand as ws
from withstand.cli.verbs.runs import run_audit


def test_an_audit_without_a_verdict_says_what_it_found_without_a_gap(tmp_path: Path) -> None:
    rows = [f"{user},{item},{10 * user + item}" for user in range(12) for item in range(8) if (user + item) % 3]
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,itemId,timestamp", *rows]), encoding="utf-8")
    fields = [f"{item},{'ab'[item % 2]},{item // 2}" for item in range(8)]
    (tmp_path / "items.csv").write_text("\n".join(["itemId,kind,shelf", *fields]), encoding="utf-8")
    options = {"items": str(tmp_path / "items.csv")}
    run = ws.train(
        "item-ssl", str(tmp_path / "ratings.csv"), out=tmp_path / "run", epochs=1, quiet=True, options=options
    )
    said = run_audit(run.path).text.splitlines()
    assert all(said), said
    assert any(line.startswith("audit") for line in said)
    assert any(line.startswith("ranking") for line in said), "what a run is worth is told beside"
