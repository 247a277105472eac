"""Networks on rows, against plain formulas in float64."""

import math

import pytest
import torch
from torch import nn

from toys import toy_rows
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import build, describe
from withstand.core.random import isolated
from withstand.models.tables.encoder import TableEncoder
from withstand.models.tables.heads import MLP, FTTransformer, TableResNet
from withstand.models.tables.predictor import QueryPredictor
from withstand.models.tables.tokens import ColumnTokenizer, halved_waves, interleaved_waves
from withstand.models.tables.transformer import TransformerLayer

ROWS = toy_rows(12)


def test_tokens_are_value_times_weight_plus_bias_or_the_embedding_plus_bias() -> None:
    tokenizer = ColumnTokenizer(ROWS.schema, 6, reg_tokens=2).double()
    x = ROWS[range(12)].x.double()
    tokens = tokenizer(x)
    assert tokens.shape == (12, 2 + 5, 6)
    assert tokenizer.reg is not None
    torch.testing.assert_close(tokens[:, :2], tokenizer.reg.expand(12, -1, -1))
    assert tokenizer.weight is not None
    assert tokenizer.missing is not None
    assert tokenizer.embedding is not None
    for row in range(12):
        for place in range(3):
            gone = bool(x[row, 3 + place])
            value = tokenizer.missing[place] if gone else x[row, place] * tokenizer.weight[place]
            torch.testing.assert_close(tokens[row, 2 + place], value + tokenizer.bias[place])
        slots = x[row, 6:].nonzero()[:, 0].tolist()
        for place, slot in enumerate(slots):
            torch.testing.assert_close(tokens[row, 5 + place], tokenizer.embedding[slot] + tokenizer.bias[3 + place])


def test_waves() -> None:
    waves = interleaved_waves(3, 4)
    expected = [[math.sin(place), math.cos(place), math.sin(place / 10), math.cos(place / 10)] for place in range(3)]
    torch.testing.assert_close(waves, torch.tensor(expected))
    waves = halved_waves(2, 4)
    expected = [[math.sin(place), math.sin(place / 100), math.cos(place), math.cos(place / 100)] for place in range(2)]
    torch.testing.assert_close(waves, torch.tensor(expected))
    with pytest.raises(ConfigError, match="must be even"):
        interleaved_waves(3, 5)


def test_the_layer_is_torchs_post_norm_layer() -> None:
    ours = TransformerLayer(8, 2, 16).double()
    theirs = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, dtype=torch.float64)
    pairs = {
        "self_attn.in_proj_weight": ours.into.weight, "self_attn.in_proj_bias": ours.into.bias,
        "self_attn.out_proj.weight": ours.out.weight, "self_attn.out_proj.bias": ours.out.bias,
        "linear1.weight": ours.up.weight, "linear1.bias": ours.up.bias,
        "linear2.weight": ours.down.weight, "linear2.bias": ours.down.bias,
        "norm1.weight": ours.norm1.weight, "norm1.bias": ours.norm1.bias,
        "norm2.weight": ours.norm2.weight, "norm2.bias": ours.norm2.bias,
    }  # fmt: skip
    theirs.load_state_dict({name: value.detach() for name, value in pairs.items()})
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours(x, keep=2), theirs(x)[:, -2:])


@pytest.mark.parametrize(("pool", "width"), [("flatten", 48), ("columns", 40), ("mean", 8), ("max", 8), ("reg", 8)])
def test_pools(pool: str, width: int) -> None:
    encoder = TableEncoder(ROWS.schema, hidden=8, layers=1, heads=2, pool=pool).eval()
    x = ROWS[range(12)].x
    tokens = encoder.tokens(x)
    expected = {
        "flatten": tokens.flatten(1), "columns": tokens[:, 1:].flatten(1), "mean": tokens[:, 1:].mean(1),
        "max": tokens[:, 1:].amax(1), "reg": tokens[:, 0],
    }  # fmt: skip
    assert encoder.width == width
    torch.testing.assert_close(encoder(x), expected[pool])
    torch.testing.assert_close(tokens.mean(2), torch.zeros(12, 6), atol=1e-5, rtol=0)  # the closing LayerNorm
    assert describe(build(describe(encoder))) == describe(encoder)


def test_all_columns_seen_in_order_is_the_whole_row() -> None:
    encoder = TableEncoder(ROWS.schema, hidden=8, layers=2, heads=2).eval()
    x = ROWS[range(12)].x
    torch.testing.assert_close(encoder.tokens(x, torch.arange(5).expand(12, -1)), encoder.tokens(x))


def test_a_set_of_queries_does_not_see_another() -> None:
    with isolated("predictor"):
        predictor = QueryPredictor(6, 5, hidden=8, heads=2).double()
    seen, at = torch.randn(4, 2, 6, dtype=torch.float64), torch.tensor([[0, 5]]).expand(4, -1)
    both = predictor(seen, at, torch.tensor([[[1, 2], [3, 4]]]).expand(4, -1, -1))
    alone = predictor(seen, at, torch.tensor([[[3, 4]]]).expand(4, -1, -1))
    torch.testing.assert_close(both[:, 1:], alone)


def test_heads() -> None:
    x = torch.randn(6, 12)
    for head in (MLP(12, 3), MLP(12, 3, layers=0), TableResNet(12, 3), FTTransformer(3, 4, 3, heads=2)):
        assert head(x).shape == (6, 3)
        assert describe(build(describe(head))) == describe(head)


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="heads must divide"):
        TableEncoder(ROWS.schema, hidden=8, heads=3)
    with pytest.raises(ConfigError, match="did you mean 'flatten'"):
        TableEncoder(ROWS.schema, pool="flaten")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs reg_tokens"):
        TableEncoder(ROWS.schema, reg_tokens=0, pool="reg")
    with pytest.raises(DataError, match="code them by the encoder's schema"):
        TableEncoder(ROWS.schema)(torch.zeros(2, 3))
