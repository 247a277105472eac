"""Numerics: which precision and memory layout a run computes in, chosen once by timing when not given."""

import copy
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from withstand.core.batch import Batch, as_structured
from withstand.core.errors import ConfigError
from withstand.core.part import Tree
from withstand.core.random import Draws, isolated
from withstand.core.roles import Method
from withstand.engine.experiment import Experiment


@dataclass(frozen=True)
class Numerics:
    """A fixed choice: precision "float32", "bfloat16" or "float64", layout, and why."""

    precision: str
    layout: str
    reason: str = "as asked for"

    @classmethod
    def from_record(cls, record: Tree) -> "Numerics | None":
        """Return the choice that a run folder's record holds, if it holds one."""
        if not isinstance(record, dict) or "precision" not in record:
            return None
        layout = "channels-last" if record.get("channels_last") else "contiguous"
        return cls(str(record["precision"]), layout, str(record.get("reason", "")))

    def prepare(self, method: Method) -> None:
        """Give the method's weights their type and layout, in place."""
        if self.precision == "float64":
            method.double()
        if self.layout == "channels-last":
            method.to(memory_format=torch.channels_last)

    def cast(self, view: Tensor) -> Tensor:
        """Return a view in the type and layout that the method expects."""
        if (whole := as_structured(view)) is not None:
            return whole.map(self.cast).as_samples()
        if self.precision == "float64" and view.is_floating_point():
            view = view.double()
        if self.layout == "channels-last" and view.dim() == 4:
            view = view.contiguous(memory_format=torch.channels_last)
        return view

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which the method's step runs."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


_ENOUGH = 1.0
"""Seconds of timing after which an option is judged: large networks differ by more than noise."""


def choose(experiment: Experiment, device: torch.device, *, most: int = 128) -> Numerics:
    """Return the plan's numerics, timing what it leaves open on at most `most` samples of the first batch.

    Processes that train together must all call it, for losses gather; timings, and so choices, may differ.
    """
    plan = experiment.plan
    precisions = ["float32", "bfloat16"] if plan.precision == "auto" else [plan.precision]
    layouts = ["contiguous", "channels-last"] if plan.layout == "auto" else [plan.layout]
    if device.type == "mps" and plan.precision == "float64":
        raise ConfigError("precision float64 is not available on mps: use float32")
    options = [Numerics(precision, layout) for precision in precisions for layout in layouts]
    if len(options) == 1:
        return options[0]
    share = min(plan.batch, most, len(experiment.source))
    batch = experiment.source[torch.arange(share)].to(device)
    batch = experiment.view(batch, Draws(plan.seed, batch.index))
    seconds = {option: _time_step(experiment.method, batch, option, device) for option in options}
    fastest = min(seconds, key=lambda option: seconds[option])
    times = ", ".join(f"{o.precision} {o.layout} {seconds[o] * 1000:.0f} ms" for o in options)
    return replace(fastest, reason=f"fastest of one timing on {share} samples: {times}")


def _time_step(method: Method, batch: Batch, option: Numerics, device: torch.device, repeats: int = 3) -> float:
    """Return the least seconds of a forward and backward pass of a copy of the method."""
    trial = copy.deepcopy(method).to(device).train()
    option.prepare(trial)
    batch = replace(batch, views=tuple(option.cast(view) for view in batch.views))
    times = []
    with isolated(0, "timing"):
        for _ in range(repeats + 1):
            start = time.perf_counter()
            with option.autocast(device):
                loss = trial(batch)["loss"]
            loss.backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - start)
            if len(times) > 1 and sum(times) > _ENOUGH:
                break
    return min(times[1:])
