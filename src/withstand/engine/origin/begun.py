"""Begin with what another run learnt: its whole method where that is of the same make, else its encoder."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from withstand.core.errors import ConfigError, RunError
from withstand.core.part import Tree, build, class_path, describe
from withstand.core.roles import Method, Model, encoder_of
from withstand.engine import checkpoint
from withstand.engine.folder import RunFolder, leaves

_NO_WEIGHTS = ("recompute", "pretrained")
"""Settings of networks that say how they are computed or first filled, and not what they are."""


@dataclass(frozen=True)
class Begun:
    """What a method begins with.

    Attributes:
        run: the folder of the run that learnt it.
        name: of that run's experiment.
        step: of its checkpoint.
        whole: whether all of the method is taken over; else its encoder alone.
    """

    run: str
    name: str
    step: int
    whole: bool

    def __str__(self) -> str:
        what = "all weights" if self.whole else "the encoder"
        return f"begins with {what} of {self.run}, {self.name} after {self.step:,} steps"

    def record(self) -> dict[str, Tree]:
        """Return the same for `run.json`."""
        return {"run": self.run, "name": self.name, "step": self.step, "weights": "all" if self.whole else "encoder"}


def begin(method: Method, run: str, allow: tuple[str, ...] = ()) -> Begun:
    """Give a new method the weights that a run learnt, and say what was given.

    Teachers and whatever else the method made as a copy of its encoder begin with the same.

    Args:
        method: as it was made, with drawn weights.
        run: folder of the run.
        allow: modules outside withstand that the run's description may name.

    Raises:
        RunError: there is no run, or it has no checkpoint.
        ConfigError: the run's encoder is of another kind or size.
    """
    folder = RunFolder(Path(run))
    earlier = method_in(folder, allow)
    progress = checkpoint.load(folder.checkpoints, earlier)
    if progress is None:
        raise RunError(f"{run}, which this run begins with, has no checkpoint yet: train it first")
    ours, theirs = encoder_of(method), encoder_of(earlier)
    refuse_unlike(ours, theirs, run)
    whole = type(method) is type(earlier) and _shapes(method) == _shapes(earlier) and not method.sample_state()
    if whole:
        method.load_state_dict(earlier.state_dict())
    else:
        for copied, known in _copies(method, ours, theirs):
            copied.load_state_dict(known.state_dict())
    return Begun(run, str(folder.record().get("name")), progress.step, whole)


def method_in(folder: RunFolder, allow: tuple[str, ...] = ()) -> Method:
    """Return the method that a run trains, with new weights.

    Raises:
        RunError: there is no run, or one that describes no method.
    """
    described = folder.described("method")
    method = None if described is None else build(described, allow=allow, path="method")
    if not isinstance(method, Method):
        raise RunError(f"{folder.path} trained no method: there are no weights to begin with")
    return method


def refuse_unlike(ours: Model, theirs: Model, run: str) -> None:
    """Refuse an encoder of another make than a run's.

    Raises:
        ConfigError: says what differs, and the first weight that does not fit.
    """
    known, wanted = _settings(theirs), _settings(ours)
    differ = [name for name in sorted(known.keys() | wanted.keys()) if known.get(name) != wanted.get(name)]
    if not differ:
        return
    kinds = [name for name in differ if name.endswith("class_path")]
    if kinds:
        kind = [str(settings.get(kinds[0], "nothing")).rpartition(".")[2] for settings in (known, wanted)]
        raise ConfigError(f"{run} learnt a {kind[0]} where this method has a {kind[1]}: its weights do not fit")
    there, here = _shapes(theirs), _shapes(ours)
    name = next((name for name in here if name in there and there[name] != here[name]), None)
    weights = "" if name is None else f", so that {name} is {there[name]} there and {here[name]} here"
    what = differ[0].removeprefix("encoder.")
    raise ConfigError(
        f"{run} learnt an encoder of another make: {what} is {known.get(differ[0])!r} there and "
        f"{wanted.get(differ[0])!r} here{weights}"
    )


def _settings(network: Model) -> dict[str, Tree]:
    found = leaves(describe(network))
    return {name: value for name, value in found.items() if name.rpartition(".")[2] not in _NO_WEIGHTS}


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _copies(method: Method, ours: Model, theirs: Model) -> list[tuple[nn.Module, nn.Module]]:
    """Return the method's encoder, and every network made as a copy of it or of a network in it, with the run's."""
    pairs: list[tuple[nn.Module, nn.Module]] = [(ours, theirs)]
    within = {id(module) for module in ours.modules()}
    learnt = dict(theirs.named_modules())
    models = [(part, learnt[name]) for name, part in ours.named_modules() if isinstance(part, Model)]
    for module in method.modules():
        if id(module) in within or not isinstance(module, Model):
            continue
        known = next((other for part, other in models if _same(module, part)), None)
        if known is not None:
            pairs.append((module, known))
    return pairs


def _same(one: Model, other: Model) -> bool:
    """Say whether a network is another one's copy: of its class, with its weights."""
    if class_path(type(one)) != class_path(type(other)):
        return False
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and bool(left) and all(torch.equal(left[name], right[name]) for name in left)
