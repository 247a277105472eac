"""Checkpoints: bit for bit, never a pickle, and the one before stays when the newest is lost."""

import json
import os
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from toys import toy_method
from withstand.core.errors import CheckpointError
from withstand.engine import checkpoint
from withstand.engine.checkpoint import RunProgress, load, read_weights, save
from withstand.engine.optimizers import LARS, SGD, AdamW, Optimizer

OPTIMIZERS = [SGD(0.1), SGD(0.1, momentum=0.0), AdamW(), LARS(0.1)]


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))


def work(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        model(torch.randn(4, 3, 8, 8, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def saved(folder: Path, steps: tuple[int, ...], optimizer: Optimizer = OPTIMIZERS[0]) -> nn.Module:
    """A net with checkpoints at these steps, whose state dict is that of the last."""
    model = net()
    made = {"main": optimizer.make(model.parameters())}
    for step in steps:
        work(model, made["main"], 2, seed=step)
        save(folder, model, made, RunProgress(step, step / 2))
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels-last"])
def test_round_trip_is_exact(optimizer: Optimizer, layout: torch.memory_format, tmp_path: Path) -> None:
    one, two = net(0).to(memory_format=layout), net(1).to(memory_format=layout)
    first, second = optimizer.make(one.parameters()), optimizer.make(two.parameters())
    work(one, first, 3)
    save(tmp_path, one, {"main": first}, RunProgress(3, 1.25))
    assert load(tmp_path, two, {"main": second}) == RunProgress(3, 1.25)
    before, after = first.state_dict()["state"], second.state_dict()["state"]
    assert before.keys() == after.keys()
    for place, state in before.items():
        assert {name for name, value in state.items() if value is not None} == after[place].keys()
        for name, value in after[place].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(state[name]))
    for state, parameter in zip(after.values(), two.parameters(), strict=False):
        assert all(value.stride() == parameter.stride() for value in state.values() if value.shape == parameter.shape)
    work(one, first, 3, seed=9)
    work(two, second, 3, seed=9)
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name


def test_several_optimizers_keep_apart(tmp_path: Path) -> None:
    def made(model: nn.Module) -> dict[str, torch.optim.Optimizer]:
        return {"a/b": SGD(0.1).make(model[0].parameters()), "b": AdamW().make(model[3].parameters())}

    one, two = net(0), net(1)
    first, second = made(one), made(two)
    one(torch.ones(2, 3, 8, 8)).sum().backward()
    for optimizer in first.values():
        optimizer.step()
    save(tmp_path, one, first, RunProgress(1, 0.0))
    load(tmp_path, two, second)
    for name in first:
        torch.testing.assert_close(
            first[name].state_dict()["state"], second[name].state_dict()["state"], atol=0, rtol=0
        )


def test_nothing_to_load(tmp_path: Path) -> None:
    assert load(tmp_path / "none", net()) is None


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, (1, 2, 3, 4))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000003", "step-00000004"]


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])


def flip(name: str, place: int) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        content[place] ^= 1
        (path / name).write_bytes(content)

    act.__name__ = f"flip {name}"
    return act


def forget(path: Path) -> None:
    (path / "state.json").unlink()


def shift(path: Path) -> None:
    """Change a number so that the JSON stays whole."""
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | {"step": state["step"] + 1}))


def empty(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


FLIPS = [flip("model.safetensors", -3), flip("optimizer.safetensors", -3), flip("state.json", 30)]
DAMAGES = [truncate, forget, shift, empty, *FLIPS]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda act: act.__name__)
def test_a_damaged_newest_falls_back(damage: Callable[[Path], None], tmp_path: Path) -> None:
    saved(tmp_path, (1,))
    expected = saved(tmp_path, (1,)).state_dict()
    saved(tmp_path, (1, 2))
    damage(tmp_path / "step-00000002")
    model = net(5)
    with pytest.warns(UserWarning, match="step-00000002 is damaged.*falling back to step-00000001"):
        progress = load(tmp_path, model, {"main": OPTIMIZERS[0].make(model.parameters())})
    assert progress == RunProgress(1, 0.5)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in expected.items())


def test_all_damaged_is_an_error_that_names_them(tmp_path: Path) -> None:
    saved(tmp_path, (1, 2))
    truncate(tmp_path / "step-00000001")
    forget(tmp_path / "step-00000002")
    with pytest.raises(CheckpointError, match=r"step-00000002 .*step-00000001 .*--fresh"):
        load(tmp_path, net())


def test_after_a_fall_back_the_damaged_one_goes_and_two_sound_ones_stay(tmp_path: Path) -> None:
    saved(tmp_path, (10, 20))
    truncate(tmp_path / "step-00000020")
    model = net()
    optimizer = {"main": OPTIMIZERS[0].make(model.parameters())}
    with pytest.warns(UserWarning, match="step-00000020 is damaged"):
        load(tmp_path, model, optimizer)
    save(tmp_path, model, optimizer, RunProgress(12, 1.0))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000010", "step-00000012"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(tmp_path, model, optimizer) == RunProgress(12, 1.0)


def test_left_overs_of_a_kill_are_harmless_and_removed(tmp_path: Path) -> None:
    saved(tmp_path, (1,))
    left = tmp_path / ".step-00000002.part"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert load(tmp_path, net()) == RunProgress(1, 0.5)
    saved(tmp_path, (3,))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-00000001", "step-00000003"]


def test_another_model_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, (1,))
    with pytest.raises(CheckpointError, match="step-00000001 does not fit the model"):
        load(tmp_path, toy_method())


def test_a_newer_format_is_told(tmp_path: Path) -> None:
    saved(tmp_path, (1,))
    state = tmp_path / "step-00000001" / "state.json"
    state.write_text(state.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(CheckpointError, match="newer withstand"):
        load(tmp_path, net())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pickles_are_refused(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    torch.save(net().state_dict(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"is a pickle.*refused.*save_file"):
        read_weights(path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, I am a text of some length")
    (tmp_path / "empty").touch()
    for name in ("text", "empty"):
        with pytest.raises(CheckpointError, match="not a whole safetensors file"):
            read_weights(tmp_path / name)
    with pytest.raises(CheckpointError, match="no file"):
        read_weights(tmp_path / "missing")


def test_a_table_length_that_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    """The first byte of a safetensors file is its table's length: 0x80 for one file in 32, and "PK" for some."""
    found = set()
    for length in range(1, 400):
        path = tmp_path / "weights"
        save_file({"x" * length: torch.ones(1)}, path)
        if path.read_bytes()[:1] == b"\x80":
            found.add(length)
            assert read_weights(path)["x" * length].item() == 1
    assert found
    values = {f"{place:04d}": torch.zeros(0) for place in range(340)}  # brings the table near 0x4B50 bytes
    for length in range(1, 5000, 8):
        save_file(values | {"x" * length: torch.ones(1)}, path)
        if path.read_bytes()[:2] == b"PK":
            assert read_weights(path)["x" * length].item() == 1
            break
    else:
        pytest.fail("no length gave PK")


@pytest.mark.thorough
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    """For real: the kernel refuses files above a size, as it does when a quota or disk is full."""
    script = f"""
        import resource, signal, sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from test_checkpoint import OPTIMIZERS, net, work
        from withstand.core.errors import CheckpointError
        from withstand.engine.checkpoint import RunProgress, save

        folder, model = Path({str(tmp_path)!r}), net()
        optimizer = OPTIMIZERS[0].make(model.parameters())
        work(model, optimizer, 1)
        save(folder, model, {{"main": optimizer}}, RunProgress(1, 1.0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for limit in (0, 100, 1000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            work(model, optimizer, 1)
            try:
                save(folder, model, {{"main": optimizer}}, RunProgress(2, 2.0))
            except CheckpointError as error:
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert len(told) == 3
    for line in told:
        assert line.startswith("the checkpoint of step 2 could not be saved")
        assert "File too large" in line
        assert line.endswith("the last good checkpoint, step-00000001, is untouched")
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert load(tmp_path, net(), {"main": OPTIMIZERS[0].make(net().parameters())}) == RunProgress(1, 1.0)


def test_an_error_in_the_middle_leaves_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, (1,))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "sync", fail)
    with pytest.raises(CheckpointError, match=r"No space left.*step-00000001, is untouched"):
        save(tmp_path, net(), {}, RunProgress(2, 1.0))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    with pytest.raises(CheckpointError, match="there is no earlier checkpoint"):
        save(tmp_path / "other", net(), {}, RunProgress(2, 1.0))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="could not be saved"):
        save(tmp_path / "file", net(), {}, RunProgress(1, 1.0))
