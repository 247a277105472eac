"""What a picture adds to a prompt: statistics of its layers, and texts no longer than they must be."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError, DataError
from withstand.models.blocks.taps import block_names, with_layers
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.transformers.vit import ViT
from withstand.models.tokens.picture_prompts import (
    EPS,
    PicturePrompts,
    PromptedClassifier,
    content_and_style,
    places_of,
    prompted_texts,
)
from withstand.models.tokens.text_tower import TextTower


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_content_and_style_are_the_mean_and_the_deviation_of_places() -> None:
    places = numbers(2, 7, 3)
    content, style = content_and_style(places)
    torch.testing.assert_close(content, places.mean(1))
    torch.testing.assert_close(2 * style - content, places.std(1, correction=0), atol=1e-7, rtol=1e-6)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(content_and_style(places[:, order]), (content, style))
    moved = content_and_style(places + 2.5)
    torch.testing.assert_close(2 * moved[1] - moved[0], 2 * style - content)
    torch.testing.assert_close(moved[0], content + 2.5)
    alike = content_and_style(torch.full((1, 5, 2), 3.0, dtype=torch.float64))
    torch.testing.assert_close(2 * alike[1] - alike[0], torch.full((1, 2), (EPS / 5) ** 0.5, dtype=torch.float64))


def test_maps_are_places_in_rows() -> None:
    maps = numbers(2, 3, 4, 5)
    assert torch.equal(places_of(maps)[:, 7], maps[:, :, 1, 2])
    with pytest.raises(DataError, match="tokens"):
        places_of(numbers(2, 3))


def test_shifts_are_those_of_a_loop_over_layers() -> None:
    torch.manual_seed(0)
    prompts = PicturePrompts((3, 4), 6, 2).double()
    layers = [numbers(2, 5, 3), numbers(2, 4, 3, 3, seed=1)]
    wanted = prompts.join.bias.view(1, 2, 1).expand(2, 2, 6)
    for place, layer in enumerate(layers):
        content, style = content_and_style(places_of(layer))
        mixed = (prompts.contents[place](content) + prompts.styles[place](style)) / 2
        wanted = wanted + prompts.join.weight[:, place].view(1, 2, 1) * mixed[:, None]
    torch.testing.assert_close(prompts(layers), wanted)
    with pytest.raises(ConfigError, match="at least 1"):
        PicturePrompts((), 6)


def test_layers_are_read_on_the_way_with_gradients() -> None:
    torch.manual_seed(0)
    encoder = Normalized(ViT(2, 12, 3, 3), (0.5,) * 3, (0.5,) * 3)
    names = block_names(encoder)
    assert names == tuple(f"encoder.blocks.{place}" for place in range(3))
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    features, layers = with_layers(encoder, x, names)
    torch.testing.assert_close(features, encoder(x))
    for found, wanted in zip(layers, encoder.last_blocks(x, 3), strict=True):
        torch.testing.assert_close(found, wanted)
    (gradient,) = torch.autograd.grad(layers[0].sum(), x)
    assert gradient.abs().sum() > 0
    with pytest.raises(ConfigError, match="no layer 'encoder"):
        with_layers(encoder, x, ["encoder.block"])


def test_texts_of_chunks_of_classes_are_those_of_all_and_of_longer_padding() -> None:
    torch.manual_seed(0)
    text = TextTower(11, 12, 2, 2, 20).double()
    head = torch.nn.Linear(12, 5).double()
    names, lengths = torch.tensor([[2, 0], [3, 4], [5, 0]]), torch.tensor([1, 2, 1])
    context = numbers(4, 3, 12)
    whole = prompted_texts(text, head, names, lengths, context)
    assert whole.shape == (4, 3, 5)
    torch.testing.assert_close(prompted_texts(text, head, names, lengths, context, at_once=2), whole)
    longer = torch.cat([names, torch.zeros(3, 9, dtype=torch.int64)], 1)
    torch.testing.assert_close(prompted_texts(text, head, longer, lengths, context), whole)
    said = torch.tensor([[7, 8, 9, 3, 4]])
    torch.testing.assert_close(
        prompted_texts(text, head, names, lengths, text.word(said[:, :3]))[0, 1], normalize(head(text(said)), dim=1)[0]
    )


def test_attacks_reach_the_picture_through_its_prompts_too() -> None:
    torch.manual_seed(0)
    network = PromptedClassifier.example().eval()
    x = torch.rand(2, 3, 8, 8, requires_grad=True)
    whole = torch.autograd.grad(network(x)[:, 0].sum(), x)[0]
    with torch.no_grad():
        network.prompts.join.weight.zero_()
    assert not torch.allclose(torch.autograd.grad(network(x)[:, 0].sum(), x)[0], whole)
    with pytest.raises(ConfigError, match="at least 2 classes"):
        PromptedClassifier(**{**network._init_args, "names": ((2,),)})
