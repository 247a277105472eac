"""Attacks by name: each runs, and what one does not have is refused."""

from typing import get_args

import pytest
import torch

from victims import random_pictures, small_net
from withstand.attacks.named import Name, named, own_norm
from withstand.attacks.objectives import EmbeddingDistance
from withstand.core.errors import ConfigError
from withstand.core.threat import Ball
from withstand.core.victims.victim import Victim

STEPLESS = ("fgsm", "noise")


@pytest.mark.parametrize("name", get_args(Name))
def test_every_name_attacks(name: str) -> None:
    x, y = random_pictures()
    ball = Ball(norm := own_norm(name), 3 if norm == "l0" else 0.1)
    attack = named(name, ball, steps=None if name in STEPLESS else 3)
    found = attack(Victim(small_net()), x, y, generator=0)
    assert found.x.shape == x.shape
    assert (found.norm <= ball.eps + 1e-6).all()
    assert name in STEPLESS or 3 in (getattr(attack, "steps", 0), getattr(attack, "queries", 0))


def test_embeddings_are_moved() -> None:
    attack = named("apgd", Ball("l2", 0.5), steps=4, embedding=True)
    assert isinstance(attack.objective, EmbeddingDistance)
    found = attack(Victim(small_net()[:5]), random_pictures()[0], generator=0)
    assert torch.isfinite(found.loss).all()


def test_what_an_attack_does_not_have_is_refused() -> None:
    for name, settings, words in (
        ("pdg", {}, "'pgd'"),
        ("fgsm", {"steps": 3}, "fgsm has no steps"),
        ("square", {"restarts": 3}, "square has no restarts"),
        ("fab-t", {"embedding": True}, "compares classes"),
    ):
        with pytest.raises(ConfigError, match=words):
            named(name, Ball(), **settings)
