"""What is attacked, audited or certified: a network of the user's own as a victim, and the samples."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from withstand.api.places import found
from withstand.api.settings import Inputs
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.objectives import CrossEntropy, EmbeddingDistance, pick
from withstand.attacks.single_passes import check_surrogate
from withstand.core.batch import as_structured
from withstand.core.devices.device import device_of_network, moved
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.random import as_draws
from withstand.core.roles import Model, Source
from withstand.core.threat import Ball
from withstand.core.victims.victim import Outputs, Victim
from withstand.data.derived.relabelled import numbered_as
from withstand.data.derived.subset import labelled
from withstand.data.load import Data, judged, splits
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.evaluation.probes.ridge import fit_ridge
from withstand.models.blocks.classifiers.classifier import Classifier
from withstand.models.blocks.exported import classes_of

_LOOKED_AT = 64
NOTHING_SAID = Inputs()
UNIT = Victim(nn.Flatten())
"""A victim whose inputs lie in [0, 1], as those of every run's networks do."""


def front(
    subject: str | Path | nn.Module | Victim,
    data: Data,
    *,
    inputs: Inputs = NOTHING_SAID,
    allow: Sequence[str] = (),
    device: torch.device | None = None,
) -> tuple[Victim, Source, Source]:
    """Return what is attacked, what a probe may be fitted on, and the samples: everything given, unless one is needed.

    Data that come in parts give their test part, and other data all they hold. Of a network that has `classes`, the
    names of its answers in order, labels are numbered by their classes' names. An encoder needs a linear probe where
    the data have labels, and other samples to fit it on: the training part, or a share that is held out.

    Args:
        subject: as for `victim_of`.
        data: as for `withstand.audit`.
        inputs: what the network takes, and the size of pictures from a folder.
        allow: modules outside withstand that a description may name.
        device: where a network that had to be found is put.
    """
    network = found(subject, allow, device)
    if isinstance(network, Model):
        train, test = splits(data, size=inputs.size, reading=inputs.reading)
        if train.labels is not None:
            return victim_of(network, train, inputs=inputs), train, test
    test = judged(data, size=inputs.size, reading=inputs.reading)
    test = numbered_as(test, output_classes(subject, network))
    return victim_of(network, test, inputs=inputs), test, test


def victim_of(
    subject: str | Path | nn.Module | Victim,
    train: Source,
    allow: Sequence[str] = (),
    device: torch.device | None = None,
    *,
    inputs: Inputs = NOTHING_SAID,
) -> Victim:
    """Return what is attacked.

    Args:
        subject: a network or a victim of your own; or where one is found: `FILE.safetensors` with its description
            `FILE.json` beside it, `FILE.onnx`, `FILE.py:NAME`, `MODULE:NAME`, `timm:NAME`. NAME is a network, a victim,
            or a function that returns one; of timm, a classifier with its published weights. An encoder gets a linear
            probe where the data have labels.
        train: on which the probe is fitted.
        allow: modules outside withstand that a description may name.
        device: where a network that had to be found is put; None leaves it where it is, as one's own always is.
        inputs: what the network takes.

    Raises:
        ConfigError: `inputs` of what says itself what it takes.
    """
    network = found(subject, allow, device)
    whose = "a Victim" if isinstance(network, Victim) else "an encoder of this library"
    if inputs.of_network() and isinstance(network, Victim | Model):
        raise ConfigError(f"low, high and normalize are for a bare network: {whose} says what it takes itself")
    if isinstance(network, Victim):
        return network
    if isinstance(network, Model) and train.labels is not None:
        return Victim(probed(network, train), levels=train.levels)
    low, high = (default if value is None else value for value, default in ((inputs.low, 0.0), (inputs.high, 1.0)))
    return Victim(network, low=low, high=high, normalize=inputs.pair(), levels=train.levels)


def output_classes(subject: object, network: nn.Module | Victim) -> tuple[str, ...]:
    """Return the names of what a network's outputs number, as its export or itself says them; () where nothing does.

    Args:
        subject: where it was found.
        network: what was found there; one with `classes`, a sequence of names, says them itself.
    """
    place = Path(subject) if isinstance(subject, str | Path) else None
    if place is not None and place.suffix == ".safetensors":
        return classes_of(place)
    said = getattr(network.model if isinstance(network, Victim) else network, "classes", ())
    named = isinstance(said, list | tuple) and all(isinstance(name, str) for name in said)
    return tuple(said) if named else ()


def surrogate_of(
    subject: str | Path | nn.Module | Victim, train: Source, classes: Sequence[str], allow: Sequence[str] = ()
) -> Victim:
    """Return a model whose attacks are carried over, its outputs in the order of the victim's where both have names.

    Args:
        subject: as for `victim_of`.
        train: likewise.
        classes: the names of labels 0, 1, ... of what is attacked; may be empty.
        allow: as for `victim_of`.

    Raises:
        DataError: it does not know one of the classes.
    """
    victim = victim_of(subject, train, allow)
    own = output_classes(subject, victim)
    if not own or not classes or own == tuple(classes):
        return victim
    if strange := [name for name in classes if name not in own]:
        raise DataError(f"the surrogate {subject} does not know the class {strange[0]!r}: {nearest(strange[0], own)}")
    places = torch.tensor([own.index(name) for name in classes])
    return victim.like(_InOrder(victim.model, places).eval())


class _InOrder(nn.Module):
    """A classifier with some of its outputs, in another order."""

    places: torch.Tensor

    def __init__(self, network: nn.Module | Callable[[torch.Tensor], Outputs], places: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("places", places)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pick(self.network(x), "logits")[:, self.places]


def look(victim: Victim, test: Source, surrogate: Victim | None = None) -> None:
    """Refuse what cannot be evaluated, on a few samples and before anything is written.

    Raises:
        DataError: no samples, samples that the victim does not take, or answers that do not fit the labels; a surrogate
            that no attack can be made on.
    """
    if not len(test):
        raise DataError("there are no samples to evaluate on")
    batch = test[torch.arange(min(_LOOKED_AT, len(test)))].to(device_of_network(victim.model))
    if as_structured(batch.x) is not None:
        raise DataError(f"{type(batch.x).__name__} are no tensor that a ball fits round: a run may have its own audit")
    x = victim.ready(batch.x)
    if batch.y is not None:
        with victim.held(), torch.no_grad():
            CrossEntropy().check(victim(x.clone()), batch.y)
    if surrogate is not None:
        ball = Ball("linf", 8 / 255 * victim.span)
        attack = PGD(ball, EmbeddingDistance() if batch.y is None else CrossEntropy())
        with moved(device_of_network(victim.model), surrogate.model):
            check_surrogate(attack, victim, surrogate, x, batch.y, as_draws(0, len(x), x.device))


def probed(encoder: Model, train: Source) -> nn.Module:
    """Return an encoder with a linear probe on top, in eval mode: inputs in [0, 1] in, logits out.

    Raises:
        DataError: the data have no labels.
    """
    if train.labels is None:
        raise DataError("a classifier needs labels, and the data have none: attack the encoder itself")
    features = embed(encoder, labelled(train))
    return Classifier.joining(encoder, fit_linear(features).as_linear().to(device_of_network(encoder))).eval()


def regression(encoder: Model, train: Source) -> tuple[nn.Module, float]:
    """Return an encoder with ridge regression on top, in eval mode, and what is to be added to its numbers `(B, 1)`.

    Raises:
        DataError: the data have no numbers to predict.
    """
    known = labelled(train)
    if known.targets is None:
        raise DataError("a regression needs numbers to predict, and the data have none")
    probe = fit_ridge(embed(encoder, known).x, known.targets)
    return nn.Sequential(encoder, probe.as_linear().to(device_of_network(encoder))).eval(), probe.intercept
