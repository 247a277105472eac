"""SiT against the official computation, written out plainly; what is corrupted and by whom; who gets which gradient."""

import math
from dataclasses import replace
from inspect import signature

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, normalize

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.losses.contrast.momentum_contrast import info_nce_across
from withstand.losses.restoration.reconstruction import absolute_error_where
from withstand.methods.masked.sit import SiT
from withstand.models.blocks.memory.ema import Momentum
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.decoder import LightDecoder
from withstand.models.pictures.transformers.patches import joined
from withstand.models.pictures.transformers.vit import ViT


def made(pooling: str = "cls", **settings: object) -> SiT:
    with isolated("sit"):
        vit = ViT(4, 24, 2, 3, pooling=pooling)  # type: ignore[arg-type]
        encoder = Normalized(vit, (0.5,) * 3, (0.25,) * 3)
        return SiT(encoder, **({"hidden": 20, "dim": 10} | settings)).double()  # type: ignore[arg-type]


def batch(count: int = 6, size: int = 32, **at: int) -> Batch:
    ones = ToyPictures(count, size=size)[range(count)]
    second = ToyPictures(count, size=size, seed=1)[range(count)].x // 4 + ones.x // 4 * 3
    return replace(ones.with_views(ones.x, second), **at)  # type: ignore[arg-type]


def part(whole: Batch, rows: list[int]) -> Batch:
    views = (view[rows] for view in whole.views)
    return replace(whole, x=whole.x[rows], index=whole.index[rows], y=None).with_views(*views)


def official(method: SiT, clean: Tensor, seen: Tensor, hidden: Tensor) -> Tensor:
    """The loss as the official training step computes it, on normalised pictures."""
    assert method.teacher is not None
    tokens, loss = method.encoder.tokens(seen), 0.0
    if method.head is not None:
        queries = method.head(tokens[:, 0]).chunk(2)
        keys = method.teacher(clean).detach().chunk(2)
        for query, key in ((queries[0], keys[1]), (queries[1], keys[0])):
            logits = normalize(query, dim=1) @ normalize(key, dim=1).T / method.temperature
            loss = loss + cross_entropy(logits, torch.arange(len(query))) * 2 * method.temperature
    if method.decoder is not None:
        maps = tokens[:, 1:]
        for layer in method.decoder.layers:
            maps = torch.nn.functional.gelu(layer(maps))
        side = math.isqrt(maps.shape[1])
        told = method.decoder.leave(maps.transpose(1, 2).unflatten(2, (side, side)))
        errors = l1_loss(told, (clean - 0.5) / 0.25, reduction="none")
        loss = loss + method.weight * errors[hidden[:, None].expand_as(errors)].mean()
    assert isinstance(loss, Tensor)
    return loss


def test_loss_and_gradients_are_the_official_ones() -> None:
    method = made(weight=5.0)
    clean, seen, hidden = method.corrupted(batch())
    clean, seen = clean.double(), seen.double()
    losses = [method.terms(clean, seen, hidden)["loss"], official(method, clean, seen, hidden)]
    parameters = {name: value for name, value in method.named_parameters() if value.requires_grad}
    ours, theirs = (torch.autograd.grad(loss, parameters.values()) for loss in losses)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-12)
    for name, one, other in zip(parameters, ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10, msg=name)


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    terms = made(weight=5.0).step(batch())
    assert float(terms["loss"].detach()) == pytest.approx(5 * float(terms["restoration"]) + float(terms["contrast"]))
    for task, other, weight in (("restoration", "contrast", 5), ("contrast", "restoration", 1)):
        single = made(weight=5.0, restore=task == "restoration", contrast=task == "contrast").step(batch())
        assert other not in single
        assert float(single["loss"].detach()) == pytest.approx(weight * float(single[task]))


SHARES = [{}, {"fills": ("zeros", "noise")}, {"fills": ()}, {"replace": 0.0}, {"drop": 0.0}, {"drop": 0.8, "align": 4}]


@pytest.mark.parametrize("settings", SHARES, ids=str)
def test_corrupted_is_clean_outside_the_blocks(settings: dict[str, object]) -> None:
    method, ones = made(**settings), batch(16)
    clean, seen, hidden = method.corrupted(ones)
    assert (clean.shape, seen.shape, hidden.shape) == ((32, 3, 32, 32), (32, 3, 32, 32), (32, 32, 32))
    assert torch.equal(clean, torch.cat(ones.views).float() / 255)
    outside = ~hidden[:, None].expand_as(clean)
    assert torch.equal(seen[outside].double(), clean[outside].double())
    changed = (seen != clean).any(1)
    assert changed.any()
    assert not (changed & ~hidden).any()
    assert not torch.equal(hidden[:16], hidden[16:]), "each view has its own blocks"


def test_blocks_cover_the_share_of_their_kind() -> None:
    largest = 0.09
    for settings, low, high in (
        ({"replace": 0.0}, 0.5, 0.5 + largest),
        ({"fills": ()}, 0.3, 0.3 + largest),
        ({"replace": 0.0, "drop": 0.7}, 0.5, 0.7 + largest),
    ):
        share = made(**settings).corrupted(batch(32))[2].double().mean((1, 2))
        assert low <= float(share.min()) <= float(share.max()) <= high
    assert float(share.std()) > 0.04, "above 0.5 the share is drawn"
    assert float(share.max()) > 0.6


def test_not_a_pixel_more_is_hidden_than_the_share_asks_for() -> None:
    counts = made(fills=()).corrupted(batch(64, size=20))[2].flatten(1).sum(1)
    assert int(counts.min()) == 120, "0.3 of 400"


def test_aligned_blocks_are_whole_patches() -> None:
    hidden = made(align=4).corrupted(batch())[2]
    squares = hidden.view(12, 8, 4, 8, 4).float().mean((2, 4))
    assert ((squares == 0) | (squares == 1)).all()


def test_zeros_are_the_encoders_mean_pixel_and_noise_is_normal_in_its_units() -> None:
    _, seen, hidden = made(replace=0.0).corrupted(batch())
    assert (seen.movedim(1, -1)[hidden] == 0.5).all()
    _, seen, hidden = made(replace=0.0, fills=("noise",)).corrupted(batch(32))
    noise = (seen.movedim(1, -1)[hidden] - 0.5) / 0.25
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    both = hidden[:32] & hidden[32:]
    one, two = (view.movedim(1, -1)[both] for view in seen.chunk(2))
    assert (one != two).float().mean() > 0.99, "each view has its own noise"


def test_donors_give_their_pixels_at_the_same_places() -> None:
    ones = batch(16)
    clean, seen, hidden = made(fills=()).corrupted(ones)
    used = []
    for start in (0, 16):
        for row in range(start, start + 16):
            same = (seen[row][:, hidden[row]] == clean[start : start + 16][:, :, hidden[row]]).flatten(1).all(1)
            assert same.sum() == 1
            used.append(int(same.nonzero()))
    assert len(set(used)) > 8, "donors differ"
    assert used[:16] != used[16:], "and are drawn for each view"


def donors_of(ones: Batch) -> list[int]:
    """Return which row of the batch each first view's blocks come from."""
    clean, seen, hidden = made(fills=()).corrupted(ones)
    return [
        int((seen[row][:, hidden[row]] == clean[: len(ones)][:, :, hidden[row]]).flatten(1).all(1).nonzero())
        for row in range(len(ones))
    ]


def test_what_is_drawn_hangs_on_seed_step_and_index_and_not_on_the_batchs_company() -> None:
    whole = batch(12)
    rows = [7, 3, 5, 0, 1, 2]
    first = donors_of(whole)
    moved = [11 - row for row in range(12)]
    assert donors_of(part(whole, moved)) == [first[row] for row in moved], "a sample's draw is its own, wherever it is"
    for settings in ({"replace": 0.0}, {"replace": 0.0, "fills": ("noise", "zeros")}):
        method = made(**settings)
        (_, seen, hidden), (_, some, some_hidden) = (method.corrupted(one) for one in (whole, part(whole, rows)))
        both = rows + [12 + row for row in rows]
        assert torch.equal(some, seen[both])
        assert torch.equal(some_hidden, hidden[both])
    assert donors_of(replace(whole, step=1)) != first
    assert donors_of(replace(whole, seed=1)) != first
    assert donors_of(whole) == first


def test_half_of_the_views_have_donors_and_a_third_beside_two_fills() -> None:
    for fills, chance in ((("zeros",), 1 / 2), (("zeros", "noise"), 1 / 3)):
        clean, seen, hidden = made(fills=fills, drop=0.0, align=1).corrupted(batch(200, size=8))
        assert abs(float(hidden.flatten(1).any(1).float().mean()) - chance) < 0.1
        assert torch.equal(seen[~hidden.flatten(1).any(1)], clean[~hidden.flatten(1).any(1)].to(seen))


def test_pixels_that_are_seen_give_no_gradient() -> None:
    method = made(contrast=False)
    clean, seen, hidden = method.corrupted(batch())
    clean = clean.double().requires_grad_()
    (gradient,) = torch.autograd.grad(method.terms(clean, seen, hidden)["loss"], clean)
    within = hidden[:, None].expand_as(gradient)
    assert (gradient[~within] == 0).all()
    assert (gradient[within] != 0).all()


def test_a_perfect_restoration_costs_nothing_and_nothing_hidden_neither() -> None:
    target = torch.rand(4, 7, dtype=torch.float64)
    hidden = torch.arange(28).view(4, 7) % 3 == 0
    wrong = torch.where(hidden, target, 9.0)
    assert float(absolute_error_where(wrong, target, hidden)) == 0
    assert float(absolute_error_where(target + 0.25, target, hidden)) == pytest.approx(0.25)
    assert float(absolute_error_where(wrong, target, torch.zeros_like(hidden))) == 0


def test_the_light_decoder_is_a_transposed_convolution_of_each_patch() -> None:
    decoder = LightDecoder(6, 2, 3).double()
    tokens = torch.rand(2, 12, 6, dtype=torch.float64)
    maps = tokens
    for layer in decoder.layers:
        maps = torch.nn.functional.gelu(layer(maps))
    expected = decoder.leave(maps.transpose(1, 2).unflatten(2, (3, 4)))
    torch.testing.assert_close(joined(decoder(tokens), 3, 4, 3), expected)


def test_the_head_has_the_official_layers() -> None:
    layers = list(SiT.example().head.children())  # type: ignore[union-attr]
    names = ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "GELU", "Linear", "BatchNorm1d"]
    assert [type(layer).__name__ for layer in layers] == names
    assert [layer.affine for layer in layers if isinstance(layer, nn.BatchNorm1d)] == [True, True, False]
    defaults = {name: value.default for name, value in signature(SiT).parameters.items()}
    published = {"drop": 0.5, "replace": 0.3, "align": 1, "hidden": 4096, "dim": 256, "temperature": 0.2, "weight": 1.0}
    assert {name: defaults[name] for name in published} == published
    assert defaults["momentum"] == Momentum(0.996, 1.0, "cosine")


@pytest.mark.parametrize("count", [4, 10])
def test_closed_forms_of_the_contrast(count: int) -> None:
    apart, alike = torch.eye(count, dtype=torch.float64), torch.ones(count, 3, dtype=torch.float64)
    expected = math.log(1 + (count - 1) * math.exp(-1 / 0.2))
    assert float(info_nce_across(apart, apart, 0.2)) == pytest.approx(expected)
    assert float(info_nce_across(alike, alike, 0.2)) == pytest.approx(math.log(count))


def test_features_that_are_all_alike_cost_four_tau_log_n() -> None:
    method = made(restore=False, drop=0.0, replace=0.0)
    one = torch.rand(1, 3, 32, 32, dtype=torch.float64).expand(12, -1, -1, -1)
    method.eval()  # batch normalisation would blow up what differs by rounding
    terms = method.terms(one, one, torch.zeros(12, 32, 32, dtype=torch.bool))
    assert float(terms["contrast"]) == pytest.approx(4 * 0.2 * math.log(6))


def test_the_teacher_starts_as_the_student_gets_no_gradient_and_follows_by_its_momentum() -> None:
    method = made(momentum=Momentum(0.9, 1.0))
    assert method.teacher is not None
    assert method.head is not None
    ones = torch.rand(4, 3, 32, 32, dtype=torch.float64)
    assert torch.equal(method.teacher(ones), method.head(method.encoder(ones)))
    method.step(batch())["loss"].backward()
    assert all(value.grad is None and not value.requires_grad for value in method.teacher.parameters())
    method.before_run(10)
    weights = next(method.teacher.parameters())
    for step, kept in ((1, 0.9), (6, 0.95), (11, 1.0)):
        before = weights.clone()
        with torch.no_grad():
            next(method.encoder.parameters()).add_(1)
        after = next(method.encoder.parameters()).detach()
        method.after_step(step)
        torch.testing.assert_close(weights, kept * before + (1 - kept) * after)


def test_restored_pictures_are_those_of_the_loss() -> None:
    method = made(contrast=False)
    clean, seen, hidden = method.corrupted(batch())
    told = method.restored(seen).detach()
    assert told.shape == clean.shape
    errors = ((told - clean) / 0.25).abs().movedim(1, -1)[hidden]
    assert float(errors.mean()) == pytest.approx(float(method.terms(clean, seen, hidden)["restoration"]))
    with pytest.raises(ConfigError, match="restore is off"):
        made(restore=False).restored(seen)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="a ResNet has no patches"):
        SiT(Normalized(ResNet(2, 10), (0.5,) * 3, (0.25,) * 3))  # type: ignore[arg-type]
    for settings, words in (
        ({"restore": False, "contrast": False}, "both off"),
        ({"drop": 1.0}, r"drop, .*\[0, 1\), not 1\.0"),
        ({"replace": -0.1}, "replace"),
        ({"fills": ("noize",)}, "did you mean 'noise'"),
        ({"drop": 0.0, "replace": 0.0}, "nothing is hidden"),
        ({"fills": (), "replace": 0.0}, "nothing is hidden"),
        ({"align": 0}, "align"),
        ({"hidden": 0}, "hidden"),
        ({"weight": 0.0}, "weight"),
    ):
        with pytest.raises(ConfigError, match=words) as refused:
            made(**settings)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("align", [16, 5])
def test_align_that_does_not_fit_the_picture_is_refused_in_one_line(align: int) -> None:
    with pytest.raises(ConfigError, match=f"align must .* 32 x 32 .* below 9.*not {align}") as refused:
        made(align=align).step(batch())
    assert "\n" not in str(refused.value)


def test_views_of_two_sizes_are_refused() -> None:
    ones = batch()
    with pytest.raises(DataError, match="one size"):
        made().step(ones.with_views(ones.x, ones.x[:, :, :16, :16]))
