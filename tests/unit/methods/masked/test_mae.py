"""MAE against the official computation, written out plainly: order restored, masked mean, per-patch targets."""

import pytest
import torch
from torch import Tensor

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.losses.restoration.reconstruction import masked_patch_error
from withstand.methods.masked.mae import MAE
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.patches import cut
from withstand.models.pictures.transformers.vit import ViT, positions


def made(pooling: str = "mean", **settings: object) -> MAE:
    with isolated("mae"):
        vit = ViT(4, 24, 2, 3, pooling=pooling)  # type: ignore[arg-type]
        encoder = Normalized(vit, (0.5,) * 3, (0.25,) * 3)
        return MAE(encoder, depth=2, width=16, heads=2, **settings).double()  # type: ignore[arg-type]


def batch(count: int = 5, size: int = 16) -> Batch:
    return ToyPictures(count, size=size)[range(count)]


def official(method: MAE, x: Tensor, keep: Tensor, hidden: Tensor) -> Tensor:
    """The loss as the official code computes it: tokens restored to the grid's order, a mask, a masked mean."""
    rows, columns = method.encoder.grid(x)
    length, before = rows * columns, method.encoder.prefix
    order = torch.cat([keep, hidden], 1)
    back = order.argsort(1)
    latent = method.encoder.tokens(x, keep)
    embedded = method.filler.enter(latent)
    masks = method.filler.token.expand(len(x), hidden.shape[1], -1)
    tokens = torch.cat([embedded[:, before:], masks], 1)
    tokens = tokens.gather(1, back[:, :, None].expand(-1, -1, tokens.shape[2]))
    tokens = torch.cat([embedded[:, :before], tokens], 1)
    places = torch.zeros(before + length, method.filler.width, dtype=torch.float64)
    places[before:] = positions(rows, columns, method.filler.width)
    tokens = method.decoder.norm(method.decoder.blocks(tokens + places))
    prediction = method.decoder.leave(tokens)[:, before:]
    target = cut((x - 0.5) / 0.25, 4)
    if method.normalise:
        mean, variance = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)
        target = (target - mean) / (variance + 1e-6) ** 0.5
    loss = ((prediction - target) ** 2).mean(-1)
    mask = torch.ones(len(x), length, dtype=torch.float64)
    mask[:, : keep.shape[1]] = 0
    mask = mask.gather(1, back)
    return (loss * mask).sum() / mask.sum()


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_loss_and_gradients_are_the_official_ones(pooling: str, normalise: bool) -> None:
    method, some = made(pooling, normalise=normalise), batch()
    losses = [method.step(some)["loss"], official(method, some.x.double() / 255, *method.masks(some))]
    parameters = dict(method.named_parameters())
    ours, theirs = (torch.autograd.grad(loss, parameters.values()) for loss in losses)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-12)
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11, msg=name)


def test_masks_hide_three_quarters_and_hang_on_each_picture_alone() -> None:
    method, whole = made(), batch(8)
    keep, hidden = method.masks(whole)
    assert (keep.shape, hidden.shape) == ((8, 4), (8, 12))
    half = Batch(whole.x[4:], whole.index[4:])
    assert torch.equal(method.masks(half)[1], hidden[4:])
    assert not torch.equal(method.masks(Batch(whole.x, whole.index, step=1))[1], hidden)


def test_the_first_view_is_read_where_there_is_one() -> None:
    method, whole = made(), batch()
    other = whole.x.flip(3)
    seen = method.step(whole.with_views(other, whole.x))["loss"]
    assert torch.equal(seen, method.step(whole.with_x(other))["loss"])


def test_the_order_of_what_is_hidden_orders_what_is_told_alone() -> None:
    """So that each mask token stands for the patch at its own place."""
    method, x = made("cls"), batch().x
    keep, hidden = method.masks(batch())
    told = method.restored(x, keep, hidden)
    order = torch.tensor([5, 2, 0, 1, 3, 4, 11, 10, 9, 8, 7, 6])
    torch.testing.assert_close(method.restored(x, keep, hidden[:, order]), told[:, order])
    shuffled = method.restored(x, keep.flip(1), hidden)
    torch.testing.assert_close(shuffled, told)
    assert not torch.allclose(told[:, 0], told[:, 1])


def test_seen_patches_are_asked_for_nothing() -> None:
    """Whatever they are, the target does not hang on them; only the input does."""
    patches = torch.rand(2, 6, 12, dtype=torch.float64, requires_grad=True)
    hidden = torch.tensor([[1, 4], [0, 3]])
    masked_patch_error(torch.zeros(2, 2, 12, dtype=torch.float64), patches, hidden, False).sum().backward()
    assert patches.grad is not None
    assert (patches.grad.abs().sum(2) > 0).nonzero().tolist() == [[0, 1], [0, 4], [1, 0], [1, 3]]


@pytest.mark.parametrize("values", [2, 12, 48])
def test_predicting_each_patchs_mean_costs_n_minus_1_over_n(values: int) -> None:
    patches = torch.rand(3, 5, values, dtype=torch.float64)
    hidden = torch.tensor([[0, 2]]).expand(3, -1)
    errors = masked_patch_error(torch.zeros(3, 2, values, dtype=torch.float64), patches, hidden)
    variance = patches.var(2).gather(1, hidden)
    expected = (values - 1) / values * variance / (variance + 1e-6)
    torch.testing.assert_close(errors, expected)


def test_patches_of_one_color_ask_for_nothing() -> None:
    errors = masked_patch_error(torch.zeros(1, 1, 12), torch.full((1, 4, 12), 0.3), torch.tensor([[2]]))
    assert errors.abs().max() < 1e-6


def test_half_precision_is_widened() -> None:
    prediction, patches = torch.rand(2, 3, 12).bfloat16(), torch.rand(2, 4, 12).bfloat16()
    hidden = torch.tensor([[0, 1, 3]]).expand(2, -1)
    errors = masked_patch_error(prediction, patches, hidden)
    assert errors.dtype == torch.float32
    torch.testing.assert_close(errors, masked_patch_error(prediction.float(), patches.float(), hidden))


def test_what_cannot_be_masked_is_refused() -> None:
    with pytest.raises(ConfigError, match="a ResNet has no patches to hide: use model vit"):
        MAE(Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="must lie inside"):
        made(ratio=1.0)
    with pytest.raises(ConfigError, match=r"ratio 0\.97 would leave 0 of 16 patches"):
        made(ratio=0.97).step(batch())
    with pytest.raises(ConfigError, match="width must be a multiple of 4"):
        MAE(ViT(4, 24, 1, 3), width=10, heads=2)
    with pytest.raises(ConfigError, match="width a multiple of its heads"):
        MAE(ViT(4, 24, 1, 3), width=12, heads=5)
    with pytest.raises(ConfigError, match="normalise=False"):
        MAE(ViT(1, 24, 1, 3, 1), width=12, heads=2)
    with pytest.raises(DataError, match="do not tile pictures of 15 x 15"):
        made().step(batch(size=15))
