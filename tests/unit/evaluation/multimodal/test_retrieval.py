"""Retrieval of captions and pictures, against a plain loop."""

import pytest
import torch
from torch.nn.functional import normalize

from withstand.core.errors import ConfigError, DataError
from withstand.data.arrays.source import ArraySource
from withstand.data.captions.source import CaptionedClasses
from withstand.evaluation.multimodal.retrieval import OVER_CHANCE, TO_PICTURE, CaptionRetrieval, ZeroShot, ranks
from withstand.methods.multimodal.clip_rocket import CLIPRocket


def test_places_are_those_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = normalize(torch.randn(7, 4, generator=generator), dim=1)
    texts = normalize(torch.randn(15, 4, generator=generator), dim=1)
    owner = torch.cat([torch.arange(7), torch.arange(7), torch.tensor([3])])
    content = torch.arange(15)
    content[8] = 0  # picture 1 has a caption with the words of picture 0's
    texts[8] = texts[0]
    similar = pictures.double() @ texts.double().T
    right = [[bool((owner[content == content[text]] == picture).any()) for text in range(15)] for picture in range(7)]
    to_text, to_picture = ranks(pictures, texts, owner, content)
    for picture in range(7):
        own = [similar[picture, text] for text in range(15) if right[picture][text]]
        others = [similar[picture, text] for text in range(15) if not right[picture][text]]
        assert to_text[picture] == sum(other >= max(own) for other in others)
    for text in range(15):
        own = [similar[picture, text] for picture in range(7) if right[picture][text]]
        others = [similar[picture, text] for picture in range(7) if not right[picture][text]]
        assert to_picture[text] == sum(other >= max(own) for other in others)


def test_embeddings_that_are_all_alike_find_nothing() -> None:
    same = torch.ones(6, 3) / 3**0.5
    to_text, to_picture = ranks(same, same, torch.arange(6), torch.arange(6))
    assert to_text.tolist() == to_picture.tolist() == [5] * 6


def test_findings_tell_both_ways_and_the_loss_over_chance() -> None:
    method, source = CLIPRocket.example().eval(), CaptionedClasses.example()
    finding = CaptionRetrieval((1, 8)).evaluate(method, source)
    assert finding.figures[f"{TO_PICTURE}, recall at 8"].value == 1
    assert finding.figures[OVER_CHANCE].of == 8
    assert ZeroShot().evaluate(method, source).tables["by projectors"].column("weak views' share")[0] == 1.0


def test_what_is_missing_is_said() -> None:
    bare = ArraySource(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(DataError, match="no captions"):
        CaptionRetrieval().evaluate(CLIPRocket.example(), bare)
    with pytest.raises(DataError, match="no labels"):
        ZeroShot().evaluate(CLIPRocket.example(), bare)
    method = CLIPRocket(**{**CLIPRocket.example()._init_args, "classes": ()})
    with pytest.raises(ConfigError, match="told no classes"):
        ZeroShot().evaluate(method, CaptionedClasses.example())
