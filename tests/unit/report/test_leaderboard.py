"""The leaderboard: what was attacked alike is ranked, and nothing else."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

import withstand as ws
from victims import random_pictures, small_net
from withstand.cli.main import main
from withstand.core.errors import ConfigError, RunError
from withstand.core.findings.finding import Finding
from withstand.engine.folder import RunFolder
from withstand.report.several.leaderboard import boards, in_words


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small network's audit, of which others are made that say otherwise."""
    folder = tmp_path_factory.mktemp("audits")
    x, _ = random_pictures(12)
    ws.audit(small_net(), (x, small_net()(x).argmax(1)), out=folder / "one", steps=2, ensemble="none", samples=12)
    return folder


def like(audited: Path, name: str, robust: float, **told: object) -> Path:
    """Write an audit like the first, of another share and with other words in its headline or protocol."""
    there = audited / name
    if not there.exists():
        (there / "findings").mkdir(parents=True)
        (there / "run.json").write_text((audited / "one" / "run.json").read_text())
    finding = Finding.load(audited / "one" / "findings" / "audit.json")
    headline = dict(finding.protocol["headline"])  # type: ignore[call-overload]
    head = str(headline["number"])
    headline |= {"standing": "believable", "value": robust, "interval": [robust - 0.1, robust + 0.1]}
    headline |= {key: value for key, value in told.items() if key in headline}
    protocol = finding.protocol | {"weights": name} | {k: v for k, v in told.items() if k not in headline}
    figures = dict(finding.figures) | {head: replace(finding.figures[head], value=robust)}
    RunFolder(there).save(replace(finding, figures=figures, protocol={**protocol, "headline": headline}))
    return there


def test_those_attacked_alike_are_ranked_and_bounds_are_not(audited: Path) -> None:
    folders = [like(audited, "weak", 0.2), like(audited, "strong", 0.7), like(audited, "as strong", 0.7)]
    folders.append(like(audited, "bound", 0.9, standing="an upper bound by PGD-2"))
    folders.append(like(audited, "broken", 1.0, standing="not believable"))
    (board,) = boards(folders)
    assert [(row[0], row[1]) for row in board.rows()] == [
        ("1", "as strong"), ("1", "strong"), ("3", "weak"), ("-", "broken"), ("-", "bound"),
    ]  # fmt: skip
    assert board.notes() == ["the intervals of as strong and strong overlap"]
    assert "1      strong     70.0%   60.0% to 80.0%" in in_words(board)


@pytest.mark.parametrize(
    "told", [{"split": "other rows"}, {"source": "other"}, {"labels": "others"}, {"attack": "FGSM"}], ids=str
)
def test_other_samples_or_attacks_are_another_board(audited: Path, told: dict[str, str]) -> None:
    found = boards([like(audited, "mine", 0.2), like(audited, "theirs", 0.9, **told)])
    assert [[one.name for one in board.entrants] for board in found] == [["mine"], ["theirs"]]


def test_samples_without_a_digest_are_told_by_number_and_seed(audited: Path) -> None:
    def drawn(name: str, seed: int, samples: int = 12) -> Path:
        path = like(audited, name, 0.5, samples=samples)
        file = path / "findings" / "audit.json"
        kept = json.loads(file.read_text())
        del kept["protocol"]["split"]  # as audits of graphs and flows
        kept["protocol"]["samples"] = samples
        kept["protocol"]["audit"]["init_args"]["seed"] = seed
        file.write_text(json.dumps(kept))
        return path

    found = boards([drawn("a", 0), drawn("b", 0), drawn("c", 1), drawn("d", 0, 11)])
    assert [[one.name for one in board.entrants] for board in found] == [["a", "b"], ["c"], ["d"]]


def test_one_network_twice_is_told(audited: Path) -> None:
    folders = [like(audited, "mine", 0.2), like(audited, "copy", 0.2, weights="mine")]
    assert "copy and mine are one network" in boards(folders)[0].notes()


def test_by_the_command_line(audited: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(like(audited, "weak", 0.2)), str(audited / "one")]
    assert main(["leaderboard", *folders, "--out", str(tmp_path / "board.csv")]) == 0
    assert "1      weak" in capsys.readouterr().out
    assert main(["leaderboard", *folders, "--out", str(tmp_path / "board.md"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["boards"][0]["entrants"]
    assert [one["ranked"] for one in told] == [True, False]  # PGD of two steps is a bound
    with (tmp_path / "board.csv").open() as file:
        assert [row["network"] for row in csv.DictReader(file)] == ["weak", "one"]
    assert "| 1 | weak | 20.0% |" in (tmp_path / "board.md").read_text()
    assert main(["leaderboard", *folders, "--out", "x.pdf"]) == 2
    assert "must end in .csv or .md" in capsys.readouterr().err


def test_what_is_no_audit_is_refused(audited: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs folders of audits"):
        boards([])
    with pytest.raises(RunError, match="is not a run folder"):
        boards([tmp_path / "none"])
    bare = like(audited, "bare", 0.2)
    (bare / "findings" / "audit.json").unlink()
    with pytest.raises(RunError, match="holds no audit: withstand audit makes one"):
        boards([bare])
