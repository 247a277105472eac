"""Launch: from an experiment to a finished run, in one process or several."""

import logging
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.multiprocessing.spawn import ProcessRaisedException

from withstand.core import errors
from withstand.core.errors import LeftOut, RunError, WithstandError, nearest
from withstand.core.part import Tree, again, build, describe, externals
from withstand.core.random import isolated
from withstand.core.roles import Method
from withstand.engine import checkpoint
from withstand.engine.checkpoint import last_step
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.fit import fit
from withstand.engine.folder import RunFolder
from withstand.engine.journal import announce
from withstand.engine.numerics import Numerics, choose
from withstand.engine.origin.begun import begin
from withstand.engine.origin.data_places import places_of
from withstand.engine.preemption import listening
from withstand.engine.processes import fabric_of, started

# Advice that does not fit here, for a run chooses its own precision.
logging.getLogger("lightning_fabric.utilities.rank_zero").addFilter(
    lambda record: "set_float32_matmul_precision" not in record.getMessage()
)


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
        Preempted: a signal asked it to stop, and it has saved.
    """
    folder = RunFolder(out)
    experiment.check()  # refuse what is hopeless before touching the folder
    if isinstance(experiment.first, str):
        experiment.check_carry(_plan(_earlier(experiment.first, folder, experiment.first_at), allow))
    begun = None
    if experiment.start is not None and (fresh or not last_step(folder.checkpoints)):
        with isolated(experiment.plan.seed, "weights"):  # tried before the folder is touched
            begun = begin(again(experiment.method), experiment.start, allow)
    fabric = fabric_of(experiment.plan)
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

    if not fabric.is_global_zero:  # torchrun or srun started us, and the first of us minds the folder
        earlier()
        fabric.launch()
        work(fabric)
        return folder
    with folder.locked():
        folder.claim(experiment, places_of(experiment, out), fresh=fresh)
        if begun is not None:
            folder.update(**{"begins with": begun.record()})
        if not quiet:
            announce(experiment.source, experiment.test, *([] if begun is None else [str(begun)]))
        try:
            earlier()
            if isinstance(fabric.strategy, DDPStrategy) and started() is None:
                with listening() as asked:
                    fabric.launch(work)
                if folder.record().get("status") != "finished":
                    asked.stop()  # those that were started have saved
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
    if experiment.start is not None and not last_step(folder.checkpoints):
        begin(experiment.method, experiment.start, allow)
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
    begun = folder.record()["engine"]
    before = begun.get("processes") if isinstance(begun, dict) else None
    with listening() as asked:
        progress = fit(
            fabric, experiment, numerics, folder,
            asked=asked, carried=carried, quiet=quiet, tensorboard=tensorboard,
            note="" if before in (None, fabric.world_size) else _other_processes(before, fabric.world_size),
        )  # fmt: skip
    if fabric.is_global_zero:
        folder.update(status="finished", seconds=round(progress.seconds, 2), steps=progress.step)
    fabric.barrier()  # no process goes on to use what the first one has not finished


def _other_processes(before: Tree, now: int) -> str:
    return (
        f"begun in {before} process(es), and now in {now}: the same up to rounding, but for what draws in each process "
        "by itself, as dropout does"
    )


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
