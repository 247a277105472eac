"""Recipes on an earlier run's network read a folder's photos at the size that the run read them at."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import withstand as ws
from withstand.core.errors import ConfigError
from withstand.engine.experiment import Experiment
from withstand.recipes.attackers import advencoder, anyattack
from withstand.recipes.condensation import krr_st
from withstand.recipes.defenses import attack_tracing
from withstand.recipes.editing import laf
from withstand.recipes.robust import deacl, rss

SIDE = 20
NETWORK = {"model": "convnet", "width": 4, "depth": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos of three classes, and two runs on it: one without labels, one with."""
    folder = tmp_path_factory.mktemp("earlier")
    draw = np.random.default_rng(0)
    for name, low in (("dark", 0), ("grey", 64), ("light", 128)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            values = draw.integers(low, low + 128, (30, 30, 3), dtype=np.uint8)
            Image.fromarray(values).save(folder / "photos" / name / f"{number}.png")
    for method in ("simclr", "pgd-at"):
        options: dict[str, Any] = {**NETWORK, "size": SIDE, "batch": 16}
        ws.train(method, str(folder / "photos"), out=folder / method, epochs=1, quiet=True, options=options)
    return folder


def recipes(place: Path) -> dict[str, Callable[[int | None], Experiment]]:
    """Return what makes each experiment on the folder, at a size or none that is said."""
    data, plain, known = (str(place / name) for name in ("photos", "simclr", "pgd-at"))
    return {
        "advencoder": lambda size: advencoder.experiment(
            replace(advencoder.SETUP, data=data, victim=plain, size=size, batch=8)
        ),
        "anyattack": lambda size: anyattack.experiment(
            replace(anyattack.SETUP, data=data, victim=plain, size=size, batch=8)
        ),
        "krr-st": lambda size: krr_st.experiment(
            replace(krr_st.SETUP, data=data, size=size, batch=8), teacher=plain, count=4, channels=(4,)
        ),
        "deacl": lambda size: deacl.experiment(
            replace(deacl.SETUP, data=data, size=size, batch=8, **NETWORK), teacher=plain, scratch=True
        ),
        "rss": lambda size: rss.experiment(replace(rss.SETUP, data=data, size=size, first=plain, labels=4)),
        "laf": lambda size: laf.experiment(replace(laf.SETUP, data=data, size=size, first=known, forget="class:dark")),
        "attack-tracing": lambda size: attack_tracing.experiment(
            replace(attack_tracing.SETUP, data=data, size=size, first=known), copies=2, reserve=1
        ),
    }


NAMES = sorted(recipes(Path()))


@pytest.mark.parametrize("name", NAMES)
def test_photos_are_read_at_the_earlier_runs_size(name: str, place: Path) -> None:
    made = recipes(place)[name](None)
    assert tuple(made.source.shape) == (3, SIDE, SIDE)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("laf", "attack-tracing")])
def test_a_size_that_the_network_does_not_take_is_refused_before_anything_is_learnt(name: str, place: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not take pictures of shape \(3, 32, 32\)"):
        recipes(place)[name](32)
