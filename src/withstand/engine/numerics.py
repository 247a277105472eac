"""Numerics: which precision and memory layout a run computes in, by rule where the plan leaves them open."""

import copy
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from withstand.core.batch import Batch, as_structured
from withstand.core.errors import ConfigError
from withstand.core.part import Tree
from withstand.core.random import Draws, isolated
from withstand.core.roles import Method, Source, View
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
        view = self._typed(view)
        if self.layout == "channels-last" and view.dim() == 4:
            view = view.contiguous(memory_format=torch.channels_last)
        return view

    def cast_batch(self, batch: Batch) -> Batch:
        """Return a batch with its views in the type and layout that the method expects, and all else in the type."""
        return replace(
            batch,
            x=self._typed(batch.x),
            views=tuple(map(self.cast, batch.views)),
            extras={name: self._typed(value) for name, value in batch.extras.items()},
        )

    def _typed(self, value: Tensor) -> Tensor:
        """Return floating numbers in the method's type; others, as masks and ids, as they are."""
        if (whole := as_structured(value)) is not None:
            return whole.map(self._typed).as_samples()
        return value.double() if self.precision == "float64" and value.is_floating_point() else value

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """Return the context in which the method's step runs."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bfloat16")


_AT_MOST = 128
"""Samples on which a step is tried or timed."""


def choose(experiment: Experiment, device: torch.device) -> Numerics:
    """Return the plan's numerics; what it leaves open follows by rule from the device and the network.

    So the same command on the same machine computes the same weights. bfloat16 is for devices that multiply it
    natively, on processors for convolutional networks alone: attention between few tokens loses there by the casts.
    Two-axis convolutions like channels last. A step that some operation cannot take in bfloat16 is taken in float32.

    Processes that train together must all call it, for losses gather.
    """
    plan = experiment.plan
    if device.type == "mps" and plan.precision == "float64":
        raise ConfigError("precision float64 is not available on mps: use float32")
    convolutional = _convolutions(experiment.method) > 1  # a transformer's patches are cut out by one
    layout, reasons = str(plan.layout), []
    if layout == "auto":
        layout = "channels-last" if convolutional and device.type in ("cpu", "cuda") else "contiguous"
        reasons.append(f"{layout} for {'a' if convolutional else 'no'} convolutional network")
    precision = str(plan.precision)
    if precision == "auto":
        native = native_bfloat16(device)
        precision = "bfloat16" if native and (convolutional or device.type == "cuda") else "float32"
        reasons.append(f"{precision} on {device.type} {'with' if native else 'without'} bfloat16 products")
        if precision == "bfloat16" and (missing := _cannot(experiment, Numerics(precision, layout), device)):
            precision = "float32"
            reasons[-1] = f"float32, for a step in bfloat16 fails: {missing}"
    return Numerics(precision, layout, "; ".join(reasons) or "as asked for")


def native_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 without emulating it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    units = torch.cpu.get_capabilities()
    return bool(units.get("amx_bf16") or units.get("avx512_bf16"))


def _convolutions(method: Method) -> int:
    return sum(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in method.modules())


def _cannot(experiment: Experiment, option: Numerics, device: torch.device) -> str | None:
    """Return the first line of what a step in bfloat16 fails with where one in float32 does not; None if it runs."""
    try:
        time_step(experiment, option, device, repeats=0)
    except RuntimeError as error:
        time_step(experiment, replace(option, precision="float32"), device, repeats=0)
        return str(error).splitlines()[0]
    return None


def time_step(experiment: Experiment, option: Numerics, device: torch.device, *, repeats: int = 3) -> float:
    """Return the least seconds of a forward and backward pass of a copy of the method, on part of the first batch.

    The first pass warms up, and counts where there are no repeats.
    """
    trial = copy.deepcopy(experiment.method).to(device).train()
    option.prepare(trial)
    count, beside = min(experiment.plan.batch, _AT_MOST, len(experiment.source)), experiment.beside

    def some(source: Source, view: View | None) -> Batch:
        batch = source[torch.arange(count) % len(source)].to(device)
        return option.cast_batch(batch if view is None else view(batch, Draws(experiment.plan.seed, batch.index)))

    batch = some(experiment.source, experiment.view)
    batch = replace(batch, beside={name: some(one, experiment.beside_views.get(name)) for name, one in beside.items()})
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
    return min(times[-repeats:])
