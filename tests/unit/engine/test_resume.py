"""N steps equal k steps, a stop, and the rest: to the last bit, for every method, optimizer and layout."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import faults
from adversaries import adversarial
from faults import FaultySource, FaultyView, Stop
from toys import toy_experiment, toy_method, toy_photos, weights
from withstand.core.batch import Batch
from withstand.core.roles import Epoch, Method, Model, Terms
from withstand.engine.checkpoint import last_step
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.engine.optimizers import LARS, SGD, AdamW, Optimizer
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.simclr import SimCLR
from withstand.methods.masked.hpm import HPM
from withstand.methods.non_contrastive.barlow_twins import BarlowTwins
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT

ALLOW = ("toys", "faults", "adversaries", "test_resume")
OPTIMIZERS = [SGD(0.05), LARS(0.2, clip=True, trust=0.02, vector_rate=0.1), AdamW(1e-3)]


class Forgetful(Method):
    """Draws from the global generator in its step, and keeps what each epoch began with in a buffer."""

    anchor: Tensor

    def __init__(self, encoder: Model) -> None:
        super().__init__()
        self.encoder = encoder
        self.drop = nn.Dropout(0.5)
        self.register_buffer("anchor", torch.zeros(encoder.width))

    def before_epoch(self, epoch: Epoch) -> None:
        noise = torch.randn(self.anchor.shape)
        self.anchor.copy_(epoch.pass_over(self.encoder).mean(0) + noise)

    def step(self, batch: Batch) -> Terms:
        features = self.drop(self.encoder(batch.views[0]))
        return {"loss": (features - self.anchor).square().mean()}


def faulty(experiment: Experiment) -> Experiment:
    return replace(experiment, view=FaultyView(experiment.view))


def metrics(folder: Path) -> list[dict[str, float]]:
    """A run's metrics without what the clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("seconds", "rate")} for line in lines]


def assert_resumes_exactly(experiment: Experiment, folder: Path, *, stops: tuple[int, ...], left: int) -> None:
    """Stop before the given calls of the view, one after another, and compare with a run that nothing stops."""
    faults.arrange()
    train(experiment, folder / "whole", quiet=True, allow=ALLOW)
    for stop in stops:
        faults.arrange(stop_view=stop)
        with pytest.raises(Stop):
            train(experiment, folder / "stopped", quiet=True, allow=ALLOW)
    assert json.loads((folder / "stopped" / "run.json").read_text())["status"] == "stopped"
    faults.arrange()
    train(experiment, folder / "stopped", quiet=True, allow=ALLOW)
    assert faults.plan.views == left  # it did go on from where it stopped
    whole, resumed = weights(folder / "whole"), weights(folder / "stopped")
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert torch.equal(whole[name], resumed[name]), name
    assert metrics(folder / "whole") == metrics(folder / "stopped")
    assert [line["step"] for line in metrics(folder / "whole")] == list(range(1, 16))


@pytest.mark.parametrize("kind", [SimCLR, DCL, BarlowTwins])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
def test_resume_in_mid_epoch(kind: type[Method], optimizer: Optimizer, tmp_path: Path) -> None:
    # 5 batches an epoch, saved after every second: the stop before batch 10 resumes at 8, in mid-epoch.
    experiment = toy_experiment(
        count=80, method=toy_method(kind), optimizer=optimizer, accumulate=2, clip=1.0, save_every=0.0
    )
    assert_resumes_exactly(faulty(experiment), tmp_path, stops=(10,), left=7)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "settings",
    [{"layout": "channels-last"}, {"precision": "bfloat16"}, {"precision": "float64"}, {"precision": "auto"}],
    ids=lambda settings: next(iter(settings.values())),
)
def test_resume_with_other_numerics(settings: dict[str, str], tmp_path: Path) -> None:
    experiment = faulty(toy_experiment(count=80, save_every=0.0, **settings))
    if settings.get("precision") == "auto":  # the choice is made once and belongs to the run
        faults.arrange(stop_view=9)
        with pytest.raises(Stop):
            train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
        chosen = json.loads((tmp_path / "run" / "run.json").read_text())["engine"]
        done = last_step(tmp_path / "run" / "checkpoint")  # views are made ahead: the eighth step may be saved or not
        faults.arrange()
        train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
        assert json.loads((tmp_path / "run" / "run.json").read_text())["engine"] == chosen
        assert done in (7, 8)
        assert faults.plan.views == 15 - done  # and no trial
    else:
        assert_resumes_exactly(experiment, tmp_path, stops=(8,), left=8)


def test_resume_of_crops_of_photos(tmp_path: Path) -> None:
    experiment = replace(toy_experiment(save_every=0.0), source=toy_photos(tmp_path, 80))
    # Each start asks the view once beforehand, so that photos are decoded before progress is shown.
    assert_resumes_exactly(faulty(experiment), tmp_path, stops=(9,), left=1 + 8)


def test_resume_of_a_method_that_draws_and_prepares_epochs(tmp_path: Path) -> None:
    experiment = toy_experiment(count=80, method=Forgetful(toy_method().encoder), save_every=0.0)
    assert_resumes_exactly(faulty(experiment), tmp_path, stops=(3, 5, 6), left=4)


@pytest.mark.parametrize("momentum", [Momentum(0.9, None), Momentum(0.5, 0.9, "linear")])
def test_resume_of_a_teacher_that_picks_masks_on_a_ramp(momentum: Momentum, tmp_path: Path) -> None:
    encoder = Normalized(ViT.example(), (0.5,) * 3, (0.25,) * 3)
    method = HPM(encoder, depth=1, width=8, heads=2, momentum=momentum, settling=2)
    experiment = toy_experiment(count=80, method=method, optimizer=AdamW(1e-2), save_every=0.0)
    assert_resumes_exactly(faulty(experiment), tmp_path, stops=(3, 8), left=6)
    method.before_run(15)
    assert method.hard_patches(8, 48) == 14, "patches were hidden for being hard where it stopped"


@pytest.mark.parametrize(
    ("settings", "left"), [({}, 15 - 3 - 7), ({"accumulate": 2, "clip": 0.5}, 15 - 4)], ids=["plain", "accumulating"]
)
def test_resume_of_several_objectives_with_data_beside(settings: dict[str, object], left: int, tmp_path: Path) -> None:
    """Both optimizers' states, a critic in mid-pause, and the place in the data beside, which end inside a batch."""
    experiment = adversarial(pause=2, save_every=0.0, precision="float32", **settings)
    assert_resumes_exactly(faulty(experiment), tmp_path, stops=(4, 8), left=left)


def test_resume_when_reading_fails(tmp_path: Path) -> None:
    experiment = replace(toy_experiment(count=80, save_every=0.0), source=FaultySource(80))
    faults.arrange()
    train(experiment, tmp_path / "whole", quiet=True, allow=ALLOW)
    faults.arrange(stop_source=7)
    with pytest.raises(Stop):
        train(experiment, tmp_path / "stopped", quiet=True, allow=ALLOW)
    faults.arrange()
    train(experiment, tmp_path / "stopped", quiet=True, allow=ALLOW)
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_stop_before_the_first_checkpoint_starts_over(tmp_path: Path) -> None:
    assert_resumes_exactly(faulty(toy_experiment(count=80, save_every=1e9)), tmp_path, stops=(1, 4), left=15)


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    experiment = faulty(toy_experiment(count=80))
    faults.arrange()
    train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    before, lines = weights(tmp_path / "run"), metrics(tmp_path / "run")
    faults.arrange()
    train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    assert faults.plan.views == 0
    assert metrics(tmp_path / "run") == lines
    assert all(torch.equal(value, weights(tmp_path / "run")[name]) for name, value in before.items())


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path: Path) -> None:
    open_numerics = {"precision": "auto", "layout": "auto"}
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        torch.manual_seed(len(name))
        train(toy_experiment(epochs=1, seed=seed, **open_numerics), tmp_path / name, quiet=True, allow=ALLOW)
    one, two, other = (weights(tmp_path / name) for name in ("one", "two", "other"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(not torch.equal(one[name], other[name]) for name in one if one[name].dim() == 4)
