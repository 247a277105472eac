"""Records and headers of captures, against dpkt, scapy and what was written."""

import io
import socket
import struct
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import captures
from captures import Frame, ethernet, icmp, ip4, ip6, pcap, pcapng, tcp, udp
from withstand.core.errors import DataError
from withstand.data.flows.headers import FIELDS, NETWORK, Packets, read_headers
from withstand.data.flows.records import CUT, DAMAGED, LOST, TIMELESS, read_records

T0 = 1_700_000_000_123_456_000


def read(content: bytes, *, piece: int = 1 << 16, ipv6: bool = False) -> tuple[list[tuple[Any, ...]], Counter[str]]:
    """Every packet as a row of Python values, and what was skipped."""
    skipped: Counter[str] = Counter()
    rows: list[tuple[Any, ...]] = []
    for records in read_records(io.BytesIO(content), skipped, "it", piece):
        rows += rows_of(read_headers(records, skipped, ipv6=ipv6))
    return rows, skipped


def rows_of(packets: Packets) -> list[tuple[Any, ...]]:
    found = []
    for row in range(len(packets)):
        ends = []
        for address, port in ((packets.source, packets.source_port), (packets.target, packets.target_port)):
            high, low = address[row].tolist()
            raw = struct.pack(">QQ", high, low) if packets.sixth[row] else struct.pack(">I", low)
            ends.append((raw, int(port[row])))
        protocol = int(packets.protocol[row])
        width = len(NETWORK) + len(FIELDS[protocol])
        values = tuple(packets.values[row, :width].tolist())
        payload = packets.payload[row].astype(">u2").tobytes()
        found.append((int(packets.time[row]), protocol, *ends, values, payload))
    return found


def expected(frame: bytes, time: int, dpkt: Any) -> tuple[Any, ...] | None:
    """The same row by dpkt; None where there is no flow's packet."""
    ip = dpkt.ethernet.Ethernet(frame).data
    if (
        not isinstance(ip, dpkt.ip.IP)
        or ip.offset
        or not isinstance(ip.data, dpkt.tcp.TCP | dpkt.udp.UDP | dpkt.icmp.ICMP)
    ):
        return None
    inner = ip.data
    flags = ip.rf << 2 | ip.df << 1 | ip.mf
    values = [ip.hl * 4, ip.tos, ip.len, flags, ip.ttl]
    ports = (0, 0)
    if isinstance(inner, dpkt.tcp.TCP):
        pairs = [inner.seq >> 16, inner.seq & 0xFFFF, inner.ack >> 16, inner.ack & 0xFFFF]
        values += [inner.flags & 0xFF, inner.win, *pairs, inner.urp]
        ports, payload = (inner.sport, inner.dport), bytes(inner.data)
    elif isinstance(inner, dpkt.udp.UDP):
        values += [inner.ulen]
        ports, payload = (inner.sport, inner.dport), bytes(inner.data)
    else:
        values += [inner.type, inner.code]
        payload = bytes(inner)[8:]
    ends = [(ip.src, ports[0]), (ip.dst, ports[1])]
    return (time, ip.p, *ends, tuple(values), (payload[:12] + bytes(12))[:12])


address = st.integers(0, 2**32 - 1).map(lambda number: socket.inet_ntoa(struct.pack(">I", number)))
longs = st.integers(0, 2**32 - 1)
port, byte, words = st.integers(0, 65535), st.integers(0, 255), st.binary(max_size=30)


@st.composite
def packet(draw: Any) -> bytes:
    payload, options = draw(words), b"\x01" * 4 * draw(st.integers(0, 3))
    kind = draw(st.sampled_from((captures.TCP, captures.UDP, captures.ICMP, 47, 2)))
    if kind == captures.TCP:
        inner = tcp(
            draw(port), draw(port), sequence=draw(longs), acknowledged=draw(longs),
            flags=draw(byte), window=draw(port), urgent=draw(port), options=options, payload=payload,
        )  # fmt: skip
    elif kind == captures.UDP:
        inner = udp(draw(port), draw(port), payload)
    else:
        inner = icmp(draw(st.sampled_from((0, 3, 8, 11))), draw(byte), payload)
    numbers = {"ttl": draw(byte), "tos": draw(byte), "flags": draw(st.integers(0, 7))}
    whole = ip4(draw(address), draw(address), kind, inner, options=b"\x01" * 4 * draw(st.integers(0, 2)), **numbers)
    return ethernet(whole + b"\xee" * draw(st.integers(0, 6)))


frames = st.lists(st.tuples(packet(), st.integers(0, 10**12)), min_size=1, max_size=12).map(
    lambda pairs: [Frame(content, T0 + gap // 1000 * 1000) for content, gap in pairs]
)


@settings(max_examples=40, deadline=None)
@given(frames, st.sampled_from("<>"), st.booleans(), st.sampled_from((7, 64, 1 << 16)))
def test_pcap_is_read_as_dpkt_reads_it(written: list[Frame], order: str, fine: bool, piece: int) -> None:
    dpkt = pytest.importorskip("dpkt")
    content = pcap(written, order=order, nanoseconds=fine)
    theirs = [bytes(frame) for _, frame in dpkt.pcap.Reader(io.BytesIO(content))]
    wanted = [expected(frame, one.time, dpkt) for frame, one in zip(theirs, written, strict=True)]
    rows, skipped = read(content, piece=piece)
    assert rows == [row for row in wanted if row is not None]
    assert sum(skipped.values()) == wanted.count(None)


@settings(max_examples=30, deadline=None)
@given(frames, st.sampled_from("<>"), st.data())
def test_every_interface_of_pcapng_has_its_own_unit(written: list[Frame], order: str, data: Any) -> None:
    units = st.sampled_from((None, 6, 9, 3, 0, 10, 0x80 | 10, 0x80 | 30, 0x80 | 33))
    fine = st.sampled_from((12, 15, 0x80 | 40))  # ticks since 1970 would not fit 64 bits
    offsets = st.sampled_from((0, 3600, -5))
    kinds = st.tuples(st.just(1), units, offsets) | st.tuples(st.just(1), fine, st.just(1_699_999_999))
    interfaces = data.draw(st.lists(kinds, min_size=1, max_size=3))
    placed = [Frame(one.content, one.time, data.draw(st.integers(0, len(interfaces) - 1))) for one in written]
    content = pcapng(placed, order=order, interfaces=interfaces)
    rows, _ = read(content, piece=data.draw(st.sampled_from((11, 100, 1 << 16))))
    plain, _ = read(pcap(written, nanoseconds=True))
    assert [row[1:] for row in rows] == [row[1:] for row in plain]
    kept = [one for one in placed if read(pcap([one]))[0]]
    for row, one in zip(rows, kept, strict=True):
        tick = interfaces[one.interface][1]
        power = 6 if tick is None else tick & 0x7F
        coarse = 10**9 / (2**power if tick is not None and tick & 0x80 else 10**power)
        assert -1 - coarse < row[0] - one.time <= 1


def test_scapy_reads_the_same() -> None:
    scapy = pytest.importorskip("scapy.all")
    written = [
        Frame(
            ethernet(ip4("10.0.0.1", "10.0.0.2", 6, tcp(5, 80, sequence=9, acknowledged=1, payload=b"GET / HTTP/1.1"))),
            T0,
        ),
        Frame(ethernet(ip4("10.0.0.2", "10.0.0.1", 17, udp(53, 99, b"answer"))), T0 + 5000),
    ]
    for content in (pcap(written), pcapng(written, interfaces=((1, 6, 0),)), pcapng(written, interfaces=((1, 9, 0),))):
        rows, _ = read(content)
        theirs = list(scapy.rdpcap(io.BytesIO(content)))
        assert len(rows) == len(theirs)
        for row, one in zip(rows, theirs, strict=True):
            ip, inner = one[scapy.IP], one[scapy.IP].payload
            assert row[0] == pytest.approx(int(one.time * 10**9), abs=1000)
            assert row[2:4] == (
                (socket.inet_aton(ip.src), inner.sport),
                (socket.inet_aton(ip.dst), inner.dport),
            )
            assert row[4][:5] == (ip.ihl * 4, ip.tos, ip.len, int(ip.flags), ip.ttl)
            assert row[5] == (bytes(inner.payload) + bytes(12))[:12]


INNER = udp(1000, 53, b"abcdefghijklmn")
PLAIN = ip4("1.2.3.4", "5.6.7.8", 17, INNER)
SIX = ip6("::1", "fe80::2", 17, INNER, hops=9, service=3)


@pytest.mark.parametrize(
    ("link", "frame"),
    [
        (1, ethernet(PLAIN)),
        (1, ethernet(PLAIN, tags=b"\x81\x00\x00\x05")),
        (1, ethernet(PLAIN, tags=b"\x88\xa8\x00\x05\x81\x00\x00\x06")),
        (1, ethernet(b"\x00\x01\x00\x40\x00\x02\x01\x40" + PLAIN, 0x8847)),
        (101, PLAIN),
        (12, PLAIN),
        (228, PLAIN),
        (113, bytes(14) + b"\x08\x00" + PLAIN),
        (276, b"\x08\x00" + bytes(18) + PLAIN),
        (0, b"\x02\x00\x00\x00" + PLAIN),
        (0, b"\x00\x00\x00\x02" + PLAIN),
        (108, b"\x00\x00\x00\x02" + PLAIN),
    ],
)
def test_links(link: int, frame: bytes) -> None:
    rows, skipped = read(pcap([Frame(frame, T0)], link=link))
    assert not skipped
    assert [row[2:] for row in rows] == [
        ((b"\1\2\3\4", 1000), (b"\5\6\7\x08", 53), (20, 0, 42, 2, 64, 22), b"abcdefghijkl")
    ]


@pytest.mark.parametrize("family", [24, 28, 30])
def test_ipv6_is_read_when_asked_for(family: int) -> None:
    hop = ip6("::1", "fe80::2", 0, struct.pack(">BB6x", 17, 0) + INNER, hops=9, service=3)
    for content in (
        pcap([Frame(ethernet(SIX, 0x86DD), T0)]),
        pcap([Frame(struct.pack("<I", family) + SIX, T0)], link=0),
    ):
        rows, skipped = read(content)
        assert rows == []
        assert skipped == {"IPv6, which is not asked for": 1}
        rows, skipped = read(content, ipv6=True)
        assert rows[0][2][0] == bytes(15) + b"\1"
        assert rows[0][4] == (40, 3, 62, 0, 9, 22)
        assert not skipped
    rows, _ = read(pcap([Frame(ethernet(hop, 0x86DD), T0)]), ipv6=True)
    assert rows[0][2][1] == 1000
    assert rows[0][5] == b"abcdefghijkl"


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (ethernet(bytes(28), 0x0806), "no IP: ARP"),
        (ethernet(bytes(28), 0x1234), "no IP: EtherType 0x1234"),
        (ethernet(PLAIN[:19]), "too little of the packet was captured for its headers"),
        (ethernet(PLAIN[:25]), "too little of the packet was captured for its headers"),
        (ethernet(b"\x44" + PLAIN[1:]), "damaged headers"),
        (ethernet(ip4("1.1.1.1", "2.2.2.2", 6, tcp(1, 2)[:12] + b"\x10" + tcp(1, 2)[13:])), "damaged headers"),
        (ethernet(ip4("1.1.1.1", "2.2.2.2", 17, INNER, fragment=3)), "fragments after the first, which have no ports"),
        (ethernet(ip4("1.1.1.1", "2.2.2.2", 47, INNER)), "neither TCP, UDP nor ICMP: GRE"),
        (ethernet(b"\x00\x01\x01\x40\x99", 0x8847), "MPLS with something else than IP inside"),
    ],
)
def test_what_cannot_be_used_is_counted_by_reason(frame: bytes, why: str) -> None:
    rows, skipped = read(pcap([Frame(frame, T0), Frame(ethernet(PLAIN), T0)]))
    assert len(rows) == 1
    assert skipped == {why: 1}


def test_damaged_files() -> None:
    content = pcap([Frame(ethernet(PLAIN), T0)] * 3)
    assert read(content[:-5])[1] == {CUT: 1}
    assert len(read(content[:-5])[0]) == 2
    huge = bytearray(content)
    huge[24 + 16 + 56 + 8 : 24 + 16 + 56 + 12] = b"\xff\xff\xff\x7f"
    rows, skipped = read(bytes(huge))
    assert len(rows) == 1
    assert skipped == {DAMAGED: 1}
    assert read(pcap([Frame(PLAIN, T0)], link=105))[1] == {"link type 105 (802.11)": 1}
    simple = captures.block(3, struct.pack("<I", len(PLAIN)) + PLAIN, "<")
    assert read(pcapng([], extra=simple))[1] == {TIMELESS: 1}
    wrong = bytearray(pcapng([Frame(ethernet(PLAIN), T0)]))
    place = wrong.index(struct.pack("<II", 6, 32 + 56))
    wrong[place + 8] = 7
    assert read(bytes(wrong))[1] == {LOST: 1}
    for bad, words_ in ((b"", "empty"), (b"hello world", "no capture"), (content[:20], "ends inside its header")):
        with pytest.raises(DataError, match=words_):
            read(bad)


@settings(max_examples=60, deadline=None)
@given(frames, st.booleans(), st.data())
def test_mutated_bytes_are_refused_or_read(written: list[Frame], old: bool, data: Any) -> None:
    content = bytearray(pcap(written) if old else pcapng(written))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[place] = data.draw(byte)
        else:
            del content[place : place + data.draw(st.integers(0, 9))]
        if not content:
            break
    with suppress(DataError):
        rows, _ = read(bytes(content), ipv6=True)
        assert all(0 <= row[0] < np.iinfo(np.int64).max for row in rows)
