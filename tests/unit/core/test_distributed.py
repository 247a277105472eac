"""Gather and total over two processes: values and gradients are those of one process, exactly."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from withstand.core.devices.distributed import first_row, gather, rank, total, world_size

ROWS, WIDTH = 3, 4
NAMES = ("whole", "cosine", "shared", "columns", "transposed", "statistic", "anchors")


def whole() -> tuple[Tensor, Tensor]:
    """Both processes' rows, and weights that make a loss of them."""
    generator = torch.Generator().manual_seed(0)
    shape = (2 * ROWS, WIDTH)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x.requires_grad_(), torch.randn(shape, generator=generator, dtype=torch.float64)


def losses(x: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Losses that every process computes whole, and one over its own anchors; `x` are its own rows."""
    rows = gather(x)
    statistic = total(x.square().sum(0))
    return {
        "whole": (rows.pow(3) * weight).sum(),
        "cosine": (rows @ rows.T).logsumexp(1).sum(),
        # Two gathers that meet in a sum share one incoming gradient.
        "shared": (gather(x) + gather(2 * x)).mul(weight).sum(),
        "columns": gather(x.T.contiguous().T).mul(weight).sum(),
        "transposed": (gather(x.expand(2, -1, -1).transpose(0, 1)).sum(1) * weight).sum(),
        "statistic": statistic.pow(2).sum(),
        # As NT-Xent does: the mean over local anchors against all rows, then averaged over processes.
        "anchors": (x @ rows.T).logsumexp(1).mean(),
    }


def work(place: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=place, world_size=2)
    assert (rank(), world_size(), first_row(ROWS)) == (place, 2, ROWS * place)
    x, weight = whole()
    local = slice(place * ROWS, (place + 1) * ROWS)
    found = {}
    for name in NAMES:
        mine = x.detach()[local].clone().requires_grad_()
        value = losses(mine, weight)[name]
        value.backward()
        found[name], found[f"{name} gradient"] = value.detach(), mine.grad
    found["gathered"], found["total"] = gather(x.detach()[local]), total(x.detach()[local].sum(0))
    found["bytes"] = gather(torch.full((2,), place, dtype=torch.uint8))
    save_file({name: value.contiguous() for name, value in found.items()}, f"{folder}/{place}.safetensors")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder: Path = tmp_path_factory.mktemp("two")
    spawn(work, (str(folder),), nprocs=2)
    return [load_file(folder / f"{place}.safetensors") for place in range(2)]


def exact(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-13, rtol=1e-13)


def test_values_are_in_rank_order_and_alike_everywhere(both: list[dict[str, Tensor]]) -> None:
    x = whole()[0].detach()
    for found in both:
        assert torch.equal(found["gathered"], x)
        exact(found["total"], x.sum(0))
        assert found["bytes"].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_one_process(name: str, both: list[dict[str, Tensor]]) -> None:
    x, weight = whole()
    # The losses of both processes are averaged, as the engine averages gradients: that is the global loss.
    value = losses(x, weight)[name]
    value.backward()
    assert x.grad is not None
    exact((both[0][name] + both[1][name]) / 2, value.detach())
    gradient = torch.cat([found[f"{name} gradient"] for found in both]) / 2
    exact(gradient, x.grad)


def test_one_process_gives_the_tensor_itself() -> None:
    x = torch.ones(2)
    assert gather(x) is x
    assert total(x) is x
    assert (rank(), world_size(), first_row(5)) == (0, 1, 0)
