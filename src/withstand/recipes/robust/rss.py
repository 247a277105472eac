"""RSS: a few labels, many samples without them that need not be of the same kind, and an adversary who moves both.

paper: Out-Of-Domain Unlabeled Data Improves Generalization (Saberi, Najafi, Emrani, Behjati, Zolfimoselo, Shadrooy,
  Motahari, Khalaj; ICLR 2024)
claims: unlabelled samples, even of a shifted distribution, raise the accuracy of a classifier that has few labels,
  where classes are clusters: the robust loss of its own answers pushes boundaries out of where many samples lie
learns from: few labelled pictures, photos, images, or rows of numbers, and many unlabelled ones
use it when: there are ten to some hundred labels, many samples without, and classes that are clusters in the features;
  semi-supervised learning, self-training, distribution shift
not for: classes that no gap parts, where the boundary settles in any gap there is; classes of very unequal size; a
  certified radius, which a price for moving does not give
differences: no training code was published. A linear classifier on rows, on pixels or on a run's frozen features, not a
  network that is trained whole. The paper's start, a classifier without unlabelled samples, is a first stage of
  logistic loss at unit weights. Features are brought to a spread of 1
command: withstand train rss --data fashion-mnist-small --first runs/simclr-fashion-mnist-small --labels 5
time: 84 processor seconds for the claim, 3 seeds
reached: reproduced: accuracy 0.780 ± 0.007 with 5,000 unlabelled samples of a shifted mixture, 0.553 ± 0.025 with the
  ten labels alone (mixtures of two Gaussians)
"""

from dataclasses import dataclass, replace
from math import inf, prod
from pathlib import Path

import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.options import Options
from withstand.core.part import again
from withstand.core.roles import Model, Source
from withstand.data.derived.joined import Joined
from withstand.data.derived.resized import as_shaped
from withstand.data.derived.subset import Subset, apart, labelled
from withstand.data.load import Data, splits
from withstand.data.shared.rows import all_to_learn_from
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.continual.classifier_gain import ClassifierGain
from withstand.evaluation.features import Features
from withstand.evaluation.probes.splits import per_class
from withstand.losses.robust.transport import Cost
from withstand.methods.robust.rss import LABELLED, RSS, RobustLoss
from withstand.models.blocks.normalization.scaled import Flat
from withstand.recipes.setups.staged.stages import encoder_of, require_taken, side_of
from withstand.recipes.setups.vision.labelled_pictures import class_count
from withstand.views.columns import AsIs


@dataclass(frozen=True, kw_only=True)
class FewLabels(Options):
    """What self-training with few labels can be told: data, labels, features, budget.

    Args:
        data: a set's name, a folder of pictures with one folder a class, an array file; its test part judges.
        size: side in pixels to which a folder's photos are brought; the sets have their own.
        unlabelled: further data, whose labels are not read, and of which none are kept to judge by; what is left of
            `data` if not said.
        labels: labels a class that are used; 0 for all there are, with --unlabelled.
        first: folder of a run whose encoder gives the features, say one of simclr; the samples themselves if not said.
        epochs: passes over the unlabelled samples, and over the labelled ones in the first stage.
        batch: samples a step, at most all.
        learning_rate: of Adam.
        seed: of the choice of labels, of weights and order.
        processes: how many train together.
    """

    data: Data = "fashion-mnist-small"
    size: int | None = None
    unlabelled: str | Source | None = None
    labels: int = 10
    first: str | Experiment | None = None
    epochs: int = 60
    batch: int = 2000
    learning_rate: float = 0.05
    seed: int = 0
    processes: int = 1


SETUP = FewLabels()


def experiment(
    setup: FewLabels = SETUP,
    *,
    loss: RobustLoss = "zero-one",
    cost: Cost = "l2",
    gamma: float = 1.0,
    gamma_unlabelled: float = 1.0,
    weight: float = 1.0,
    bias: bool = True,
    steps: int = 15,
) -> Experiment:
    """Return the experiment, with its first stage, which learns from the labelled samples alone, inside.

    Args:
        setup: data, labels, features, budget.
        loss: zero-one, ramp, hinge, or logistic, whose worst points are searched for.
        cost: what the adversary pays by: l2, or squared-l2, which logistic asks for.
        gamma: his price for labelled samples; inf for no adversary.
        gamma_unlabelled: his price for unlabelled ones; inf for plain self-training.
        weight: of unlabelled samples, lambda.
        bias: learn one for each class; the paper's two classes lie about the origin.
        steps: of logistic's search.

    Raises:
        ConfigError: a setting out of range.
        DataError: data without labels or of another shape, fewer labels than asked for, or those of one class.
    """
    known, unlabelled, test = parts(setup)
    classes = class_count(labelled(known))
    encoder: Model = Flat(prod(known.shape))
    if setup.first is not None:
        first = setup.first
        encoder = encoder_of(Path(first)) if isinstance(first, str) else again(first.method.encoder)
        require_taken(encoder, known, first)
    stage = Experiment(
        "rss",
        known,
        AsIs(),
        RSS(encoder, classes, loss="logistic", gamma=None, weight=0.0, bias=bias),
        _plan(setup, len(known)),
        test,
        first=setup.first,
    )
    method = RSS(
        again(encoder),
        classes,
        loss=loss,
        cost=cost,
        gamma=None if gamma == inf else gamma,
        gamma_unlabelled=None if gamma_unlabelled == inf else gamma_unlabelled,
        weight=weight,
        bias=bias,
        steps=steps,
    )
    return replace(
        stage,
        source=unlabelled,
        method=method,
        plan=_plan(setup, len(unlabelled)),
        labelled=known,
        judges=(ClassifierGain(),),
        first=stage,
        beside={LABELLED: known},
    )


def parts(setup: FewLabels) -> tuple[Source, Source, Source]:
    """Return the samples whose labels are learnt from, those without, and test samples.

    Raises:
        ConfigError: a number of labels that does not fit.
        DataError: data that do not fit.
    """
    whole, test = splits(setup.data, size=side_of(setup.first, setup.data, setup.size), seed=0)
    if whole.labels is None:
        raise DataError("rss learns from some labels, and the data have none: withstand find unlabelled lists others")
    if not whole[torch.arange(1)].x.dtype.is_floating_point and whole.kind != "picture":
        raise DataError(f"rss learns from pictures or rows of floating numbers, not from {whole.kind}s")
    if whole.fields and setup.first is None:
        raise DataError("rss takes columns with names for numbers only through a run's encoder: give it by --first")
    if setup.labels < 0 or (setup.labels == 0 and setup.unlabelled is None):
        raise ConfigError(f"labels must be at least 1, or 0 for all with unlabelled data, not {setup.labels!r}")
    rows = torch.arange(len(whole))
    named = rows[whole.labels >= 0]
    if setup.labels:
        features = Features(torch.zeros(len(named), 1), whole.labels[named], named)
        named = per_class(features, setup.labels, setup.seed, "rss").index
    if len(torch.bincount(whole.labels[named]).nonzero()) < 2:
        raise DataError("only one class has labels: a classifier needs samples of two at least")
    known = Subset(whole, named.tolist())
    if setup.unlabelled is None:
        rest = rows[~torch.isin(rows, named)]
        if not len(rest):
            raise DataError("all samples' labels are used, and none is left to learn from without: lower labels")
        return known, Joined((Subset(whole, rest.tolist()),)), test
    other = all_to_learn_from(setup.unlabelled, size=side_of(setup.first, setup.unlabelled, setup.size))
    other = apart(other, test)  # where they are the data themselves
    if other.kind == whole.kind == "picture":
        other = as_shaped(other, whole.shape)
    if other.shape != whole.shape:
        raise DataError(f"the unlabelled samples have shape {other.shape}, and the labelled ones {whole.shape}")
    return known, Joined((other,)), test


def _plan(setup: FewLabels, count: int) -> Plan:
    size = min(setup.batch, count)
    return Plan(
        epochs=setup.epochs,
        batch=size - size % setup.processes,
        optimizer=Adam(setup.learning_rate),
        schedule=Constant(),
        precision="float32",
        seed=setup.seed,
        processes=setup.processes,
    )
