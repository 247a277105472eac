"""I-JEPA against the official computation, written out plainly: predictions block by block, normalised targets."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.methods.masked.i_jepa import IJEPA
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT, positions


def made(**settings: object) -> IJEPA:
    with isolated("i-jepa"):
        encoder = Normalized(ViT(2, 24, 2, 3), (0.5,) * 3, (0.25,) * 3)
        return IJEPA(encoder, depth=2, width=16, heads=2, **settings).double()  # type: ignore[arg-type]


def batch(count: int = 5, size: int = 16) -> Batch:
    return ToyPictures(count, size=size)[range(count)]


def official(method: IJEPA, x: Tensor, keep: Tensor, blocks: Tensor) -> Tensor:
    """The official loop: one predictor pass a target block, mask tokens with positions, smooth L1 over all."""
    vit = method.student.encoder
    assert isinstance(vit, ViT)
    x = (x - 0.5) / 0.25
    with torch.no_grad():
        taught = method.teacher.network.encoder
        tokens = taught.project(x).flatten(2).transpose(1, 2) + positions(8, 8, 24)
        whole = layer_norm(taught.norm(taught.blocks(tokens)), (24,))
    rows = torch.arange(len(x))[:, None]
    tokens = (vit.project(x).flatten(2).transpose(1, 2) + positions(8, 8, 24))[rows, keep]
    seen = vit.norm(vit.blocks(tokens))
    places, errors = positions(8, 8, 16).double(), []
    for number in range(blocks.shape[1]):
        block = blocks[:, number]
        context = method.filler.enter(seen) + places[keep]
        asked = method.filler.token.expand(len(x), block.shape[1], -1) + places[block]
        predicted = method.predictor.norm(method.predictor.blocks(torch.cat([context, asked], 1)))
        off = (method.predictor.leave(predicted[:, keep.shape[1] :]) - whole[rows, block]).abs()
        errors.append(torch.where(off < 1, 0.5 * off.square(), off - 0.5))
    return torch.stack(errors).mean()


def test_loss_and_gradients_are_the_official_ones() -> None:
    method, some = made(), batch()
    with torch.no_grad():
        for parameter in method.teacher.parameters():
            parameter.mul_(1.3)
    losses = [method.step(some)["loss"], official(method, some.x.double() / 255, *method.masks(some))]
    parameters = {name: one for name, one in method.named_parameters() if one.requires_grad}
    ours, theirs = (torch.autograd.grad(loss, parameters.values()) for loss in losses)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-12)
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11, msg=name)


def test_the_student_sees_the_context_alone() -> None:
    method = made()
    x = (batch().x.double() / 255).requires_grad_()
    keep, blocks = method.masks(batch())
    (slope,) = torch.autograd.grad(method.predicted(x, keep, blocks).square().sum(), x)
    reached = slope.abs().sum(1).view(5, 8, 2, 8, 2).sum((2, 4)).flatten(1) > 0
    seen = torch.zeros(5, 64, dtype=torch.bool).scatter_(1, keep, True)
    assert torch.equal(reached, seen)


def test_the_teacher_follows_in_a_line_and_is_what_users_take() -> None:
    method = made()
    method.before_run(10)
    assert [method.teacher.momentum.at(step, 10) for step in (0, 5, 10)] == pytest.approx([0.996, 0.998, 1.0])
    before = method.encoder.encoder.norm.weight.detach().clone()
    with torch.no_grad():
        method.student.encoder.norm.weight.add_(1.0)
    method.after_step(1)
    torch.testing.assert_close(method.encoder.encoder.norm.weight.detach(), before + 0.004)
    assert not any(parameter.requires_grad for parameter in method.encoder.parameters())
    assert not method.train().teacher.training


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match="a ResNet has no patches to hide"):
        IJEPA(Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3))
    with pytest.raises(ConfigError, match="least must be at least 0"):
        made(least=-1)
    with pytest.raises(ConfigError, match="keep more than least=70"):
        made(least=70).step(batch())
