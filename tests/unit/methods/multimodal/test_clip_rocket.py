"""CLIP rocket: its loss out of its parts, what gradients reach, and what it is told of classes."""

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.losses.agreement.distillation import byol
from withstand.losses.agreement.redundancy import barlow_twins
from withstand.losses.contrast.cross_modal import clip_loss
from withstand.methods.multimodal.clip_rocket import CLIPRocket
from withstand.methods.shared.partners import Partner
from withstand.views.captions import TEXTS


def made(**changed: object) -> CLIPRocket:
    torch.manual_seed(0)
    found: CLIPRocket = CLIPRocket(**{**CLIPRocket.example()._init_args, **changed}).double()
    return found


def features(method: CLIPRocket) -> tuple[list[Tensor], list[Tensor]]:
    batch = method.example_batch()
    return [method.encoder(view) for view in batch.views], [method.text(ids) for ids in batch.extras[TEXTS].unbind(1)]


def test_without_strong_views_it_is_clip() -> None:
    method = made(views=0)
    batch = method.example_batch()
    plain = replace(batch, views=batch.views[:1], extras={TEXTS: batch.extras[TEXTS][:, :1]})
    pictures, texts = features(method)
    wanted = clip_loss(method.picture_head(pictures[0])[None], method.text_head(texts[0])[None], 0.07)
    terms = method.step(plain)
    torch.testing.assert_close(terms["loss"], wanted)
    torch.testing.assert_close(terms["over_chance"], wanted / math.log(8))
    assert method.local_picture_head is method.picture_head


def test_the_loss_is_the_mean_over_the_weak_and_the_strong_pairs() -> None:
    method, summed = made(), made(joined="sum")
    terms = method.step(method.example_batch())
    pictures, texts = features(made())
    local = clip_loss(
        torch.stack([method.local_picture_head(one) for one in pictures[1:]]),
        torch.stack([method.local_text_head(one) for one in texts[1:]]),
        0.1,
        smoothing=0.1,
    )
    torch.testing.assert_close(terms["local"], local)
    torch.testing.assert_close(terms["loss"], (terms["clip"] + 2 * local) / 3)
    torch.testing.assert_close(summed.step(method.example_batch())["loss"], 2 * terms["loss"])


def test_strong_views_do_not_reach_the_weak_ones_projectors() -> None:
    method = made()
    batch = method.example_batch()
    terms = method.step(batch)
    (gradient,) = torch.autograd.grad(terms["loss"], next(method.picture_head.parameters()))
    again = made()
    pictures, texts = features(again)
    alone = clip_loss(again.picture_head(pictures[0])[None], again.text_head(texts[0])[None], 0.07) / 3
    (wanted,) = torch.autograd.grad(alone, next(again.picture_head.parameters()))
    torch.testing.assert_close(gradient, wanted)


@pytest.mark.parametrize("partner", ["barlip", "siamlip", "byolip", "swalip"])
def test_partners_stand_beside_the_loss(partner: Partner) -> None:
    method = made(partner=partner, partner_hidden=7, partner_dim=5)
    terms = method.step(method.example_batch())
    pictures, texts = features(made(partner=partner, partner_hidden=7, partner_dim=5))
    pairs = [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)]
    if method.correlated is not None:
        one, other = ([head(x) for x in views] for head, views in (
            (method.correlated.picture, pictures), (method.correlated.text, texts)))  # fmt: skip
        wanted = torch.stack([barlow_twins(one[i], other[j], 5e-3, scale=0.025) for i, j in pairs]).mean()
        torch.testing.assert_close(terms["partner"], wanted)
    if method.predicted is not None:
        heads = method.predicted
        one, other = [heads.picture(x) for x in pictures], [heads.text(x) for x in texts]
        terms_of = [byol(heads.from_picture(one[i]), other[j]) + byol(heads.from_text(other[j]), one[i])
                    for i, j in pairs]  # fmt: skip
        torch.testing.assert_close(terms["partner"], torch.stack(terms_of).mean() / 2)
    joined = (terms["clip"] + 2 * terms["local"]) / 3 + terms["partner"]
    torch.testing.assert_close(terms["loss"].detach(), joined)
    torch.autograd.backward(terms["loss"])
    trained = [name for name, p in method.named_parameters() if p.requires_grad]
    assert all(dict(method.named_parameters())[name].grad is not None for name in trained)
    assert not [name for name in trained if "teacher" in name]
    assert build(describe(method)).state_dict().keys() == method.state_dict().keys()


def test_the_teacher_follows_both_towers() -> None:
    method = made(partner="byolip", partner_hidden=7, partner_dim=5)
    assert method.predicted is not None
    teacher = method.predicted.teacher
    assert teacher is not None
    before = teacher.network.text.word.weight.clone()
    with torch.no_grad():
        method.text.word.weight.add_(1)
    method.after_step(1)
    torch.testing.assert_close(teacher.network.text.word.weight, before + 0.01)


def test_scales_stay_between_1_and_100() -> None:
    method = made()
    with torch.no_grad():
        method.log_scale.fill_(9.0)
        method.local_log_scale.fill_(-1.0)
    method.after_step(1)
    assert method.log_scale.exp().item() == pytest.approx(100)
    assert method.local_log_scale.item() == 0


def test_a_class_is_the_mean_of_its_templates() -> None:
    method = made(templates=("a photo of a {}", "a {}")).train()
    found = method.class_embeddings()
    assert method.text.training
    method.eval()
    said = [method.vocabulary.ids([one.format(name) for name in method.classes]) for one in method.templates]
    mean = torch.stack([normalize(method.text_head(method.text(ids)), dim=1) for ids in said]).mean(0)
    torch.testing.assert_close(found, normalize(mean, dim=1))
    x = method.example_batch().x.double() / 255
    logits = method.classifier()(x)
    cosine = normalize(method.picture_head(method.encoder(x)), dim=1) @ found.T
    torch.testing.assert_close(logits, cosine / 0.07, rtol=1e-6, atol=1e-6)
    local = normalize(method.local_picture_head(method.encoder(x)), dim=1)
    texts = [normalize(method.local_text_head(method.text(ids)), dim=1) for ids in said]
    both = cosine / 4 + 3 / 4 * (local @ normalize(torch.stack(texts).mean(0), dim=1).T)
    torch.testing.assert_close(method.classifier(0.25)(x), both / 0.07, rtol=1e-6, atol=1e-6)


def test_pictures_are_given_the_names_of_classes() -> None:
    method = CLIPRocket.example().eval()
    batch = method.example_batch()
    make = method.maker()
    assert make is not None
    with torch.no_grad():
        found, logits = make(batch), method.classifier()(batch.x / 255)
    assert found["prediction"].words == ("ant", "bee", "cat", "dog")
    assert torch.equal(torch.as_tensor(found["prediction"].values), logits.argmax(1))
    assert made(classes=()).maker() is None


def test_equal_captions_are_computed_once_and_noisy_ones_each() -> None:
    method = made()
    counts = []
    method.text.register_forward_hook(lambda module, given, found: counts.append(len(found)))
    batch = method.example_batch()
    method.step(batch)
    assert counts == [len(torch.unique(batch.extras[TEXTS].flatten(0, 1), dim=0))]
    counts.clear()
    method.text.dropout = 0.5
    method.step(batch)
    assert counts[1] == 16


def test_what_does_not_fit_is_refused() -> None:
    for changed, words in (
        ({"classes": ("ant", "zebra")}, "'zebra', which no caption has"),
        ({"classes": ("ant",)}, "two or more"),
        ({"templates": ("a photo",)}, "must hold {}"),
        ({"partner": "barlipp"}, "'barlip'"),
        ({"partner": "swalip", "views": 3}, "views must be 2"),
        ({"views": 0, "global_share": 0.5}, "global_share"),
        ({"smoothing": 1.0}, "smoothing"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            made(**changed)
    method = made()
    with pytest.raises(DataError, match="3 views of pictures and of captions are needed"):
        method.step(method.example_batch().with_views())
    with pytest.raises(ConfigError, match="no classes to tell apart"):
        made(classes=()).classifier()
