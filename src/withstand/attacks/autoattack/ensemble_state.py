"""How far an ensemble of attacks is, and the file from which it goes on after a kill."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from withstand.core.errors import RunError
from withstand.core.files import by_utf_8, replacing
from withstand.core.part import describe
from withstand.core.victims.victim import Victim

_FORMAT = "1"
_MOST_OF_THE_TIME = 20
"""Saving may take one part in this many of the whole time."""


@dataclass
class Tally:
    """What one attack did.

    Attributes:
        name: of the attack.
        tried: samples that it was run on.
        broken: samples that it broke, of those.
        seconds: that it took, over all sessions.
        error: why it could not run; empty where it did.
    """

    name: str
    tried: int = 0
    broken: int = 0
    seconds: float = 0.0
    error: str = ""


@dataclass
class State:
    """How far an ensemble is; tensors have one row a sample.

    Attributes:
        x: the input that broke the sample, else the clean one.
        right: whether the sample was right before any change.
        proven: whether a prover vouches for it.
        winner: the place of the attack that broke it, -1 for none.
        queries: forward passes spent on it.
        place: the attack at work; -1 while the prover is.
        done: samples of its queue that it is through with.
        tallies: what each attack did.
    """

    x: Tensor
    right: Tensor
    proven: Tensor
    winner: Tensor
    queries: Tensor
    place: int = -1
    done: int = 0
    tallies: list[Tally] = field(default_factory=list)

    def queue(self) -> Tensor:
        """Return the samples that the attack at work has to try, those that it is through with included."""
        left = self.right & ~self.proven & ((self.winner < 0) | (self.winner == self.place))
        return (self.right if self.place < 0 else left).nonzero().squeeze(1)


class Store:
    """A state's file: safetensors, with JSON in its header, written whole or not at all.

    Args:
        path: the file; None keeps nothing.
        prints: fingerprints of all that the state depends on, by name.
    """

    def __init__(self, path: Path | None, prints: Mapping[str, str]) -> None:
        self.path, self.prints = path, dict(prints)
        self._saved_at, self._cost = time.monotonic(), 0.0

    def load(self) -> State | None:
        """Return the state in the file, None where there is no file.

        Raises:
            RunError: the file is damaged, or belongs to other inputs, settings or another model.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            with by_utf_8(self.path) as readable, safe_open(readable, "pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            if header.get("format") != _FORMAT:
                raise RunError(f"{str(self.path)!r} is no state of attacks of this version: give another path")
            prints, rest = json.loads(header["prints"]), json.loads(header["rest"])
            tallies = [Tally(**tally) for tally in rest.pop("tallies")]
            state = State(**tensors, **rest, tallies=tallies)
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise RunError(
                f"{str(self.path)!r} is not a state of attacks ({error}): remove it to start over"
            ) from error
        other = [name for name, value in self.prints.items() if prints.get(name) != value]
        if other:
            raise RunError(
                f"{str(self.path)!r} belongs to another run, with other {', '.join(other)}, which was interrupted: "
                "finish that first, or remove the file"
            )
        return state

    def save(self, state: State, *, now: bool = False) -> None:
        """Write the state, unless that would take more than a twentieth of the time since it was last written."""
        started = time.monotonic()
        if self.path is None or (not now and started - self._saved_at < _MOST_OF_THE_TIME * self._cost):
            return
        values = {item.name: getattr(state, item.name) for item in fields(State)}
        tensors = {name: value.cpu().contiguous() for name, value in values.items() if isinstance(value, Tensor)}
        rest = {"place": state.place, "done": state.done, "tallies": [asdict(tally) for tally in state.tallies]}
        header = {"format": _FORMAT, "prints": json.dumps(self.prints), "rest": json.dumps(rest)}
        with replacing(self.path) as aside:
            save_file(tensors, aside, header)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started


def fingerprint(value: Tensor | None) -> str:
    """Return a digest of a tensor's shape, type and bytes."""
    if value is None:
        return "none"
    digest = blake2b(f"{value.dtype} {tuple(value.shape)}".encode(), digest_size=12)
    digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def victim_fingerprint(victim: Victim) -> str:
    """Return a digest of the victim's range and of its weights; a plain function is known by its name alone."""
    digest = blake2b(json.dumps(describe(victim), sort_keys=True).encode(), digest_size=12)
    if isinstance(victim.model, nn.Module):
        values = {**dict(victim.model.named_parameters()), **dict(victim.model.named_buffers())}
        for name, value in sorted(values.items()):
            digest.update(f"{name} {fingerprint(value)}".encode())
    return digest.hexdigest()
