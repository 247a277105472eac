"""Two processes with half the batch each, against one with all of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from withstand.losses.agreement.redundancy import barlow_twins
from withstand.losses.contrast.contrastive import dcl, dclw, npc_factor, nt_xent

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "nt_xent": nt_xent,
    "nt_xent, cold": lambda a, b: nt_xent(a, b, 0.001),
    "dcl": dcl,
    "dclw": lambda a, b: dclw(a, b, 0.2, sigma=0.3),
    "dclw, gradient through the weight": lambda a, b: dclw(a, b, 0.2, sigma=0.3, detach_weight=False),
    "npc_factor": lambda a, b: npc_factor(a, b).mean(),
    "barlow_twins": barlow_twins,
}


def run(rows: slice) -> dict[str, tuple[Tensor, Tensor]]:
    """Return each loss, and the gradient of a weight that every process holds a copy of."""
    generator = torch.Generator().manual_seed(0)
    x1, x2 = (torch.randn(8, 6, generator=generator, dtype=torch.float64)[rows] for _ in range(2))
    results = {}
    for name, loss in LOSSES.items():
        weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_()
        value = loss(x1 @ weight, (x1 + 0.5 * x2) @ weight)
        value.backward()
        assert weight.grad is not None
        results[name] = (value.detach(), weight.grad)
    return results


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        torch.save(run(slice(4 * rank, 4 * rank + 4)), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, tuple[Tensor, Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("losses")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_over_processes_is_the_global_batch(two: list[dict[str, tuple[Tensor, Tensor]]], name: str) -> None:
    for single, first, second in zip(run(slice(0, 8))[name], *(results[name] for results in two), strict=True):
        torch.testing.assert_close((first + second) / 2, single, rtol=0, atol=1e-10)
