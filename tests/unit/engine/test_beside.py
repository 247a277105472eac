"""Data beside: every sample once a pass, at their own pace, in an order by seed and name; views of their own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adversaries import adversarial
from toys import ToyPictures, toy_experiment, toy_method
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws
from withstand.core.roles import Terms
from withstand.engine.experiment import Experiment
from withstand.engine.launch import train
from withstand.engine.numerics import Numerics, time_step
from withstand.engine.optimizers import SGD
from withstand.methods.contrastive.simclr import SimCLR
from withstand.views.presets import simclr_small

ALLOW = ("toys", "test_beside")
SEEN: list[Batch] = []


class Watching(SimCLR):
    """Keeps the batches that it was given."""

    def step(self, batch: Batch) -> Terms:
        SEEN.append(batch)
        return super().step(batch)


def watched(tmp_path: Path, **beside: int) -> list[Batch]:
    """Three epochs of five batches of 16."""
    experiment = toy_experiment(epochs=3, count=80, method=toy_method(Watching))
    experiment = replace(experiment, beside={name: ToyPictures(count, seed=1) for name, count in beside.items()})
    SEEN.clear()
    train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    return list(SEEN)


def in_order(batches: list[Batch], name: str) -> Tensor:
    return torch.cat([batch.beside[name].index for batch in batches])


@pytest.mark.thorough
@pytest.mark.parametrize("count", [56, 16, 10, 3, 240, 1000])
def test_each_pass_takes_every_sample_once(count: int, tmp_path: Path) -> None:
    order = in_order(watched(tmp_path, other=count), "other")
    assert len(order) == 240
    for first in range(0, 240 - count + 1, count):
        assert sorted(order[first : first + count].tolist()) == list(range(count))
    assert len(order[240 // count * count :].unique()) == 240 % count if count < 240 else True


def test_names_have_orders_of_their_own_and_the_run_knows_its_place(tmp_path: Path) -> None:
    batches = watched(tmp_path, one=56, two=56)
    assert not torch.equal(in_order(batches, "one"), in_order(batches, "two"))
    assert [(batch.step, batch.epoch, batch.seed) for batch in batches] == [(n, n // 5, 0) for n in range(15)]
    assert all(batch.beside["one"].step == batch.step for batch in batches)
    pictures = ToyPictures(56, seed=1)
    for batch in batches:
        assert torch.equal(batch.beside["one"].x, pictures[batch.beside["one"].index].x)
        assert batch.beside["one"].views == ()


def test_views_of_data_beside_are_drawn_by_step_and_sample(tmp_path: Path) -> None:
    view = simclr_small(16)
    experiment = toy_experiment(epochs=1, count=80, method=toy_method(Watching))
    experiment = replace(experiment, beside={"one": ToyPictures(56, seed=1)}, beside_views={"one": view})
    SEEN.clear()
    train(experiment, tmp_path / "run", quiet=True, allow=ALLOW)
    for batch in SEEN:
        beside = batch.beside["one"]
        draws = Draws(0, beside.index, epoch=batch.step).child("views of one")
        expected = view(replace(beside, views=()), draws).views
        assert all(torch.equal(*pair) for pair in zip(beside.views, expected, strict=True))


def test_a_steps_draws_hang_on_seed_step_index_and_name() -> None:
    batch = Batch(torch.zeros(3, 1), torch.tensor([5, 2, 9]), seed=4, step=7)
    found = batch.draws("noise").uniform(2)
    assert torch.equal(replace(batch, index=torch.tensor([2])).draws("noise").uniform(2), found[1:2])
    for other in (replace(batch, seed=5), replace(batch, step=8)):
        assert not torch.equal(other.draws("noise").uniform(2), found)
        assert not torch.equal(other.draws_for_all("noise").uniform(2), batch.draws_for_all("noise").uniform(2))
    assert not torch.equal(batch.draws("other").uniform(2), found)
    assert batch.draws_for_all("noise").uniform(2).shape == (1, 2)
    assert torch.equal(
        replace(batch, index=torch.tensor([1])).draws_for_all("a").bits(1), batch.draws_for_all("a").bits(1)
    )


def checked(**changes: object) -> Experiment:
    made = replace(adversarial(), **changes)
    made.check()
    return made


def test_what_does_not_fit_is_refused() -> None:
    checked()
    with pytest.raises(ConfigError, match=r"there are views for 'reel', but no data beside: did you mean 'real'"):
        checked(beside_views={"reel": simclr_small(16)})
    with pytest.raises(DataError, match="the data beside, 'real', hold no samples"):
        checked(beside={"real": ToyPictures(0)})
    plan = adversarial().plan
    with pytest.raises(ConfigError, match="no optimizer for group 'critic'"):
        checked(plan=replace(plan, optimizer={"generator": SGD(0.1)}))
    with pytest.raises(ConfigError, match="ToyGAN has no group 'critik': did you mean 'critic'"):
        checked(plan=replace(plan, optimizer={**plan.optimizer, "critik": SGD(0.1)}))


def test_a_trial_step_for_the_choice_of_precision_has_the_data_beside() -> None:
    experiment = toy_experiment(count=80, method=toy_method(Watching))
    experiment = replace(
        experiment,
        beside={"one": ToyPictures(5, seed=1), "two": ToyPictures(40)},
        beside_views={"one": simclr_small(16)},
    )
    SEEN.clear()
    time_step(experiment, Numerics("float32", "contiguous"), torch.device("cpu"), repeats=0)
    (batch,) = SEEN
    assert batch.beside["one"].index.tolist() == [0, 1, 2, 3, 4] * 3 + [0]
    assert len(batch.beside["one"].views) == 2
    assert batch.beside["two"].views == ()
