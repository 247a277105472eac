"""HPM against the official computation, written out plainly; the ramp, the ranking loss, who gets which gradient."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError
from withstand.core.random import isolated
from withstand.losses.restoration.difficulty import ranking_error, standard_error
from withstand.methods.masked.hpm import HPM
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.patches import cut
from withstand.models.pictures.transformers.vit import ViT, positions


def made(pooling: str = "mean", **settings: object) -> HPM:
    with isolated("hpm"):
        vit = ViT(4, 24, 2, 3, pooling=pooling)  # type: ignore[arg-type]
        encoder = Normalized(vit, (0.5,) * 3, (0.25,) * 3)
        return HPM(encoder, depth=2, width=16, heads=2, **settings).double()  # type: ignore[arg-type]


def batch(count: int = 5, **at: int) -> Batch:
    return replace(ToyPictures(count, size=16)[range(count)], **at)  # type: ignore[arg-type]


def some(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def official(method: HPM, x: Tensor, keep: Tensor, hidden: Tensor, relative: bool) -> Tensor:
    """The loss as the official code computes it, its loss head averaged over outputs."""
    before, last = method.encoder.prefix, hidden.shape[1]
    x_ = method.filler.enter(method.encoder.tokens(x, keep))
    places = positions(*method.encoder.grid(x), method.filler.width).double()
    masks = method.filler.token.expand(len(x), last, -1)
    tokens = torch.cat([x_[:, :before], x_[:, before:] + places[keep], masks + places[hidden]], 1)
    prediction, scores = (
        net.leave(net.norm(net.blocks(tokens)))[:, before:][:, -last:] for net in (method.decoder, method.judge)
    )
    target = torch.stack([one[rows] for one, rows in zip(cut((x - 0.5) / 0.25, 4), hidden, strict=True)])
    if method.normalise:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
    matrix = ((prediction - target) ** 2).mean(-1)
    told, wanted = scores.mean(-1), matrix.detach()
    if relative:
        above, below = (op(wanted.unsqueeze(1), wanted.unsqueeze(2)).int() for op in (torch.gt, torch.lt))
        apart = told.unsqueeze(1) - told.unsqueeze(2)
        costs = -above * torch.log(apart.sigmoid() + 1e-6) - below * torch.log(1 - apart.sigmoid() + 1e-6)
        return matrix.mean() + costs.sum() / (above + below).sum()
    wanted = (wanted - wanted.mean(1, keepdim=True)) / (wanted.var(1, keepdim=True) + 1e-6) ** 0.5
    return matrix.mean() + ((told - wanted) ** 2).mean()


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_loss_and_gradients_are_the_official_ones(pooling: str, normalise: bool, relative: bool) -> None:
    method, ones = made(pooling, normalise=normalise, relative=relative), batch()
    losses = [
        method.step(ones)["loss"],
        official(method, ones.x.double() / 255, *method.masks(ones), relative),
    ]
    parameters = {name: value for name, value in method.named_parameters() if value.requires_grad}
    ours, theirs = (torch.autograd.grad(loss, parameters.values()) for loss in losses)
    near = {"rtol": 1e-5, "atol": 1e-5} if relative else {"rtol": 1e-9, "atol": 1e-11}  # its logarithms add 1e-6
    torch.testing.assert_close(losses[0], losses[1], **near)
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, **near, msg=name)


def test_hard_patches_come_in_as_in_the_papers_ramp() -> None:
    method = made()
    assert method.hard_patches(10, 12) == 0, "a run of no length has none"
    method.before_run(100)
    assert [method.hard_patches(step, 12) for step in (0, 15, 16, 49, 99, 100, 500)] == [0, 0, 1, 3, 6, 6, 6]
    never = made(hardest=0.0)
    never.before_run(100)
    assert never.hard_patches(99, 12) == 0


def test_the_teachers_hardest_patches_are_hidden_and_as_many_as_ever() -> None:
    method, ones = made(), batch(32)
    method.before_run(10)
    scores = method.difficulty(ones.x)
    assert scores.shape == (32, 16)
    keep, hidden = method.masks(replace(ones, step=9))
    assert (keep.shape, hidden.shape) == ((32, 4), (32, 12))
    assert torch.equal(torch.cat([keep, hidden], 1).sort(1).values, torch.arange(16).expand(32, -1))
    hardest = scores.topk(6, 1).indices
    assert (hidden[:, :, None] == hardest[:, None]).any(1).all(), "the six that are hardest"
    whole, half = method.masks(replace(ones, step=9)), replace(ones, step=9, x=ones.x[16:], index=ones.index[16:])
    assert torch.equal(method.masks(half)[1], whole[1][16:])


def test_the_teacher_is_not_asked_while_nothing_is_hard(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made()
    method.before_run(100)

    def asked(*_: Tensor) -> Tensor:
        raise AssertionError("asked")

    monkeypatch.setattr(method.teacher, "forward", asked)
    method.step(batch(step=3))
    with pytest.raises(AssertionError, match="asked"):
        method.step(batch(step=60))


def test_the_difficulty_decoder_gives_the_reconstructor_no_gradient_and_the_teacher_gets_none() -> None:
    method = made()
    method.before_run(4)
    terms, x = method.step(batch(step=3)), batch().x
    terms["loss"].backward()
    assert all(parameter.grad is None for parameter in method.teacher.parameters())
    method.zero_grad()
    keep, hidden = method.masks(batch())
    filled = method.filler(method.encoder.tokens(x, keep), keep, hidden, (4, 4))
    ranking_error(method.judge.means(filled, 12), some(5, 12)).backward()
    assert all(parameter.grad is None for parameter in method.decoder.parameters())
    for network in (method.judge, method.encoder, method.filler):
        assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in network.parameters())


def test_the_teachers_momentum_rises_over_its_epochs() -> None:
    method = made()
    found = []
    for epoch in (0, 50, 100, 300):
        before = method.teacher.network.filler.token.clone()  # type: ignore[union-attr]
        with torch.no_grad():
            method.filler.token.add_(1)
        method.step(batch(2, epoch=epoch))
        method.after_step(1)
        moved = method.teacher.network.filler.token - before  # type: ignore[union-attr]
        found.append(float((1 - moved / (method.filler.token.detach() - before)).mean()))
    assert found == pytest.approx([0.999, 0.99945, 0.9999, 0.9999], abs=1e-9)


def test_the_mean_of_the_outputs_is_that_of_the_mean_weights() -> None:
    judge, tokens = made().judge, some(3, 7, 16)
    torch.testing.assert_close(judge.means(tokens, 5), judge(tokens, 5).mean(2))


def test_ranking_is_ln_2_at_ties_of_scores_and_0_when_they_order_the_errors() -> None:
    errors = some(4, 9)
    assert float(ranking_error(torch.full((4, 9), 0.3, dtype=torch.float64), errors)) == pytest.approx(math.log(2))
    assert float(ranking_error(1e6 * errors, errors)) < 1e-9
    assert float(ranking_error(-1e6 * errors, errors)) > 1e3


def test_ranking_does_not_hang_on_a_pictures_level_and_its_gradients_sum_to_0() -> None:
    scores, errors = some(4, 9).requires_grad_(), some(4, 9, seed=1).requires_grad_()
    loss = ranking_error(scores, errors)
    assert float(ranking_error(scores.detach() + some(4, 1, seed=2), errors)) == pytest.approx(float(loss.detach()))
    (gradient,) = torch.autograd.grad(loss, scores, retain_graph=True)
    assert gradient.abs().max() > 1e-3
    assert gradient.sum(1).abs().max() < 1e-12
    assert torch.autograd.grad(loss, errors, allow_unused=True) == (None,)


def test_equal_errors_make_no_pair() -> None:
    scores = torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    errors = torch.tensor([[1.0, 1.0, 2.0], [5.0, 5.0, 5.0]], dtype=torch.float64)
    expected = (math.log1p(math.exp(-3)) + math.log1p(math.exp(-2))) / 2
    assert float(ranking_error(scores.detach(), errors)) == pytest.approx(expected)
    nothing = ranking_error(scores, torch.ones(2, 3, dtype=torch.float64))
    assert float(nothing.detach()) == 0
    nothing.backward()
    assert scores.grad is not None
    assert scores.grad.abs().max() == 0


def test_standard_errors_do_not_hang_on_scale_and_level_of_the_errors() -> None:
    scores, errors = some(4, 9), some(4, 9, seed=1)
    moved = standard_error(scores, 1e3 * errors + 7)
    assert float(moved) == pytest.approx(float(standard_error(scores, 1e6 * errors)), rel=1e-6)
    assert float(standard_error((errors - errors.mean(1, keepdim=True)) / errors.std(1, keepdim=True), errors)) < 1e-9


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="a ResNet has no patches to hide"):
        HPM(Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3))  # type: ignore[arg-type]
    for settings, words in (
        ({"ratio": 0.0}, "ratio"),
        ({"hardest": 1.5}, r"hardest, .*\[0, 1\], not 1\.5"),
        ({"settling": 0}, "settling"),
    ):
        with pytest.raises(ConfigError, match=words):
            made(**settings)
    with pytest.raises(ConfigError, match="hides 1 of 16 patches: two are needed"):
        made(ratio=0.05).step(batch())
    assert made(momentum=Momentum(0.9, None)).teacher.momentum == Momentum(0.9, None)
