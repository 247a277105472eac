"""Captures: pcap and pcapng of every link type, plain, in gzip and in zip; lengths, units and headers that lie."""

import gzip
import io
import struct
import warnings
import zipfile
from pathlib import Path
from random import Random

from tests.captures import Frame, block, ethernet, icmp, ip4, ip6, pcap, pcapng, tcp, udp

from benchmarks.fuzz.reader import Reader
from withstand.core.errors import WithstandError
from withstand.data.flows.source import Flows, is_flows

_LINKS = (1, 101, 12, 14, 228, 229, 113, 276, 0, 108, 105, 9, 65535)
_UNITS = (None, 0, 3, 6, 9, 12, 19, 20, 127, 0x80, 0x80 | 10, 0x80 | 33, 0x80 | 63, 0x80 | 127)
_LENGTHS = (0, 1, 11, 12, 13, 28, 60, 1 << 16, 1 << 24, (1 << 24) + 4, (1 << 31) - 1, (1 << 32) - 1)
_TYPES = (0, 0x0800, 0x86DD, 0x0806, 0x8100, 0x88A8, 0x8847, 0x8848, 0x8864, 0x05DC, 0xFFFF)


def _inner(draws: Random) -> tuple[int, bytes]:
    payload = draws.randbytes(draws.choice((0, 1, 12, 40)))
    kind = draws.choice((6, 17, 1, 58, 47, 0, 44, 51))
    made = {
        6: tcp(draws.randrange(99), 80, sequence=draws.getrandbits(32), flags=draws.randrange(256), payload=payload),
        17: udp(draws.randrange(99), 53, payload),
    }
    return kind, made.get(kind) or icmp(8, 0, payload)


def _frame(draws: Random, link: int) -> bytes:
    kind, inner = _inner(draws)
    if draws.random() < 0.3:
        network, sort = ip6(f"fe80::{draws.randrange(9)}", "::1", kind, inner), 0x86DD
    else:
        options = b"\1" * 4 * draws.randrange(4)
        network, sort = ip4(f"10.0.0.{draws.randrange(9)}", "9.9.9.9", kind, inner, options=options), 0x0800
    if draws.random() < 0.15:
        network = draws.randbytes(draws.randrange(60))
    if draws.random() < 0.15:
        sort = draws.choice(_TYPES)
    tags = b"".join(
        draws.choice((b"\x81\x00\x00\x05", b"\x88\x47\x00\x01\x01\x40")) for _ in range(draws.choice((0, 0, 1, 3, 40)))
    )
    if link == 1:
        return ethernet(network, sort, tags)
    if link in (0, 108):
        return struct.pack(draws.choice("<>") + "I", draws.choice((2, 24, 30, 7))) + network
    return {113: bytes(14) + struct.pack(">H", sort), 276: struct.pack(">H", sort) + bytes(18)}.get(link, b"") + network


def _capture(draws: Random, *, odd: bool) -> bytes:
    link = draws.choice(_LINKS) if odd else 1
    interfaces = [(link, draws.choice(_UNITS) if odd else 6, draws.choice((0, 0, -5, 1 << 62)) if odd else 0)]
    count = draws.choice((1, 5, 40))
    times = [10**18 + draws.randrange(10**10) for _ in range(count)]
    if draws.random() < 0.5:
        frames = [Frame(_frame(draws, link), time) for time in times]
        return pcap(frames, link=link, order=draws.choice("<>"), nanoseconds=draws.random() < 0.5)
    order = draws.choice("<>")
    whole = pcapng([], order=order, interfaces=interfaces)
    for time in times:
        content = _frame(draws, link)
        ticks = time // 1000 if not odd else draws.getrandbits(64)
        head = struct.pack(f"{order}IIIII", 0 if not odd else draws.choice((0, 0, 1, 1 << 31)), ticks >> 32,
                           ticks & 0xFFFFFFFF, len(content), len(content))  # fmt: skip
        whole += block(6, head + content, order)
        if odd and draws.random() < 0.2:
            kind = draws.choice((1, 2, 3, 4, 5, 0x0A0D0D0A, 0x80000000))
            whole += block(kind, draws.randbytes(draws.choice((0, 4, 8, 40))), order)
        if odd and draws.random() < 0.1:
            whole += struct.pack(f"{order}II", 6, draws.choice(_LENGTHS))
    return whole


def _packed(content: bytes, draws: Random) -> bytes:
    way = draws.randrange(6)
    if way == 0:
        return gzip.compress(content)
    if way == 1:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", draws.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            archive.writestr("in/a.pcap", content)
            archive.writestr("b.pcapng", gzip.compress(content))
        return file.getvalue()
    return content


def valid(draws: Random) -> bytes:
    """Draw a capture that holds flows, or archives of one."""
    sure = Frame(ethernet(ip4("10.0.0.1", "9.9.9.9", 17, udp(5, 53, b"x"))), 10**18)
    frames = [
        sure,
        *(Frame(_frame(draws, 1), 10**18 + draws.randrange(10**10)) for _ in range(draws.choice((0, 5, 40)))),
    ]
    return _packed(pcap(frames) if draws.random() < 0.5 else pcapng(frames), draws)


def twisted(draws: Random) -> bytes:
    """Draw one whose links, units, lengths, types and blocks are odd."""
    return _packed(_capture(draws, odd=True), draws)


def read(path: Path) -> None:
    """Read a file as every entrance does, and all of its flows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        is_flows(path)
        for settings in ({"ipv6": False}, {"ipv6": True, "payload": True, "labels": "file"}):
            try:
                source = Flows(path, **settings)  # type: ignore[arg-type]
            except WithstandError:
                if settings["ipv6"]:
                    raise
                continue
            batch = source[range(len(source))]
            assert len(batch.x) == len(source.names) == int(source.table.first.shape[0]) - 1
            assert int(source.sizes.max()) >= batch.x.tokens.shape[2]  # type: ignore[attr-defined]


READER = Reader(".pcap", valid, twisted, read)
"""Mutations reach the archives' own fields too."""
