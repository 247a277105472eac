"""The processes that train together: started here, or already by torchrun or SLURM, on one machine or several."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from withstand.core.devices.device import device_of
from withstand.core.errors import ConfigError
from withstand.engine.experiment import Plan

_DDP_OPTIONS = inspect.signature(DistributedDataParallel.__init__).parameters


@dataclass(frozen=True)
class Started:
    """Processes that somebody else has started, of which this is one.

    Attributes:
        by: who has.
        processes: how many they are, on all machines.
        nodes: how many machines.
    """

    by: Literal["torchrun", "srun"]
    processes: int
    nodes: int

    @property
    def here(self) -> int:
        """How many processes a machine has."""
        return self.processes // self.nodes

    def environment(self) -> ClusterEnvironment:
        """Return what tells Fabric which process this is, and where the first one listens."""
        return SLURMEnvironment(auto_requeue=False) if self.by == "srun" else TorchElasticEnvironment()


def started(environment: Mapping[str, str] | None = None) -> Started | None:
    """Return what the environment says of processes that were started together; None where this one is alone.

    SLURM's `srun` counts in a job step alone: a batch script that starts this command by itself has no other processes.

    Raises:
        ConfigError: machines with unequal numbers of processes.
    """
    told = os.environ if environment is None else environment
    alone = told.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if "LOCAL_RANK" in told and "WORLD_SIZE" in told:
        processes = int(told["WORLD_SIZE"])
        here = int(told.get("LOCAL_WORLD_SIZE", processes))
        found = Started("torchrun", processes, max(1, processes // here))
    elif "SLURM_STEP_ID" in told and "SLURM_PROCID" in told and not alone:
        processes, nodes = int(told.get("SLURM_NTASKS", "1")), int(told.get("SLURM_NNODES", "1"))
        found = Started("srun", processes, nodes)
    else:
        return None
    if found.here * found.nodes != found.processes:
        raise ConfigError(
            f"{found.by} started {found.processes} processes on {found.nodes} machines: each needs as many as any other"
        )
    return found


def fabric_of(plan: Plan) -> Fabric:
    """Return the devices and processes of a plan.

    Raises:
        ConfigError: others were started than the plan is for, or there are fewer devices.
    """
    accelerator, begun = device_of(plan.device).type, started()
    if begun is not None and begun.processes != plan.processes:
        raise ConfigError(
            f"{begun.by} started {begun.processes} processes, and this run is for {plan.processes}: use --processes "
            f"{begun.processes}"
        )
    if plan.processes == 1:
        return Fabric(accelerator=accelerator, devices=1, plugins=[LightningEnvironment()])
    here = plan.processes if begun is None else begun.here
    cards = torch.cuda.device_count() if accelerator == "cuda" else 1
    if accelerator != "cpu" and here > cards:
        raise ConfigError(
            f"{here} processes on {accelerator} need a device each, and {cards} is there: use --processes {cards}, or "
            "--device cpu"
        )
    start: Literal["popen", "spawn"] = "spawn" if begun is None else "popen"
    # Buffers are computed alike in every process; torch renamed the switch.
    switch = "forward_sync_buffers" if "forward_sync_buffers" in _DDP_OPTIONS else "broadcast_buffers"
    buffers: dict[str, Any] = {switch: False}
    strategy = DDPStrategy(start_method=start, **buffers)
    nodes = 1 if begun is None else begun.nodes
    try:
        environment = LightningEnvironment() if begun is None else begun.environment()
        return Fabric(accelerator=accelerator, devices=here, num_nodes=nodes, strategy=strategy, plugins=[environment])
    except (RuntimeError, ValueError) as error:  # Fabric's own checks of what srun was told
        raise ConfigError(" ".join(str(error).split())) from error
