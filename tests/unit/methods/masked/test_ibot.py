"""iBOT against the official loss, written out plainly: both tasks, both centers, views of which nothing is hidden."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, softmax

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.methods.masked.ibot import IBOT
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT


def made(pooling: str = "cls", **settings: object) -> IBOT:
    with isolated("ibot"):
        vit = ViT(2, 24, 2, 3, pooling=pooling)  # type: ignore[arg-type]
        encoder = Normalized(vit, (0.5,) * 3, (0.25,) * 3)
        small = {"hidden": 12, "dim": 10, "prototypes": 6, "warmup_epochs": 0, "frozen_epochs": 0}
        return IBOT(encoder, **{**small, **settings}).double()  # type: ignore[arg-type]


def batch(count: int = 6, parts: bool = False) -> Batch:
    whole = ToyPictures(count, size=16)[range(count)]
    views = (whole.x, whole.x.flip(3) // 2, *([whole.x[:, :, :8, :8]] if parts else []))
    return whole.with_views(*views)


def official(method: IBOT, some: Batch, masks: Tensor) -> Tensor:
    """The official `iBOTLoss.forward`, on the outputs of the official wrapper: class token first, then patches."""
    views = [view.double() / 255 for view in some.views]

    def outputs(tokens: Tensor) -> tuple[Tensor, Tensor]:
        whole = tokens[:, :1] if method.encoder.prefix else tokens.mean(1, keepdim=True)
        every = torch.cat([whole, tokens[:, method.encoder.prefix :]], 1)
        scores = method.head(every.flatten(0, 1)).view(*every.shape[:2], -1)
        return scores[:, 0], scores[:, 1:]

    student_cls, student_patch = outputs(method.encoder.filled(torch.cat(views[:2]), masks, method.filler))
    if len(views) > 2:
        student_cls = torch.cat([student_cls, outputs(method.encoder.tokens(views[2]))[0]])
    taught = method.teacher(torch.cat(views[:2]))
    teacher_cls = softmax((taught[:, 0] - method.center) / 0.04, -1).chunk(2)
    teacher_patch = softmax((taught[:, 1:] - method.patch_center) / 0.07, -1).chunk(2)
    student_cls_c, student_patch_c = (student_cls / 0.1).chunk(len(views)), (student_patch / 0.1).chunk(2)
    first, second, terms = torch.zeros(()).double(), torch.zeros(()).double(), [0, 0]
    for q in range(2):
        for v in range(len(views)):
            if v == q:
                loss = (-teacher_patch[q] * log_softmax(student_patch_c[v], -1)).sum(-1)
                mask = masks.chunk(2)[v].double()
                second = second + ((loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
                terms[1] += 1
            else:
                first = first + (-teacher_cls[q] * log_softmax(student_cls_c[v], -1)).sum(-1).mean()
                terms[0] += 1
    return first / terms[0] + second / terms[1] * method.patch_weight


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_loss_and_gradients_are_the_official_ones(pooling: str, parts: bool) -> None:
    method, some = made(pooling, patch_weight=1.5), batch(parts=parts)
    with torch.no_grad():
        method.center.normal_(generator=torch.Generator().manual_seed(0))
        method.patch_center.normal_(generator=torch.Generator().manual_seed(1))
        for parameter in method.teacher.parameters():
            parameter.mul_(1.2)
    masks = method.masks(some)
    assert 0 in masks.sum(1)
    assert masks.any()
    losses = [method.terms(some, masks)["loss"], official(method, some, masks)]
    parameters = {name: one for name, one in method.named_parameters() if one.requires_grad}
    ours, theirs = (torch.autograd.grad(loss, parameters.values()) for loss in losses)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-12)
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11, msg=name)


def test_centers_follow_the_teachers_means_of_pictures_and_of_patches() -> None:
    method, some = made(), batch()
    taught = method.teacher(torch.cat([view.double() / 255 for view in some.views]))
    method.step(some)
    method.after_step(1)
    torch.testing.assert_close(method.center, 0.1 * taught[:, 0].mean(0))
    torch.testing.assert_close(method.patch_center, 0.1 * taught[:, 1:].mean((0, 1)))


def test_half_of_the_views_are_left_whole_and_the_rest_hides_a_tenth_to_a_half() -> None:
    shares = made().masks(batch(200)).double().mean(1)
    assert float((shares == 0).double().mean()) == pytest.approx(0.5, abs=0.08)
    assert float(shares.max()) <= 0.5
    assert not torch.equal(*made().masks(batch(200)).chunk(2)), "each view has its own"


def test_a_batch_of_which_nothing_is_hidden_teaches_by_pictures_alone() -> None:
    method, some = made(), batch()
    terms = method.terms(some, torch.zeros(12, 64, dtype=torch.bool))
    assert float(terms["patches"]) == 0
    terms["loss"].backward()
    assert method.filler.grad is not None


def test_what_does_not_fit_is_refused() -> None:
    for settings, words in (
        ({"ratio": 0.3, "spread": 0.4}, "ratio and spread"),
        ({"ratio": 0.9, "spread": 0.2}, "ratio and spread"),
        ({"unhidden": 1.0}, "unhidden"),
        ({"center_momentum": 2.0}, "center_momentum"),
        ({"patch_weight": 0.0}, "patch_weight"),
    ):
        with pytest.raises(ConfigError, match=words):
            made(**settings)
