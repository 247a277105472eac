"""netFound's network: places by rotation, independence of bursts, padding, a vocabulary of its own; masked tokens."""

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, layer_norm

from withstand.core.errors import ConfigError
from withstand.core.random import Draws, isolated
from withstand.data.flows.container import CLS, MASK, PAD, VOCABULARY, FlowBatch
from withstand.data.flows.example import example_table
from withstand.data.flows.source import Flows
from withstand.models.tokens.flow_encoder import AttentivePooling, FlowEncoder
from withstand.models.tokens.rotary import RotaryLayer, rotate
from withstand.views.masks import corrupted_tokens

WIDE = torch.float64


def flows(rows: list[int] | None = None) -> FlowBatch:
    table = example_table()
    return Flows.batch_of(table if rows is None else table.take(torch.tensor(rows).numpy()), payload=False)


def encoder(**settings: object) -> FlowEncoder:
    with isolated(3):
        made = FlowEncoder(12, 2, 2, dropout=0.0, **settings).eval().double()  # type: ignore[arg-type]
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.3)
    return made


def test_products_of_rotated_vectors_hang_on_the_difference_of_places() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 6, dtype=WIDE, generator=generator) for _ in range(2))

    def product(first: int, second: int) -> torch.Tensor:
        turned = rotate(query, torch.tensor([first])), rotate(key, torch.tensor([second]))
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(product(7, 3), product(104, 100))
    assert not torch.isclose(product(7, 3), product(7, 4))
    # Pair i turns by place / 10000^(2 i / D).
    one = torch.zeros(1, 6, dtype=WIDE)
    one[0, 2] = 1
    angle = 5 / 10_000 ** (2 / 6)
    wanted = [0, 0, math.cos(angle), math.sin(angle), 0, 0]
    torch.testing.assert_close(rotate(one, torch.tensor([5]))[0], torch.tensor(wanted, dtype=WIDE))


def plain_layer(layer: RotaryLayer, x: torch.Tensor) -> torch.Tensor:
    """RoFormer's attention, post-norm, and ModernBERT's gated perceptron, pre-norm, written out for one sequence."""
    length, width = x.shape
    size = width // layer.heads
    query, key, value = (part.view(length, layer.heads, size) for part in layer.into(x).chunk(3, 1))
    mixed = torch.zeros(length, layer.heads, size, dtype=x.dtype)
    for head in range(layer.heads):
        scores = torch.zeros(length, length, dtype=x.dtype)
        for i in range(length):
            for j in range(length):
                one = rotate(query[i : i + 1, head], torch.tensor([i]))
                scores[i, j] = (one * rotate(key[j : j + 1, head], torch.tensor([j]))).sum() / math.sqrt(size)
        mixed[:, head] = scores.softmax(1) @ value[:, head]
    x = layer_norm(layer.out(mixed.flatten(1)) + x, (width,), layer.norm1.weight, layer.norm1.bias, 1e-12)
    gate, other = layer.up(layer_norm(x, (width,), layer.norm2.weight, None, 1e-5)).chunk(2, 1)
    return x + layer.down(gelu(gate, approximate="tanh") * other)


def test_the_layer_is_the_published_one() -> None:
    with isolated(1):
        layer = RotaryLayer(8, 2, 12).double()
        x = torch.randn(2, 5, 8, dtype=WIDE)
    own = torch.tensor([[True] * 5, [True, True, True, False, False]])
    found = layer(x, own)
    torch.testing.assert_close(found[0], plain_layer(layer, x[0]))
    torch.testing.assert_close(found[1, :3], plain_layer(layer, x[1, :3]))
    for heads in (3, 8, 0):
        with pytest.raises(ConfigError, match="heads must divide"):
            RotaryLayer(8, heads, 4)


def test_embedding_is_one_map_of_tokens_metadata_and_protocol() -> None:
    made, batch = encoder(), flows([0])
    codes, meta = made.codes(batch.tokens)[0], batch.metadata[0].double()
    kind = made.numbers[batch.protocol][:1].expand(len(codes))
    found = made.embedded(codes, meta, kind)
    read = torch.stack([meta[:, 0], meta[:, 1] / 1000, meta[:, 2], meta[:, 3]], 1)
    whole = made.meta2(gelu(made.meta1(read)))[:, None].expand(-1, codes.shape[1], -1)
    side = made.protocols(kind)[:, None].expand(-1, codes.shape[1], -1)
    plain = made.norm(made.fuse(torch.cat([made.word(codes), whole, side], 2)))
    torch.testing.assert_close(found, plain)


def test_padding_changes_nothing() -> None:
    made, batch = encoder(), flows()
    alone = torch.cat([made(flows([row]).as_samples()) for row in range(8)])
    torch.testing.assert_close(made(batch.as_samples()), alone)
    padded = FlowBatch(
        nn.functional.pad(batch.tokens, (0, 5, 0, 2)), nn.functional.pad(batch.metadata, (0, 0, 0, 2)), batch.protocol
    )
    torch.testing.assert_close(made(padded.as_samples()), alone)


def reached(layers: int) -> torch.Tensor:
    """Which tokens of a flow change with a token of its first burst, bool (N, L)."""
    with isolated(4):
        made = FlowEncoder(12, layers, 2, dropout=0.0).eval().double()
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.3)
    batch = flows([0])
    codes = made.codes(batch.tokens)
    other = codes.clone()
    other[0, 0, 3] += 1
    with torch.no_grad():
        pair = [made.encode(one, batch.metadata, batch.protocol)[0] for one in (codes, other)]
    return ((pair[0] - pair[1]).abs().amax(2) > 1e-9) & batch.own[0]


def test_bursts_hear_of_one_another_through_their_first_tokens() -> None:
    own = flows([0]).own[0]
    one, two = reached(1), reached(2)
    assert one[0].equal(own[0])
    assert one[1:, 0].all()
    assert not one[1:, 1:].any()
    assert two.equal(own)


def test_pooling_gives_nothing_to_bursts_that_are_not_there() -> None:
    with isolated(0):
        pooling, x = AttentivePooling(4).double(), torch.randn(1, 3, 4, dtype=WIDE)
    scores = torch.tanh(pooling.score(pooling.map(x[0, :2])))[:, 0]
    weights = scores.softmax(0)
    torch.testing.assert_close(
        pooling(x, torch.tensor([[True, True, False]]))[0], weights[0] * x[0, 0] + weights[1] * x[0, 1]
    )


def test_a_vocabulary_gives_known_ids_rows_and_all_others_one() -> None:
    made = encoder(vocabulary=(9, 3))
    ids = torch.tensor([PAD, 3, 9, 4, 65536, CLS, MASK])
    assert made.codes(ids).tolist() == [0, 1, 2, 3, 3, 4, 5]
    assert made.size == 6
    assert made.ids.tolist() == [-1, 3, 9, -1, -1, -1]
    assert (made.values, made.mask_row) == ((1, 2), 5)
    whole = FlowEncoder(8, 1, 2)
    assert whole.size == VOCABULARY
    assert whole.codes(ids).equal(ids)
    assert whole.ids[65536] == 65536
    assert whole.ids[CLS] == -1
    for wrong in ((0,), (65537,), (-1, 5)):
        with pytest.raises(ConfigError, match="vocabulary holds"):
            encoder(vocabulary=wrong)


def test_tokens_are_spoilt_as_often_as_is_said_and_hang_on_places_alone() -> None:
    count, length = 400, 200
    draws = Draws(0, torch.arange(count))
    tokens = torch.randint(1, 50, (count, length), generator=torch.Generator().manual_seed(0))
    may = torch.ones_like(tokens, dtype=torch.bool)
    may[:, 0] = False
    spoilt, chosen = corrupted_tokens(draws, tokens, may, rate=0.3, mask=99, values=(60, 69))
    assert not chosen[:, 0].any()
    assert torch.equal(spoilt[~chosen], tokens[~chosen])
    total, some = int(may.sum()), int(chosen.sum())

    def near(found: float, share: float, of: int) -> bool:
        return abs(found / of - share) < 4 * math.sqrt(share * (1 - share) / of)

    assert near(some, 0.3, total)
    masked, drawn = (spoilt == 99) & chosen, (spoilt >= 60) & (spoilt < 70) & chosen
    assert near(int(masked.sum()), 0.8, some)
    assert near(int(drawn.sum()), 0.1, some)
    assert torch.equal(spoilt[chosen & ~masked & ~drawn], tokens[chosen & ~masked & ~drawn])
    assert set(spoilt[drawn].tolist()) == set(range(60, 70))
    short = corrupted_tokens(draws, tokens[:, :50], may[:, :50], rate=0.3, mask=99, values=(60, 69))
    assert torch.equal(short[0], spoilt[:, :50])
    with pytest.raises(ConfigError, match="rate must lie"):
        corrupted_tokens(draws, tokens, may, rate=1.2, mask=99, values=(60, 69))
