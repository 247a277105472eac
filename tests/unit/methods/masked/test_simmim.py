"""SimMIM against the official computation, written out plainly: mask tokens in the encoder, L1 on hidden pixels."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import Draws, isolated
from withstand.methods.masked.simmim import SimMIM
from withstand.methods.shared.masked_pictures import hidden_where
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.patches import joined
from withstand.models.pictures.transformers.vit import ViT, positions
from withstand.views.masks import random_masks, unit_masks


def made(pooling: str = "mean", **settings: object) -> SimMIM:
    with isolated("simmim"):
        vit = ViT(4, 24, 2, 3, pooling=pooling)  # type: ignore[arg-type]
        return SimMIM(Normalized(vit, (0.5,) * 3, (0.25,) * 3), **settings).double()  # type: ignore[arg-type]


def batch(count: int = 5, size: int = 16) -> Batch:
    return ToyPictures(count, size=size)[range(count)]


def official(method: SimMIM, x: Tensor, hidden: Tensor) -> Tensor:
    """The official code: every patch embedded, mask tokens blended in, one pixel-shuffled layer, a masked mean."""
    vit = method.encoder.encoder
    assert isinstance(vit, ViT)
    x = (x - 0.5) / 0.25
    mask = hidden_where(hidden, 16).double()
    tokens = vit.project(x).flatten(2).transpose(1, 2)
    tokens = tokens * (1 - mask[:, :, None]) + method.filler * mask[:, :, None]
    tokens = tokens + positions(4, 4, 24)
    if vit.cls is not None:
        tokens = torch.cat([vit.cls.expand(len(x), -1, -1), tokens], 1)
    tokens = vit.norm(vit.blocks(tokens))[:, vit.prefix :]
    pixels = joined(method.decoder(tokens), 4, 4, 3)
    covered = mask.view(-1, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    return (l1_loss(x, pixels, reduction="none") * covered).sum() / covered.sum() / 3


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_loss_and_gradients_are_the_official_ones(pooling: str) -> None:
    method, some = made(pooling), batch()
    losses = [method.step(some)["loss"], official(method, some.x.double() / 255, method.masks(some)[1])]
    parameters = dict(method.named_parameters())
    ours, theirs = (torch.autograd.grad(loss, parameters.values()) for loss in losses)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-12)
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11, msg=name)


def test_hidden_pixels_reach_the_loss_as_targets_alone() -> None:
    method = made()
    x = (batch().x.double() / 255).requires_grad_()
    keep, hidden = method.masks(batch())
    told = method.restored(x, keep, hidden)
    assert told.shape == (5, hidden.shape[1], 48)
    (slope,) = torch.autograd.grad(told.square().sum(), x)
    covered = hidden_where(hidden, 16).view(-1, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)
    reached = slope.abs().sum(1) > 0
    assert not bool((reached & covered).any())
    assert bool(reached[~covered].any())


def test_nothing_is_asked_of_seen_patches() -> None:
    """The official masked mean: what is told of seen patches gets no gradient."""
    method, some = made(), batch()
    keep, hidden = method.masks(some)
    where = hidden_where(hidden, 16)
    told, tokens = method.told(some.x, where)
    (slope,) = torch.autograd.grad(told.sum(), tokens)
    assert torch.equal(slope.abs().sum(2) > 0, where)
    assert keep.shape[1] + hidden.shape[1] == 16


def test_squares_are_hidden_whole_and_as_many_as_the_paper_counts() -> None:
    draws = Draws(0, torch.arange(30))
    seen, hidden = unit_masks(draws, (6, 4), 0.6, 2)
    assert hidden.shape == (30, 4 * 4), "4 of 6 squares: the ceiling of 3.6"
    assert torch.equal(torch.cat([seen, hidden], 1).sort(1).values, torch.arange(24).expand(30, -1))
    where = hidden_where(hidden, 24).view(30, 3, 2, 2, 2).permute(0, 1, 3, 2, 4).flatten(3)
    assert torch.equal(where.all(3), where.any(3))
    assert len({tuple(row.sort().values.tolist()) for row in hidden}) > 5


def test_a_unit_of_one_hides_patches_as_mae_does() -> None:
    one = unit_masks(Draws(3, torch.arange(4)), (3, 5), 0.4, 1)
    other = random_masks(Draws(3, torch.arange(4)), 15, 0.4)
    assert all(map(torch.equal, one, other))


def test_two_patches_a_side_where_they_tile_and_else_one() -> None:
    hidden = made().masks(batch())[1]
    assert hidden.shape[1] == 12, "3 of 4 squares"
    assert made().masks(batch(size=12))[1].shape[1] == 6, "ceiling of 5.4 of 9 patches"


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="a ResNet has no patches to hide"):
        SimMIM(Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3))
    with pytest.raises(ConfigError, match=r"unit must be at least 1 and divide the grid of 4 x 4 patches, not 3"):
        made(unit=3).step(batch())
    with pytest.raises(ConfigError, match="must lie inside"):
        made(ratio=0.0)
