"""The front door: `train` an encoder, `open_run` an old one, and ask the run what it is worth and withstands."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from withstand.attacks.gradient import PGD
from withstand.attacks.objectives import CrossEntropy, EmbeddingDistance
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.finding import Finding
from withstand.core.options import call
from withstand.core.part import Tree, build, describe, externals, override
from withstand.core.random import isolated
from withstand.core.roles import Attacked, Method, Model, Source
from withstand.core.threat import Ball, Norm, parse_eps
from withstand.core.victim import Victim
from withstand.data.load import Data, splits
from withstand.engine import checkpoint, launch
from withstand.engine.experiment import Experiment
from withstand.engine.export import to_onnx, to_safetensors
from withstand.engine.folder import RunFolder
from withstand.evaluation.features import Features, embed, unit_range
from withstand.evaluation.linear import fit_linear
from withstand.evaluation.probes import probe
from withstand.evaluation.robustness import Audit
from withstand.methods.labelled import LabelledMethod
from withstand.recipes.catalogue import entry
from withstand.report import render


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
        options: arguments of the recipe's `experiment`, by name.
        settings: changes to the described experiment by dotted path, say `{"method.sigma": 0.3}`.
        allow: modules outside withstand that the settings may name.

    Raises:
        ConfigError: an unknown method, option or setting, with the nearest name.
    """
    make = getattr(entry(method).module(), "experiment", None)
    if make is None:
        raise ConfigError(f"{method!r} is an evaluation, not a training method: try withstand reproduce {method}")
    with isolated():  # networks draw their first weights when they are made
        made: Experiment = call(make, options or {}, name=method)
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
    options: Mapping[str, object] | None = None,
    settings: Mapping[str, Tree] | None = None,
    allow: Sequence[str] = (),
    fresh: bool = False,
    quiet: bool = False,
    tensorboard: bool = False,
) -> "Run":
    """Learn an encoder without labels; the same call again resumes, or returns at once when it is done.

    Args:
        method: a recipe's slug (`withstand list`), or an experiment of your own.
        data: a set's name, a folder of pictures, an array, a torch Dataset, a source; the recipe's own if None.
        out: the run folder; `runs/<method>-<data>` if None.
        epochs: passes over the data; the recipe's own if None.
        seed: of weights, order and views.
        processes: how many train together.
        options: further arguments of the recipe, by name: `{"temperature": 0.2}`.
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
    path = Path(out) if out is not None else default_out(made)
    folder = launch.train(made, path, fresh=fresh, quiet=quiet, tensorboard=tensorboard, allow=tuple(allow))
    return Run(folder.path, supply=externals(made), allow=allow)


def default_out(experiment: Experiment) -> Path:
    """Return the run folder of an experiment that names none."""
    return Path("runs") / f"{experiment.name}-{experiment.source.name}"


def open_run(path: str | Path, *, supply: Mapping[str, object] | None = None, allow: Sequence[str] = ()) -> "Run":
    """Open a run folder.

    Args:
        path: the folder.
        supply: what its description could only mention (arrays, own networks), by dotted path.
        allow: modules outside withstand that the description may name.

    Raises:
        RunError: it is no run folder.
    """
    run = Run(path, supply=supply, allow=allow)
    run.folder.record()
    return run


class Run:
    """A trained encoder with all that is known of it; its folder is its whole state."""

    def __init__(
        self, path: str | Path, *, supply: Mapping[str, object] | None = None, allow: Sequence[str] = ()
    ) -> None:
        self.folder = RunFolder(Path(path))
        self._supply, self._allow = dict(supply or {}), tuple(allow)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    def _build(self, place: str) -> object:
        tree = self.folder.record()["tree"]
        assert isinstance(tree, dict)
        arguments = tree["init_args"]
        assert isinstance(arguments, dict)
        with isolated(self._seed(), "weights"):
            return build(arguments[place], allow=self._allow, supply=self._supply, path=place)

    def _seed(self) -> int:
        seed = self.folder.record()["seed"]
        assert isinstance(seed, int)
        return seed

    @cached_property
    def method(self) -> Method:
        """The trained method, in eval mode.

        Raises:
            CheckpointError: the run has no sound checkpoint.
        """
        method = self._build("method")
        assert isinstance(method, Method)
        if checkpoint.load(self.folder.checkpoints, method) is None:
            raise ConfigError(f"{self.path} has no checkpoint yet: train it first")
        return method.eval()

    @property
    def encoder(self) -> Model:
        """The trained encoder, in eval mode: pictures in [0, 1] in, features `(B, width)` out."""
        return self.method.encoder

    @cached_property
    def untrained(self) -> Model:
        """An encoder of the same kind that learnt nothing: the control beside every number."""
        method = self._build("method")
        assert isinstance(method, Method)
        return method.encoder.eval()

    def sources(self, data: Data | None = None) -> tuple[Source, Source]:
        """Return (train, test): the run's own, or other data's."""
        if data is not None:
            train = self._build("source")
            assert isinstance(train, Source)
            size = train.shape[-1] if len(train.shape) == 3 and Path(str(data)).is_dir() else None
            return splits(data, size=size)
        train, test = self._build("source"), self._build("test")
        assert isinstance(train, Source)
        if not isinstance(test, Source):
            raise DataError("the run kept no test samples: name data to evaluate on")
        return train, test

    def embed(self, data: Data | None = None, *, split: str = "train") -> Features:
        """Return the features of the run's own data, or of other data."""
        train, test = self.sources(data)
        return embed(self.encoder, train if split == "train" else test)

    def probe(self, data: Data | None = None) -> list[Finding]:
        """Measure what the encoder is worth, beside an untrained one, and keep the findings."""
        train, test = self.sources(data)
        findings = probe(self.encoder, train, test, control=self.untrained)
        for finding in findings:
            self.folder.save(finding)
        return findings

    def classifier(self, data: Data | None = None) -> nn.Module:
        """Return what predicts: the network a labelled method trained, else the encoder with a linear probe on top.

        Pictures in [0, 1] in, logits out.

        Raises:
            DataError: a probe is needed, and the data have no labels.
        """
        if isinstance(self.method, LabelledMethod):
            return self.method.network().eval()
        train, _ = self.sources(data)
        if train.labels is None:
            raise DataError("a classifier needs labels, and the data have none: attack the encoder itself")
        return nn.Sequential(self.encoder, fit_linear(embed(self.encoder, train)).as_linear()).eval()

    def victim(self, data: Data | None = None) -> tuple[Victim, Source]:
        """Return what is attacked, and the test samples: with labels a classifier, without them the encoder."""
        train, test = self.sources(data)
        return Victim(self.encoder if train.labels is None else self.classifier(data)), test

    def audit(
        self,
        data: Data | None = None,
        *,
        norm: Norm = "linf",
        eps: Sequence[str | float] | str | float = "8/255",
        samples: int = 500,
        steps: int = 20,
        seed: int = 0,
    ) -> Finding:
        """Measure what the encoder withstands, with the checks that make it believable, and keep the finding.

        With labels the encoder is attacked through a linear probe; without, its embeddings are moved.

        Args:
            data: the run's own if None.
            norm: of the headline's threat model, "linf" or "l2"; curves of both are drawn.
            eps: radii in input units, or like "8/255"; the largest one is the headline, and one alone joins the
                usual curve.
            samples: how many test samples are attacked.
            steps: PGD steps at each radius.
            seed: of the choice of samples and of random starts.
        """
        radii = tuple(_radius(one, norm) for one in ([eps] if isinstance(eps, str | float | int) else eps))
        audit = Audit(ball=Ball(norm, max(radii)), samples=samples, steps=steps, seed=seed)
        if len(radii) > 1:
            audit = replace(audit, linf=radii) if norm == "linf" else replace(audit, l2=radii)
        victim, test = self.victim(data)
        finding = audit.evaluate(victim, test)
        self.folder.save(finding)
        return finding

    def attack(
        self,
        data: Data | None = None,
        *,
        norm: Norm = "linf",
        eps: str | float = "8/255",
        samples: int = 64,
        steps: int = 40,
        restarts: int = 1,
        seed: int = 0,
    ) -> tuple[Attacked, Batch]:
        """Attack test samples by PGD, and return what was found with the clean batch.

        Args:
            data: the run's own if None.
            norm: "linf" or "l2".
            eps: radius in input units, or like "8/255".
            samples: how many, from the first on.
            steps: PGD steps.
            restarts: independent tries for each sample.
            seed: of random starts.
        """
        victim, test = self.victim(data)
        batch = test[torch.arange(min(samples, len(test)))]
        objective = EmbeddingDistance() if victim.model is self.encoder else CrossEntropy()
        pgd = PGD(Ball(norm, _radius(eps, norm)), objective, steps=steps, restarts=restarts)
        labels = None if victim.model is self.encoder else batch.y
        return pgd(victim, unit_range(batch.x), labels, generator=seed), batch

    def export(self, out: str | Path | None = None, *, form: Literal["safetensors", "onnx"] = "safetensors") -> Path:
        """Write the encoder alone, and return the file's path.

        Args:
            out: the file; `encoder.safetensors` (with `encoder.json`, its description) or `encoder.onnx` in the
                run folder if None.
            form: "safetensors", or "onnx" (extra `export`), whose outputs are compared with torch's.
        """
        path = Path(out) if out is not None else self.path / f"encoder.{form}"
        if form == "onnx":
            return to_onnx(self.encoder, self.sources()[0].shape, path)
        return to_safetensors(self.encoder, path)

    def report(self) -> Path:
        """Write `report.html` from what the run folder holds, and return its path."""
        return render(self.path)


def _radius(eps: str | float, norm: Norm) -> float:
    """Return a radius, refusing one that spans the whole input range: 8 where 8/255 was meant."""
    value = parse_eps(eps)
    if norm == "linf" and value > 1:
        raise ConfigError(f"eps {eps} is more than the whole input range, 0 to 1: did you mean {eps}/255?")
    return value
