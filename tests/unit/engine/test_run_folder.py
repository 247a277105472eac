"""Whose folder it is: resumed, refused, started over, and never mixed up."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric.utilities.rank_zero import rank_zero_info

from toys import ToyPictures, toy_experiment, toy_method, weights
from withstand.core.errors import ConfigError, DataError, RunError
from withstand.core.findings.finding import Finding
from withstand.core.part import build
from withstand.core.roles import Source
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.folder import RunFolder, _may_change
from withstand.engine.launch import train
from withstand.engine.optimizers import AdamW
from withstand.evaluation.structured.graph_audit import GraphAudit
from withstand.evaluation.structured.table_probe import TableHeads

ALLOW = ("toys",)


class OtherData(ToyPictures):
    """As if the files behind the same description had changed."""

    salt = ""

    def fingerprint(self) -> str:
        return super().fingerprint() + self.salt


def run(experiment: Experiment, path: Path, **settings: bool) -> RunFolder:
    return train(experiment, path, quiet=True, allow=(*ALLOW, "test_run_folder"), **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch; tests that change it must copy it."""
    path = tmp_path_factory.mktemp("finished") / "run"
    run(toy_experiment(epochs=1), path)
    return path


def test_record(finished: Path) -> None:
    record = RunFolder(finished).record()
    assert record["status"] == "finished"
    assert record["seed"] == 0
    assert record["data"]["fingerprint"] == "toy-64-0"
    assert record["data"]["shape"] == [3, 16, 16]
    assert record["data"]["count"] == 64
    assert record["versions"]["torch"] == torch.__version__
    assert record["engine"]["precision"] == "float32"
    assert isinstance(build(record["tree"], allow=ALLOW), Experiment)
    assert {path.name for path in finished.iterdir()} == {".lock", "run.json", "metrics.jsonl", "checkpoint"}


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (toy_experiment(epochs=1, seed=1), r"plan\.seed was 0 there, now 1"),
        (toy_experiment(epochs=1, batch=8), r"plan\.batch was 16 there, now 8"),
        (toy_experiment(epochs=1, method=toy_method(temperature=0.5)), r"method\.temperature was 0\.2 there, now 0\.5"),
        (toy_experiment(epochs=1, optimizer=AdamW()), r"plan\.optimizer.* and \d+ more settings"),
        (toy_experiment(epochs=1, count=32), r"source\.count was 64 there, now 32"),
    ],
)
def test_another_experiment_is_refused_by_its_first_difference(other: Experiment, named: str, finished: Path) -> None:
    before = (finished / "run.json").read_bytes()
    with pytest.raises(RunError, match=rf"belongs to another experiment: {named}.*--out.*--fresh"):
        run(other, finished)
    assert (finished / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    "plan", [{"epochs": 2}, {"log_every": 2}, {"save_every": 5.0}, {"device": "cpu"}, {"processes": 2}], ids=str
)
def test_what_may_change(plan: dict[str, object], finished: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write(RunFolder(finished).record())
    assert folder.claim(toy_experiment(**({"epochs": 1} | plan)), fresh=False) is True


def test_what_judges_a_run_has_no_part_in_what_it_learns(finished: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write(RunFolder(finished).record())
    other = replace(toy_experiment(epochs=1), judges=(TableHeads(seeds=3),), audit=GraphAudit())
    assert folder.claim(other, fresh=False) is True
    tree = folder.record()["tree"]["init_args"]
    assert tree["judges"][0]["init_args"]["seeds"] == 3  # the next command judges by what is said now


def test_more_epochs_continue(finished: Path, tmp_path: Path) -> None:
    run(toy_experiment(epochs=1), tmp_path / "run")
    run(toy_experiment(epochs=3), tmp_path / "run")
    lines = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(1, 13))
    record = RunFolder(tmp_path / "run").record()
    assert record["steps"] == 12
    assert record["tree"]["init_args"]["plan"]["init_args"]["epochs"] == 3


def test_findings_on_what_is_trained_further_are_put_aside(finished: Path, tmp_path: Path) -> None:
    path = shutil.copytree(finished, tmp_path / "run")
    RunFolder(path).save(Finding("knn"))
    run(toy_experiment(epochs=1), path)
    assert [finding.name for finding in RunFolder(path).findings()] == ["knn"], "nothing was left to train"
    with pytest.warns(UserWarning, match=r"its findings on the run after 4 steps are now in .*after-4-steps"):
        run(toy_experiment(epochs=2), path)
    assert RunFolder(path).findings() == []
    assert Finding.load(path / "findings" / "after-4-steps" / "knn.json").name == "knn"


def test_fewer_epochs_never_rewrite_the_record(tmp_path: Path) -> None:
    run(toy_experiment(epochs=2), tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(RunError, match=r"was trained for 2 epochs already, more than the 1 asked for.*--out.*--fresh"):
        run(toy_experiment(epochs=1), tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    run(toy_experiment(epochs=2), tmp_path / "run")


def test_fresh_starts_over(tmp_path: Path) -> None:
    run(toy_experiment(epochs=2, seed=1), tmp_path / "run")
    RunFolder(tmp_path / "run").save(Finding("knn"))
    (tmp_path / "run" / "report.html").touch()
    run(toy_experiment(epochs=1), tmp_path / "run", fresh=True)
    run(toy_experiment(epochs=1), tmp_path / "new", fresh=True)
    assert RunFolder(tmp_path / "run").findings() == []
    assert not (tmp_path / "run" / "report.html").exists()
    again, new = weights(tmp_path / "run"), weights(tmp_path / "new")
    assert all(torch.equal(value, new[name]) for name, value in again.items())


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_other_things_is_left_alone(fresh: bool, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"holds other files and no run.*--out"):
        run(toy_experiment(), tmp_path, fresh=fresh)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert not (tmp_path / "run.json").exists()


def test_a_kill_while_the_first_record_was_written_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".run.json.123.part").write_text("{")
    assert RunFolder(tmp_path).claim(toy_experiment(), fresh=False) is False


def test_a_path_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="cannot be a run folder"):
            run(toy_experiment(), path)


def test_a_folder_in_use_is_refused(finished: Path) -> None:
    script = (
        f"import fcntl, sys; f = open({str(finished / '.lock')!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(RunError, match="another process is running in"):
        run(toy_experiment(epochs=1), finished)
    other.kill()
    other.communicate()
    run(toy_experiment(epochs=1), finished)  # a killed process lets go by itself


def test_changed_data_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = replace(toy_experiment(epochs=1), source=OtherData())
    run(experiment, tmp_path / "run")
    monkeypatch.setattr(OtherData, "salt", "-changed")
    with pytest.raises(RunError, match=r"the data changed since .* was begun.*--out.*--fresh"):
        run(experiment, tmp_path / "run")
    run(experiment, tmp_path / "run", fresh=True)


@pytest.mark.parametrize("content", ["{", '{"name": "toy"}', "[1, 2]", "\udcff"])
def test_a_damaged_record_is_told_and_fresh_mends_it(content: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(RunError, match=r"run\.json is (damaged|not a run's record)"):
        run(toy_experiment(epochs=1), tmp_path)
    run(toy_experiment(epochs=1), tmp_path, fresh=True)


def test_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run folder"):
        RunFolder(tmp_path / "none").record()
    with pytest.raises(RunError, match=r"is not a run folder: it has no run\.json"):
        RunFolder(tmp_path).record()


def test_data_too_small_is_refused_before_the_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"batch 16 is larger than the 10 sample\(s\).*--batch 10"):
        run(toy_experiment(count=10), tmp_path / "run")
    with pytest.raises(DataError, match="give 2 or more"):
        run(toy_experiment(count=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_larger_than_the_data_is_told_of_one_that_the_method_accepts(tmp_path: Path) -> None:
    whole = toy_experiment(count=10)

    class OfFours(type(whole.method)):  # type: ignore[misc]
        def accept(self, source: Source, batch: int) -> None:
            if batch % 4:
                raise ConfigError("no fours")

    whole.method.__class__ = OfFours
    with pytest.raises(DataError, match="use --batch 8, or more data"):
        run(whole, tmp_path / "run")
    alone = toy_experiment(count=3)
    alone.method.__class__ = OfFours
    with pytest.raises(DataError, match="of the data: give more data"):
        run(alone, tmp_path / "run")
    shared = toy_experiment(count=10)
    shared = replace(shared, plan=replace(shared.plan, processes=4))
    with pytest.raises(DataError, match="use --batch 8, or more data"):
        shared.check()


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("gpu", "device 'gpu' is unknown: did you mean 'cpu'?"),
        ("mps", "mps is not available here"),
        ("cuda", "cuda is not"),
    ],
)
def test_a_device_that_is_not_there(device: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError) as caught:
        run(toy_experiment(device=device), tmp_path / "run")
    assert told in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_more_processes_than_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="2 processes on cuda need a device each, and 1 is there: use --processes 1"):
        run(toy_experiment(device="cuda", processes=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_earlier_stage_may_move_but_not_change_its_length() -> None:
    assert _may_change("plan.epochs")
    assert not _may_change("first.plan.epochs")
    assert _may_change("first.first.plan.device")
    assert not _may_change("first.plan.batch")


def test_the_engines_advice_on_precision_is_not_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        rank_zero_info("you should set `torch.set_float32_matmul_precision('high')`")
        rank_zero_info("something else")
    assert [record.getMessage() for record in caplog.records] == ["something else"]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"processes": 0}, "processes must be at least 1"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
        ({"batch": 9, "processes": 2}, "batch 9 cannot be shared evenly by 2 processes"),
        ({"clip": 0.0}, "clip must be above 0"),
        ({"precision": "bf16"}, "precision 'bf16' is unknown: did you mean 'bfloat16'?"),
        ({"layout": "channels_last"}, "layout 'channels_last' is unknown: did you mean 'channels-last'?"),
    ],
)
def test_plans_that_cannot_be(setting: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Plan(**setting)
    assert told in str(caught.value)


def test_a_full_disk_in_a_run_keeps_the_first_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When even run.json cannot be written any more, what is told is what went wrong first."""

    class Full(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        monkeypatch.setattr(RunFolder, "update", refuse)
        raise Full

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("withstand.engine.launch.fit", fail)
    with pytest.raises(Full):
        run(toy_experiment(epochs=1), tmp_path / "run")
