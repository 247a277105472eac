"""Recipes of the two studies: each trains on a few digits, and shows its geometry."""

from pathlib import Path

import pytest

import withstand as ws
from withstand.api.front import experiment
from withstand.claims.studies.contrastive_behaviour import temperatures
from withstand.core.errors import ConfigError
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.reweighting import ReweightingHead
from withstand.recipes.setups.vision.pictures import TwoViewSetup
from withstand.recipes.studies import projection_head

FAST = {"plan.precision": "float32", "plan.layout": "contiguous"}


def train(method: str, out: Path, **options: object) -> ws.Run:
    settings = {"width": 2, "batch": 128, **options}
    return ws.train(method, "digits", out=out, epochs=1, options=settings, settings=FAST, quiet=True)


@pytest.mark.parametrize("options", [{}, {"simple": True}, {"alpha": 1.0, "temperature": 0.1}])
def test_contrastive_behaviour_trains(tmp_path: Path, options: dict[str, object]) -> None:
    run = train("contrastive-behaviour", tmp_path / "run", **options)
    assert run.method.alpha == options.get("alpha", 0.1)
    assert run.method.simple == options.get("simple", False)


def test_the_behaviour_is_drawn(tmp_path: Path) -> None:
    run = train("contrastive-behaviour", tmp_path / "run")
    geometry, layers = run.geometry()
    assert str(geometry.protocol["push"]).endswith("cosine / 0.7"), "the method's own temperature"
    assert layers.tables["accuracy by layer"].column("layer name")[-1] == "head"
    page = run.report().read_text(encoding="utf-8")
    for heading in ("How the codes lie", "Layer by layer", "Push by temperature", "Weighing by the head", "blocks.0"):
        assert heading in page


@pytest.mark.parametrize("head", ["reweighting", "mlp", "linear", "none"])
def test_projection_head_trains_with_each_head(tmp_path: Path, head: projection_head.Head) -> None:
    run = train("projection-head", tmp_path / "run", head=head, kappa=1.5)
    made = run.method.projector()
    if head in ("mlp", "linear"):
        assert isinstance(made, ProjectionHead)
        assert (made.width == 16) == (head == "linear")
    else:
        assert isinstance(made, ReweightingHead)
        assert made.scale[1].item() == pytest.approx(1 / 1.5 if head == "reweighting" else 1)


def test_a_sweep_of_temperatures_is_a_curve() -> None:
    setup = TwoViewSetup(data="digits", width=2, epochs=1, batch=256)
    table = temperatures(setup, values=(0.1, 10.0)).tables["temperatures"]
    assert table.x == "temperature"
    assert table.column("temperature") == (0.1, 10.0)
    assert all(value < 0 for value in table.column("uniformity"))
    with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
        temperatures(setup, values=(0,))


def test_unknown_heads_and_dead_coordinates_are_refused() -> None:
    with pytest.raises(ConfigError, match="head 'mpl' is unknown: did you mean 'mlp'"):
        experiment("projection-head", {"data": "digits", "head": "mpl"})
    with pytest.raises(ConfigError, match="is 0 in float32"):
        experiment("projection-head", {"data": "digits", "head": "reweighting", "width": 64, "kappa": 1.5})
