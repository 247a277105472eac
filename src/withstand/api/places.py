"""Networks and attacks by the place where they lie: a file of weights, an ONNX file, a name in a file or a module."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from withstand.attacks.attack import InputAttack
from withstand.attacks.learnt.perturbations import networks_of
from withstand.core.errors import ConfigError, DataError, WithstandError, nearest
from withstand.core.random import isolated
from withstand.core.roles import Attack
from withstand.core.victims.answers import told
from withstand.core.victims.victim import Victim
from withstand.models.blocks.exported import exported
from withstand.models.pictures.timm import TimmClassifier
from withstand.verification.exchange.onnx_import import read_onnx

TIMM = "timm:"
"""What names of timm's classifiers begin with."""


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


def attack_from_weights(path: Path, allow: Sequence[str]) -> InputAttack:
    """Return the attack that `withstand export --part attack` wrote.

    Raises:
        DataError: the file does not fit its description.
        ConfigError: it holds no attack.
    """
    return as_learnt(_with_weights(path, allow), path)


def as_learnt(product: object, place: str | Path) -> InputAttack:
    """Return what was found as an attack.

    Raises:
        ConfigError: it is none that can be run on any victim.
    """
    if not isinstance(product, InputAttack):
        raise ConfigError(f"{place} holds a {type(product).__name__}, and no attack that was learnt")
    return product


def _find(place: str, allow: Sequence[str]) -> nn.Module | Victim:
    if place.endswith(".safetensors"):
        return _from_weights(Path(place), allow)
    if place.endswith((".onnx", ".onnx.gz")):
        return read_onnx(place).eval()
    if place.startswith(TIMM):
        return TimmClassifier(place.removeprefix(TIMM)).eval()
    if place.endswith(".py"):
        raise ConfigError(f"{place} is no run folder: name a network in it as {place}:NAME")
    where, colon, name = place.rpartition(":")
    if not colon or not name or not where:
        raise ConfigError(
            f"{place!r} is no run folder, and no network: name FILE.safetensors, FILE.onnx, FILE.py:NAME, MODULE:NAME "
            f"or {TIMM}NAME"
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
    return exported(path, allow, holder=lambda made: networks_of(made) if isinstance(made, Attack) else made)
