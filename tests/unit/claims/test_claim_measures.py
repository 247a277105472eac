"""The small trainings that claims are made of, and what is measured after them."""

from dataclasses import replace

import pytest
import torch

from withstand.claims.protocol.measures import computed_alike, projections, stages, trained
from withstand.core.errors import DataError
from withstand.core.part import describe
from withstand.engine.experiment import Experiment
from withstand.engine.schedules import Constant
from withstand.recipes.contrastive import dcl
from withstand.recipes.studies import projection_head

TINY = {"data": "digits", "width": 2, "epochs": 2, "batch": 256}


@pytest.fixture
def experiment() -> Experiment:
    made = dcl.experiment(replace(dcl.SETUP, **TINY))
    return replace(made, plan=replace(made.plan, schedule=Constant()))


def test_stages_are_one_run_and_the_experiment_stays_as_it_was(experiment: Experiment) -> None:
    before = {name: value.clone() for name, value in experiment.method.state_dict().items()}
    told = describe(experiment)
    whole = trained(experiment)
    assert not whole.training
    seen = [method.state_dict() for method in stages(experiment, (1, 2))]
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in seen[1].items())
    assert not all(torch.equal(value, whole.state_dict()[name]) for name, value in seen[0].items())
    assert describe(experiment) == told
    assert experiment.method.training
    assert all(torch.equal(value, before[name]) for name, value in experiment.method.state_dict().items())


def test_what_is_left_to_timing_is_fixed_and_what_is_asked_for_stays(experiment: Experiment) -> None:
    plan = computed_alike(experiment).plan
    assert (plan.precision, plan.layout) == ("float32", "channels-last")
    asked = replace(experiment, plan=replace(experiment.plan, precision="float64", layout="contiguous"))
    assert computed_alike(asked).plan == asked.plan


def test_projections_are_what_the_loss_reads(experiment: Experiment) -> None:
    method, test = experiment.method.eval(), experiment.test
    assert test is not None
    found = projections(method, test)
    few = test[range(4)].x.float() / 255
    with torch.no_grad():
        torch.testing.assert_close(found[:4], method.head(method.encoder(few)))  # type: ignore[operator]
    method.head = None  # type: ignore[assignment]
    with pytest.raises(DataError, match="has no head"):
        projections(method, test)


def test_a_head_of_no_parameters_is_a_head() -> None:
    made = projection_head.experiment(replace(projection_head.SETUP, **TINY), head="none")
    assert made.test is not None
    assert projections(made.method, made.test).shape == (len(made.test), made.method.encoder.width)
