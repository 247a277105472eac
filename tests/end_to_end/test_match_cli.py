"""A user's own two dirty tables, from train to match and report; and what is wrong with tables, in one line."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import withstand as ws
from withstand.cli.main import main
from withstand.core.errors import DataError, RunError

A = """id,Name,City,Phone,Rating
1,Blue Lantern Café,Boston,617-555-0101,4
2,Old Mill Inn,Salem,978-555-0102,5
3,Harbour Grill,Boston,,3
4,Casa Verde,Austin,512-555-0104,4
5,The Green Door,Salem,978-555-0105,2
6,,,,
7,Noodle Palace,Boston,617-555-0107,4
8,Royal Bakery,Salem,978-555-0109,5
9,Pho 75,Austin,512-555-0111,4
10,River House,Salem,978-555-0112,3
11,Sunset Diner,Austin,512-555-0120,3
12,Little Italy,Boston,617-555-0121,4
13,Rosa's Kitchen,Dallas,214-555-0122,5
14,Corner Deli,Boston,617-555-0123,2
15,Garden Tea Room,Salem,978-555-0124,4
"""
B = """id,name,city,phone,cuisine
17,blue lantern cafe,Boston,617 555 0101,french
17,Old Mill,Salem,978/555-0102,american
19,Hrbour Grill,Boston,617-555-0103,seafood
20,Casa Vrede,Austin,512-555-0104,mexican
22,Taco Stand,Dallas,214-555-0199,mexican
24,royal bakery,Salem,978-555-0109,bakery
"""
SMALL = ["--width", "16", "--buckets", "256", "--epochs", "6", "--seed", "1", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("match")
    (root / "A.csv").write_text(A, encoding="utf-8")
    (root / "B.csv").write_text(B, encoding="utf-8")
    tables = ["--data", str(root / "A.csv"), "--other", str(root / "B.csv")]
    assert main(["train", "table-integration", *tables, "--out", str(root / "run"), *SMALL]) == 0
    return root / "run"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_is_embedded_probed_and_audited_in_words_of_its_kind(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(run)]) == 0
    with np.load(run / "features-all.npz") as held:
        assert held["x"].shape == (20, 16), "a record without values is none"
        assert {"A:1", "B:6"} <= set(held["names"].tolist())
    assert main(["embed", str(run), "--data", str(run.parent / "B.csv")]) == 0
    assert main(["probe", str(run)]) == 0
    assert "matching" in capsys.readouterr().out
    assert main(["audit", str(run)]) == 0
    assert "typos in every value cost" in capsys.readouterr().out
    assert main(["audit", str(run), "--steps", "3"]) == 2
    assert "takes seed: steps is set" in capsys.readouterr().err


def test_match_writes_what_became_of_every_row(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables, out = [str(run.parent / "A.csv"), str(run.parent / "B.csv")], run.parent / "out"
    assert main(["match", *tables, "--run", str(run), "--out", str(out), "--threshold", "0.45", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["figures"]["rows in"]["value"] == 21
    merged, conflicts, pairs = (rows(out / f"{name}.csv") for name in ("merged", "conflicts", "pairs"))
    assert list(merged[0]) == ["sources", "Name", "City", "Phone", "Rating", "cuisine"]
    named = " ".join(row["sources"] for row in merged).split()
    assert sorted(named) == sorted([*(f"A:{n}" for n in range(1, 16)), *(f"B:{n}" for n in range(1, 7))])
    assert facts["figures"]["rows out"]["value"] == len(merged)
    assert facts["figures"]["conflicts"]["value"] == len(conflicts)
    assert all({"sources", "column", "chosen", "why"} <= row.keys() for row in conflicts)
    assert all(row["taken as"] in ("same", "different") for row in pairs)
    page = Path(facts["report"]).read_text(encoding="utf-8")
    assert "Rows out" in page
    assert main(["match", *tables, "--run", str(run), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "21 rows became" in said
    assert "id of B: repeats 1 id(s), the first '17': rows go by their numbers" in said
    assert "1 record(s): no value in any compared column" in said


def test_match_in_python_learns_first_and_asks_a_resolver(tmp_path: Path) -> None:
    table = {"name": ["blue lamp inn", "blue lamp in", "old mill", "casa verde"], "stars": ["4", "5", "3", "2"]}
    found = ws.match(table, out=tmp_path / "out", epochs=1, threshold=0.01, resolver=lambda question, values: values[0])
    assert (tmp_path / "out" / "merged.csv").is_file()
    assert all(why == "resolver" for why in found.integration.conflicts.columns["why"])
    assert found.run.folder.findings()[0].name == "match"
    table["name"][3] = "casa blanca"
    with pytest.raises(RunError):
        ws.match(table, out=tmp_path / "out", epochs=1, threshold=0.01)
    again = ws.match(table, out=tmp_path / "out", epochs=1, threshold=0.01, fresh=True)
    assert "casa blanca" in " ".join(again.integration.merged.columns["name"])


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (("name\nx\ny\n", "title\nx\ny\n"), "no column in common"),
        (("a,b\n,\n,\n",), "empty"),
        (("id\n1\n2\n",), "no column to compare"),
        (("name,b\nx,\n,y\n", "name,b\n,y\n"), None),
        (("name\nx\ny\n",) * 3, "one table or two, not 3"),
    ],
)
def test_tables_that_cannot_be_matched_get_one_line(
    tables: tuple[str, ...], words: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for place, text in enumerate(tables):
        (tmp_path / f"t{place}.csv").write_text(text)
        paths.append(str(tmp_path / f"t{place}.csv"))
    code = main(["match", *paths, "--out", str(tmp_path / "out"), "--epochs", "1"])
    captured = capsys.readouterr().err
    if words is None:
        assert code in (0, 2)
        return
    assert code == 2
    assert words in captured
    assert captured.count("\n") == 1


def test_ids_that_repeat_are_refused_where_they_are_asked_for(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = [str(run.parent / "A.csv"), str(run.parent / "B.csv")]
    assert main(["match", *tables, "--id", "id", "--out", str(run.parent / "never")]) == 2
    assert "'17' stands in several or none" in capsys.readouterr().err
    assert not (run.parent / "never").exists()
    with pytest.raises(DataError, match="no column in common"):
        ws.match({"a": ["x", "y"]}, {"b": ["x", "y"]}, out=run.parent / "never")
