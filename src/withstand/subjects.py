"""What can be audited: a run's folder, a file of weights, a network of the user's own; and the audit's settings."""

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeAlias, get_args

import torch
from safetensors.torch import load_file
from torch import nn

from withstand.core.device import home
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files import by_utf_8
from withstand.core.part import build
from withstand.core.random import isolated
from withstand.core.roles import Model, Source
from withstand.core.threat import Ball, Norm, parse_eps
from withstand.core.victim import Victim
from withstand.data.subset import labelled
from withstand.evaluation.certificate import Certificate
from withstand.evaluation.features import embed
from withstand.evaluation.linear import fit_linear
from withstand.evaluation.robustness import Audit
from withstand.evaluation.smoothed import SmoothedCertificate
from withstand.verification.exchange.onnx_import import read_onnx
from withstand.verification.settle import SOLVERS, Certifier
from withstand.verification.smoothing import Smoothing

Ensemble: TypeAlias = Literal["standard", "plus", "rand", "none"]
Search: TypeAlias = Literal["plain", "fast"]


def victim_of(
    subject: str | Path | nn.Module | Victim,
    train: Source,
    allow: Sequence[str] = (),
    device: torch.device | None = None,
) -> Victim:
    """Return what is attacked.

    Args:
        subject: a network or a victim of your own; or where one is found: `FILE.safetensors` with its description
            `FILE.json` beside it, `FILE.onnx`, `FILE.py:NAME`, `MODULE:NAME`. NAME is a network, a victim, or a
            function that returns one. An encoder gets a linear probe where the data have labels.
        train: on which the probe is fitted.
        allow: modules outside withstand that a description may name.
        device: where a network that had to be found is put; None leaves it where it is, as one's own always is.
    """
    found = _find(str(subject), allow) if isinstance(subject, str | Path) else subject
    if device is not None and isinstance(subject, str | Path):
        network = found.model if isinstance(found, Victim) else found
        if isinstance(network, nn.Module):
            network.to(device)
    if isinstance(found, Victim):
        return found
    if isinstance(found, Model) and train.labels is not None:
        return Victim(probed(found, train))
    return Victim(found)


def probed(encoder: Model, train: Source) -> nn.Module:
    """Return an encoder with a linear probe on top, in eval mode: inputs in [0, 1] in, logits out.

    Raises:
        DataError: the data have no labels.
    """
    if train.labels is None:
        raise DataError("a classifier needs labels, and the data have none: attack the encoder itself")
    features = embed(encoder, labelled(train))
    return nn.Sequential(encoder, fit_linear(features).as_linear().to(home(encoder))).eval()


def audit_of(
    *,
    norm: Norm,
    eps: Sequence[str | float] | str | float,
    samples: int,
    steps: int,
    ensemble: Ensemble,
    search: Search,
    seed: int,
) -> Audit:
    """Return the audit that the front door's arguments ask for; see `withstand.audit`."""
    radii = tuple(radius_of(one, norm) for one in ([eps] if isinstance(eps, str | float | int) else eps))
    ball = Ball(norm, max(radii))
    audit = Audit(ball=ball, samples=samples, steps=steps, ensemble=ensemble, search=search, seed=seed)
    if len(radii) == 1:
        return audit
    curves = {"linf": replace(audit, linf=radii), "l2": replace(audit, l2=radii), "l1": replace(audit, l1=radii)}
    return curves[norm]


def certificate_of(
    *,
    norm: Norm,
    eps: str | float,
    method: str,
    samples: int,
    timeout: float,
    sigma: float,
    features: int | None,
    spans: int,
    seed: int,
) -> Certificate | SmoothedCertificate:
    """Return the certificate that the front door's arguments ask for; see `withstand.verification`."""
    radius = radius_of(eps, norm)
    if method == "smoothing":
        return SmoothedCertificate(radius, Smoothing(sigma), samples=samples, seed=seed)
    if method not in get_args(Certifier):
        raise ConfigError(f"method {method!r} is unknown: {nearest(method, (*get_args(Certifier), 'smoothing'))}")
    return Certificate(
        Ball(norm, radius),
        method,  # type: ignore[arg-type]
        samples=samples,
        timeout=timeout,
        features=features,
        spans=spans,
        seed=seed,
    )


def solver_device(method: str, device: torch.device) -> torch.device:
    """Return where a certificate's network has to be: solvers know the CPU alone, and proofs need float64."""
    return torch.device("cpu") if method in SOLVERS or device.type == "mps" else device


def radius_of(eps: str | float, norm: Norm) -> float:
    """Return a radius, refusing one that spans the whole input range: 8 where 8/255 was meant."""
    value = parse_eps(eps)
    if norm == "linf" and value > 1:
        raise ConfigError(f"eps {eps} is more than the whole input range, 0 to 1: did you mean {eps}/255?")
    return value


def _find(place: str, allow: Sequence[str]) -> nn.Module | Victim:
    if place.endswith(".safetensors"):
        return _from_weights(Path(place), allow)
    if place.endswith((".onnx", ".onnx.gz")):
        return read_onnx(place).eval()
    where, colon, name = place.rpartition(":")
    if not colon or not name:
        raise ConfigError(
            f"{place!r} is no run folder, and no network: name FILE.safetensors, FILE.onnx, FILE.py:NAME or MODULE:NAME"
        )
    module = _import(where)
    if not hasattr(module, name):
        raise ConfigError(f"{where!r} has no {name!r}: {nearest(name, vars(module))}")
    found = getattr(module, name)
    if not isinstance(found, nn.Module | Victim) and isinstance(found, Callable):  # type: ignore[arg-type]
        with isolated():
            found = found()
    if not isinstance(found, nn.Module | Victim):
        raise ConfigError(f"{place} is of type {type(found).__name__}, neither a torch network nor a Victim")
    network = found.model if isinstance(found, Victim) else found
    if isinstance(network, nn.Module):
        network.eval()  # who names it on a command line cannot do so
    return found


def _import(where: str) -> ModuleType:
    """Import a module by its name or its file; the user named it, so that its code may run."""
    if not where.endswith(".py"):
        try:
            return importlib.import_module(where)
        except ModuleNotFoundError as error:
            raise ConfigError(f"there is no module {error.name!r}: name a file as FILE.py:NAME") from error
    path = Path(where)
    if not path.is_file():
        raise ConfigError(f"there is no file {where}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # classes find their module by its name
    spec.loader.exec_module(module)
    return module


def _from_weights(path: Path, allow: Sequence[str]) -> nn.Module:
    tree = path.with_suffix(".json")
    for file in (path, tree):
        if not file.is_file():
            raise DataError(f"there is no {file}: weights and their description lie side by side (withstand export)")
    try:
        record = json.loads(tree.read_text(encoding="utf-8"))
        with isolated():
            network = build(record["tree"], allow=allow)
        with by_utf_8(path) as readable:
            network.load_state_dict(load_file(readable))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"{path} does not fit its description {tree.name}: {' '.join(str(error).split())}") from error
    if not isinstance(network, nn.Module):
        raise DataError(f"{tree} describes a {type(network).__name__}, not a network")
    return network.eval()
