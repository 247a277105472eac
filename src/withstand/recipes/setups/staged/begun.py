"""What recipes on pictures share that begin with what an earlier run learnt: its kind of network, its size."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from withstand.core.errors import ConfigError
from withstand.core.part import describe
from withstand.core.roles import Model, encoder_of
from withstand.data.load import is_picture_folder
from withstand.engine.experiment import Experiment
from withstand.engine.folder import RunFolder
from withstand.engine.origin.begun import method_in, refuse_unlike
from withstand.models.pictures.convnets.convnet import ConvNet
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.timm import Timm
from withstand.models.pictures.transformers.vit import ViT
from withstand.models.pictures.wavelet_scattering.scattering_encoder import ScatteringEncoder
from withstand.recipes.setups.vision.pictures import encoder


def options_from(run: str, options: Mapping[str, object], known: set[str]) -> dict[str, object]:
    """Return a recipe's options, with those of a run's network and size where nothing is said of them.

    Args:
        run: its folder.
        options: what is said to the recipe.
        known: all that the recipe can be told.

    Raises:
        RunError: there is no run.
        ConfigError: the run gives no encoder, or another network is asked for.
    """
    network = encoder_of(method_in(RunFolder(Path(run))))
    shape = _shape(run)
    wanted = {name: value for name, value in _words(network, shape).items() if name in known}
    for name, value in wanted.items():
        if name in options and options[name] != value:
            raise ConfigError(f"{name} is {value!r} in {run}, not {options[name]!r}: leave it out, or say the same")
    photos: Any = options.get("data")
    if "size" in known and len(shape) == 3 and is_picture_folder(photos):
        wanted["size"] = options.get("size", shape[-1])
    return {**options, **wanted}


def begun(made: Experiment, run: str) -> Experiment:
    """Return an experiment whose method begins with what a run learnt.

    Raises:
        ConfigError: it learns from something else than pictures, trains in stages of its own, or its encoder is of
            another make.
    """
    if made.first is not None:
        raise ConfigError(f"{made.name} builds on an earlier stage of its own: it cannot begin with {run} (first)")
    if len(made.source.shape) != 3:
        raise ConfigError(
            f"first is for recipes on pictures, and {made.name} learns from {made.source.kind}s of shape "
            f"{made.source.shape}"
        )
    refuse_unlike(encoder_of(made.method), encoder_of(method_in(RunFolder(Path(run)))), run)
    return replace(made, start=run)


def _shape(run: str) -> tuple[int, ...]:
    facts: Any = RunFolder(Path(run)).record().get("data")
    return tuple(facts["shape"]) if isinstance(facts, dict) and "shape" in facts else ()


def _words(network: Model, shape: tuple[int, ...]) -> dict[str, object]:
    """Return what to say to a recipe so that it makes a network's like; nothing where no words make it."""
    inner = network._init_args["encoder"] if isinstance(network, Normalized) else None
    args = {} if inner is None else inner._init_args
    words: dict[str, object]
    if isinstance(inner, Timm):  # not made on trial, which may fetch weights
        return {"model": f"timm:{inner.name}" + (":pretrained" if args["pretrained"] else "")}
    if isinstance(inner, ResNet | ViT):
        words = {"model": "resnet" if isinstance(inner, ResNet) else "vit", "width": args["width"]}
        words["depth"] = args["depth"]
    elif isinstance(inner, ConvNet):
        words = {"model": "convnet", "width": args["channels_first"], "depth": args["depth"]}
    elif isinstance(inner, ScatteringEncoder):
        orientations = args["orientations"]
        model = "scattering" if orientations == 8 else f"scattering:{orientations}"
        words = {"model": model, "width": args["width"], "depth": args["blocks"]}
    else:
        return {}
    like: Any = words
    return words if len(shape) == 3 and describe(encoder(**like, shape=shape)) == describe(network) else {}
