"""Checkpoints that are kept on the way, runs that start from one, and optimizers that go on where others were."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import faults
from faults import FaultyView, Stop
from toys import toy_experiment, toy_method, weights
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, RunError
from withstand.core.roles import Method, Model, Terms
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD, AdamW
from withstand.engine.schedules import Constant

ALLOW = ("toys", "faults", "test_kept")


class Goes(Method):
    """Goes on with an earlier stage's encoder, by a loss of its own."""

    def __init__(self, encoder: Model) -> None:
        super().__init__()
        self.encoder = encoder

    @classmethod
    def example(cls) -> Self:
        return cls(toy_method().encoder)

    def step(self, batch: Batch) -> Terms:
        return {"loss": self.encoder(batch.views[0]).square().mean()}

    def inherit(self, earlier: Method) -> None:
        self.encoder.load_state_dict(earlier.encoder.state_dict())


def made(**plan: object) -> Experiment:
    """Two epochs of four steps, by Adam at a constant rate."""
    settings = {"schedule": Constant(), "save_every": 0.0, "optimizer": AdamW(1e-3)} | plan
    plain = toy_experiment(method=Goes(toy_method().encoder), epochs=2, **settings)
    return replace(plain, view=FaultyView(plain.view))


def kept(folder: Path, name: str, file: str = "model") -> dict[str, Tensor]:
    (path,) = (folder / "kept" / name).glob("step-*")
    return load_file(path / f"{file}.safetensors")


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_kept_checkpoint_is_what_the_run_was_there_and_changes_nothing(tmp_path: Path) -> None:
    faults.arrange()
    whole = train(made(keep_at={"start": 0, "half": 1.25, "end": 2.0}), tmp_path / "whole", quiet=True, allow=ALLOW)
    plain = train(made(), tmp_path / "plain", quiet=True, allow=ALLOW)
    assert same(weights(whole.path), weights(plain.path))
    assert same(kept(whole.path, "end"), weights(plain.path))
    assert not same(kept(whole.path, "half"), weights(plain.path))
    faults.arrange(stop_view=6)  # after five steps
    with pytest.raises(Stop):
        train(made(), tmp_path / "stopped", quiet=True, allow=ALLOW)
    assert same(kept(whole.path, "half"), weights(tmp_path / "stopped"))
    assert not kept(whole.path, "start", "optimizer")


def test_a_resumed_run_keeps_what_is_still_to_come(tmp_path: Path) -> None:
    keep = {"early": 0.5, "late": 1.5}
    faults.arrange()
    train(made(keep_at=keep), tmp_path / "whole", quiet=True, allow=ALLOW)
    faults.arrange(stop_view=4)
    with pytest.raises(Stop):
        train(made(keep_at=keep), tmp_path / "run", quiet=True, allow=ALLOW)
    assert sorted(path.name for path in (tmp_path / "run" / "kept").iterdir()) == ["early"]
    faults.arrange()
    train(made(keep_at=keep), tmp_path / "run", quiet=True, allow=ALLOW)
    for name in keep:
        assert same(kept(tmp_path / "run", name), kept(tmp_path / "whole", name))
    train(made(keep_at={}), tmp_path / "run", fresh=True, quiet=True, allow=ALLOW)
    assert not (tmp_path / "run" / "kept").exists(), "a run that starts over keeps nothing of before"


def test_with_gradients_pending_the_next_update_is_waited_for(tmp_path: Path) -> None:
    faults.arrange()
    train(made(keep_at={"odd": 0.75}, accumulate=2), tmp_path / "run", quiet=True, allow=ALLOW)
    (path,) = (tmp_path / "run" / "kept" / "odd").iterdir()
    assert path.name == "step-00000004"


def stage(first: Experiment | str, **settings: object) -> Experiment:
    return replace(made(), first=first, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("carry", [True, False])
def test_a_stage_starts_from_a_kept_checkpoint_and_leaves_the_run_untouched(carry: bool, tmp_path: Path) -> None:
    faults.arrange()
    first = made(keep_at={"half": 1.0})
    main = train(first, tmp_path / "main", quiet=True, allow=ALLOW)
    before = digests(main.path)
    one_step = replace(made(), plan=replace(made().plan, epochs=1, batch=64, keep_at={"start": 0}))
    branch = replace(one_step, first=str(main.path), first_at="half", carry=carry)
    folder = train(branch, tmp_path / "branch", quiet=True, allow=ALLOW)
    assert digests(main.path) == before
    assert same(kept(folder.path, "start"), kept(main.path, "half"))
    ours = kept(folder.path, "start", "optimizer")
    assert same(ours, kept(main.path, "half", "optimizer")) if carry else not ours
    (last,) = (load_file(path / "optimizer.safetensors") for path in folder.checkpoints.glob("step-*"))
    assert float(last["main/0/step"]) == (5 if carry else 1)


def test_stages_that_carry_resume_exactly(tmp_path: Path) -> None:
    def chain() -> Experiment:
        return stage(made(keep_at={"half": 1.0}), first_at="half", carry=True)

    faults.arrange()
    train(chain(), tmp_path / "whole", quiet=True, allow=ALLOW)
    for stop in (9, 3):  # before the later stage's first checkpoint, and inside it
        faults.arrange(stop_view=stop)
        with pytest.raises(Stop):
            train(chain(), tmp_path / "stopped", quiet=True, allow=ALLOW)
    faults.arrange()
    train(chain(), tmp_path / "stopped", quiet=True, allow=ALLOW)
    assert 0 < faults.plan.views < 8
    for file in ("model", "optimizer"):
        one, other = (
            load_file(sorted((tmp_path / name / "checkpoint").iterdir())[-1] / f"{file}.safetensors")
            for name in ("whole", "stopped")
        )
        assert same(one, other)


def test_what_does_not_fit_is_refused_in_a_line(tmp_path: Path) -> None:
    for keep, said in (
        ({"late": 3}, "keep_at 'late' must lie between 0 and the 2 epochs, not 3"),
        ({"a/b": 1}, "keep_at names folders"),
    ):
        with pytest.raises(ConfigError, match=said):
            made(keep_at=keep)
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match="carry is about an earlier stage, and there is none"):
        train(replace(made(), carry=True), out, quiet=True, allow=ALLOW)
    with pytest.raises(ConfigError, match="keeps no checkpoint 'hafl': did you mean 'half'"):
        train(stage(made(keep_at={"half": 1}), first_at="hafl"), out, quiet=True, allow=ALLOW)
    faults.arrange()
    main = train(made(keep_at={"half": 1}), tmp_path / "main", quiet=True, allow=ALLOW)
    with pytest.raises(RunError, match="keeps no checkpoint 'hafl': did you mean 'half'"):
        train(stage(str(main.path), first_at="hafl"), out, quiet=True, allow=ALLOW)
    assert not out.exists()
    by_sgd = replace(made().plan, optimizer=SGD(0.1))
    for first in (made(), str(main.path)):
        with pytest.raises(ConfigError, match="carry: SGD cannot go on with the state of AdamW"):
            train(replace(stage(first, carry=True), plan=by_sgd), out, quiet=True, allow=ALLOW)
    assert not out.exists()


def test_another_stages_parameters_are_refused(tmp_path: Path) -> None:
    faults.arrange()
    main = train(toy_experiment(epochs=1, optimizer=AdamW(1e-3)), tmp_path / "main", quiet=True, allow=ALLOW)
    with pytest.raises(ConfigError, match=r"carry needs the earlier stage's parameters: its optimizer has \d+"):
        train(stage(str(main.path), carry=True), tmp_path / "run", quiet=True, allow=ALLOW)
