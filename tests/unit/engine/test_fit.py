"""The loop's promises besides resuming: accumulation, clipping, hooks, non-finite losses, collapse, global state."""

import json
import random
import warnings
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import faults
from faults import FaultyView
from toys import ToyPictures, toy_experiment, toy_method, weights
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, NonFiniteLoss
from withstand.core.random import Draws, permutation
from withstand.core.roles import Epoch, Method, Model, Terms, View
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.launch import train
from withstand.engine.optimizers import SGD
from withstand.engine.schedules import Constant
from withstand.methods.contrastive.simclr import SimCLR

ALLOW = ("toys", "faults", "test_fit")


class AsFloat(View):
    """The pictures themselves, as the only view."""

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        return batch.with_views(batch.x.float() / 255)


class Width(Model):
    """An encoder without parameters: the mean of each channel, in float64."""

    width = 3

    def forward(self, x: Tensor) -> Tensor:
        return x.double().mean((2, 3))


class Linear(Method):
    """loss = w . (mean of the batch): its gradient is the batch's mean, whatever w is."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Width()
        self.w = nn.Parameter(torch.zeros(3))

    def step(self, batch: Batch) -> Terms:
        return {"loss": self.w @ self.encoder(batch.views[0]).mean(0)}


class Whole(Linear):
    """Batches of its own, as methods that group samples make them."""

    def order(self, order: Tensor, batch: int) -> Tensor:
        return order[: len(order) // batch * batch]


class Duel(Method):
    """Two groups that descend on two losses, each of which depends on both."""

    calls: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Width()
        self.left, self.right = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(1.0))

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"left": [self.left], "right": [self.right]}

    def step(self, batch: Batch) -> Terms:
        return {"loss": self.left * self.right, "other": self.left + 3 * self.right}

    def update(self, batch: Batch, trainer) -> Terms:
        Duel.calls.append("update")
        trainer.descend(trainer.terms(batch)["loss"], "left")
        terms = trainer.terms(batch)
        trainer.descend(terms["other"], "right")
        return terms

    def before_epoch(self, epoch: Epoch) -> None:
        seen = epoch.pass_over(self.encoder)[:, 0].tolist()
        Duel.calls.append(f"epoch {epoch.number} {[round(v, 4) for v in seen]}")

    def after_step(self, step: int) -> None:
        Duel.calls.append(f"after {step}")


class Point(Method):
    """Embeddings that have collapsed to a point."""

    def __init__(self, encoder: Model) -> None:
        super().__init__()
        self.encoder = encoder

    def step(self, batch: Batch) -> Terms:
        z = self.encoder(batch.views[0])
        return {"loss": z.square().mean(), "embeddings": torch.ones(2, len(z), 4)}


class Broken(Method):
    """Gives an infinite term, named after the embeddings, from the third step on."""

    count: Tensor

    def __init__(self, encoder: Model, term: str = "redundancy") -> None:
        super().__init__()
        self.encoder, self.term = encoder, term
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def step(self, batch: Batch) -> Terms:
        z = self.encoder(batch.views[0])
        worth = {"invariance": z.square().mean(), "redundancy": z.mean(), "embeddings": z[None].detach()}
        if self.count == 2:
            worth[self.term] = worth[self.term] / 0.0
        return {"loss": worth["invariance"] + worth["redundancy"] + 0 * worth["embeddings"].sum(), **worth}

    def after_step(self, step: int) -> None:
        self.count += 1


def linear(**plan: object) -> Experiment:
    """Five batches of 8 in order, rate 1, no momentum, no decay."""
    usual = {"precision": "float64", "layout": "contiguous", "log_every": 1, "epochs": 1, "batch": 8}
    settings: dict[str, object] = usual | plan
    return Experiment(
        "linear", ToyPictures(40), AsFloat(), Linear(),
        Plan(optimizer=SGD(1.0, weight_decay=0.0, momentum=0.0), schedule=Constant(), **settings),
    )  # fmt: skip


def means(batches: int, epochs: int = 1) -> list[Tensor]:
    """The gradient of each batch of `linear`."""
    source, found = ToyPictures(40), []
    for epoch in range(epochs):
        order = permutation(40, 0, "order", epoch)
        found += [(source[rows].x.double() / 255).mean((0, 2, 3)) for rows in order.split(8)[:batches]]
    return found


def test_order_of_batches_and_plain_descent(tmp_path: Path) -> None:
    train(linear(epochs=2), tmp_path / "run", quiet=True, allow=ALLOW)
    expected = -torch.stack(means(5, 2)).sum(0)
    torch.testing.assert_close(weights(tmp_path / "run")["w"], expected, atol=1e-6, rtol=0)


def test_what_is_left_of_an_epoch_can_be_a_smaller_batch(tmp_path: Path) -> None:
    """Batches of 16 of 40 samples leave 8: their gradient is their own mean."""
    short = linear(drop_last=False, epochs=2, batch=16)
    assert short.steps_per_epoch() == 3
    train(short, tmp_path / "run", quiet=True, allow=ALLOW)
    source, expected = ToyPictures(40), torch.zeros(3, dtype=torch.float64)
    for epoch in range(2):
        for rows in permutation(40, 0, "order", epoch).split(16):
            expected -= (source[rows].x.double() / 255).mean((0, 2, 3))
    torch.testing.assert_close(weights(tmp_path / "run")["w"], expected, atol=1e-6, rtol=0)
    assert linear(drop_last=True, batch=16).steps_per_epoch() == 2


def test_a_method_that_makes_whole_batches_refuses_a_smaller_one(tmp_path: Path) -> None:
    experiment = linear(drop_last=False, batch=16)
    with pytest.raises(ConfigError, match="Whole makes whole batches only: it needs drop_last=True"):
        train(replace(experiment, method=Whole()), tmp_path / "run", quiet=True, allow=ALLOW)


def test_accumulate_averages_batches_into_one_update(tmp_path: Path) -> None:
    train(linear(accumulate=2), tmp_path / "run", quiet=True, allow=ALLOW)
    first, second, third, fourth, _ = means(5)  # the fifth waits for a sixth that does not come
    expected = -((first + second) / 2 + (third + fourth) / 2)
    torch.testing.assert_close(weights(tmp_path / "run")["w"], expected, atol=1e-6, rtol=0)


def test_clip_bounds_the_norm_of_each_update(tmp_path: Path) -> None:
    train(linear(clip=0.1), tmp_path / "run", quiet=True, allow=ALLOW)
    expected = -sum(0.1 * mean / mean.norm() for mean in means(5))
    torch.testing.assert_close(weights(tmp_path / "run")["w"], expected, atol=1e-5, rtol=0)


def test_clip_sees_the_accumulated_gradient(tmp_path: Path) -> None:
    train(linear(clip=0.1, accumulate=5), tmp_path / "run", quiet=True, allow=ALLOW)
    mean = torch.stack(means(5)).mean(0)
    torch.testing.assert_close(weights(tmp_path / "run")["w"], -0.1 * mean / mean.norm(), atol=1e-6, rtol=0)


def test_an_odd_accumulation_extended_never_saves_pending_gradients(tmp_path: Path) -> None:
    """Five batches, two an update: the first run drops its last gradient, and the second run counts from there."""
    train(linear(accumulate=2), tmp_path / "run", quiet=True, allow=ALLOW)
    steps = []
    original = checkpoint.save

    def save(folder, model, optimizers, progress, **rest):
        steps.append((progress.step, model.w.grad is None))
        return original(folder, model, optimizers, progress, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save)
        train(linear(accumulate=2, epochs=2, save_every=0.0), tmp_path / "run", quiet=True, allow=ALLOW)
    assert steps == [(7, True), (9, True), (10, False)]


def test_hooks_and_two_optimizers(tmp_path: Path) -> None:
    Duel.calls.clear()
    experiment = replace(linear(epochs=2), source=ToyPictures(16), method=Duel())
    train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    channel = [round(v, 4) for v in (ToyPictures(16)[range(16)].x.double()).mean((2, 3))[:, 0].tolist()]
    steps = [["update", f"after {step}"] for step in (1, 2, 3, 4)]
    expected = [f"epoch 0 {channel}", *steps[0], *steps[1], f"epoch 1 {channel}", *steps[2], *steps[3]]
    assert Duel.calls == expected
    # left follows d(left right) / d left = right, right follows d(left + 3 right) / d right = 3: nothing leaks over.
    left, right = 1.0, 1.0
    for _ in range(4):
        left, right = left - right, right - 3
    assert weights(tmp_path / "run")["left"].item() == left
    assert weights(tmp_path / "run")["right"].item() == right


def test_groups_keep_to_themselves_under_accumulation(tmp_path: Path) -> None:
    experiment = replace(linear(accumulate=2), source=ToyPictures(16), method=Duel())
    train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    assert weights(tmp_path / "run")["left"].item() == 0.0
    assert weights(tmp_path / "run")["right"].item() == -2.0


def test_global_generators_and_the_given_method_are_left_alone(tmp_path: Path) -> None:
    experiment = toy_experiment(epochs=1, precision="auto", layout="auto")
    before = {name: value.clone() for name, value in experiment.method.state_dict().items()}
    torch.manual_seed(3)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]
    assert all(torch.equal(value, experiment.method.state_dict()[name]) for name, value in before.items())


@pytest.mark.thorough
def test_metrics_hold_terms_gauges_rate_and_time(tmp_path: Path) -> None:
    train(toy_experiment(epochs=40, log_every=10), tmp_path / "run", quiet=True, allow=ALLOW)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [*range(3, 160, 3), 160]  # a short run gets about 50 lines
    assert [line["epoch"] for line in lines[:3]] == [0.75, 1.5, 2.25]
    for line in lines:
        assert {"loss", "positive", "lr", "seconds", "rate", "std"} <= line.keys()
        assert {"effective_rank", "uniformity", "alignment"} <= line.keys()
        assert all(np.isfinite(value) for value in line.values())
        assert 0 < line["std"] < 1.1
        assert 1 < line["effective_rank"] <= 16
    assert lines[0]["seconds"] < lines[1]["seconds"] < lines[2]["seconds"]
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["steps"]) == ("finished", 160)


@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
def test_nan_in_a_view_is_named_saved_and_survived(layout: str, tmp_path: Path) -> None:
    experiment = toy_experiment(layout=layout, save_every=0.0)
    experiment = replace(experiment, view=FaultyView(experiment.view))
    faults.arrange(spoil_view=3)
    with pytest.raises(NonFiniteLoss, match="'view 1'") as caught:
        train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    assert "\n" not in str(caught.value)
    saved = load_file(tmp_path / "run" / "non-finite-batch-0.safetensors")
    assert saved["index"].tolist() == permutation(64, 0, "order", 0)[32:48].tolist()
    assert saved["view 1"].isnan().sum() == 1
    assert str(tmp_path / "run" / "non-finite-batch-0.safetensors") in str(caught.value)
    kept = weights(tmp_path / "run")
    assert all(value.isfinite().all() for value in kept.values())
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoint").iterdir())[-1] == "step-00000002"
    faults.arrange()  # whatever it was, it is gone: the same command goes on
    train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    assert faults.plan.views == 10


def test_fresh_starts_over_after_a_broken_run(tmp_path: Path) -> None:
    experiment = toy_experiment(epochs=1)
    experiment = replace(experiment, view=FaultyView(experiment.view))
    faults.arrange(spoil_view=2)
    with pytest.raises(NonFiniteLoss):
        train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    (tmp_path / "run" / "tensorboard").mkdir()
    faults.arrange()
    train(experiment, tmp_path / "run", fresh=True, quiet=True, allow=ALLOW)
    assert faults.plan.views == 4
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        ".lock", "checkpoint", "metrics.jsonl", "run.json",
    ]  # fmt: skip


class Exploding(SimCLR):
    """A method whose weights are no numbers after a step."""

    def __init__(self, encoder: Model, dim: int, step: int) -> None:
        super().__init__(encoder, dim=dim)
        self.at = step

    def after_step(self, step: int) -> None:
        if step == self.at:
            next(self.head.parameters()).data[0] = torch.nan


@pytest.mark.parametrize(("step", "save_every"), [(12, 1e9), (12, 0.0), (3, 0.0), (1, 0.0)])
def test_weights_that_are_no_numbers_are_no_checkpoint(step: int, save_every: float, tmp_path: Path) -> None:
    """Nor is a run finished whose last step left some: its loss was finite before that step."""
    experiment = toy_experiment(method=Exploding(toy_method().encoder, 8, step), save_every=save_every)
    with pytest.raises(NonFiniteLoss, match=rf"after step {step} the weights are not finite, 'head") as caught:
        train(experiment, tmp_path / "run", quiet=True, allow=(*ALLOW, "test_fit"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    if save_every == 0.0 and step > 1:
        assert f"The checkpoint of step {step - 1} is sound" in str(caught.value)
        assert all(value.isfinite().all() for value in weights(tmp_path / "run").values())
    else:
        assert "There is no checkpoint yet" in str(caught.value)
        assert not (tmp_path / "run" / "checkpoint").exists()


@pytest.mark.parametrize(("term", "named"), [("redundancy", "redundancy"), ("embeddings", "embeddings")])
def test_the_first_broken_term_is_named_rather_than_the_loss(term: str, named: str, tmp_path: Path) -> None:
    experiment = toy_experiment(epochs=1, method=Broken(toy_method().encoder, term))
    with pytest.raises(NonFiniteLoss, match=f"is '{named}'"):
        train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)


def test_collapse_is_told_once(tmp_path: Path) -> None:
    experiment = toy_experiment(epochs=2, method=Point(toy_method().encoder))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    told = [str(item.message) for item in caught if "collapsing" in str(item.message)]
    assert len(told) == 1
    assert "std 0.000" in told[0]
    assert "lower learning rate" in told[0]


def test_a_healthy_run_warns_of_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(toy_experiment(epochs=1), tmp_path / "run", quiet=True, allow=ALLOW)


def test_what_plays_another_role_is_refused_by_name() -> None:
    whole = toy_experiment(epochs=1)
    plain = TensorDataset(torch.rand(8, 3))
    for name, given, words in (
        ("source", plain, "source must be a Source, not a TensorDataset: withstand.data.load.load"),
        ("test", plain, "test must be a Source, not a TensorDataset"),
        ("method", nn.Linear(2, 2), "method must be a Method, not a Linear"),
        ("view", lambda batch: batch, "view must be a View, not a function"),
        ("plan", None, "plan must be a Plan, not a NoneType"),
    ):
        with pytest.raises(ConfigError, match=words):
            replace(whole, **{name: given})


def test_processes_that_torchrun_started_and_the_run_does_not_know_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="torchrun started 2 processes, and this run is for 1: use --processes 2"):
        train(toy_experiment(epochs=1), tmp_path / "run", quiet=True, allow=ALLOW)
    assert not (tmp_path / "run").exists()
