"""Packet captures: learn from flows' headers, with no labels, and embed each flow.

python examples/packets.py
"""

import socket
from pathlib import Path

import dpkt
import numpy as np

import withstand as ws
from withstand.evaluation.features import Features


def capture(path: Path, flows: int = 40, seed: int = 0) -> Path:
    """Write a made-up capture: short exchanges over TCP and UDP between two machines."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    here, there = socket.inet_aton("10.0.0.1"), socket.inet_aton("10.0.0.2")
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for flow in range(flows):
            port, web = 20_000 + flow, flow % 2 == 0
            for turn in range(int(rng.integers(4, 12))):
                out = turn % 2 == 0
                ports = {"sport": port if out else 443, "dport": 443 if out else port}
                data = bytes(int(rng.integers(1, 400)))
                inner = dpkt.tcp.TCP(**ports, seq=turn, flags=dpkt.tcp.TH_ACK, data=data) if web else None
                inner = inner or dpkt.udp.UDP(**ports, data=data, ulen=8 + len(data))
                ends = {"src": here if out else there, "dst": there if out else here}
                packet = dpkt.ip.IP(**ends, p=6 if web else 17, ttl=64, data=inner)
                packet.len = len(packet)
                frame = dpkt.ethernet.Ethernet(data=packet, type=dpkt.ethernet.ETH_TYPE_IP)
                writer.writepkt(bytes(frame), ts=1_700_000_000 + flow + 0.05 * turn)
    return path


def main(out: Path = Path("runs/flows"), epochs: int = 5) -> Features:
    """Learn, and return every flow's features."""
    made = capture(out.parent / "made.pcap")
    run = ws.train("netfound", str(made), out=out, epochs=epochs, options={"batch": 8})
    print(run.report())
    return run.embed()


if __name__ == "__main__":
    print(main())
