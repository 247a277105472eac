"""MCL, G-SimCLR and ScatSimCLR as users meet them: what their experiments hold, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from withstand.api.front import experiment, train
from withstand.core.errors import ConfigError
from withstand.data.arrays.source import ArraySource
from withstand.engine.experiment import Experiment
from withstand.methods.contrastive.dcl import DCL
from withstand.methods.contrastive.g_simclr import GSimCLR
from withstand.methods.contrastive.mcl import MCL
from withstand.methods.contrastive.scatsimclr import ScatSimCLR
from withstand.methods.momentum_contrast.mochi import MoCHi
from withstand.methods.momentum_contrast.moco_v3 import MoCoV3
from withstand.methods.restoration.denoising_autoencoder import DenoisingAutoencoder
from withstand.models.blocks.concatenated import Concatenated
from withstand.models.pictures.wavelet_scattering.scattering_encoder import ScatteringEncoder

TINY = {"width": 2, "epochs": 1, "batch": 16}


def pictures(count: int = 64, channels: int = 1, side: int = 16) -> ArraySource:
    x = np.random.default_rng(0).integers(0, 256, (count, channels, side, side), dtype=np.uint8)
    return ArraySource(x, np.arange(count) % 4)


def quick(made: Experiment) -> Experiment:
    plan = replace(made.plan, precision="float32", layout="contiguous")
    first = quick(made.first) if isinstance(made.first, Experiment) else made.first
    return replace(made, plan=plan, first=first)


@pytest.mark.parametrize(("base", "kind"), [("dcl", DCL), ("mocov3", MoCoV3), ("mochi", MoCHi)])
def test_stages_of_any_base(base: str, kind: type) -> None:
    made = experiment("mcl", {**TINY, "data": pictures(), "base": base, "stages": 3, "clusters": 3, "fresh": True})
    seeds = set()
    for stages in (2, 1):
        assert isinstance(made.method, MCL)
        assert isinstance(made.method.method, kind)
        assert (made.method.clusters, made.method.fresh) == (3, True)
        earlier = made.method.before
        assert (len(earlier.parts()) if isinstance(earlier, Concatenated) else 1) == stages
        assert len(made.method.encoder.parts()) == stages + 1
        seeds.add(made.plan.seed)
        assert isinstance(made.first, Experiment)
        made = made.first
    assert isinstance(made.method, kind)
    assert made.first is None
    assert len(seeds | {made.plan.seed}) == 3


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("mcl", "cannot be staged"),
        ("g-simclr", "batches of its own"),
        ("graphmae", "cannot be staged"),
        ("simcrl", "did you mean 'simclr'"),
    ],
)
def test_what_cannot_be_staged(base: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment("mcl", {**TINY, "data": pictures(), "base": base})


def test_bases_with_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="learns from labels"):
        experiment("mcl", {**TINY, "data": pictures(), "base": "pgd-at"})
    with pytest.raises(ConfigError, match="stages must be at least 1"):
        experiment("mcl", {**TINY, "data": pictures(), "stages": 0})


def test_guided_experiment_trains_its_autoencoder_first(tmp_path: Path) -> None:
    options = {**TINY, "data": pictures(), "code_width": 2, "code_epochs": 1}
    made = experiment("g-simclr", options)
    assert isinstance(made.method, GSimCLR)
    assert made.method.clusters == made.plan.batch == 16
    assert isinstance(made.first, Experiment)
    assert isinstance(made.first.method, DenoisingAutoencoder)
    assert experiment("g-simclr", {**options, "clusters": 32}).method.clusters == 32
    run = train("g-simclr", options=options, out=tmp_path / "run", quiet=True)
    assert run.embed(split="train").x.shape == (51, 16)
    assert len(run.method.group_labels.unique()) > 8
    with pytest.raises(ConfigError, match="clusters 16 are more than the 12 samples"):
        train("g-simclr", options={**options, "data": pictures(15), "batch": 8, "clusters": 16}, out=tmp_path / "few")


@pytest.mark.parametrize(("model", "orientations"), [("scattering", 8), ("scattering:4", 4)])
def test_scattering_is_a_model_for_any_method(model: str, orientations: int) -> None:
    made = experiment("dcl", {**TINY, "data": pictures(channels=3), "model": model, "depth": 2})
    network = made.method.encoder.encoder
    assert isinstance(network, ScatteringEncoder)
    assert network.scattering.orientations == orientations
    assert made.method.embed(made.source[[0, 1]].x).shape == (2, network.width)
    with pytest.raises(ConfigError, match="did you mean 'scattering'"):
        experiment("dcl", {**TINY, "data": pictures(), "model": "scatering"})


@pytest.mark.parametrize("pretext", ["rotation", "jigsaw", "none"])
def test_scatsimclr_experiments(pretext: str) -> None:
    made = experiment("scatsimclr", {**TINY, "data": pictures(), "depth": 2, "pretext": pretext})
    assert isinstance(made.method, ScatSimCLR)
    assert (made.method.pretext is None) == (pretext == "none")
    assert made.method.tiled == (pretext == "jigsaw")
