"""The front door: `train` an encoder, `open_run` an old one, `attack`, `audit` and `certify` any network."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from withstand.api.runs import Run
from withstand.core.errors import ConfigError
from withstand.core.options import call, options_of
from withstand.core.part import Tree, build, describe, externals, override
from withstand.core.random import isolated
from withstand.data.load import Data
from withstand.engine.experiment import Experiment
from withstand.recipes.catalogue import entry
from withstand.recipes.setups.staged.begun import begun, options_from


def experiment(
    method: str,
    options: Mapping[str, object] | None = None,
    *,
    settings: Mapping[str, Tree] | None = None,
    allow: Sequence[str] = (),
) -> Experiment:
    """Return a recipe's experiment.

    Args:
        method: the recipe's slug.
        options: arguments of the recipe's `experiment`, by name; "first" begins a recipe on pictures with the weights
            of a run, where the recipe has no option of that name.
        settings: changes to the described experiment by dotted path, say `{"method.sigma": 0.3}`.
        allow: modules outside withstand that the settings may name.

    Raises:
        ConfigError: an unknown method, option or setting, with the nearest name.
    """
    make = getattr(entry(method).module(), "experiment", None)
    if make is None:
        raise ConfigError(f"{method!r} is an evaluation, not a training method: try withstand reproduce {method}")
    given, known = dict(options or {}), {option.name for option in options_of(make)}
    with isolated():  # networks draw their first weights when they are made
        first = None if "first" in known else given.pop("first", None)
        if first is not None:
            given = options_from(str(first), given, known)
        made: Experiment = call(make, given, name=method)
        if first is not None:
            made = begun(made, str(first))
        if settings:
            made = from_tree(describe(made), settings=settings, allow=allow, supply=externals(made))
    return made


def from_tree(
    tree: Tree,
    *,
    settings: Mapping[str, Tree] | None = None,
    allow: Sequence[str] = (),
    supply: Mapping[str, object] | None = None,
) -> Experiment:
    """Return the experiment that a tree describes, with some settings changed.

    Args:
        tree: as `describe` gives it and `run.json` holds it.
        settings: changes by dotted path.
        allow: modules outside withstand that the tree may name.
        supply: what the tree could only mention, by dotted path.

    Raises:
        ConfigError: the tree describes no experiment, or names something unknown or not allowed.
    """
    tree = copy.deepcopy(tree)
    for path, value in (settings or {}).items():
        override(tree, path, value)
    with isolated():
        made = build(tree, allow=allow, supply=supply)
    if not isinstance(made, Experiment):
        raise ConfigError(f"this describes a {type(made).__name__}, not an experiment")
    return made


def train(
    method: str | Experiment,
    data: Data | None = None,
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    processes: int | None = None,
    device: str | None = None,
    options: Mapping[str, object] | None = None,
    settings: Mapping[str, Tree] | None = None,
    allow: Sequence[str] = (),
    fresh: bool = False,
    quiet: bool = False,
    tensorboard: bool = False,
) -> Run:
    """Learn an encoder without labels; the same call again resumes, or returns at once when it is done.

    Args:
        method: a recipe's slug (`withstand list`), or an experiment of your own.
        data: a set's name, a folder of pictures, an array, a torch Dataset, a source; the recipe's own if None.
        out: the run folder; `runs/<method>-<data>` if None.
        epochs: passes over the data; the recipe's own if None.
        seed: of weights, order and views.
        processes: how many train together.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "mps"; the recipe's own, auto, if None.
        options: further arguments of the recipe, by name: `{"temperature": 0.2}`; `{"first": "runs/old"}` begins a
            recipe on pictures with what a run learnt.
        settings: any setting, by dotted path: `{"plan.clip": 1.0}`.
        allow: modules outside withstand that the settings may name.
        fresh: start over in a folder that holds a run.
        quiet: show no progress.
        tensorboard: also write TensorBoard events (extra `tensorboard`).

    Raises:
        WithstandError: one clear line about what to mend.
    """
    if isinstance(method, str):
        common = {"data": data, "epochs": epochs, "seed": seed, "processes": processes}
        given = {name: value for name, value in common.items() if value is not None}
        made = experiment(method, {**given, **(options or {})}, settings=settings, allow=allow)
    else:
        if data is not None or options or settings:
            raise ConfigError("data, options and settings belong to a recipe's name, not to an experiment of your own")
        plan = method.plan
        plan = plan if epochs is None else replace(plan, epochs=epochs)
        plan = plan if seed is None else replace(plan, seed=seed)
        plan = plan if processes is None else replace(plan, processes=processes)
        made = replace(method, plan=plan)
    if device is not None:
        made = _on(made, device)
    path = Path(out) if out is not None else default_out(made)
    from withstand.engine import launch  # here, for importing Fabric takes seconds, and only training needs it

    folder = launch.train(made, path, fresh=fresh, quiet=quiet, tensorboard=tensorboard, allow=tuple(allow))
    return Run(folder.path, supply=externals(made), allow=allow, device=device or "auto")


def _on(made: Experiment, device: str) -> Experiment:
    """Return an experiment, with its earlier stages, to be trained on a device."""
    first = _on(made.first, device) if isinstance(made.first, Experiment) else made.first
    return replace(made, plan=replace(made.plan, device=device), first=first)


def default_out(experiment: Experiment) -> Path:
    """Return the run folder of an experiment that names none."""
    return Path("runs") / f"{experiment.name}-{experiment.source.name}"


def open_run(
    path: str | Path,
    *,
    supply: Mapping[str, object] | None = None,
    allow: Sequence[str] = (),
    device: str = "auto",
    labels: str | Path | None = None,
    label_column: str | None = None,
) -> Run:
    """Open a run folder.

    Args:
        path: the folder.
        supply: what its description could only mention (arrays, own networks), by dotted path.
        allow: modules outside withstand that the description may name.
        device: where its networks are while something is measured: auto (a GPU where there is one), cpu, cuda or mps.
        labels: a table of samples' file names or ids and their labels, which hold in place of the data's own.
        label_column: of the labels in that table; found by itself if None.

    Raises:
        RunError: it is no run folder.
    """
    run = Run(path, supply=supply, allow=allow, device=device, labels=labels, label_column=label_column)
    run.folder.record()
    return run
