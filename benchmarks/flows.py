"""Reading captures: ours against a dpkt loop and a scapy loop that give the same fields, in one process.

    python -m benchmarks.flows [CAPTURES] [--repeats 3] [--scapy-packets 3000] [--large MIB]

CAPTURES is a capture, a folder or a zip archive of them; the set `ndpi` if not given. All three read the same bytes
from memory and give time, ends, header fields and the payload's first 12 bytes of every TCP, UDP and ICMP packet over
IPv4; scapy, which is slow, reads some of the packets, and its time is scaled. --large writes one capture of so many
MiB, reads it with `Flows`, and tells the most memory that took.
"""

import argparse
import io
import math
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import BinaryIO

import numpy as np
from tests.captures import Frame, ethernet, ip4, pcap, tcp

from withstand.data.flows.named import named_flows
from withstand.data.flows.opening import Capture, captures_in
from withstand.data.flows.reading import read_packets
from withstand.data.flows.source import Flows


def ours(captures: list[Capture]) -> int:
    skipped: Counter[str] = Counter()
    return sum(len(packets) for _, packets in read_packets(captures, skipped, {}))


class Held(Capture):
    """A capture whose bytes are in memory."""

    def __init__(self, content: bytes) -> None:
        super().__init__("it", Path())
        object.__setattr__(self, "content", content)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        yield io.BytesIO(self.content)  # type: ignore[attr-defined]


def by_dpkt(contents: list[bytes]) -> int:
    import dpkt

    links = {1: dpkt.ethernet.Ethernet, 113: dpkt.sll.SLL, 0: dpkt.loopback.Loopback}
    count = 0
    for content in contents:
        reader = dpkt.pcap.UniversalReader(io.BytesIO(content))
        first = links.get(reader.datalink(), dpkt.ip.IP)
        for when, frame in reader:
            try:
                ip = first(frame)
                ip = ip if isinstance(ip, dpkt.ip.IP) else ip.data
                inner = ip.data if isinstance(ip, dpkt.ip.IP) else None
            except (dpkt.UnpackError, IndexError):
                continue
            if isinstance(inner, dpkt.tcp.TCP):
                row = (
                    inner.flags,
                    inner.win,
                    inner.seq,
                    inner.ack,
                    inner.urp,
                    inner.sport,
                    inner.dport,
                    inner.data[:12],
                )
            elif isinstance(inner, dpkt.udp.UDP):
                row = (inner.ulen, inner.sport, inner.dport, inner.data[:12])
            elif isinstance(inner, dpkt.icmp.ICMP):
                row = (inner.type, inner.code, bytes(inner)[8:20])
            else:
                continue
            count += bool((when, ip.hl * 4, ip.tos, ip.len, ip.df, ip.ttl, ip.src, ip.dst, row))
    return count


def by_scapy(contents: list[bytes], most: int) -> tuple[int, int]:
    """Return how many packets were of use, and how many were read."""
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.utils import PcapReader

    count = read = 0
    for content in contents:
        for packet in PcapReader(io.BytesIO(content)):
            read += 1
            if IP in packet:
                ip = packet[IP]
                if TCP in ip:
                    inner = ip[TCP]
                    row = (int(inner.flags), inner.window, inner.seq, inner.ack, inner.urgptr, inner.sport, inner.dport)
                elif UDP in ip:
                    row = (ip[UDP].len, ip[UDP].sport, ip[UDP].dport)
                elif ICMP in ip:
                    row = (ip[ICMP].type, ip[ICMP].code)
                else:
                    continue
                head = (packet.time, ip.ihl, ip.tos, ip.len, int(ip.flags), ip.ttl, ip.src, ip.dst)
                count += bool((head, row, bytes(ip.payload.payload)[:12]))
            if read >= most:
                return count, read
    return count, read


def best(work: Callable[[], object], repeats: int) -> float:
    """Return the least seconds of processor time."""
    least = math.inf
    for _ in range(repeats):
        start = time.process_time()
        work()
        least = min(least, time.process_time() - start)
    return least


def large(size: int) -> None:
    """Write a capture of `size` MiB, read it, and print what that took."""
    draws = Random(0)
    frames = []
    for place in range(20_000):
        port, forward = 1000 + place % 700, draws.random() < 0.5
        ends = ("10.0.0.1", "9.9.9.9") if forward else ("9.9.9.9", "10.0.0.1")
        inner = tcp(*((port, 443) if forward else (443, port)), sequence=place, flags=24, payload=bytes(500))
        frames.append(Frame(ethernet(ip4(*ends, 6, inner)), 10**18 + place * 50_000))
    content = pcap(frames, nanoseconds=True)
    seconds = len(frames) * 50_000 // 10**9
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.pcap"
        body = np.frombuffer(content[24:], np.uint8).reshape(len(frames), -1).copy()
        stamps = body[:, :4].copy().view("<u4")
        with path.open("wb") as file:
            file.write(content[:24])
            for turn in range((size << 20) // len(content) + 1):
                body[:, :4] = (stamps + turn * seconds).view(np.uint8)
                file.write(body.tobytes())
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        source = Flows(path)
        spent, whole = time.process_time() - start, path.stat().st_size
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        packets = int(source.seen.packets.sum())
        told = f"{whole >> 20} MiB, {packets:,} packets: {spent:.1f} s, {whole / spent / 2**20:.0f} MiB/s"
        print(f"{told}, {more >> 10} MiB more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("captures", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scapy-packets", type=int, default=3000)
    parser.add_argument("--large", type=int, help="MiB of a capture that is written and read")
    options = parser.parse_args()
    if options.large:
        large(options.large)
        return
    contents: list[bytes] = []
    with captures_in(options.captures or named_flows("ndpi").archive) as found:
        for capture in found:
            with capture.open() as stream:
                contents.append(stream.read(-1))
    size = sum(map(len, contents)) / 2**20
    held = [Held(content) for content in contents]
    count = ours(held)
    print(f"{len(contents)} captures, {size:.1f} MiB, {count:,} packets of use; dpkt finds {by_dpkt(contents):,}")
    mine = best(lambda: ours(held), options.repeats)
    theirs = best(lambda: by_dpkt(contents), options.repeats)
    print(f"withstand {mine:.3f} s ({size / mine:.0f} MiB/s); dpkt {theirs:.3f} s, {theirs / mine:.1f} x")
    start = time.process_time()
    _, read = by_scapy(contents, options.scapy_packets)
    each = (time.process_time() - start) / read
    whole = each * count
    print(f"scapy {each * 1e6:.0f} us a packet, {whole:.1f} s for as many, {whole / mine:.0f} x")


if __name__ == "__main__":
    main()
