"""Attack tracing: hand out copies of one classifier that attacks on them can be traced to.

paper: Tracing the Origin of Adversarial Attack for Forensic Investigation and Deterrence (Fang, Zhang, Qiu, Xu, Fang,
  Chang; ICCV 2023)
claims: a small network beside the classifier that reacts to noise, another in each copy, bends adversarial examples
  that are made on the copy so that they point at it, and costs next to no accuracy
learns from: a run that trained a classifier, and unlabelled pictures, photos, images
use it when: a classifier is given to several buyers, and adversarial examples that turn up are to be traced to the copy
  that they were made on: withstand trace RUN adversarial.npz; forensics, watermark, fingerprint, deterrence
not for: proof of who did it; buyers who take the tracer out or pool their copies, as the report shows; a classifier of
  two classes
time: 47 s of a processor a seed for the claim
reached: the claim: one example points at the copy that it was made on in 0.568 ± 0.105 of the cases, 0.242 ± 0.007 with
  untrained tracers (chance 0.25), effect 0.326 [0.082, 0.571], 3 seeds (digits, four copies). On one seed, of attacks
  on one copy 0.336 succeed on another, 0.838 without learnt tracers; copies are right on 0.916, the classifier on
  0.919. Who avoids the tracer is not traced (0.111). Ten tracers that learn at once take 0.8 of the time that one after
  another take on a CPU
command: withstand train attack-tracing --first runs/pgd-at-fashion-mnist-small
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.options import Options
from withstand.core.part import again
from withstand.core.roles import Source, network_of
from withstand.data.load import Data, splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.defenses.tracing.judge import OriginTracing
from withstand.losses.robust.noise_sensitivity import Form
from withstand.methods.robust.attack_tracing import AttackTracing
from withstand.models.pictures.tracers import Tracers
from withstand.recipes.setups.staged.forgetting import data_of
from withstand.recipes.setups.staged.stages import method_of, side_of
from withstand.views.columns import AsIs


@dataclass(frozen=True, kw_only=True)
class TracingSetup(Options):
    """What copies of a classifier can be told: the run, data, budget.

    Args:
        first: folder of the run whose classifier is copied, one of pgd-at or sla, say; an experiment is trained first.
        data: pictures that tracers learn from; the run's own if not said.
        size: side in pixels of a folder's photos, with data.
        epochs: passes over them.
        batch: samples a step.
        learning_rate: of Adam.
        seed: of first weights, order and noise.
        processes: how many train together.
    """

    first: str | Experiment | None = None
    data: Data | None = None
    size: int | None = None
    epochs: int = 10
    batch: int = 128
    learning_rate: float = 1e-2
    seed: int = 0
    processes: int = 1


SETUP = TracingSetup()


def experiment(
    setup: TracingSetup = SETUP,
    *,
    copies: int = 10,
    reserve: int = 2,
    alpha: float = 0.3,
    sigma: float = 0.05,
    loss: Form = "reciprocal",
    constant: float = 1e-3,
    width: int = 8,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: run, data, budget.
        copies: how many are handed out.
        reserve: further ones that never are; they stand for sources that nobody registered.
        alpha: what a tracer weighs in its copy: more is traced better, and costs accuracy.
        sigma: deviation of the noise, for pictures in [0, 1].
        loss: reciprocal as published, or difference, which lowers the negative of the change.
        constant: c of the reciprocal.
        width: channels of a tracer.

    Raises:
        ConfigError: no run, or a run without a classifier.
        DataError: pictures of another shape.
    """
    first = setup.first
    if first is None:
        raise ConfigError(
            "attack-tracing copies a trained classifier: give its run by --first FOLDER; withstand train pgd-at makes "
            "one"
        )
    if copies < 2:
        raise ConfigError(f"copies must be at least 2, not {copies!r}: among fewer there is nothing to trace")
    if reserve < 0:
        raise ConfigError(f"reserve must be at least 0, not {reserve!r}")
    known = network_of(method_of(Path(first)) if isinstance(first, str) else first.method, "classifier")
    source, test = _data(setup, first)
    if len(source.shape) != 3:
        raise DataError(f"attack-tracing learns on pictures (C, H, W), not samples of shape {source.shape}")
    network = again(known).eval()
    with torch.no_grad():
        classes = network(torch.zeros(1, *source.shape)).shape[1]
    tracers = Tracers(source.shape, classes, copies + reserve, width)
    method = AttackTracing(network, tracers, alpha=alpha, reserve=reserve, sigma=sigma, form=loss, constant=constant)
    plan = Plan(
        epochs=setup.epochs,
        batch=min(setup.batch, len(source)),
        optimizer=Adam(setup.learning_rate),
        schedule=Constant(),
        precision="float32",
        seed=setup.seed,
        processes=setup.processes,
    )
    return Experiment("attack-tracing", source, AsIs(), method, plan, test, judges=(OriginTracing(),), first=first)


def _data(setup: TracingSetup, first: str | Experiment) -> tuple[Source, Source | None]:
    if setup.data is not None:
        return splits(setup.data, size=side_of(first, setup.data, setup.size), seed=0)
    return data_of(Path(first), None, setup.size) if isinstance(first, str) else (first.source, first.test)
