"""Teachers, queues, centres and per-sample state: three steps of two processes are three steps of one."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.devices.distributed import world_size
from withstand.core.random import isolated
from withstand.core.roles import Method, Model
from withstand.methods.contrastive.isogclr import ISogCLR
from withstand.methods.contrastive.nnclr import NNCLR
from withstand.methods.momentum_contrast.mochi import MoCHi
from withstand.methods.momentum_contrast.moco_v2 import MoCoV2
from withstand.methods.non_contrastive.byol import BYOL
from withstand.methods.non_contrastive.dino import DINO
from withstand.methods.non_contrastive.mixed_barlow_twins import MixedBarlowTwins
from withstand.methods.non_contrastive.swav import SwAV
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.blocks.normalization.norm import synchronize

MOMENTUM = Momentum(0.8, 1.0)


class Flat(Model):
    """A linear encoder."""

    width = 12

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x.flatten(1))
        return features


MAKERS: dict[str, Callable[[], Method]] = {
    "MoCo v2": lambda: MoCoV2(Flat(), dim=5, queue_size=20, symmetric=True, momentum=MOMENTUM),
    "NNCLR": lambda: NNCLR(Flat(), dim=5, queue_size=20),
    "BYOL": lambda: BYOL(Flat(), dim=5, momentum=MOMENTUM),
    "DINO": lambda: DINO(Flat(), dim=5, prototypes=6, frozen_epochs=0, momentum=MOMENTUM),
    "SwAV": lambda: SwAV(Flat(), dim=5, prototypes=6, frozen_epochs=0, queue_size=16, queue_from=0),
    "MoCHi": lambda: MoCHi(
        Flat(), dim=5, queue_size=20, hardest=4, pairs=3, with_query=2, warmup_epochs=0, momentum=MOMENTUM
    ),
    "iSogCLR": lambda: ISogCLR(Flat(), samples=24, dim=5, new_share=0.5),
    "Mixed Barlow Twins": lambda: MixedBarlowTwins(Flat(), dim=5),
}


def run(name: str, rows: slice) -> dict[str, Tensor]:
    """Return a method's whole state after three steps on a process's share of the batches."""
    with isolated("processes"):
        method = synchronize(MAKERS[name]().double())
    method.before_run(10)
    parameters = method.groups()["main"]
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        views = [torch.rand(8, 3, 2, 2, generator=generator, dtype=torch.float64)[rows] for _ in range(2)]
        batch = Batch(views[0], torch.arange(24).roll(5 * step)[:8][rows], views=tuple(views))
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(method.step(batch)["loss"], parameters), strict=True
        ):
            if world_size() > 1:
                dist.all_reduce(gradient)
            parameter.data.sub_(gradient, alpha=0.02 / world_size())
        method.after_step(step + 1)
    return method.state_dict()


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        torch.save({name: run(name, slice(4 * rank, 4 * rank + 4)) for name in MAKERS}, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("state")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", MAKERS)
def test_state_is_the_same_on_every_process_and_as_on_one(two: list[dict[str, dict[str, Tensor]]], name: str) -> None:
    single = run(name, slice(0, 8))
    for key, value in single.items():
        for process in two:
            torch.testing.assert_close(process[name][key], value, rtol=1e-8, atol=1e-9, msg=f"{name}: {key}")
