"""Two processes with the same global batch learn what one learns."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

import faults
from adversaries import adversarial
from faults import FaultyView
from toys import toy_experiment, toy_method, toy_photos, weights
from withstand.core.errors import ConfigError, NonFiniteLoss
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.engine.optimizers import LARS, SGD
from withstand.engine.processes import Started, fabric_of, started
from withstand.engine.schedules import Constant
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.recipes.setups.staged.stages import staged

ALLOW = ("toys", "faults", "adversaries")
METHODS = {"simclr": SimCLR, "dcl": DCL, "barlow": BarlowTwins}
EPOCHS = {"float64": 4, "float32": 1}  # of five steps
NAMES = [f"{method} {precision}" for precision in ("float64", "float32") for method in METHODS]


def experiment(name: str, processes: int) -> Experiment:
    """Steps of a batch of 16; float64 shows that only rounding differs."""
    method, precision = name.split()
    optimizer = LARS(0.1, trust=0.02) if method == "barlow" else SGD(0.05)
    return toy_experiment(
        epochs=EPOCHS[precision],
        count=80,
        method=toy_method(METHODS[method]),
        optimizer=optimizer,
        precision=precision,
        processes=processes,
    )


def in_stages(processes: int) -> Experiment:
    """Two stages, of which the second has batches of one cluster of what the first learnt."""
    plain = toy_experiment(epochs=1, count=80, precision="float64", processes=processes)
    return staged(plain, stages=2, clusters=3)


def with_rest(processes: int) -> Experiment:
    """Three batches of 24 and one of 8."""
    return toy_experiment(
        epochs=2, count=80, batch=24, drop_last=False, method=toy_method(BarlowTwins), optimizer=LARS(0.1, trust=0.02),
        precision="float64", processes=processes,
    )  # fmt: skip


def of_photos(folder: Path, processes: int) -> Experiment:
    """Three batches of crops of photos, each of its own size."""
    plain = toy_experiment(epochs=1, batch=8, precision="float64", processes=processes)
    return replace(plain, source=toy_photos(folder, 24))


def adversaries(processes: int) -> dict[str, Experiment]:
    """A generator and a critic, each with its own optimizer; a critic that sits out steps; gradients of two batches."""
    return {
        "adversaries": adversarial(processes, pause=1),
        "adversaries with pauses": adversarial(processes, pause=2),
        "adversaries accumulating": adversarial(processes, pause=2, accumulate=2, clip=0.5),
    }


def work(place: int, folder: str) -> None:
    """What torchrun does, once for all runs: starting processes takes longer than they do."""
    torch.set_num_threads(1)
    os.environ |= {
        "LOCAL_RANK": str(place), "RANK": str(place), "GROUP_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": Path(folder, "port").read_text(), "TORCHELASTIC_RUN_ID": "test",
    }  # fmt: skip
    for name in NAMES:
        train(experiment(name, 2), Path(folder, name), quiet=True, allow=ALLOW)
    # The engine times what is left open, also when losses gather.
    left_open = toy_experiment(epochs=1, processes=2, precision="auto", layout="contiguous")
    train(left_open, Path(folder, "auto"), quiet=True, allow=ALLOW)
    train(in_stages(2), Path(folder, "stages"), quiet=True, allow=ALLOW)
    train(with_rest(2), Path(folder, "rest"), quiet=True, allow=ALLOW)
    train(of_photos(Path(folder), 2), Path(folder, "crops"), quiet=True, allow=ALLOW)
    for name, made in adversaries(2).items():
        train(made, Path(folder, name), quiet=True, allow=ALLOW)
    begun_elsewhere(folder, place)


def brief(processes: int, epochs: int = 1) -> Experiment:
    """Five steps an epoch."""
    return toy_experiment(epochs=epochs, count=80, precision="float64", processes=processes, schedule=Constant())


def begun_elsewhere(folder: str, place: int) -> None:
    """The same on two machines with a process each, by torchrun and by SLURM's srun; a run of one process goes on."""
    mine = {
        name: os.environ.pop(name) for name in ("LOCAL_RANK", "RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    }
    os.environ |= {"LOCAL_RANK": "0", "RANK": str(place), "GROUP_RANK": str(place), "WORLD_SIZE": "2",
                   "LOCAL_WORLD_SIZE": "1"}  # fmt: skip
    train(brief(2), Path(folder, "nodes"), quiet=True, allow=ALLOW)
    for name in mine:
        del os.environ[name]
    os.environ |= {
        "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "12345", "SLURM_JOB_NAME": "run", "SLURM_NTASKS": "2",
        "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_PROCID": str(place), "SLURM_LOCALID": "0",
        "SLURM_NODEID": str(place), "SLURM_NODELIST": "127.0.0.1",
    }  # fmt: skip
    train(brief(2), Path(folder, "srun"), quiet=True, allow=ALLOW)
    train(brief(2, epochs=2), Path(folder, "one, then two"), quiet=True, allow=ALLOW)


def free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("two-processes")
    (folder / "port").write_text(str(free_port()))
    train(brief(1), folder / "one, then two", quiet=True, allow=ALLOW)
    toy_photos(folder, 24)
    spawn(work, (str(folder),), nprocs=2)
    return folder


def losses(folder: Path) -> Tensor:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return torch.tensor([line["loss"] for line in lines], dtype=torch.float64)


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_one_process_and_two_learn_the_same(name: str, two: Path, tmp_path: Path) -> None:
    train(experiment(name, 1), tmp_path / "run", quiet=True, allow=ALLOW)
    expected = losses(tmp_path / "run")
    assert len(expected) == 5 * EPOCHS[name.split()[1]]
    difference = (expected - losses(two / name)).abs()
    apart = float(difference.max())
    one, other = weights(tmp_path / "run"), weights(two / name)
    assert one.keys() == other.keys()
    moved = max(float((value.double() - other[key].double()).abs().max()) for key, value in one.items())
    print(f"{name}: losses of {len(expected)} steps differ by at most {apart:.1e}, weights by {moved:.1e}")
    if name.endswith("float64"):
        assert apart <= 1e-6
        assert moved <= 1e-9
    else:
        # Before the first update; later the steps amplify rounding, as a change of 1e-7 in one process's weights shows.
        assert difference[0] <= 1e-6 * expected[0]


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "epochs"), [("nodes", 1), ("srun", 1), ("one, then two", 2)])
def test_whoever_starts_the_processes_they_learn_the_same(name: str, epochs: int, two: Path, tmp_path: Path) -> None:
    train(brief(1, epochs), tmp_path / "run", quiet=True, allow=ALLOW)
    one, other = weights(tmp_path / "run"), weights(two / name)
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, rtol=0, atol=1e-9, msg=key)
    assert json.loads((two / name / "run.json").read_text())["status"] == "finished"


def test_who_has_started_processes() -> None:
    torchrun = {"LOCAL_RANK": "1", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8"}
    srun = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_NTASKS": "6", "SLURM_NNODES": "3"}
    assert started({}) is None
    assert started(torchrun) == Started("torchrun", 16, 2)
    assert started(srun) == Started("srun", 6, 3)
    assert Started("srun", 6, 3).here == 2
    # A batch script, and a shell on a node, start a command once.
    assert started({name: value for name, value in srun.items() if name != "SLURM_STEP_ID"}) is None
    assert started(srun | {"SLURM_JOB_NAME": "interactive"}) is None
    with pytest.raises(ConfigError, match="srun started 7 processes on 3 machines: each needs as many"):
        started(srun | {"SLURM_NTASKS": "7"})


def test_another_number_of_processes_than_were_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_NNODES": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="srun started 4 processes, and this run is for 2: use --processes 4"):
        fabric_of(toy_experiment(processes=2).plan)
    with pytest.raises(ConfigError, match="ntasks-per-node"):  # Fabric's own word, as one line
        fabric_of(toy_experiment(processes=4).plan)


@pytest.mark.thorough
def test_stages_learn_the_same(two: Path, tmp_path: Path) -> None:
    train(in_stages(1), tmp_path / "run", quiet=True, allow=ALLOW)
    one, other = weights(tmp_path / "run"), weights(two / "stages")
    assert torch.equal(one["group_labels"], other["group_labels"])
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=1e-9, msg=name)


@pytest.mark.thorough
def test_an_epochs_rest_is_shared_too(two: Path, tmp_path: Path) -> None:
    train(with_rest(1), tmp_path / "run", quiet=True, allow=ALLOW)
    expected = losses(tmp_path / "run")
    assert len(expected) == 2 * 4
    assert (expected - losses(two / "rest")).abs().max() <= 1e-6


@pytest.mark.thorough
def test_crops_of_photos_are_the_same(two: Path, tmp_path: Path) -> None:
    made = of_photos(tmp_path, 1)
    train(made, tmp_path / "run", quiet=True, allow=ALLOW)
    assert (losses(tmp_path / "run") - losses(two / "crops")).abs().max() <= 1e-9
    train(replace(made, source=toy_photos(tmp_path, 24, cache_size=None)), tmp_path / "other", quiet=True, allow=ALLOW)
    assert (losses(tmp_path / "other") - losses(two / "crops")).abs().max() > 1e-3  # photos are what was cropped


@pytest.mark.thorough
@pytest.mark.parametrize("name", adversaries(1))
def test_several_objectives_learn_the_same(name: str, two: Path, tmp_path: Path) -> None:
    train(adversaries(1)[name], tmp_path / "run", quiet=True, allow=ALLOW)
    assert (losses(tmp_path / "run") - losses(two / name)).abs().max() <= 1e-9
    one, other = weights(tmp_path / "run"), weights(two / name)
    begun = adversaries(1)[name].method.double().state_dict()
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, rtol=0, atol=1e-9, msg=key)
    assert not torch.equal(one["critic.0.weight"], begun["critic.0.weight"])
    assert not torch.equal(one["generator.0.weight"], begun["generator.0.weight"])
    lines = [json.loads(line) for line in (two / name / "metrics.jsonl").read_text().splitlines()]
    assert all({"lr of generator", "lr of critic"} <= line.keys() and "lr" not in line for line in lines)
    assert lines[0]["lr of critic"] / lines[0]["lr of generator"] == pytest.approx(0.2)


@pytest.mark.thorough
def test_numerics_are_chosen_once_for_all(two: Path) -> None:
    record = json.loads((two / "auto" / "run.json").read_text())
    assert record["status"] == "finished"
    assert record["engine"]["processes"] == 2
    assert "on cpu" in record["engine"]["reason"]


@pytest.mark.thorough
def test_only_the_first_process_keeps_the_folder(two: Path) -> None:
    for name in NAMES:
        assert {path.name for path in (two / name).iterdir()} == {".lock", "run.json", "metrics.jsonl", "checkpoint"}


@pytest.mark.thorough
def test_started_processes_hand_their_error_on(tmp_path: Path) -> None:
    """From `train` on: the run is spawned, and a NaN in either process is told by its name in one line."""
    some = toy_experiment(epochs=1, processes=2)
    some = replace(some, view=FaultyView(some.view))
    os.environ["WITHSTAND_TEST_SPOIL"] = "1:2"
    try:
        with pytest.raises(NonFiniteLoss, match="'view 1'") as caught:
            train(some, tmp_path / "run", quiet=True, allow=ALLOW)
    finally:
        del os.environ["WITHSTAND_TEST_SPOIL"]
    path = tmp_path / "run" / "non-finite-batch-1.safetensors"
    assert str(path) in str(caught.value)
    assert load_file(path)["view 1"].isnan().any()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    faults.arrange()
    train(replace(some, plan=replace(some.plan, processes=1)), tmp_path / "run", quiet=True, allow=ALLOW)
