"""Batch normalisation of two processes against that of one with all samples."""

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.models.blocks.normalization import norm as norm_module
from withstand.models.blocks.normalization.norm import GlobalBatchNorm, synchronize

CASES = {
    "rows": (nn.BatchNorm1d(5), (6, 5)),
    "series": (nn.BatchNorm1d(5, affine=False), (6, 5, 7)),
    "pictures": (nn.BatchNorm2d(5, momentum=None), (6, 5, 4, 3)),
    "no running statistics": (nn.BatchNorm2d(5, track_running_stats=False), (6, 5, 4, 3)),
}


def case(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A layer with uneven weights, and both processes' samples and upstream gradients."""
    norm, shape = CASES[name]
    norm = copy.deepcopy(norm).double()
    generator = torch.Generator().manual_seed(0)
    for parameter in norm.parameters():
        nn.init.normal_(parameter, generator=generator)
    x, upstream = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return norm, 100 + 3 * x, upstream


def run(norm: nn.Module, x: Tensor, upstream: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    out = norm(x)
    norm(x.detach())  # the running statistics move twice
    (out * upstream).sum().backward()
    assert x.grad is not None
    gradients = {f"grad {name}": parameter.grad for name, parameter in norm.named_parameters()}
    return {
        "out": out.detach(),
        "to x": x.grad,
        **gradients,
        **dict(norm.named_buffers()),
        "eval": norm.eval()(x).detach(),
    }


def work(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        results = {}
        for name in CASES:
            norm, x, upstream = case(name)
            rows = slice(0, 3) if rank == 0 else slice(3, 6)
            results[name] = run(synchronize(norm), x[rows], upstream[rows])
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    folder: Path = tmp_path_factory.mktemp("norm")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_one(two: list[dict[str, dict[str, Tensor]]], name: str) -> None:
    single = run(*case(name))
    first, second = (results[name] for results in two)
    assert first.keys() == single.keys()
    for key, expected in single.items():
        if key in ("out", "to x", "eval"):
            found = torch.cat([first[key], second[key]])
        elif key.startswith("grad"):
            found = first[key] + second[key]  # each sums over its own rows; a mean of losses divides both by two
        else:
            assert torch.equal(first[key], second[key])
            found = first[key]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}")


def test_one_process_keeps_torchs_own_layers() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert synchronize(model) is model
    assert type(model[1]) is nn.BatchNorm2d


def test_what_is_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(norm_module, "world_size", lambda: 2)
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm3d(4)), nn.LayerNorm(2))
    names, weight = list(model.state_dict()), model[0].weight
    for _ in range(2):  # the second time nothing is left to do
        synchronize(model)
        assert [type(model[0]), *map(type, model[1]), type(model[2])] == [GlobalBatchNorm] * 3 + [nn.LayerNorm]
    assert list(model.state_dict()) == names
    assert model[0].weight is weight
    assert type(synchronize(nn.BatchNorm1d(2))) is GlobalBatchNorm

    class Own(nn.BatchNorm2d):
        pass

    with pytest.raises(ConfigError, match="stem is a Own, which cannot normalise over processes"):
        synchronize(nn.ModuleDict({"stem": Own(2)}))


@pytest.mark.parametrize("name", CASES)
def test_alone_it_computes_what_torch_computes(name: str) -> None:
    norm, x, upstream = case(name)
    alone = copy.deepcopy(norm)
    alone.__class__ = GlobalBatchNorm
    for expected, found in zip(run(norm, x, upstream).values(), run(alone, x, upstream).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_bfloat16_features_and_single_values() -> None:
    norm = nn.BatchNorm2d(3)
    norm.__class__ = GlobalBatchNorm
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    half = x.detach().bfloat16().requires_grad_()
    plain = nn.BatchNorm2d(3)(x)
    out = norm(half)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), plain, rtol=0.02, atol=0.02)
    (out * out.detach().roll(1)).sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="more than one value"):
        norm(torch.rand(1, 3, 1, 1))
