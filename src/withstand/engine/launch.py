"""Launch: from an experiment to a finished run, in one process or several."""

import inspect
import logging
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessRaisedException
from torch.nn.parallel import DistributedDataParallel

from withstand.core import errors
from withstand.core.devices.device import device_of
from withstand.core.errors import ConfigError, LeftOut, RunError, WithstandError, nearest
from withstand.core.part import Tree, build, describe, externals
from withstand.core.random import isolated
from withstand.core.roles import Method
from withstand.engine import checkpoint
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.fit import fit
from withstand.engine.folder import RunFolder
from withstand.engine.journal import announce
from withstand.engine.numerics import Numerics, choose

# Advice that does not fit here, for a run chooses its own precision.
logging.getLogger("lightning_fabric.utilities.rank_zero").addFilter(
    lambda record: "set_float32_matmul_precision" not in record.getMessage()
)
_DDP_OPTIONS = inspect.signature(DistributedDataParallel.__init__).parameters


def train(
    experiment: Experiment,
    out: Path,
    *,
    fresh: bool = False,
    quiet: bool = False,
    tensorboard: bool = False,
    allow: tuple[str, ...] = (),
) -> RunFolder:
    """Run an experiment in folder `out`; the same call again resumes it where it stopped.

    The method is built anew from its description under the plan's seed, so that its first weights depend on
    nothing else.

    Args:
        experiment: what to run.
        out: the run folder.
        fresh: start over in a folder that holds a run.
        quiet: show no progress.
        tensorboard: also write TensorBoard events (extra `tensorboard`).
        allow: modules outside withstand that the description may name.

    Raises:
        RunError: the folder belongs to another experiment, or another process runs in it.
        NonFiniteLoss: training broke down.
    """
    folder = RunFolder(out)
    experiment.check()  # refuse what is hopeless before touching the folder
    if isinstance(experiment.first, str):
        experiment.check_carry(_plan(_earlier(experiment.first, folder, experiment.first_at), allow))
    fabric = _fabric(experiment.plan)
    work = partial(
        _work,
        tree=describe(experiment),
        seed=experiment.plan.seed,
        supply=externals(experiment),
        allow=allow,
        out=out,
        quiet=quiet,
        tensorboard=tensorboard,
    )

    def earlier() -> None:
        if isinstance(experiment.first, Experiment):
            train(experiment.first, folder.first.path, quiet=quiet, tensorboard=tensorboard, allow=allow)

    if not fabric.is_global_zero:  # torchrun started us, and the first of us minds the folder
        earlier()
        fabric.launch()
        work(fabric)
        return folder
    with folder.locked():
        folder.claim(experiment, fresh=fresh)
        if not quiet:
            announce(experiment.source, experiment.test)
        try:
            earlier()
            if isinstance(fabric.strategy, DDPStrategy) and "LOCAL_RANK" not in os.environ:
                fabric.launch(work)
            else:
                fabric.launch()
                work(fabric)
        except BaseException as error:
            with suppress(OSError):  # on a full disk the first error is the one to tell
                folder.update(status="stopped")
            if isinstance(error, ProcessRaisedException):
                raise _from_child(error) from error
            raise
    return folder


def _fabric(plan: Plan) -> Fabric:
    accelerator = device_of(plan.device).type
    if "LOCAL_RANK" in os.environ and (started := int(os.environ.get("WORLD_SIZE", plan.processes))) != plan.processes:
        raise ConfigError(
            f"torchrun started {started} processes, and this run is for {plan.processes}: use --processes {started}"
        )
    if plan.processes == 1:
        return Fabric(accelerator=accelerator, devices=1)
    cards = torch.cuda.device_count() if accelerator == "cuda" else 1
    if accelerator != "cpu" and plan.processes > cards:
        raise ConfigError(
            f"{plan.processes} processes on {accelerator} need a device each, and {cards} is there: use --processes "
            f"{cards}, or --device cpu"
        )
    # torchrun and SLURM have started us already.
    start: Literal["popen", "spawn"] = "popen" if "LOCAL_RANK" in os.environ else "spawn"
    # Buffers are computed alike in every process; torch renamed the switch.
    switch = "forward_sync_buffers" if "forward_sync_buffers" in _DDP_OPTIONS else "broadcast_buffers"
    buffers: dict[str, Any] = {switch: False}
    strategy = DDPStrategy(start_method=start, **buffers)
    return Fabric(accelerator=accelerator, devices=plan.processes, strategy=strategy)


def _work(
    fabric: Fabric,
    tree: Tree,
    seed: int,
    supply: Mapping[str, object],
    allow: tuple[str, ...],
    out: Path,
    quiet: bool,
    tensorboard: bool,
) -> None:
    """Train in this process, one of `fabric.world_size`."""
    fabric.barrier()  # the first process has claimed the folder
    folder = RunFolder(out)
    with isolated(seed, "weights"), warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOut)  # said when the experiment was made
        experiment: Experiment = build(tree, allow=allow, supply=supply)
    earlier = None if experiment.first is None else _earlier(experiment.first, folder, experiment.first_at)
    if experiment.first is not None and earlier is not None:
        experiment.method.inherit(_trained(experiment.first, earlier, experiment.first_at, allow))
    numerics = Numerics.from_record(folder.record()["engine"])
    if numerics is None:
        # Every process must compute alike: the first one's choice holds.
        numerics = fabric.broadcast(choose(experiment, fabric.device))
        if fabric.is_global_zero:
            folder.update(
                engine={
                    "device": torch.cuda.get_device_name() if fabric.device.type == "cuda" else fabric.device.type,
                    "precision": numerics.precision,
                    "channels_last": numerics.layout == "channels-last",
                    "processes": fabric.world_size,
                    "reason": numerics.reason,
                }
            )
    carried = earlier.kept(experiment.first_at) if experiment.carry and earlier is not None else None
    progress = fit(fabric, experiment, numerics, folder, carried=carried, quiet=quiet, tensorboard=tensorboard)
    if fabric.is_global_zero:
        folder.update(status="finished", seconds=round(progress.seconds, 2), steps=progress.step)
    fabric.barrier()  # no process goes on to use what the first one has not finished


def _earlier(first: Experiment | str, folder: RunFolder, at: str | None) -> RunFolder:
    """Return the folder of the stage before.

    Raises:
        RunError: a user's own run that keeps no such checkpoint.
    """
    if not isinstance(first, str):
        return folder.first
    earlier = RunFolder(Path(first))
    if at is not None and earlier.exists() and not earlier.kept(at).is_dir():
        kept = sorted(path.name for path in (earlier.path / "kept").glob("*"))
        raise RunError(f"{earlier.path} keeps no checkpoint {at!r}: {nearest(at, kept) if kept else 'it keeps none'}")
    return earlier


def _plan(earlier: RunFolder, allow: tuple[str, ...]) -> Plan:
    tree: Any = earlier.record()["tree"]
    plan: Plan = build(tree["init_args"]["plan"], allow=allow, path="plan")
    return plan


def _trained(first: Experiment | str, earlier: RunFolder, at: str | None, allow: tuple[str, ...]) -> Method:
    """Return the method of the stage before, as it was at one of its checkpoints."""
    method: Method
    if isinstance(first, str):
        tree: Any = earlier.record()["tree"]
        method = build(tree["init_args"]["method"], allow=allow, path="method")
    else:
        method = first.method
    if checkpoint.load(earlier.kept(at), method) is None:
        raise RunError(f"{earlier.path}, which this run builds on, has no checkpoint yet: train it first")
    return method


def _from_child(error: ProcessRaisedException) -> Exception:
    """Return a child's own error when it was one that the user can mend."""
    name, _, message = str(error).strip().splitlines()[-1].partition(": ")
    kind = getattr(errors, name.rpartition(".")[2], None)
    if isinstance(kind, type) and issubclass(kind, WithstandError) and kind is not errors.MissingExtra:
        return kind(message)
    return RunError(f"a training process failed: {name}: {message}")
