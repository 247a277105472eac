import math

import pytest
import torch
from torch import nn

from withstand.core.errors import ConfigError
from withstand.models.blocks.memory.ema import Momentum, Teacher


def network(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    made = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made.double()


def test_the_course_of_the_momentum() -> None:
    course = Momentum(0.99, 1.0)
    assert [course.at(step, 10) for step in (0, 10)] == [0.99, 1.0]
    assert course.at(5, 10) == pytest.approx(0.995)
    assert course.at(3, 10) == pytest.approx(1 - 0.01 * (math.cos(0.3 * math.pi) + 1) / 2)
    assert course.at(20, 10) == 1.0, "a run that went on too long"
    assert course.at(5, None) == Momentum(0.99, None).at(5, 10) == 0.99


def test_it_follows_by_the_formula() -> None:
    student, other = network(0), network(1)
    teacher = Teacher(student, Momentum(0.9, None))
    before = [value.clone() for value in teacher.network.parameters()]
    assert teacher.follow(other, 1) == 0.9
    for mine, old, new in zip(teacher.network.parameters(), before, other.parameters(), strict=True):
        torch.testing.assert_close(mine, 0.9 * old + 0.1 * new, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("m", "like"), [(1.0, 0), (0.0, 1)])
def test_the_ends(m: float, like: int) -> None:
    students = network(0), network(1)
    teacher = Teacher(students[0], Momentum(m, None))
    teacher.follow(students[1], 1)
    for mine, expected in zip(teacher.network.parameters(), students[like].parameters(), strict=True):
        torch.testing.assert_close(mine, expected, rtol=0, atol=1e-15)


def test_no_gradient_reaches_it_and_its_statistics_are_its_own() -> None:
    student = network(0)
    teacher = Teacher(student, Momentum(0.5, None))
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert not teacher(x).requires_grad
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert int(teacher.network[1].num_batches_tracked) == 1
    assert int(student[1].num_batches_tracked) == 0
    teacher.follow(student, 1)
    assert int(teacher.network[1].num_batches_tracked) == 1
    teacher.follow(student, 2, share_buffers=True)
    assert int(teacher.network[1].num_batches_tracked) == 0


def test_the_length_of_the_run() -> None:
    student = network(0)
    teacher = Teacher(student, Momentum(0.5, 1.0))
    assert teacher.follow(student, 10) == 0.5
    teacher.before_run(10)
    assert teacher.follow(student, 10) == 1.0


@pytest.mark.parametrize("settings", [(-0.1, None), (0.5, 1.1), (2.0, 1.0)])
def test_momenta_outside_the_unit_interval(settings: tuple[float, float | None]) -> None:
    with pytest.raises(ConfigError, match=r"momentum must lie in \[0, 1\]"):
        Momentum(*settings)
