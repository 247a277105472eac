"""netFound's objectives by hand: what is chosen, swapped and hidden, and what each of them costs."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from toys import toy_experiment
from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import isolated
from withstand.data.flows.container import PAD, FlowBatch
from withstand.methods.masked.netfound import NetFound, Weight
from withstand.models.tokens.flow_encoder import FlowEncoder


def method(**settings: object) -> NetFound:
    with isolated(2):
        return NetFound(FlowEncoder.example(), **settings).double().eval()  # type: ignore[arg-type]


def batches(count: int = 60) -> list[Batch]:
    return [replace(NetFound.example().example_batch(), step=step) for step in range(count)]


def drawn(made: NetFound, batch: Batch) -> tuple[FlowBatch, Tensor, Tensor, Tensor, Tensor, Tensor]:
    flows = FlowBatch.of(batch.x)
    clean = made.encoder.codes(flows.tokens)
    moved, swapped = made.swap(batch, clean)
    codes, chosen = made.corrupt(batch, moved, swapped)
    return flows, clean, moved, codes, chosen, swapped


def test_what_is_drawn() -> None:
    made = method()
    swaps = hides = flows_seen = bursts_seen = 0
    for batch in batches():
        flows, clean, moved, codes, chosen, swapped = drawn(made, batch)
        hidden = made.hide(batch, flows, swapped)
        assert (swapped.sum(1) <= 1).all()
        assert not (swapped & ~flows.real).any()
        assert torch.equal(moved[~swapped], clean[~swapped])
        for row, place in swapped.nonzero().tolist():
            others = clean[[one for one in range(8) if one != row]].flatten(0, 1)
            assert (others == moved[row, place]).all(1).any(), "a burst of another flow"
        assert torch.equal(codes[~chosen], moved[~chosen])
        assert not chosen[swapped].any()
        assert not chosen[:, :, 0].any()
        assert not chosen[moved == PAD].any()
        assert not (hidden & swapped).any()
        assert not hidden[flows.real.sum(1) <= 3].any()
        swaps, flows_seen = swaps + int(swapped.any(1).sum()), flows_seen + 8
        long = (flows.real.sum(1) > 3)[:, None] & flows.real & ~swapped
        hides, bursts_seen = hides + int(hidden.sum()), bursts_seen + int(long.sum())
    assert abs(swaps / flows_seen - 0.5) < 4 * (0.25 / flows_seen) ** 0.5
    assert abs(hides / bursts_seen - 0.3) < 4 * (0.21 / bursts_seen) ** 0.5


def test_losses_by_hand() -> None:
    made = method(metadata=Weight(0.7), swaps=Weight(0.5), direction=Weight(0.25), tokens=Weight(2.0))
    batch = batches(1)[0]
    flows, clean, _, codes, chosen, swapped = drawn(made, batch)
    hidden = made.hide(batch, flows, swapped)
    assert hidden.any()
    meta = flows.metadata.double()
    seen = meta.clone()
    seen[hidden] = 0
    tokens, bursts = made.encoder.encode(codes, seen, flows.protocol)
    whole = torch.zeros(*codes.shape, tokens.shape[2], dtype=tokens.dtype)
    whole[flows.real] = tokens
    assert made.head is not None
    assert made.swapped is not None
    assert made.facts is not None
    assert made.directions is not None
    told = [
        cross_entropy(made.head(whole[b, n, k][None]), clean[b, n, k][None]) for b, n, k in chosen.nonzero().tolist()
    ]
    pooled = made.encoder.pool(bursts, flows.real)
    absolute, ways = [], []
    for b, n in hidden.nonzero().tolist():
        target = torch.stack([meta[b, n, 3] / 1000, meta[b, n, 1] / 1000, meta[b, n, 2]])
        absolute.append((made.facts(bursts[b, n]) - target).abs())
        ways.append(cross_entropy(made.directions(bursts[b, n])[None], (meta[b, n, 0] > 0).long()[None]))
    wanted = {
        "tokens": torch.stack(told).mean(),
        "swaps": cross_entropy(made.swapped(pooled), swapped.any(1).long()),
        "metadata": torch.stack(absolute).sum() / (3 * len(absolute)),
        "direction": torch.stack(ways).mean(),
    }
    terms = made.step(batch)
    for name, value in wanted.items():
        torch.testing.assert_close(terms[name], value.detach(), rtol=1e-5, atol=1e-7)
    total = 2 * wanted["tokens"] + 0.5 * wanted["swaps"] + 0.7 * wanted["metadata"] + 0.25 * wanted["direction"]
    torch.testing.assert_close(terms["loss"], total, rtol=1e-5, atol=1e-7)


def test_nothing_hidden_costs_nothing() -> None:
    terms = method(metadata_rate=0.0).step(batches(1)[0])
    assert terms["metadata"] == 0
    assert terms["direction"] == 0
    assert terms["loss"].isfinite()
    none = method(rate=0.0).step(batches(1)[0])
    assert none["tokens"] == 0


@pytest.mark.parametrize(
    ("name", "head"), [("tokens", "head"), ("swaps", "swapped"), ("metadata", "facts"), ("direction", "directions")]
)
def test_a_weight_of_0_leaves_the_objective_out(name: str, head: str) -> None:
    made = method(**{name: Weight(0)})
    assert getattr(made, head) is None
    terms = made.step(batches(1)[0])
    assert name not in terms
    terms["loss"].backward()


def test_weights_go_in_a_line() -> None:
    made = method(tokens=Weight(0), swaps=Weight(0), direction=Weight(0), metadata=Weight(0.2, 0.6))
    made.before_run(10)
    for step, weight in ((0, 0.2), (5, 0.4), (10, 0.6)):
        terms = made.step(replace(batches(1)[0], step=step))
        torch.testing.assert_close(terms["loss"], weight * terms["metadata"])


def test_the_order_and_company_of_flows_change_no_swap() -> None:
    made, batch = method(), batches(1)[0]
    order = torch.tensor([3, 0, 7, 1, 2, 6, 5, 4])
    flows = FlowBatch.of(batch.x)
    moved = FlowBatch(*(value[order] for value in flows.tensors().values()))
    other = replace(batch, x=moved.as_samples(), index=batch.index[order])
    first, second = (made.swap(one, made.encoder.codes(FlowBatch.of(one.x).tokens))[0] for one in (batch, other))
    assert torch.equal(first[order], second)


def test_hidden_tokens_are_told_without_being_looked_at() -> None:
    made, flows = method(), FlowBatch.of(batches(1)[0].x)
    hidden = torch.zeros_like(flows.own)
    hidden[:, 0, 2] = True
    said = made.tell(flows, hidden)
    other = replace(flows, tokens=flows.tokens.masked_fill(hidden, 7))
    assert torch.equal(made.tell(other, hidden), said)
    assert said.shape == (8,)


def test_bad_settings() -> None:
    for settings, words in (
        ({"rate": 1.5}, "rate must lie"),
        ({"swap_rate": -0.1}, "swap_rate must lie"),
        (dict.fromkeys(("tokens", "swaps", "metadata", "direction"), Weight(0)), "no objective"),
    ):
        with pytest.raises(ConfigError, match=words):
            method(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="weight must be"):
        Weight(-1)
    with pytest.raises(ConfigError, match="reads no metadata"):
        NetFound(FlowEncoder(8, 1, 2, vocabulary=(1,), metadata=False))
    with pytest.raises(DataError, match="learns from flows"):
        method().accept(toy_experiment().source, 8)
