"""Recipes of the two studies: each trains on a few digits, shows its geometry, and so does its claim."""

from pathlib import Path

import numpy as np
import pytest

import withstand as ws
from withstand.core.errors import ConfigError
from withstand.core.roles import Source
from withstand.data.arrays.source import ArraySource
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.blocks.reweighting import ReweightingHead
from withstand.recipes.setups import pictures
from withstand.recipes.studies import contrastive_behaviour, projection_head

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


def test_a_sweep_of_temperatures_is_a_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "splits", splits)
    setup = pictures.TwoViewSetup(data="digits", width=2, epochs=1, batch=64)
    table = contrastive_behaviour.temperatures(setup, values=(0.1, 10.0)).tables["temperatures"]
    assert table.x == "temperature"
    assert table.column("temperature") == (0.1, 10.0)
    assert all(value < 0 for value in table.column("uniformity"))
    with pytest.raises(ConfigError, match="temperature must be above 0, not 0"):
        contrastive_behaviour.temperatures(setup, values=(0,))


def test_unknown_heads_and_dead_coordinates_are_refused() -> None:
    with pytest.raises(ConfigError, match="head 'mpl' is unknown: did you mean 'mlp'"):
        projection_head.made("mpl", 8)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is 0 in float32"):
        projection_head.made("reweighting", 512, 1.5)


def few(count: int, side: int, channels: int, seed: int) -> ArraySource:
    generator = np.random.default_rng(seed)
    x = generator.integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    return ArraySource(x, np.arange(count) % 10, layout="NCHW", classes=tuple("abcdefghij"))


def splits(data: object, **settings: object) -> tuple[Source, Source]:
    """Stand-ins of the claims' sets: few pictures of the same sizes."""
    side, channels = {"cifar10": (32, 3), "fashion-mnist-small": (28, 1), "digits": (8, 1)}[str(data)]
    return few(256, side, channels, 0), few(64, side, channels, 1)


@pytest.mark.parametrize("recipe", [contrastive_behaviour, projection_head])
def test_claims_run(recipe: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "splits", splits)
    monkeypatch.setattr(projection_head, "splits", splits)
    small = recipe.small

    def quick(setup: object, seed: int, *, epochs: int = 5, batch: int = 256) -> object:
        made = small(setup, seed, epochs=1, batch=64)
        return made.__class__(**{**vars(made), "width": 2})

    monkeypatch.setattr(recipe, "small", quick)
    # What a claim makes of trained methods is tested here; that they train, above.
    monkeypatch.setattr(recipe, "trained", lambda trial: trial.method.encoder.eval())
    monkeypatch.setattr(contrastive_behaviour, "accuracies", lambda *_: {"kNN accuracy": 0.5, "linear accuracy": 0.6})
    claim = recipe.claim(seeds=2)
    assert len(claim.system) == len(claim.baseline) == 2
    for table in claim.tables.values():
        assert len(table.rows) >= 3
    assert claim.finding().numbers["effect"] == pytest.approx(claim.effect)
    with pytest.raises(ConfigError, match="scale 'huge' is unknown"):
        recipe.claim(scale="huge")
