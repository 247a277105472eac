"""The text tower, and the classifier that is told its classes."""

import pytest
import torch
from torch import nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.models.blocks.heads import ProjectionHead
from withstand.models.pictures.normalized import Normalized
from withstand.models.tokens.text_tower import CausalBlock, TextTower
from withstand.models.tokens.zero_shot import ZeroShotClassifier, side_by_side

IDS = torch.tensor([[2, 3, 4, 5], [2, 3, 0, 0], [7, 0, 0, 0]])


def tower(dropout: float = 0.0) -> TextTower:
    torch.manual_seed(0)
    return TextTower(11, 12, 2, 3, 6, dropout).double().eval()


def test_a_text_does_not_know_its_company() -> None:
    text = tower()
    whole = text(IDS)
    for row, length in enumerate((4, 2, 1)):
        torch.testing.assert_close(text(IDS[row : row + 1, :length])[0], whole[row])


def test_the_block_is_torchs_own_with_a_causal_mask() -> None:
    torch.manual_seed(0)
    block = CausalBlock(12, 3).double()
    attention = nn.MultiheadAttention(12, 3, batch_first=True).double()
    attention.load_state_dict({
        "in_proj_weight": block.into.weight, "in_proj_bias": block.into.bias,
        "out_proj.weight": block.out.weight, "out_proj.bias": block.out.bias,
    })  # fmt: skip
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    normed = block.norm1(x)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    y = x + attention(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
    inner = block.up(block.norm2(y))
    torch.testing.assert_close(block(x), y + block.down(inner * (1.702 * inner).sigmoid()))


def test_noise_is_for_noisy_texts_in_training_alone() -> None:
    text = tower(0.5)
    assert torch.equal(text(IDS, noisy=True), text(IDS))
    text.train()
    assert torch.equal(text(IDS), text(IDS))
    assert not torch.equal(text(IDS, noisy=True), text(IDS, noisy=True))


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(DataError, match="has 7 words, and this tower reads 6"):
        tower()(torch.full((1, 7), 3))
    with pytest.raises(DataError, match="ids of words"):
        tower()(torch.zeros(1, 3))
    with pytest.raises(ConfigError, match="multiple of heads"):
        TextTower(11, 12, 1, 5)


def test_the_classifier_weighs_cosines_by_shares() -> None:
    torch.manual_seed(0)
    encoder = Normalized.example().eval()
    heads = [ProjectionHead(encoder.width, 1, 5, 1) for _ in range(2)]
    said = torch.randn(2, 3, 5)
    texts = torch.cat([nn.functional.normalize(one, dim=1) * 0.5**0.5 for one in said], 1)
    made = ZeroShotClassifier.joining(encoder, heads, (0.5, 0.5), texts, torch.tensor(10.0))
    x = torch.rand(4, 3, 8, 8)
    features = encoder(x)
    cosines = [
        nn.functional.cosine_similarity(head(features)[:, None], one[None], dim=2)
        for head, one in zip(heads, said, strict=True)
    ]
    torch.testing.assert_close(made(x), 10 * (cosines[0] + cosines[1]) / 2)
    assert torch.equal(side_by_side(features, heads[:1], (1.0,)).norm(dim=1).round(decimals=5), torch.ones(4))
    again = build(describe(made))
    again.load_state_dict(made.state_dict())
    assert torch.equal(again.eval()(x), made(x))
