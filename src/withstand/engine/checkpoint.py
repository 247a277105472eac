"""Checkpoints: safetensors and JSON, never pickles; written aside, synced, renamed.

`checkpoint/step-00000120/` holds `model.safetensors`, `optimizer.safetensors` and `state.json`, which
carries the checksums of the other two. The last two are kept: a damaged one falls back to the one before.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from withstand.core.errors import CheckpointError, ConfigError
from withstand.core.files import by_utf_8, sync
from withstand.core.moved import without_retired_state

FORMAT = 1


@dataclass(frozen=True)
class RunProgress:
    """How far a run is: finished steps, and the seconds they took."""

    step: int
    seconds: float


def save(
    folder: Path,
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    progress: RunProgress,
    *,
    keep: int = 2,
) -> Path:
    """Write a checkpoint into `folder` and remove all but the newest `keep`.

    Whatever goes wrong (a full disk, a kill) the checkpoints that were there stay whole.
    """
    final = folder / f"step-{progress.step:08d}"
    aside = folder / f".{final.name}.part"
    for left in folder.glob(".step-*.part"):  # by a kill
        shutil.rmtree(left, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        tensors, scalars = _optimizer_state(optimizers)
        parts = {"model.safetensors": model.state_dict(), "optimizer.safetensors": tensors}
        for name, values in parts.items():
            save_file({key: value.detach().cpu().contiguous().clone() for key, value in values.items()}, aside / name)
        state: dict[str, Any] = {
            "format": FORMAT,
            "step": progress.step,
            "seconds": progress.seconds,
            "optimizers": scalars,
            "sha256": {name: _digest(aside / name) for name in parts},
        }
        state["sha256"]["state"] = _digest_of(state)
        (aside / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        for path in aside.iterdir():
            sync(path)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
        sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        names = [path.name for path in _complete(folder)]
        safe = f"the last good checkpoint, {names[-1]}, is untouched" if names else "there is no earlier checkpoint"
        raise CheckpointError(f"the checkpoint of step {progress.step} could not be saved ({error}): {safe}") from error
    # A later step than this one is what a run fell back from.
    kept = [path for path in _complete(folder) if path <= final][-keep:]
    for other in set(_complete(folder)) - set(kept):
        shutil.rmtree(other, ignore_errors=True)
    return final


def load(
    folder: Path, model: nn.Module, optimizers: Mapping[str, torch.optim.Optimizer] | None = None
) -> RunProgress | None:
    """Restore the newest sound checkpoint into `model` and `optimizers`; None when there is none at all.

    A damaged checkpoint is named in a warning and the one before it is used.

    Raises:
        CheckpointError: checkpoints exist, but every one is damaged, or none fits the model.
    """
    found = _newest(folder)
    if found is None:
        return None
    path, state = found
    _restore(path, state, model, optimizers)
    return RunProgress(int(state["step"]), float(state["seconds"]))


def carry_optimizers(folder: Path, optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
    """Give optimizers the state that those of another run had at the newest sound checkpoint in `folder`.

    Rates and other settings stay their own: moments alone are taken, parameter by parameter.

    Raises:
        CheckpointError: there is no sound checkpoint.
        ConfigError: the groups or parameters are others there.
    """
    found = _newest(folder)
    if found is None:
        raise CheckpointError(f"there is no checkpoint in {folder}")
    path, state = found
    tensors = read_weights(path / "optimizer.safetensors")
    if set(state["optimizers"]) != set(optimizers):
        theirs, ours = (", ".join(sorted(names)) for names in (state["optimizers"], optimizers))
        raise ConfigError(f"carry needs the earlier stage's optimizers: it has those of {theirs}, this stage of {ours}")
    for name, optimizer in optimizers.items():
        _refuse_others(name, _parameters(optimizer), tensors)
        _restore_optimizer(name, optimizer, tensors, state["optimizers"][name])


def _refuse_others(name: str, parameters: list[Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Refuse another stage's state of parameters that are not these."""
    stated = {tuple(key.rsplit("/", 2)[1:]): value for key, value in tensors.items() if key.startswith(f"{name}/")}
    count = len({place for place, _ in stated})
    if count not in (0, len(parameters)):
        raise ConfigError(
            f"carry needs the earlier stage's parameters: its optimizer has {count} of them, and this one has "
            f"{len(parameters)}"
        )
    for (place, item), value in stated.items():
        there, here = tuple(value.shape), tuple(parameters[int(place)].shape)
        if there not in ((), here):
            raise ConfigError(
                f"carry needs the earlier stage's parameters: number {place} of its optimizer has {item} of shape "
                f"{there}, and here it is of shape {here}"
            )


def _newest(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the newest sound checkpoint and what it says; see `load`."""
    reasons = []
    for path in reversed(_complete(folder)):
        try:
            state = _verified(path)
        except CheckpointError as error:
            reasons.append(str(error))
            continue
        for reason in reasons:
            warnings.warn(f"{reason}: falling back to {path.name}", stacklevel=3)
        return path, state
    if reasons:
        raise CheckpointError("; ".join(reasons) + ": no sound checkpoint is left, use --fresh to start over")
    return None


def last_step(folder: Path) -> int:
    """Return the step of the newest checkpoint, sound or not; 0 when there is none."""
    names = [path.name for path in _complete(folder)]
    return int(names[-1].removeprefix("step-")) if names else 0


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; refuses anything else, pickles above all.

    Raises:
        CheckpointError: with what the file seems to be.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file is the length of its table in eight bytes, any bytes, and then the table.
    if head[8:] != b"{" and (head[:2] == b"PK" or head[:1] == b"\x80"):
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is read: refused. Convert it where you trust it: "
            "safetensors.torch.save_file(torch.load(path, weights_only=True), 'weights.safetensors')"
        )
    try:
        with by_utf_8(path) as readable:
            return load_file(readable)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file ({error})") from error


def _complete(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(state: Mapping[str, Any]) -> str:
    """Return the digest of what a state says, without its own."""
    sums = {name: digest for name, digest in state["sha256"].items() if name != "state"}
    return hashlib.sha256(json.dumps({**state, "sha256": sums}, sort_keys=True).encode()).hexdigest()


def _verified(path: Path) -> dict[str, Any]:
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if state["format"] > FORMAT:
            raise CheckpointError(f"{path} was written by a newer withstand (format {state['format']})")
        sums = dict(state["sha256"])
        if sums.pop("state") != _digest_of(state):
            raise ValueError("it does not match its checksum")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"checkpoint {path.name} is damaged (state.json: {error})") from error
    for name, digest in sums.items():
        if not (path / name).is_file() or _digest(path / name) != digest:
            raise CheckpointError(f"checkpoint {path.name} is damaged ({name} does not match its checksum)")
    return dict(state)


def _restore(
    path: Path,
    state: Mapping[str, Any],
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer] | None,
) -> None:
    weights = read_weights(path / "model.safetensors")
    try:
        model.load_state_dict(without_retired_state(weights, model.state_dict().keys()))
    except RuntimeError as error:
        raise CheckpointError(
            f"checkpoint {path.name} does not fit the model: {str(error).splitlines()[-1].strip()}"
        ) from error
    if optimizers is not None:
        tensors = read_weights(path / "optimizer.safetensors")
        for name, optimizer in optimizers.items():
            _restore_optimizer(name, optimizer, tensors, state["optimizers"][name])


def _optimizer_state(
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """Split optimizer state into tensors by "optimizer/parameter/name" and plain numbers likewise."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, float]] = {}
    for name, optimizer in optimizers.items():
        scalars[name] = {}
        for place, parameter in enumerate(_parameters(optimizer)):
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{name}/{place}/{key}"] = value
                elif value is not None:  # SGD keeps None until momentum exists
                    scalars[name][f"{place}/{key}"] = value
    return tensors, scalars


def _restore_optimizer(
    name: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], scalars: Mapping[str, float]
) -> None:
    optimizer.state.clear()
    parameters = _parameters(optimizer)
    for key, value in tensors.items():
        owner, place, item = key.rsplit("/", 2)
        if owner == name:
            parameter = parameters[int(place)]
            if value.shape == parameter.shape:
                # In the parameter's own memory layout: strided and dense kernels may round differently.
                value = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)
            optimizer.state[parameter][item] = value
    for key, number in scalars.items():
        place, item = key.split("/")
        optimizer.state[parameters[int(place)]][item] = number


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
