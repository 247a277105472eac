"""What recipes share that build on what was trained before: a run's encoder, and a method in stages."""

from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import again, build
from withstand.core.random import derive
from withstand.core.roles import Method, Model, Source
from withstand.core.victims.victim import Victim
from withstand.data.derived.group_batches import Small
from withstand.data.load import Data, is_picture_folder
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment
from withstand.engine.folder import RunFolder
from withstand.methods.contrastive.mcl import MCL
from withstand.methods.shared.labelled import LabelledMethod
from withstand.recipes.catalogue import entry
from withstand.recipes.setups.vision.pictures import PictureSetup


def encoder_of(path: Path) -> Model:
    """Return the encoder that a run trained.

    Raises:
        RunError: there is no run.
        ConfigError: the run has no checkpoint.
    """
    method = method_of(path)
    if checkpoint.load(RunFolder(path).checkpoints, method) is None:
        raise ConfigError(f"the teacher's run {path} has no checkpoint yet: train it first")
    return method.encoder


def side_of(run: str | Experiment | None, data: Data | None, size: int | None) -> int | None:
    """Return the side at which a folder's photos are read for the network of a run: what is said, or else the run's.

    Args:
        run: its folder, or the experiment that is trained first.
        data: what is learnt from; of other things than folders of photos nothing is said.
        size: what is said.
    """
    if size is not None or run is None or data is None or not is_picture_folder(data):
        return size
    if isinstance(run, Experiment):
        shape: Any = run.source.shape
    else:
        facts = RunFolder(Path(run)).record().get("data")
        shape = facts.get("shape") if isinstance(facts, dict) else None
    return int(shape[-1]) if isinstance(shape, list | tuple) and len(shape) == 3 else None


def require_taken(network: Model, source: Source, run: str | Experiment) -> None:
    """Refuse samples that the network of a run does not take, before anything is learnt on them.

    Raises:
        ConfigError: with their shape and that of what it learnt from.
    """
    victim, learnt = Victim(network), "" if isinstance(run, Experiment) else f" in {run}"
    try:
        with victim.held(), torch.no_grad():
            victim(victim.ready(source[[0]].to(device_of_network(network)).x))
    except (RuntimeError, ValueError, DataError) as error:
        why = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the network{learnt} does not take {source.kind}s of shape {tuple(source.shape)}, as {source.name} has "
            f"them: {why}"
        ) from error


def method_of(path: Path) -> Method:
    """Return the method that a run trains, with new weights.

    Raises:
        RunError: there is no run.
    """
    method: Method = build(RunFolder(path).described("method"), path="method")
    return method


def staged(
    plain: Experiment, *, stages: int = 3, clusters: int = 10, fresh: bool = False, small: Small = "merge"
) -> Experiment:
    """Return an experiment's method in stages: each stage has the plan's budget, and a seed of its own.

    Args:
        plain: what is staged.
        stages: how many times it is trained, the first time plainly.
        clusters: into how many each stage's features split each group.
        fresh: each stage trains a new encoder; else it goes on with the last one's.
        small: what becomes of groups smaller than a batch.

    Raises:
        ConfigError: less than one stage.
    """
    if stages < 1:
        raise ConfigError(f"stages must be at least 1, not {stages!r}")
    current, seed = replace(plain, name="mcl"), plain.plan.seed
    for stage in range(1, stages):
        method = MCL(
            again(plain.method),
            again(current.method.encoder),
            samples=len(plain.source),
            clusters=clusters,
            fresh=fresh,
            small=small,
        )
        plan = replace(plain.plan, seed=derive(seed, "stage", stage) % 2**31)
        current = replace(plain, name="mcl", method=method, plan=plan, first=current)
    return current


def stageable(base: str, setup: PictureSetup) -> Experiment:
    """Return the experiment of a method that can be staged, by its recipe's name.

    Raises:
        ConfigError: there is no such recipe, or what it trains cannot be staged.
    """
    module = entry(base).module()
    shared = getattr(module, "SETUP", None)
    if not isinstance(shared, PictureSetup) or "base" in signature(module.experiment).parameters:
        raise ConfigError(
            f"base {base!r} cannot be staged: name a method that learns from views of pictures, as simclr"
        )
    known = {item.name for item in fields(shared)}
    for item in fields(setup):
        if item.name not in known and getattr(setup, item.name) != item.default:
            raise ConfigError(f"base {base!r} takes no {item.name}: leave it out")
    made: Experiment = module.experiment(
        replace(shared, **{item.name: getattr(setup, item.name) for item in fields(setup) if item.name in known})
    )
    if isinstance(made.method, LabelledMethod):
        raise ConfigError(f"base {base!r} learns from labels: name a method without them, as simclr")
    return made
