"""What can be audited: a run's folder, a file of weights, a network of the user's own; and the audit's settings."""

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import get_args

import torch
from safetensors.torch import load_file
from torch import nn

from withstand.api.settings import Audit, Certification, NamedAttack
from withstand.attacks.attack import InputAttack
from withstand.attacks.inputs.gradient import PGD
from withstand.attacks.learnt.perturbations import networks_of, unit
from withstand.attacks.named import named
from withstand.attacks.objectives import CrossEntropy, EmbeddingDistance
from withstand.attacks.single_passes import check_surrogate
from withstand.core.answers import told
from withstand.core.batch import as_structured
from withstand.core.device import device_of_network, moved
from withstand.core.errors import ConfigError, DataError, WithstandError, nearest
from withstand.core.files import by_utf_8
from withstand.core.part import build
from withstand.core.random import as_draws, isolated
from withstand.core.roles import Attack, Model, Source
from withstand.core.threat import Ball, parse_eps
from withstand.core.victim import Victim
from withstand.data.derived.subset import labelled
from withstand.data.load import Data, judged, splits
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.evaluation.robustness.audit import RobustnessAudit
from withstand.evaluation.robustness.certificate import Certificate
from withstand.evaluation.robustness.smoothed import SmoothedCertificate
from withstand.models.blocks.classifier import Classifier
from withstand.verification.exchange.onnx_import import read_onnx
from withstand.verification.smoothing import Smoothing
from withstand.verification.solvers import SOLVERS, Certifier

_LOOKED_AT = 64
UNIT = Victim(nn.Flatten())
"""A victim whose inputs lie in [0, 1], as those of every run's networks do."""


@dataclass(frozen=True)
class Inputs:
    """What a network takes, where that is not said by a `Victim`.

    Args:
        low: the smallest input value; 0 if None.
        high: the largest input value; 1 if None.
        normalize: `(mean, std)` per channel, applied before the network; None where it normalises by itself.
    """

    low: float | None = None
    high: float | None = None
    normalize: tuple[Sequence[float], Sequence[float]] | None = None

    @property
    def said(self) -> bool:
        """Whether anything is said."""
        return self != Inputs()

    def victim(self, network: nn.Module) -> Victim:
        """Return a network as a victim with these inputs."""
        low, high = (default if value is None else value for value, default in ((self.low, 0.0), (self.high, 1.0)))
        return Victim(network, low=low, high=high, normalize=self.normalize)


def front(
    subject: str | Path | nn.Module | Victim,
    data: Data,
    *,
    size: int | None = None,
    inputs: Inputs = Inputs(),
    allow: Sequence[str] = (),
    device: torch.device | None = None,
) -> tuple[Victim, Source, Source]:
    """Return what is attacked, what a probe may be fitted on, and the samples: everything given, unless one is needed.

    Data that come in parts give their test part, and other data all they hold. An encoder needs a linear probe where
    the data have labels, and other samples to fit it on: the training part, or a share that is held out.

    Args:
        subject: as for `victim_of`.
        data: as for `withstand.audit`.
        size: the side of pictures from a folder.
        inputs: what the network takes.
        allow: modules outside withstand that a description may name.
        device: where a network that had to be found is put.
    """
    network = found(subject, allow, device)
    if isinstance(network, Model):
        train, test = splits(data, size=size)
        if train.labels is not None:
            return victim_of(network, train, inputs=inputs), train, test
    test = judged(data, size=size)
    return victim_of(network, test, inputs=inputs), test, test


def victim_of(
    subject: str | Path | nn.Module | Victim,
    train: Source,
    allow: Sequence[str] = (),
    device: torch.device | None = None,
    *,
    inputs: Inputs = Inputs(),
) -> Victim:
    """Return what is attacked.

    Args:
        subject: a network or a victim of your own; or where one is found: `FILE.safetensors` with its description
            `FILE.json` beside it, `FILE.onnx`, `FILE.py:NAME`, `MODULE:NAME`. NAME is a network, a victim, or a
            function that returns one. An encoder gets a linear probe where the data have labels.
        train: on which the probe is fitted.
        allow: modules outside withstand that a description may name.
        device: where a network that had to be found is put; None leaves it where it is, as one's own always is.
        inputs: what the network takes.

    Raises:
        ConfigError: `inputs` of what says itself what it takes.
    """
    network = found(subject, allow, device)
    whose = "a Victim" if isinstance(network, Victim) else "an encoder of this library"
    if inputs.said and isinstance(network, Victim | Model):
        raise ConfigError(f"low, high and normalize are for a bare network: {whose} says what it takes itself")
    if isinstance(network, Victim):
        return network
    if isinstance(network, Model) and train.labels is not None:
        return Victim(probed(network, train))
    return inputs.victim(network)


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


def found(
    subject: str | Path | nn.Module | Victim, allow: Sequence[str] = (), device: torch.device | None = None
) -> nn.Module | Victim:
    """Return the network or victim that a subject is or names; arguments as for `victim_of`."""
    if not isinstance(subject, str | Path):
        return subject
    network = _find(str(subject), allow)
    inner = network.model if isinstance(network, Victim) else network
    if device is not None and isinstance(inner, nn.Module):
        inner.to(device)
    return network


def probed(encoder: Model, train: Source) -> nn.Module:
    """Return an encoder with a linear probe on top, in eval mode: inputs in [0, 1] in, logits out.

    Raises:
        DataError: the data have no labels.
    """
    if train.labels is None:
        raise DataError("a classifier needs labels, and the data have none: attack the encoder itself")
    features = embed(encoder, labelled(train))
    return Classifier.joining(encoder, fit_linear(features).as_linear().to(device_of_network(encoder))).eval()


def audit_of(victim: Victim, asked: Audit) -> RobustnessAudit:
    """Return the audit of a victim that is asked for."""
    radii = tuple(victim.radius(one, asked.norm) for one in radii_of(asked.eps))
    audit = RobustnessAudit(
        ball=Ball(asked.norm, max(radii)),
        samples=asked.samples,
        steps=asked.steps,
        ensemble=asked.ensemble,
        search=asked.search,
        seed=asked.seed,
    )
    if len(radii) == 1:
        return audit
    curves = {"linf": replace(audit, linf=radii), "l2": replace(audit, l2=radii), "l1": replace(audit, l1=radii)}
    return curves[asked.norm]


def radii_of(eps: Sequence[str | float] | str | float) -> tuple[str | float, ...]:
    """Return one radius or several as they were given, refusing what is none before anything else is done."""
    radii = (eps,) if isinstance(eps, str | float | int) else tuple(eps)
    for one in radii:
        parse_eps(one)
    if not radii:
        raise ConfigError("eps holds no radius: give one or more, say 8/255")
    return radii


def certificate_of(victim: Victim, asked: Certification) -> Certificate | SmoothedCertificate:
    """Return the certificate of a victim that is asked for."""
    radius = victim.radius(asked.eps, asked.norm)
    if asked.method == "smoothing":
        noise = Smoothing(victim.span / 4 if asked.sigma is None else asked.sigma)
        return SmoothedCertificate(radius, noise, samples=asked.samples, seed=asked.seed)
    if asked.method not in get_args(Certifier):
        allowed = (*get_args(Certifier), "smoothing")
        raise ConfigError(f"method {asked.method!r} is unknown: {nearest(asked.method, allowed)}")
    return Certificate(
        Ball(asked.norm, radius),
        asked.method,
        samples=asked.samples,
        timeout=asked.timeout,
        features=asked.features,
        spans=asked.spans,
        seed=asked.seed,
    )


def attack_of(victim: Victim, asked: NamedAttack, *, embedding: bool, learnt: InputAttack | None = None) -> InputAttack:
    """Return the attack on a victim that is asked for, on embeddings or on predictions.

    Args:
        victim: whose input range radii are of.
        asked: which attack, within what.
        embedding: move embeddings away from the clean ones, in place of predictions from the labels.
        learnt: what `asked.attack` names, where that is no attack's name.

    Raises:
        ConfigError: an unknown attack, or something that it does not have.
    """
    if learnt is None:
        norm = asked.norm or "linf"
        ball = Ball(norm, victim.radius("8/255" if asked.eps is None else asked.eps, norm))
        return named(asked.attack, ball, steps=asked.steps, restarts=asked.restarts, embedding=embedding)
    for name in ("steps", "restarts"):
        if getattr(asked, name) is not None:
            raise ConfigError(f"{asked.attack} was learnt beforehand, and has no {name}")
    norm = asked.norm or learnt.ball.norm
    if asked.eps is None and norm != learnt.ball.norm:
        raise ConfigError(f"{asked.attack} was learnt within {learnt.ball}: another norm needs eps too")
    eps = learnt.ball.eps * unit(victim)[1] if asked.eps is None else victim.radius(asked.eps, norm)
    return replace(aimless(learnt, embedding=embedding), ball=Ball(norm, eps))


def aimless(learnt: InputAttack, *, embedding: bool) -> InputAttack:
    """Return a learnt attack whose success is any wrong prediction, or any large move of an embedding.

    Raises:
        ConfigError: it aims at wanted outputs.
    """
    if learnt.ball.targeted:
        raise ConfigError(
            f"this {type(learnt).__name__} aims at wanted outputs, which no verb can name: call it in Python, with y"
        )
    return replace(learnt, objective=EmbeddingDistance() if embedding else CrossEntropy())


def as_learnt(product: object, place: str | Path) -> InputAttack:
    """Return what was found as an attack.

    Raises:
        ConfigError: it is none that can be run on any victim.
    """
    if not isinstance(product, InputAttack):
        raise ConfigError(f"{place} holds a {type(product).__name__}, and no attack that was learnt")
    return product


def attack_from_weights(path: Path, allow: Sequence[str]) -> InputAttack:
    """Return the attack that `withstand export --part attack` wrote.

    Raises:
        DataError: the file does not fit its description.
        ConfigError: it holds no attack.
    """
    return as_learnt(_with_weights(path, allow), path)


def solver_device(method: str, device: torch.device) -> torch.device:
    """Return where a certificate's network has to be: solvers know the CPU alone, and proofs need float64."""
    return torch.device("cpu") if method in SOLVERS or device.type == "mps" else device


def _find(place: str, allow: Sequence[str]) -> nn.Module | Victim:
    if place.endswith(".safetensors"):
        return _from_weights(Path(place), allow)
    if place.endswith((".onnx", ".onnx.gz")):
        return read_onnx(place).eval()
    if place.endswith(".py"):
        raise ConfigError(f"{place} is no run folder: name a network in it as {place}:NAME")
    where, colon, name = place.rpartition(":")
    if not colon or not name or not where:
        raise ConfigError(
            f"{place!r} is no run folder, and no network: name FILE.safetensors, FILE.onnx, FILE.py:NAME or MODULE:NAME"
        )
    module = _import(where)
    if not hasattr(module, name):
        raise ConfigError(f"{where!r} has no {name!r}: {nearest(name, vars(module))}")
    made = getattr(module, name)
    if not isinstance(made, nn.Module | Victim) and callable(made):
        with _told(f"{place}: {name}() raised"), isolated():
            made = made()
    if not isinstance(made, nn.Module | Victim):
        raise ConfigError(f"{place} is of type {type(made).__name__}, neither a torch network nor a Victim")
    network = made.model if isinstance(made, Victim) else made
    if isinstance(network, nn.Module):
        network.eval()  # who names it on a command line cannot do so
    return made


def _import(where: str) -> ModuleType:
    """Import a module by its name or its file; the user named it, so that its code may run.

    Files beside a file can be imported by it, as if it were run.
    """
    if not where.endswith(".py"):
        try:
            with _told(f"{where} cannot be imported:"):
                return importlib.import_module(where)
        except DataError as error:
            if isinstance(error.__cause__, ModuleNotFoundError):
                missing = error.__cause__.name
                raise ConfigError(f"there is no module {missing!r}: name a file as FILE.py:NAME") from error
            raise
    path = Path(where)
    if not path.is_file():
        raise ConfigError(f"there is no file {where}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # classes find their module by its name
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        with _told(f"{where} cannot be run:"):
            spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:  # last, for what functions import later: no other module is hidden
            sys.path.append(folder)
    return module


@contextmanager
def _told(words: str) -> Iterator[None]:
    """Tell in one line what goes wrong in a user's file."""
    try:
        yield
    except WithstandError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(f"{words} {told(error)}") from error


def _from_weights(path: Path, allow: Sequence[str]) -> nn.Module:
    network = _with_weights(path, allow)
    if not isinstance(network, nn.Module):
        raise DataError(f"{path.with_suffix('.json')} describes a {type(network).__name__}, not a network")
    return network.eval()


def _with_weights(path: Path, allow: Sequence[str]) -> object:
    """Return what a file's description makes, with the file's weights: a network, or an attack that has learnt."""
    tree = path.with_suffix(".json")
    for file in (path, tree):
        if not file.is_file():
            raise DataError(f"there is no {file}: weights and their description lie side by side (withstand export)")
    try:
        record = json.loads(tree.read_text(encoding="utf-8"))
        with isolated():
            made: object = build(record["tree"], allow=allow)
        holder = networks_of(made) if isinstance(made, Attack) else made
        if isinstance(holder, nn.Module):
            with by_utf_8(path) as readable:
                holder.load_state_dict(load_file(readable))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} does not fit its description {tree.name}: {' '.join(str(error).split())}") from error
    return made
