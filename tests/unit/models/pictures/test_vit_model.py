import math

import pytest
import torch

from withstand.core.errors import ConfigError, DataError
from withstand.models.pictures.transformers.vit import Block, ViT, positions


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_features_of_any_size_that_patches_tile(pooling: str) -> None:
    model = ViT(4, 24, 2, 3, channels=1, pooling=pooling)  # type: ignore[arg-type]
    for height, width in ((28, 28), (32, 16), (4, 4)):
        assert model(torch.rand(2, 1, height, width)).shape == (2, 24)
    with pytest.raises(DataError, match="do not tile pictures of 30 x 28"):
        model(torch.rand(2, 1, 30, 28))


def test_positions_are_distinct_and_known() -> None:
    table = positions(5, 7, 16)
    assert table.shape == (35, 16)
    assert torch.cdist(table, table).add(torch.eye(35)).min() > 0.1
    rate = 10_000**-0.25
    row, column = 3, 2
    here = table[row * 7 + column]
    expected = torch.tensor([column * rate, row * rate])
    torch.testing.assert_close(here[[1, 9]], expected.sin())
    torch.testing.assert_close(here[[5, 13]], expected.cos())


def test_positions_are_maes() -> None:
    """By its formula, patch by patch: the grid is laid out (w, h), each half is sines and then cosines."""
    rows, columns, width = 3, 4, 16
    omega = [1 / 10000 ** (i / 4) for i in range(4)]
    expected = [
        [f(at * o) for at in (w, h) for f in (math.sin, math.cos) for o in omega]
        for h in range(rows)
        for w in range(columns)
    ]
    torch.testing.assert_close(positions(rows, columns, width), torch.tensor(expected))


def test_layer_norms_are_those_of_the_published_networks() -> None:
    norms = [module for module in ViT(4, 24, 2, 3).modules() if isinstance(module, torch.nn.LayerNorm)]
    assert len(norms) == 5
    assert {norm.eps for norm in norms} == {1e-6}


def test_where_a_patch_lies_matters() -> None:
    model = ViT(4, 24, 2, 3).eval()
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(model(x), model(x.roll(4, -1)), atol=1e-4)


def test_block_equals_the_written_out_attention() -> None:
    block = Block(8, 2).double()
    x = torch.rand(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    query, key, value = block.qkv(block.norm1(x)).view(3, 5, 3, 2, 4).unbind(2)
    weights = (torch.einsum("bthw,bshw->bhts", query, key) / 2).softmax(-1)  # sqrt(4)
    y = x + block.join(torch.einsum("bhts,bshw->bthw", weights, value).flatten(2))
    y = y + block.narrow(torch.nn.functional.gelu(block.widen(block.norm2(y))))
    torch.testing.assert_close(block(x), y)


def test_every_parameter_learns() -> None:
    for pooling in ("mean", "cls"):
        model = ViT(4, 24, 2, 3, pooling=pooling)  # type: ignore[arg-type]
        model(torch.rand(2, 3, 8, 8)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="multiple of 4 and of heads"):
        ViT(width=20, heads=3)
    with pytest.raises(ConfigError, match="pooling 'max' is unknown"):
        ViT(pooling="max")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="patch and depth"):
        ViT(patch=0)


@pytest.mark.parametrize("last", [1, 3, 5])
def test_the_last_tokens_alone_are_those_of_all(last: int) -> None:
    block = Block(8, 2).double()
    x = torch.rand(3, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    some, whole = block(x, last), block(x)[:, 5 - last :]
    assert some.shape == (3, last, 8)
    torch.testing.assert_close(some, whole)
    ours, theirs = (torch.autograd.grad(one.square().sum(), [x, *block.parameters()]) for one in (some, whole))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
