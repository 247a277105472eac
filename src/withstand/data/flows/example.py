"""A few made-up conversations, the same every time: what parts that read flows are tried on."""

import struct
from pathlib import Path

import numpy as np

from withstand.data.flows.assemble import Assembler
from withstand.data.flows.bursts import BurstRule
from withstand.data.flows.headers import NETWORK, TCP, UDP, Packets
from withstand.data.flows.table import TOTAL, VALUES, FlowTable


def example_table(flows: int = 8, packets: int = 12) -> FlowTable:
    """Return conversations over TCP and UDP by turns, of bursts of one or two packets.

    Args:
        flows: how many.
        packets: of each.
    """
    draws = np.random.default_rng(0)
    owner = np.repeat(np.arange(flows), packets)
    turn = np.tile(np.arange(packets) // 2 % 2, flows)
    protocol = np.where(owner % 2 == 0, TCP, UDP)
    size = draws.integers(41, 60, len(owner))
    values = np.zeros((len(owner), VALUES), np.uint16)
    values[:, : len(NETWORK)] = np.stack([0 * size + 20, 0 * size, size, 0 * size + 2, 0 * size + 64], 1)
    values[:, TOTAL] = size
    values[protocol == TCP, len(NETWORK)] = 24
    values[protocol == UDP, len(NETWORK)] = size[protocol == UDP] - 20
    ends = np.zeros((2, len(owner), 2), np.uint64)
    ends[0, :, 1], ends[1, :, 1] = np.where(turn == 0, 1 + owner, 99), np.where(turn == 0, 99, 1 + owner)
    assembler = Assembler(BurstRule())
    assembler.add(
        Packets(
            time=draws.integers(0, 40_000_000, len(owner)).cumsum(),
            protocol=protocol,
            source=ends[0],
            target=ends[1],
            source_port=np.where(turn == 0, 5000, 443),
            target_port=np.where(turn == 0, 443, 5000),
            sixth=np.zeros(len(owner), bool),
            values=values,
            payload=draws.integers(0, 4, (len(owner), 6)).astype(np.uint16),
            carried=size - 40,
            record=np.arange(len(owner)),
        )
    )
    return assembler.finish().table


def write_example(folder: Path) -> None:
    """Write two captures in folders of their own, `few` and `many`: six questions over UDP, of 20 bytes and of 600."""
    for kind, size in (("few", 20), ("many", 600)):
        found = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
        for flow in range(6):
            said = struct.pack(">HHHH", 1000 + flow, 53, 8 + size, 0) + b"a" * size
            ends = bytes((10, 0, 0, 1)) + bytes((9, 9, 9, 9))
            packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(said), 7, 2 << 13, 64, UDP, 0) + ends + said
            frame = b"\x02" * 6 + b"\x04" * 6 + struct.pack(">H", 0x0800) + packet
            found += struct.pack("<IIII", 1_700_000_000 + flow, 0, len(frame), len(frame)) + frame
        (folder / kind).mkdir()
        (folder / kind / "one.pcap").write_bytes(found)
