"""The small trainings that claims are made of."""

from dataclasses import replace

import pytest
import torch

from withstand.engine.experiment import Experiment
from withstand.engine.schedules import Constant
from withstand.recipes.contrastive import dcl
from withstand.recipes.trial import computed_alike, stages, trained


@pytest.fixture
def experiment() -> Experiment:
    made = dcl.experiment(replace(dcl.SETUP, data="digits", width=2, epochs=2, batch=256))
    return replace(made, plan=replace(made.plan, schedule=Constant()))


def test_stages_are_one_run(experiment: Experiment) -> None:
    whole = {name: value.clone() for name, value in trained(experiment).state_dict().items()}
    seen = []
    for encoder in stages(experiment, (1, 2)):
        assert not encoder.training
        seen.append({name: value.clone() for name, value in encoder.state_dict().items()})
    assert all(torch.equal(value, whole[name]) for name, value in seen[1].items())
    assert not all(torch.equal(value, whole[name]) for name, value in seen[0].items())


def test_what_is_left_to_timing_is_fixed_and_what_is_asked_for_stays(experiment: Experiment) -> None:
    plan = computed_alike(experiment).plan
    assert (plan.precision, plan.layout) == ("float32", "channels-last")
    asked = replace(experiment, plan=replace(experiment.plan, precision="float64", layout="contiguous"))
    assert computed_alike(asked).plan == asked.plan
