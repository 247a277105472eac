"""GOPro: what is the same as CoOp and as CLIP where nothing is learnt, what gradients reach, and new classes."""

import re

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, normalize

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.data.captions.source import CaptionedClasses
from withstand.losses.contrast.contrastive import nt_xent
from withstand.methods.multimodal.clip_rocket import CLIPRocket
from withstand.methods.multimodal.gopro import GOPro
from withstand.methods.non_contrastive.byol import BYOL
from withstand.models.blocks.taps import with_layers


def made(**changed: object) -> GOPro:
    torch.manual_seed(0)
    found: GOPro = GOPro(**{**GOPro.example()._init_args, **changed}).double()
    return found


def silent(method: GOPro) -> GOPro:
    """Take away what a picture adds to the context."""
    assert method.prompts is not None
    with torch.no_grad():
        for value in method.prompts.join.parameters():
            value.zero_()
    return method


def pictures(method: GOPro) -> Tensor:
    return method.example_batch().x.double() / 255


@pytest.mark.parametrize("prompts", ["coop", "gopro"])
def test_where_nothing_is_added_it_is_clip_with_the_words_of_the_start(prompts: str) -> None:
    method = made(prompts=prompts)
    if prompts == "gopro":
        silent(method)
    x = pictures(method)
    torch.testing.assert_close(method.classifier()(x), method.plain()(x))
    ids = method.vocabulary.ids([f"a photo of {name}" for name in method.classes])
    texts = normalize(method.clip.text_head(method.clip.text(ids)), dim=1)
    seen = normalize(method.clip.picture_head(method.encoder(x)), dim=1)
    torch.testing.assert_close(method.plain()(x), seen @ texts.T * method.clip.scale())


def test_without_a_shift_its_loss_is_coops() -> None:
    quiet, same = silent(made()), made(prompts="coop")
    same.load_state_dict(quiet.state_dict(), strict=False)
    batch = quiet.example_batch()
    terms, plain = quiet.step(batch), same.step(batch)
    torch.testing.assert_close(terms["classes"], plain["loss"].detach())
    assert terms["consistency"].item() == 0
    assert plain.keys() == {"loss", "classes", "accuracy"}


def test_the_loss_is_the_sum_of_its_parts() -> None:
    method = made(consistency=2.0, contrast=0.5)
    batch = method.example_batch()
    terms = method.step(batch)
    one, colored, mixed = (texts_of(method, view) for view in batch.views)
    torch.testing.assert_close(terms["consistency"], mse_loss(one, colored) + mse_loss(one, mixed))
    features = [normalize(method.clip.picture_head(method.encoder(v.double() / 255)), dim=1) for v in batch.views]
    logits = torch.einsum("bce,be->bc", one, features[0]) * method.clip.scale()
    assert batch.y is not None
    torch.testing.assert_close(terms["classes"], cross_entropy(logits, batch.y))
    torch.testing.assert_close(logits.detach(), method.classifier()(pictures(method)).detach())
    assert method.head is not None
    torch.testing.assert_close(
        terms["contrast"], nt_xent(method.head(features[0]), method.head(features[1]), 0.1).detach()
    )
    torch.testing.assert_close(
        terms["loss"].detach(), terms["classes"] + 2 * terms["consistency"] + 0.5 * terms["contrast"]
    )
    wide = made(distance="cosine").step(batch)
    torch.testing.assert_close(wide["consistency"], terms["consistency"] * one.shape[-1])


def texts_of(method: GOPro, view: Tensor) -> Tensor:
    """Return what each picture makes of each class, in a plain loop over both."""
    assert method.prompts is not None
    _, layers = with_layers(method.encoder, view.double() / 255, method.layers)
    ids, lengths = method.names(method.classes)
    rows = []
    for shift in method.prompts(layers):
        row = []
        for name, length in zip(ids, lengths, strict=True):
            words = torch.cat([method.context + shift, method.clip.text.word(name[:length])])
            end = torch.tensor([len(words)])
            row.append(normalize(method.clip.text_head(method.clip.text.read(words[None], end)), dim=1)[0])
        rows.append(torch.stack(row))
    return torch.stack(rows)


def test_gradients_reach_prompts_alone_and_the_contrast_reaches_none() -> None:
    method = made().train()
    assert not method.clip.training
    before = {name: value.clone() for name, value in method.clip.state_dict().items()}
    method.step(method.example_batch())["loss"].backward()
    reached = {name for name, value in method.named_parameters() if value.grad is not None}
    assert reached == {name for name, _ in method.named_parameters() if not name.startswith("clip.")}
    assert all(torch.equal(value, before[name]) for name, value in method.clip.state_dict().items())
    loud, without = made(), made(contrast=0.0)
    without.load_state_dict(loud.state_dict(), strict=False)
    both = [torch.autograd.grad(one.step(one.example_batch())["loss"], one.context)[0] for one in (loud, without)]
    torch.testing.assert_close(*both)


def test_a_picture_in_other_company_keeps_its_texts() -> None:
    method = made().eval()
    x = pictures(method)
    alone = torch.cat([method.classifier()(one[None]) for one in x])
    torch.testing.assert_close(method.classifier()(x), alone)


def test_new_classes_are_told_by_their_names() -> None:
    method = made().eval()
    x = pictures(method)
    some = method.classifier(("dog", "bee"))(x)
    torch.testing.assert_close(some, method.classifier()(x)[:, [3, 1]])
    found = method.named(method.example_batch(), classes=("dog", "bee"))
    assert found["prediction"].words == ("dog", "bee")
    with pytest.raises(ConfigError, match="'zebra', which no caption has"):
        method.classifier(("dog", "zebra"))


def test_classes_beyond_the_base_are_no_part_of_the_loss() -> None:
    method = made(base=2)
    batch = method.example_batch(range(2))
    logits = method.classifier()(batch.x.double() / 255)[:, :2]
    assert batch.y is not None
    torch.testing.assert_close(method.step(batch)["classes"], cross_entropy(logits, batch.y).detach())
    with pytest.raises(DataError, match="labels go up to 3, and prompts are learnt from the first 2 classes"):
        method.accept(CaptionedClasses.example(), 4)


def test_it_starts_from_the_words_of_the_network_that_it_takes_over() -> None:
    method, other = made(), CLIPRocket(**{**CLIPRocket.example()._init_args, "dim": 6}).double()
    method.inherit(other)
    ids = other.vocabulary.ids(["a photo of"])[0]
    torch.testing.assert_close(method.context.detach(), other.text.word(ids).detach())
    torch.testing.assert_close(method.clip.log_scale, other.log_scale)
    near = method.nearest_words(pictures(method), 1)
    silent(method)
    assert [word for ((word, _),) in method.nearest_words(pictures(method), 1)] == ["a", "photo", "of"]
    assert [far for ((_, far),) in near] != [0.0] * 3
    with pytest.raises(ConfigError, match="not for BYOL"):
        method.inherit(BYOL.example())


def test_what_does_not_fit_is_refused() -> None:
    for changed, words in (
        (
            {"classes": ("ant", "zebra")},
            "'a photo of zebra' has the word 'zebra', which no caption has",
        ),
        ({"context": "a foto of"}, "'foto', which no caption has: did you mean 'photo'"),
        ({"classes": ("ant",)}, "two or more"),
        ({"classes": ("ant", "ant")}, "different names"),
        ({"base": 1}, "base must lie in [2, 4]"),
        ({"base": 5}, "base must lie in [2, 4]"),
        ({"prompts": "coopp"}, "'coop'"),
        ({"distance": "square"}, "'squared'"),
        ({"consistency": -1.0}, "consistency, a weight"),
        ({"contrast": float("nan")}, "contrast, a weight"),
        ({"temperature": 0.0}, "temperature"),
    ):
        with pytest.raises(ConfigError, match=re.escape(words)):
            made(**changed)
    method = made()
    batch = method.example_batch()
    with pytest.raises(DataError, match="3 views are needed"):
        method.step(batch.with_views(batch.x))
    with pytest.raises(DataError, match="labelled"):
        method.step(Batch(batch.x, batch.index, views=batch.views))
