"""A signal asks a run to stop: it saves at the end of its step, and goes on from there to the last bit."""

import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from toys import toy_experiment, weights
from withstand.cli.main import main
from withstand.core.errors import Preempted
from withstand.engine.checkpoint import last_step
from withstand.engine.folder import RunFolder
from withstand.engine.launch import train
from withstand.engine.preemption import listening
from withstand.methods.contrastive.simclr import SimCLR

ALLOW = ("toys",)


def send_in_step(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> None:
    def after_step(method: SimCLR, now: int) -> None:
        if now == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(SimCLR, "after_step", after_step)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_run_saves_and_goes_on_from_there(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy_experiment(epochs=2, save_every=1e9)
    train(made, tmp_path / "whole", quiet=True, allow=ALLOW)
    with monkeypatch.context() as patch:
        send_in_step(patch, 3, number)
        with pytest.raises(Preempted) as caught:
            train(made, tmp_path / "cut", quiet=True, allow=ALLOW)
    assert caught.value.signal == number
    assert signal.getsignal(number) == signal.SIG_DFL
    folder = RunFolder(tmp_path / "cut")
    assert last_step(folder.checkpoints) == 3
    assert folder.record()["status"] == "stopped"
    train(made, tmp_path / "cut", quiet=True, allow=ALLOW)
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_gradients_that_wait_are_stepped_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send_in_step(monkeypatch, 3, signal.SIGTERM)
    with pytest.raises(Preempted):
        train(toy_experiment(accumulate=2), tmp_path / "run", quiet=True, allow=ALLOW)
    assert last_step(RunFolder(tmp_path / "run").checkpoints) == 4


def test_the_command_says_so_and_ends_as_the_signal_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send_in_step(monkeypatch, 1, signal.SIGTERM)
    words = ["train", "simclr", "--data", "digits", "--epochs", "1", "--batch", "128", "--width", "4", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 143
    said = capsys.readouterr().err
    assert "withstand: stopped by SIGTERM, and saved; the same command goes on from step 1, the last checkpoint" in said


def test_handlers_of_others_and_other_threads_are_let_be() -> None:
    def theirs(*_: object) -> None: ...

    before = signal.signal(signal.SIGUSR1, theirs)
    try:
        with listening() as asked:
            assert signal.getsignal(signal.SIGUSR1) is theirs
            assert signal.getsignal(signal.SIGTERM) == asked.note
        found: list[object] = []

        def elsewhere() -> None:
            with listening():
                found.append(signal.getsignal(signal.SIGTERM))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert found == [signal.SIG_DFL]
    finally:
        signal.signal(signal.SIGUSR1, before)
