"""Flows, bursts and tokens by hand; labels, parts, packing; what does not matter to them."""

import gzip
import io
import pickle
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captures import Frame, ethernet, icmp, ip4, ip6, pcap, pcapng, tcp, udp
from withstand.core.errors import ConfigError, DataError
from withstand.core.part import externals
from withstand.data.derived.separate import Separate, apart
from withstand.data.flows.assemble import Assembler
from withstand.data.flows.bursts import BurstRule
from withstand.data.flows.container import CLS, PAD, FlowBatch
from withstand.data.flows.example import example_table
from withstand.data.flows.headers import read_headers
from withstand.data.flows.records import read_records
from withstand.data.flows.source import Flows, frequent_tokens, parted
from withstand.data.load import judged, load, splits

MS = 1_000_000
T0 = 1_700_000_000 * 1000 * MS


def talk(steps: list[tuple[float, bool]], *, client: str = "10.0.0.1", server: str = "9.9.9.9", port: int = 5000,
         size: int = 0, start: int = T0) -> list[Frame]:  # fmt: skip
    """UDP packets at so many milliseconds, from the client or back."""
    found = []
    for at, forward in steps:
        ends = ((client, server), (port, 53)) if forward else ((server, client), (53, port))
        inner = udp(*ends[1], b"p" * size)
        found.append(Frame(ethernet(ip4(*ends[0], 17, inner)), start + round(at * MS)))
    return found


def saved(path: Path, frames: list[Frame], name: str = "a.pcap") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / name).write_bytes(pcap(frames, nanoseconds=True))
    return path / name


def flows_of(path: Path, frames: list[Frame], **settings: object) -> FlowBatch:
    source = Flows(saved(path, frames), **settings)  # type: ignore[arg-type]
    return FlowBatch.of(source[range(len(source))].x)


def test_tokens_of_a_tcp_packet_by_hand(tmp_path: Path) -> None:
    first = tcp(4000, 80, sequence=100, flags=2, window=512)
    later = tcp(
        4000, 80, sequence=100 + 0x00010002, acknowledged=7003, flags=0x18, window=512, urgent=9, payload=b"\1\2\3"
    )
    answer = tcp(80, 4000, sequence=7000, acknowledged=101, flags=0x12)
    ends = ("10.0.0.1", "9.9.9.9")
    frames = [
        Frame(ethernet(ip4(*ends, 6, first, tos=4)), T0),
        Frame(ethernet(ip4(*ends[::-1], 6, answer)), T0 + 20 * MS),
        Frame(ethernet(ip4(*ends, 6, later, tos=4)), T0 + 21 * MS),
    ]
    batch = flows_of(tmp_path, frames)
    assert batch.tokens.shape == (1, 3, 13)
    # IP header length, service, total length, flags, time to live; flags, window, sequence, acknowledged, urgent.
    assert batch.tokens[0, 0].tolist() == [CLS, 21, 5, 41, 3, 65, 3, 513, 1, 1, 1, 1, 1]
    assert batch.tokens[0, 1].tolist() == [CLS, 21, 1, 41, 3, 65, 19, 1001, 1, 1, 1, 2, 1]
    assert batch.tokens[0, 2].tolist() == [CLS, 21, 5, 44, 3, 65, 25, 513, 2, 3, 1, 4, 10]
    assert batch.metadata[0].tolist() == [[1, 40, 1, 0], [-1, 40, 1, 0], [1, 43, 1, 21]]
    assert batch.protocol.tolist() == [6]
    payload = flows_of(tmp_path, frames, payload=True)
    assert payload.tokens[0, 2, 13:].tolist() == [0x0102 + 1, 0x0300 + 1, 1, 1, 1, 1]


@pytest.mark.parametrize(("gap", "bursts"), [(9, 1), (10, 1), (10.001, 2), (11, 2)])
def test_a_burst_ends_after_more_than_ten_milliseconds(tmp_path: Path, gap: float, bursts: int) -> None:
    assert flows_of(tmp_path, talk([(0, True), (gap, True)])).real.sum() == bursts


def test_interleaved_directions_are_ordered_by_their_first_packets(tmp_path: Path) -> None:
    batch = flows_of(
        tmp_path, talk([(0, True), (5, False), (8, True), (12, False), (30, True), (31, False), (55, False)])
    )
    assert batch.metadata[0, :, 0].tolist() == [1, -1, 1, -1, -1]
    assert batch.metadata[0, :, 2].tolist() == [2, 2, 1, 1, 1]
    assert batch.metadata[0, :, 3].tolist() == [0, 0, 30, 26, 24]


def test_limits(tmp_path: Path) -> None:
    steps = [(20.0 * burst + step, True) for burst in range(14) for step in range(8)]
    source = Flows(saved(tmp_path, talk(steps)))
    batch = FlowBatch.of(source[[0]].x)
    assert batch.tokens.shape == (1, 12, 1 + 6 * 6)
    assert batch.metadata[0, :, 2].tolist() == [6.0] * 12
    assert source.seen.packets.tolist() == [14 * 8]
    assert source.seen.bursts.tolist() == [14]
    assert source.seen.long_bursts.tolist() == [14]
    assert source.sizes.tolist() == [37]
    assert Flows(tmp_path / "a.pcap", max_bursts=2, max_packets=3)[[0]].x.tokens.shape == (1, 2, 19)  # type: ignore[attr-defined]


steps = st.lists(st.tuples(st.integers(0, 60), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40)


def plainly(moments: list[tuple[int, bool]], rule: BurstRule) -> list[tuple[bool, list[int]]]:
    """The bursts of one flow, packet by packet, as the rule is told."""
    bursts: list[tuple[bool, list[int]]] = []
    ordered = sorted(moments, key=lambda pair: pair[0])
    lead = ordered[0][1]
    for side in (True, False):
        last = None
        for time, forward in ordered:
            if (forward == lead) != side:
                continue
            if last is None or time - last > rule.gap:
                bursts.append((side, []))
            bursts[-1][1].append(time)
            last = time
    bursts.sort(key=lambda burst: burst[1][0])
    return [(side, times[: rule.max_packets]) for side, times in bursts[: rule.max_bursts]]


@settings(max_examples=30, deadline=None)
@given(steps, st.sampled_from((1, 3, 7, 1000)))
def test_bursts_are_what_the_rule_says_in_portions_too(drawn: list[tuple[int, bool, int]], window: int) -> None:
    rule = BurstRule(4, 2, 10 * MS)
    # In portions packets have to come in order; in one they need not.
    if window < 1000:
        drawn = sorted(drawn, key=lambda one: one[0])
    frames = [frame for at, forward, flow in drawn for frame in talk([(at * 3, forward)], port=6000 + flow)]
    assembler = Assembler(rule, window=window)
    skipped: Counter[str] = Counter()
    for records in read_records(io.BytesIO(pcap(frames, nanoseconds=True)), skipped, "it", 64):
        assembler.add(read_headers(records, skipped))
    found = assembler.finish()
    assert found.late == 0
    for row, ends in enumerate(found.ends):
        number = {ends.source_port, ends.target_port} - {53}
        flow = number.pop() - 6000
        moments = [(T0 + at * 3 * MS, forward) for at, forward, own in drawn if own == flow]
        one = found.table.take(np.array([row]))
        wanted = plainly(moments, rule)
        got = [
            (bool(one.forward[one.burst == burst][0]), one.time[one.burst == burst].tolist())
            for burst in range(int(one.burst.max()) + 1)
        ]
        assert sorted(got, key=repr) == sorted(wanted, key=repr) or len({times[0] for _, times in wanted}) < len(wanted)
        assert [times[0] for _, times in got] == [times[0] for _, times in wanted]
        assert int(found.packets[row]) == len(moments)


def test_bursts_of_kept_packets_are_the_same_again() -> None:
    table = example_table()
    again = table.again(BurstRule())
    for name in ("protocol", "first", "time", "forward", "burst", "place", "values"):
        assert np.array_equal(getattr(again, name), getattr(table, name)), name


def test_addresses_and_ports_are_no_part_of_a_flow(tmp_path: Path) -> None:
    moments = [(0.0, True), (15.0, False), (40.0, True)]
    one = flows_of(tmp_path, talk(moments))
    other = flows_of(tmp_path, talk(moments, client="200.1.1.1", server="1.1.1.1", port=40))
    for name, value in one.tensors().items():
        assert torch.equal(other.tensors()[name], value)


def test_the_forward_side_is_the_internal_one(tmp_path: Path) -> None:
    path = saved(tmp_path, talk([(0, True), (20, False)]))
    assert FlowBatch.of(Flows(path)[[0]].x).metadata[0, :, 0].tolist() == [1, -1]
    inside = Flows(path, internal=("9.9.9.0/24",))
    assert FlowBatch.of(inside[[0]].x).metadata[0, :, 0].tolist() == [-1, 1]
    assert inside.ends[0].source == "9.9.9.9"
    with pytest.raises(ConfigError, match=r"internal network '9.9.9' is none"):
        Flows(path, internal=("9.9.9",))


def test_ipv6_makes_flows_when_asked_for(tmp_path: Path) -> None:
    both = [
        *talk([(0, True)]),
        Frame(ethernet(ip6("fe80::1", "fe80::2", 58, icmp(128, 0)), 0x86DD), T0),
        Frame(ethernet(ip6("fe80::2", "fe80::1", 58, icmp(129, 0)), 0x86DD), T0 + MS),
    ]
    path = saved(tmp_path, both)
    with pytest.warns(UserWarning, match="2 cannot be used"):
        assert len(Flows(path)) == 1
    source = Flows(path, ipv6=True)
    assert len(source) == 2
    assert source.names[1] == "a.pcap: ICMPv6 [fe80::1] > [fe80::2]"
    assert FlowBatch.of(source[[1]].x).protocol.tolist() == [58]


def test_gz_zip_and_folders_hold_the_same(tmp_path: Path) -> None:
    frames = talk([(0, True), (20, False)])
    plain = Flows(saved(tmp_path, frames))
    (tmp_path / "b.pcap.gz").write_bytes(gzip.compress(pcap(frames, nanoseconds=True)))
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("in/a.pcapng", pcapng(frames))
        archive.writestr("readme.txt", "no capture")
    for name in ("b.pcap.gz", "c.zip"):
        source = load(tmp_path / name)
        assert source.kind == "flow"
        assert source.fingerprint() == plain.fingerprint()
    assert len(load(tmp_path)) == 2, "the archive in the folder is not opened"
    copied = pickle.loads(pickle.dumps(plain))
    assert copied.fingerprint() == plain.fingerprint()


def folders(path: Path, *names: str) -> Path:
    for place, name in enumerate(names):
        frames = [frame for port in range(6) for frame in talk([(0, True), (20, False)], port=port + 1, size=place)]
        saved(path / Path(name).parent, frames, Path(name).name)
    return path


def test_labels_by_folder_and_file(tmp_path: Path) -> None:
    source = Flows(folders(tmp_path / "one", "chat/1.pcap", "chat/2.pcap", "mail/1.pcap", "mail/2.pcap"))
    assert source.classes == ("chat", "mail")
    assert source.labels is not None
    assert source.labels.bincount().tolist() == [12, 12]
    train, test = splits(tmp_path / "one")
    assert not set(train.attributes["file"].tolist()) & set(test.attributes["file"].tolist())
    assert {len(train), len(test)} == {12}
    flat = folders(tmp_path / "two", "chat.pcap", "mail.pcap")
    assert Flows(flat).labels is None, "a file's name is no class unless it is said to be"
    assert Flows(flat, labels="file").classes == ("chat", "mail")
    with pytest.raises(DataError, match="lie in no two folders"):
        Flows(flat, labels="folder")
    with pytest.raises(ConfigError, match="neither 'auto'"):
        Flows(flat, labels="foldr")
    assert len(judged(tmp_path / "one")) == 24


def test_folders_called_train_and_test_are_parts(tmp_path: Path) -> None:
    names = [f"{part}/{kind}/1.pcap" for part in ("train", "test") for kind in ("chat", "mail")]
    source = Flows(folders(tmp_path, *names))
    assert source.classes == ("chat", "mail")
    train, test = parted(source, "train"), parted(source, "test")
    assert not externals(train), "a run on them opens from its description alone"
    assert {source.files[place].split("/")[0] for place in train.attributes["file"].tolist()} == {"train"}
    assert {source.files[place].split("/")[0] for place in test.attributes["file"].tolist()} == {"test"}


def test_labels_by_a_table(tmp_path: Path) -> None:
    path = saved(tmp_path, talk([(0, True), (20, False)]) + talk([(0, True)], port=7))
    (tmp_path / "t.csv").write_text("src,dst,l4,label\n9.9.9.9:53,10.0.0.1:5000,udp,dns\n1.1.1.1:1,2.2.2.2:2,UDP,x\n")
    source = Flows(path, labels=str(tmp_path / "t.csv"))
    assert source.labels is not None
    assert source.labels.tolist() == [0, -1]
    assert source.classes == ("dns",)
    (tmp_path / "u.csv").write_text("src,dst,label\n1,2,x\n3,4,y\n")
    with pytest.raises(DataError, match="no column for the flows' protocol"):
        Flows(path, labels=str(tmp_path / "u.csv"))


def test_bad_captures_are_told_in_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "x.pcap"
    for content, words in (
        (b"", "empty"),
        (pcap([]), "has no usable flow: it holds no packets"),
        (pcap([Frame(bytes(60), T0)]), "has no usable flow .*no IP"),
        (gzip.compress(pcap(talk([(0, True)])))[:-9], "cannot be read"),
    ):
        bad.write_bytes(content)
        with pytest.raises(DataError, match=words) as refused:
            load(bad)
        assert "\n" not in str(refused.value)
    saved(tmp_path, talk([(0, True)]), "good.pcap")
    with pytest.warns(UserWarning, match="1 file"):
        source = load(tmp_path)
    assert len(source) == 1
    with pytest.raises(DataError, match="no file"):
        Flows(tmp_path / "none.pcap")


def test_a_batch_is_padded_by_its_company_and_nothing_else(tmp_path: Path) -> None:
    frames = talk([(0, True)]) + talk([(0, True), (1, True), (20, False), (50, True)], port=9)
    source = Flows(saved(tmp_path, frames))
    both, alone = FlowBatch.of(source[[0, 1]].x), FlowBatch.of(source[[0]].x)
    assert alone.tokens.shape == (1, 1, 7)
    assert torch.equal(both.tokens[0, :1, :7], alone.tokens[0])
    assert int((both.tokens[0] != PAD).sum()) == 7
    assert torch.equal(both.own.any(2), both.real)
    for wrong in ([2], [-1]):
        with pytest.raises(IndexError):
            source[wrong]
    with pytest.raises(DataError, match="this network reads flows"):
        FlowBatch.of(torch.zeros(2, 3))
    assert frequent_tokens(source, 1) in ((1,), (21,))
    with pytest.raises(ConfigError, match="has no attribute 'user'"):
        Separate(source, "train", "user")


def test_groups_are_divided_whole() -> None:
    groups = torch.arange(40) // 4
    labels = torch.arange(40) // 20
    test = apart(groups, labels, 0.25, 0)
    assert test is not None
    assert {len(set(groups[test].tolist()) & set(groups[~test].tolist()))} == {0}
    for label in (0, 1):
        assert 2 <= int((labels[test] == label).sum()) <= 8
    assert apart(torch.zeros(5, dtype=torch.int64), None, 0.5, 0) is None


def test_like_reads_other_captures_with_the_same_settings(tmp_path: Path) -> None:
    source = Flows(saved(tmp_path / "a", talk([(0, True), (20, True)])), max_bursts=1, payload=True)
    other = source.like(saved(tmp_path / "b", talk([(0, True), (20, True)], size=3) + talk([(0, True)], port=8)))
    assert isinstance(other, Flows)
    assert other.shape == source.shape
    assert FlowBatch.of(other[[0]].x).tokens.shape == (1, 1, 13)
    train, test = source.like(other, "train"), source.like(other, "test")
    assert train is not None
    assert test is not None
    assert len(train) + len(test) == 2
    with pytest.raises(DataError, match="is no packet capture"):
        source.like(3)
