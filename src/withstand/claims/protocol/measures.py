"""Measures: the small, equal-budget trainings that claims are made of, and what is measured after them."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, TypeAlias, TypeVar, get_args, overload

import torch
from torch import Tensor, nn

from withstand.claims.protocol.claim import Claim
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Table
from withstand.core.part import Tree, describe
from withstand.core.roles import Evaluator, Method, Model, Source
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment
from withstand.engine.folder import RunFolder
from withstand.engine.launch import train
from withstand.engine.optimizers import Optimizer
from withstand.evaluation.features import embed
from withstand.evaluation.probes.knn import vote
from withstand.evaluation.probes.linear import fit_linear
from withstand.recipes.setups.vision.pictures import PictureSetup

Setup = TypeVar("Setup", bound=PictureSetup)
Kind = TypeVar("Kind", bound=Method)
Judge = TypeVar("Judge", bound=Evaluator)
Quantity = Literal["kNN accuracy", "linear accuracy"]
KNN: Final = "kNN accuracy"
LINEAR: Final = "linear accuracy"
Scale = Literal["small", "gpu"]
Figures: TypeAlias = dict[str, float]
"""What most measures give: figures by name."""
Make: TypeAlias = Callable[[int], Experiment]
"""Makes an arm's experiment for a seed."""
Watch: TypeAlias = tuple[Callable[[Method, Source], float], str]
"""What reads a figure off a trained method and test samples, and the figure's unit, as in a `Measure`."""

K = 20
"""Neighbors that vote in a claim's kNN accuracy."""
PROBES: dict[Quantity, str] = {
    KNN: "kNN, k 20, T 0.07, cosine",
    LINEAR: "linear, C chosen on a held-out part of train",
}
"""How a protocol calls the probes."""


def on_cifar10(setup: Setup, seed: int, scale: Scale = "small", *, epochs: int = 5, batch: int = 256) -> Setup:
    """Return a setup for one trial on CIFAR-10.

    Args:
        setup: the recipe's.
        seed: of the trial.
        scale: "small" takes about half a minute on a core, with a ResNet-10 of width 8; "gpu" trains a ResNet-18 of
            width 64 for 200 epochs.
        epochs: of the small scale.
        batch: of both.
    """
    width, depth, epochs = (64, 18, 200) if scale == "gpu" else (8, setup.depth, epochs)
    return replace(setup, data="cifar10", width=width, depth=depth, epochs=epochs, batch=batch, seed=seed)


def fixed(trial: Experiment, optimizer: Optimizer) -> Experiment:
    """Return a trial with an optimizer in place of its own, in float32, channels last."""
    return replace(trial, plan=replace(trial.plan, optimizer=optimizer, precision="float32", layout="channels-last"))


@overload
def trained(experiment: Experiment) -> Method: ...
@overload
def trained(experiment: Experiment, kind: type[Kind]) -> Kind: ...
def trained(experiment: Experiment, kind: type[Method] = Method) -> Method:
    """Train in a folder that is thrown away, and return the method in eval mode; the experiment stays as it was.

    Numerics are `computed_alike`.

    Raises:
        ConfigError: the experiment's method is of another kind.
    """
    method_of(experiment, kind)  # before anything runs
    (method,) = stages(experiment, (experiment.plan.epochs,))
    return _of_kind(method, kind)


def method_of(experiment: Experiment, kind: type[Kind]) -> Kind:
    """Return an experiment's method, as it is before anything runs.

    Raises:
        ConfigError: it is of another kind.
    """
    return _of_kind(experiment.method, kind)


def _of_kind(method: Method, kind: type[Kind]) -> Kind:
    if not isinstance(method, kind):
        raise ConfigError(f"this is measured on {kind.__name__}, not on {type(method).__name__}")
    return method


def judge_of(experiment: Experiment, kind: type[Judge]) -> Judge:
    """Return the first of an experiment's judges that is of a kind.

    Raises:
        ConfigError: none is.
    """
    for judge in experiment.judges:
        if isinstance(judge, kind):
            return judge
    raise ConfigError(f"{experiment.name} is not judged by {kind.__name__}")


def earlier(experiment: Experiment) -> Experiment:
    """Return the stage before this one.

    Raises:
        ConfigError: there is none, or it is a folder of a run.
    """
    if not isinstance(experiment.first, Experiment):
        raise ConfigError(f"{experiment.name} has no stage before it")
    return experiment.first


def stages(experiment: Experiment, epochs: Sequence[int]) -> Iterator[Method]:
    """Train in a folder that is thrown away, and yield the method in eval mode after these epochs, in rising order.

    Each stage resumes the one before. The schedule is that of the whole run only if it does not depend on its length.
    """
    experiment = computed_alike(experiment)
    with TemporaryDirectory(prefix="withstand-") as folder:
        for count in epochs:
            longer = replace(experiment, plan=replace(experiment.plan, epochs=count))
            run = train(longer, Path(folder) / "run", quiet=True)
            method = copy.deepcopy(experiment.method)
            checkpoint.load(run.checkpoints, method)
            yield method.eval()


def trained_at(experiment: Experiment, folder: Path) -> str:
    """Train in a folder that stays, and return its name: a stage that several arms go on from (`Experiment.first`).

    Numerics are `computed_alike`.
    """
    train(computed_alike(experiment), folder, quiet=True)
    return str(folder)


def trained_stages(experiment: Experiment) -> list[Method]:
    """Train in a folder that is thrown away, and return each stage's method in eval mode, the first one first.

    Numerics are `computed_alike`.
    """
    experiment = computed_alike(experiment)
    with TemporaryDirectory(prefix="withstand-") as folder:
        at, stage = RunFolder(Path(folder) / "run"), experiment
        train(experiment, at.path, quiet=True)
        found: list[Method] = []
        while True:
            method = copy.deepcopy(stage.method)
            checkpoint.load(at.checkpoints, method)
            found.insert(0, method.eval())
            if not isinstance(stage.first, Experiment):
                return found
            at, stage = at.first, stage.first


def computed_alike(experiment: Experiment) -> Experiment:
    """Return the experiment with float32 and channels-last where its plan leaves them to the rule.

    Both sides of a claim must compute alike, and so must the next time it is tested, on any machine.
    """
    plan = experiment.plan
    precision = "float32" if plan.precision == "auto" else plan.precision
    layout = "channels-last" if plan.layout == "auto" else plan.layout
    before = computed_alike(experiment.first) if isinstance(experiment.first, Experiment) else experiment.first
    return replace(experiment, plan=replace(plan, precision=precision, layout=layout), first=before)


def budget(experiment: Experiment) -> dict[str, Tree]:
    """Return what a trial was given, for a claim's protocol."""
    return {
        "data": f"{experiment.source.name}, {experiment.source.origin}",
        "train samples": len(experiment.source),
        "epochs": experiment.plan.epochs,
        "batch": experiment.plan.batch,
        "method of the last seed": describe(experiment.method),
        "optimizer": describe(experiment.plan.optimizer),
    }


def accuracies(
    encoder: Model, experiment: Experiment, quantities: Sequence[Quantity] = get_args(Quantity)
) -> dict[Quantity, float]:
    """Return test accuracy of the kNN (k 20, T 0.07, cosine) and the linear probe, fitted on the train part."""
    if experiment.test is None or experiment.source.labels is None:
        raise DataError("a claim is measured on labelled data with a test part")
    train_features, test_features = embed(encoder, experiment.source), embed(encoder, experiment.test)
    found: dict[Quantity, float] = {}
    if KNN in quantities:
        votes = vote(train_features.x, train_features.labels, test_features.x, k=K, temperature=0.07, metric="cosine")
        found[KNN] = share(votes.argmax(1) == test_features.labels)
    if LINEAR in quantities:
        linear = fit_linear(train_features).predict(test_features.x)
        found[LINEAR] = share(linear == test_features.labels)
    return found


def accuracy(encoder: Model, experiment: Experiment, quantity: Quantity) -> float:
    """Return one of the `accuracies`."""
    return accuracies(encoder, experiment, (quantity,))[quantity]


def projections(method: Method, source: Source) -> Tensor:
    """Return what a method's head makes of its encoder's features, `(N, D)`."""
    head = method.projector()
    if head is None:
        raise DataError(f"{type(method).__name__} has no head")
    return embed(nn.Sequential(method.encoder, head).eval(), source).x


def by_probe(
    statement: str,
    arms: Mapping[str, Make],
    *,
    quantity: Quantity = KNN,
    watch: Mapping[str, Watch] | None = None,
) -> Claim[Experiment, Figures]:
    """Return the claim that the first arm's encoder, trained, is better than the second's by a probe's accuracy.

    Args:
        statement: what the paper claims.
        arms: what makes the experiments for a seed, by name.
        quantity: which probe's accuracy is compared.
        watch: figures of trained methods on the test samples that are shown beside, by name, with their units.
    """
    watched = {} if watch is None else watch

    def measure(trial: Experiment) -> Figures:
        method = trained(trial)
        found: Figures = {quantity: accuracy(method.encoder, trial, quantity)}
        return found | {name: look(method, test_of(trial)) for name, (look, _) in watched.items()}

    def protocol(trials: Mapping[str, Experiment], _: object) -> dict[str, Tree]:
        rates: dict[str, Tree] = {name: _rate(trial) for name, trial in trials.items()}
        return {**budget(first(trials)), "probe": PROBES[quantity], "learning rates": rates}

    return Claim(
        statement=statement,
        quantity=quantity,
        names=first_two(arms),
        arms=arms,
        measure=measure,
        figures=versus(quantity),
        protocol=protocol,
        tables=lambda found: {name: beside(found, name, unit) for name, (_, unit) in watched.items()},
    )


def first(arms: Mapping[str, Any]) -> Any:
    """Return the first arm, the system."""
    return next(iter(arms.values()))


def first_two(arms: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the first two arms are called."""
    system, baseline, *_ = arms
    return system, baseline


def versus(name: str) -> Callable[[Mapping[str, Figures]], tuple[float, float]]:
    """Return what reads one figure of the first two arms."""

    def read(found: Mapping[str, Figures]) -> tuple[float, float]:
        system, baseline, *_ = found.values()
        return system[name], baseline[name]

    return read


def beside(found: Sequence[Mapping[str, Figures]], name: str, unit: str) -> Table:
    """Return the table of one figure of every arm, by seed."""
    rows = tuple((seed, *(figures[name] for figures in arms.values())) for seed, arms in enumerate(found))
    return Table(("seed", *found[0]), rows, units=dict.fromkeys(found[0], unit))


def test_of(trial: Experiment) -> Source:
    """Return a trial's test samples.

    Raises:
        DataError: there are none.
    """
    if trial.test is None:
        raise DataError("a claim is measured on data with a test part")
    return trial.test


def share(right: Tensor) -> float:
    """Return the share of true values."""
    return right.to(torch.float32).mean().item()


def _rate(trial: Experiment) -> Tree:
    """Return the base learning rate, by group where there are several."""
    rates: dict[str, Tree] = {name: trial.plan.optimizer_of(name).learning_rate for name in trial.method.groups()}
    return next(iter(rates.values())) if len(rates) == 1 else rates
