"""LAF: make a trained classifier forget some of the samples that it learnt from, without anyone's labels.

paper: Label-Agnostic Forgetting: A Supervision-Free Unlearning in Deep Models (Shen, Zhang, Zhao, Bialkowski, Chen, Xu;
  ICLR 2024)
claims: moving the features of samples to forget out of the law that they had, and those of the others back, forgets a
  class without labels nearly as a classifier that was retrained without it
learns from: a run that trained a classifier, and the samples that it learnt from, without their labels
use it when: samples must be taken back, as a person asks for it, labels are gone, and retraining costs too much;
  machine unlearning, the right to be forgotten
not for: proof that nothing is left: features may still tell what the head does not, and samples that were pushed away
  can stand out: look at what the membership attack calls members, beside the retrained classifier
differences: normalizations stay in eval mode, the autoencoders end without a sigmoid unless told, both learn in the
  same steps, and rates follow the number of steps unless told; the official ones do nothing in some hundred steps
command: withstand train laf --first runs/pgd-at-fashion-mnist-small --forget class:3
time: 71 processor seconds for the claim, 3 seeds
reached: reproduced: nearness to the retrained classifier 0.996 ± 0.001, 0.557 ± 0.021 before forgetting a class; the
  membership attack beside it tells what that figure does not
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from withstand.core.errors import ConfigError
from withstand.core.options import Options
from withstand.core.part import again, build
from withstand.core.roles import Method, Source
from withstand.data.derived.subset import Subset, labelled
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.folder import RunFolder
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.continual.unlearning import Unlearning
from withstand.evaluation.features import Features
from withstand.evaluation.probes.splits import per_class
from withstand.methods.editing.laf import (
    ALIGNMENT,
    EXTRACTION,
    FORGET,
    LAF,
    REMAINING,
    HeadRepair,
    RepresentationVAEs,
    Retrained,
    classifier_of,
)
from withstand.recipes.setups.staged.forgetting import data_of, places, rest
from withstand.recipes.setups.staged.stages import method_of
from withstand.views.columns import AsIs


@dataclass(frozen=True, kw_only=True)
class Forgetting(Options):
    """What forgetting can be told: the run, its samples, the budget.

    Args:
        first: folder of the run whose classifier is to forget, one of pgd-at, say; an experiment is trained first.
        forget: class:NAME or class:NUMBER, or a text file of places in the training data, one a line from 0;
            in Python a tensor of them too.
        data: names the run's data, where it learnt from data in memory.
        size: side in pixels of a folder's photos, with data.
        epochs: passes over the samples to forget.
        batch: samples of each kind a step, at most all to be forgotten.
        learning_rate: of the first of the two steps, by Adam; a tenth over the number of steps, at most 1e-3, if not
            said.
        seed: of order and noise.
        processes: how many train together.
    """

    first: str | Experiment | None = None
    forget: str | Tensor | None = None
    data: str | Source | None = None
    size: int | None = None
    epochs: int = 40
    batch: int = 32
    learning_rate: float | None = None
    seed: int = 0
    processes: int = 1


SETUP = Forgetting()


def experiment(
    setup: Forgetting = SETUP,
    *,
    align: float | None = None,
    temperature: float = 5.0,
    latent: int = 8,
    vae_epochs: int = 30,
    sigmoid: bool = False,
    labels: int = 0,
    repair_epochs: int = 5,
    retrain: bool = False,
) -> Experiment:
    """Return the experiment of the last stage, with those before it inside: autoencoders, forgetting, repair.

    Args:
        setup: the run, its samples, the budget.
        align: rate of the second of the two steps; twice the first's if not said.
        temperature: of forgotten samples in the alignment: 5 to 20 in the paper; a high one forgets less.
        latent: numbers of the autoencoders' code.
        vae_epochs: the autoencoders' passes over what remains; 10 in the paper, on some ten thousand samples.
        sigmoid: end the autoencoders in a sigmoid, as the official code does.
        labels: of each class that remains, with which the head is repaired at the end; 0 for none.
        repair_epochs: passes over them.
        retrain: train the run's method anew on what remains, to judge by; it costs what the run did.

    Raises:
        ConfigError: no run, no samples named, or a run without a classifier.
        DataError: samples that there are not, none, or all.
    """
    if setup.first is None or setup.forget is None:
        raise ConfigError(
            "laf edits a trained classifier: give its run by --first FOLDER, and what it forgets by --forget "
            "class:NAME or --forget FILE"
        )
    first = setup.first
    method = method_of(Path(first)) if isinstance(first, str) else again(first.method)
    network = classifier_of(method)
    if isinstance(first, str):
        source, test = data_of(Path(first), setup.data, setup.size)
    else:
        source, test = first.source, first.test
    gone = places(setup.forget, source)
    forget, remaining = Subset(source, gone), Subset(source, rest(gone, len(source)))
    classes = network.head.out_features
    before: str | Experiment = _retraining(first, method, remaining, test) if retrain else first
    vaes = Experiment(
        "laf",
        remaining,
        AsIs(),
        RepresentationVAEs(again(network.encoder), classes, latent=latent, sigmoid=sigmoid, reference=retrain),
        _plan(setup, len(remaining), vae_epochs, Adam(1e-3)),
        test,
        labelled=source,
        first=before,
        beside={FORGET: forget},
    )
    size = _batch(setup, len(forget))
    steps = setup.epochs * (len(forget) // size)
    rate = min(1e-3, 0.1 / steps) if setup.learning_rate is None else setup.learning_rate
    rates = {EXTRACTION: Adam(rate), ALIGNMENT: Adam(2 * rate if align is None else align)}
    forgetting = replace(
        vaes,
        source=forget,
        method=LAF(
            again(network.encoder),
            classes,
            latent=latent,
            sigmoid=sigmoid,
            temperature=temperature,
            reference=retrain,
        ),
        plan=_plan(setup, len(forget), setup.epochs, rates),
        judges=(Unlearning(forget, remaining),),
        first=vaes,
        beside={REMAINING: remaining},
    )
    if not labels:
        return forgetting
    known = _few(remaining, labels, setup.seed)
    return replace(
        forgetting,
        source=known,
        method=HeadRepair(again(network.encoder), classes, reference=retrain),
        plan=_plan(setup, len(known), repair_epochs, Adam(1e-3)),
        first=forgetting,
        beside={},
    )


def _few(remaining: Source, labels: int, seed: int) -> Source:
    """Return so many labelled samples of each class that remains."""
    if labels < 0:
        raise ConfigError(f"labels must be at least 0, not {labels!r}")
    some = labelled(remaining)
    if some.labels is None:
        raise ConfigError(f"labels is {labels}, and the data have none: 0 forgets without")
    everyone = Features(torch.zeros(len(some), 1), some.labels, torch.arange(len(some)))
    return Subset(some, per_class(everyone, labels, seed, "repair").index.tolist())


def _retraining(first: str | Experiment, method: Method, remaining: Source, test: Source | None) -> Experiment:
    """Return the stage that trains the run's method anew, as it was trained, on what remains.

    Raises:
        ConfigError: the run learnt from more than its data.
    """
    if isinstance(first, Experiment):
        view, plan, more = first.view, first.plan, bool(first.first or first.beside)
    else:
        folder = RunFolder(Path(first))
        described: dict[str, Any] = {name: folder.described(name) for name in ("view", "plan", "first", "beside")}
        view, plan = (build(described[name], path=name) for name in ("view", "plan"))
        more = bool(described["first"] or described["beside"])
    if more:
        raise ConfigError(
            "retrain trains a run of one stage on its data alone, and this one had a stage before or more"
        )
    plan = replace(plan, batch=min(plan.batch, len(remaining) - len(remaining) % plan.processes))
    return Experiment("laf", remaining, view, Retrained(again(method)), plan, test, first=first)


def _batch(setup: Forgetting, count: int) -> int:
    size = min(setup.batch, count)
    return max(size - size % setup.processes, 1)


def _plan(setup: Forgetting, count: int, epochs: int, optimizer: Adam | dict[str, Adam]) -> Plan:
    return Plan(
        epochs=epochs,
        batch=_batch(setup, count),
        optimizer=optimizer,
        schedule=Constant(),
        precision="float32",
        seed=setup.seed,
        processes=setup.processes,
    )
