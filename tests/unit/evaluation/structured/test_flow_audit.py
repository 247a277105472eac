"""Changes of packets keep to what headers allow; judges of networks that read flows."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captures import Frame, ethernet, ip4, pcap, tcp, udp
from withstand.attacks.inputs.packets import LARGEST, PacketChange
from withstand.core.errors import ConfigError, DataError
from withstand.core.random import Draws, isolated
from withstand.data.flows.bursts import BurstRule
from withstand.data.flows.container import FlowBatch
from withstand.data.flows.example import example_table
from withstand.data.flows.source import Flows
from withstand.data.flows.table import TOTAL, FlowTable
from withstand.data.load import load
from withstand.evaluation.structured.flow_audit import FlowAudit, FlowDrift, lawful
from withstand.evaluation.structured.flow_facts import FlowFacts
from withstand.evaluation.structured.flow_tokens import MaskedTokens
from withstand.methods.masked.netfound import NetFound
from withstand.models.tokens.flow_encoder import FlowEncoder

RULE = BurstRule()
MS = 1_000_000
kinds = st.sampled_from((("jitter", 50.0), ("padding", 700.0), ("loss", 0.4), ("reordering", 0.5)))


@settings(max_examples=30, deadline=None)
@given(kinds, st.integers(0, 1000))
def test_changes_are_lawful(change: tuple[str, float], seed: int) -> None:
    table = example_table()
    draws = Draws(seed, torch.arange(len(table)))
    changed = PacketChange(*change)(table, draws, RULE)
    assert lawful(table, changed)
    for row in range(len(table)):
        one, other = table.take(np.array([row])), changed.take(np.array([row]))
        assert np.isin(other.time, one.time).all() or change[0] == "jitter"
        lanes = [part.time[part.forward == side].size for part in (one, other) for side in (True, False)]
        assert lanes[2] >= min(1, lanes[0])
        if change[0] in ("jitter", "padding", "reordering"):
            assert lanes[:2] == lanes[2:]
        if change[0] == "jitter":
            for side in (True, False):
                before, after = (np.sort(part.time[part.forward == side]) for part in (one, other))
                late = after - before
                assert (late >= 0).all()
                assert (late <= 50 * MS).all()
    alone = PacketChange(*change)(table.take(np.array([5])), draws[torch.tensor([5])], RULE)
    company = changed.take(np.array([5]))
    for name in ("time", "burst", "place", "values"):
        assert np.array_equal(getattr(alone, name), getattr(company, name)), "a flow's change hangs on no other"
    none = PacketChange(change[0], 0.0)(table, draws, RULE)
    assert np.array_equal(none.values, table.values)
    assert np.array_equal(none.time, table.time)


def conversation(path: Path) -> FlowTable:
    ends = ("10.0.0.1", "9.9.9.9")
    steps = [
        (True, tcp(9, 80, sequence=10, flags=2)),
        (False, tcp(80, 9, sequence=50, acknowledged=11, flags=18)),
        (True, tcp(9, 80, sequence=11, acknowledged=51, flags=24, payload=b"a" * 10)),
        (True, tcp(9, 80, sequence=21, acknowledged=51, flags=24, payload=b"b" * 10)),
        (False, tcp(80, 9, sequence=51, acknowledged=31, flags=24, payload=b"c" * 5)),
        (True, tcp(9, 80, sequence=31, acknowledged=56, flags=16)),
    ]
    frames = [
        Frame(ethernet(ip4(*(ends if forward else ends[::-1]), 6, inner)), 1_700_000_000_000_000_000 + place * 20 * MS)
        for place, (forward, inner) in enumerate(steps)
    ]
    (path / "t.pcap").write_bytes(pcap(frames, nanoseconds=True))
    return Flows(path / "t.pcap").table


def test_padding_keeps_tcps_numbers_consistent(tmp_path: Path) -> None:
    table = conversation(tmp_path)
    changed = PacketChange("padding", 100.0)(table, Draws(1, torch.arange(1)), RULE)
    more = changed.values[:, TOTAL].astype(int) - table.values[:, TOTAL]
    assert more[[0, 1, 5]].tolist() == [0, 0, 0], "packets without payload do not grow"
    assert (more[[2, 3, 4]] > 0).all()

    def numbers(part: FlowTable, column: int) -> np.ndarray:
        return part.values[:, column].astype(int) << 16 | part.values[:, column + 1]

    sequence, acknowledged = (numbers(changed, column) - numbers(table, column) for column in (7, 9))
    assert sequence.tolist() == [0, 0, 0, more[2], 0, more[2] + more[3]]
    assert acknowledged.tolist() == [0, 0, 0, 0, more[2] + more[3], more[4]]
    assert changed.values[:, TOTAL].max() <= LARGEST


def test_bad_changes() -> None:
    with pytest.raises(ConfigError, match="change 'jiter' is unknown"):
        PacketChange("jiter", 1.0)
    with pytest.raises(ConfigError, match="must lie in"):
        PacketChange("loss", 1.5)
    with pytest.raises(ConfigError, match="must ascend"):
        FlowAudit(strengths={"loss": (0.2, 0.1)})
    with pytest.raises(ConfigError, match="needs 2 steps"):
        FlowAudit(steps=1)


@pytest.fixture
def two_kinds(tmp_path: Path) -> Flows:
    for name, size in (("long", 400), ("short", 10)):
        frames = [
            Frame(
                ethernet(ip4("10.0.0.1", "9.9.9.9", 17, udp(port, 53, b"p" * (size + port)))), 10**18 + step * MS * 15
            )
            for port in range(1, 25)
            for step in range(3)
        ]
        for part in ("1", "2"):
            (tmp_path / "in" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name / f"{part}.pcap").write_bytes(pcap(frames, nanoseconds=True))
    return Flows(tmp_path / "in")


def by_bytes(x: Tensor) -> Tensor:
    """A classifier that asks whether the first burst is below 300 bytes: class 0 is long, 1 is short."""
    size = FlowBatch.of(x).metadata[:, 0, 1]
    return torch.stack([size - 300, 300 - size], 1)


def test_an_audit_counts_what_holds(two_kinds: Flows) -> None:
    audit = FlowAudit(samples=40, steps=2, strengths={"padding": (1.0, 1000.0), "jitter": (1.0,)})
    found = audit.evaluate(by_bytes, two_kinds)
    assert found.figures["clean accuracy"].value == 1
    padding = found.tables["padding"]
    assert padding.column("accuracy, worst of the draws")[0] == 1
    assert padding.column("accuracy, worst of the draws")[1] < 0.8
    assert found.tables["jitter"].column("accuracy, one draw") == (1.0,)
    assert found.numbers["accuracy under packet changes"] == padding.rows[1][1]
    assert found.protocol["headline"]["samples"] == 40
    assert next(check for check in found.checks if check.name == "nothing shrank").passed
    with isolated(0):
        encoder = FlowEncoder(8, 1, 2, vocabulary=(1, 21), dropout=0.0).eval()
    drift = FlowDrift(samples=20, steps=2, strengths={"loss": (0.5,)}).evaluate(encoder, two_kinds)
    assert drift.headline == "share nearer to another flow under packet changes"
    with pytest.raises(DataError, match="no flows of packet captures"):
        FlowAudit().evaluate(by_bytes, load(np.zeros((4, 3), np.float32)))


def test_masked_tokens_beside_the_most_frequent_value(two_kinds: Flows) -> None:
    with isolated(0):
        made = NetFound(FlowEncoder(8, 1, 2, vocabulary=(1, 21), dropout=0.0))
    found = MaskedTokens(rate=0.5).evaluate(made, two_kinds)
    rows = {row[1]: row for row in found.tables["fields"].rows}
    assert rows["IP header length"][-1] == 1, "always 20"
    assert rows["IP total length"][-1] < 0.2
    assert rows["UDP length"][3] == 0, "outside the vocabulary: never told"
    hidden = sum(row[2] for row in rows.values())
    told = sum(row[2] * row[3] for row in rows.values())
    assert found.numbers["accuracy of hidden tokens"] == pytest.approx(told / hidden)
    facts = FlowFacts(shown=4).evaluate(made, two_kinds)
    assert facts.pictures["bursts of some flows"].shape == (4, 36, 48, 3)
    assert {row[1] for row in facts.tables["pictures"].rows} == {"long", "short"}
