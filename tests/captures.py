"""Captures written byte by byte, by nothing that the package reads them with."""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

TCP, UDP, ICMP = 6, 17, 1


@dataclass(frozen=True)
class Frame:
    """A packet's bytes, when it was captured, in nanoseconds, and on which interface."""

    content: bytes
    time: int
    interface: int = 0


def ip4(source: str, target: str, protocol: int, inside: bytes, *, ttl: int = 64, tos: int = 0, flags: int = 2,
        fragment: int = 0, options: bytes = b"", total: int | None = None) -> bytes:  # fmt: skip
    size = 20 + len(options)
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | size // 4, tos, size + len(inside) if total is None else total, 7,
        flags << 13 | fragment, ttl, protocol, 0, socket.inet_aton(source), socket.inet_aton(target),
    )  # fmt: skip
    return head + options + inside


def ip6(source: str, target: str, following: int, inside: bytes, *, hops: int = 64, service: int = 0) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return struct.pack(">IHBB", 6 << 28 | service << 20, len(inside), following, hops) + addresses + inside


def tcp(source: int, target: int, *, sequence: int = 0, acknowledged: int = 0, flags: int = 0x10, window: int = 1000,
        urgent: int = 0, options: bytes = b"", payload: bytes = b"") -> bytes:  # fmt: skip
    return struct.pack(
        ">HHIIBBHHH", source, target, sequence, acknowledged, (20 + len(options)) // 4 << 4, flags, window, 0, urgent
    ) + options + payload  # fmt: skip


def udp(source: int, target: int, payload: bytes = b"") -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload


def icmp(kind: int, code: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BBHI", kind, code, 0, 0) + payload


def ethernet(inside: bytes, kind: int = 0x0800, tags: bytes = b"") -> bytes:
    return b"\x02" * 6 + b"\x04" * 6 + tags + struct.pack(">H", kind) + inside


def pcap(frames: Sequence[Frame], *, link: int = 1, order: str = "<", nanoseconds: bool = False,
         snapshot: int = 65535) -> bytes:  # fmt: skip
    magic, unit = (0xA1B23C4D, 1) if nanoseconds else (0xA1B2C3D4, 1000)
    found = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snapshot, link)
    for frame in frames:
        kept = frame.content[:snapshot]
        seconds, rest = divmod(frame.time, 10**9)
        found += struct.pack(f"{order}IIII", seconds, rest // unit, len(kept), len(frame.content)) + kept
    return found


def block(kind: int, body: bytes, order: str) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(f"{order}II", kind, 12 + len(body)) + body + struct.pack(f"{order}I", 12 + len(body))


def pcapng(
    frames: Sequence[Frame],
    *,
    order: str = "<",
    interfaces: Sequence[tuple[int, int | None, int]] = ((1, 9, 0),),
    extra: bytes = b"",
) -> bytes:
    """Interfaces are (link, if_tsresol or None, if_tsoffset)."""
    found = block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)
    for link, unit, offset in interfaces:
        options = b"" if unit is None else struct.pack(f"{order}HHB3x", 9, 1, unit)
        options += struct.pack(f"{order}HHq", 14, 8, offset) if offset else b""
        found += block(1, struct.pack(f"{order}HHI", link, 0, 0) + options + bytes(4), order)
    found += extra
    for frame in frames:
        _, unit, offset = interfaces[frame.interface]
        power = 6 if unit is None else unit & 0x7F
        per_second = 2**power if unit is not None and unit & 0x80 else 10**power
        ticks = (frame.time - offset * 10**9) * per_second // 10**9
        head = struct.pack(
            f"{order}IIIII", frame.interface, ticks >> 32, ticks & 0xFFFFFFFF, len(frame.content), len(frame.content)
        )
        found += block(6, head + frame.content, order)
    return found
