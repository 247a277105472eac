"""Which samples a copy in half precision leaves in doubt."""

import pytest
import torch
from torch import Tensor

from withstand.attacks.objectives import Margin, Objective, TargetedDLR
from withstand.attacks.problem import make_problem
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

LOGITS = torch.tensor([[1.0, 0.0, 0.5, 0.2], [1.0, 0.0, 0.97, 0.2], [0.4, 0.0, 0.5, 1.0], [0.1, 1.0, 0.2, 0.0]])


@pytest.mark.parametrize(
    ("objective", "y"),
    [(Margin(), torch.tensor([0, 0, 0, 1])), (TargetedDLR(), torch.tensor([[0, 1], [0, 2], [0, 3], [1, 0]]))],
)
def test_what_is_wrong_or_hardly_right_is_in_doubt_by_the_label_alone(objective: Objective, y: Tensor) -> None:
    problem = make_problem(Victim(torch.nn.Identity().eval()), objective, Ball("linf", 0.1), LOGITS, y)
    assert problem.near(LOGITS, 0.05).tolist() == [False, True, True, False]
    assert problem.near(LOGITS, 0.0).tolist() == [False, False, True, False]
    assert problem.near(LOGITS, 0.6).tolist() == [True, True, True, False]
    assert problem.near(LOGITS * 8, 0.05).tolist() == [False, True, True, False]
