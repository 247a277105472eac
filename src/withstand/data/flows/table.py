"""Flows as arrays: kept packets side by side, flow after flow and burst after burst."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from withstand.data.flows.bursts import BurstRule, Lanes, arrange, mark_bursts
from withstand.data.flows.headers import FIELDS, ICMP, ICMP6, NETWORK, PAYLOAD_TOKENS, TCP, UDP, Flags
from withstand.data.flows.records import Whole

PROTOCOLS: Final = {TCP: "TCP", UDP: "UDP", ICMP: "ICMP", ICMP6: "ICMPv6"}
"""Protocols of flows, and their names."""
TOTAL: Final = NETWORK.index("total length")
VALUES: Final = len(NETWORK) + len(FIELDS[TCP])
"""Columns of header fields, of which TCP has most."""


@dataclass(frozen=True)
class FlowTable:
    """F flows of P kept packets.

    Attributes:
        protocol: of each flow, `(F,)`.
        first: where each flow's packets begin, and at last where they end, `(F + 1,)`.
        time: of each packet, nanoseconds, `(P,)`.
        forward: its direction.
        burst: its burst's number in the flow.
        place: its place in the burst.
        values: header fields, uint16 `(P, 12)`; sequence and acknowledgement numbers count from the flow's beginning.
        payload: the payload's first 12 bytes, uint16 `(P, 6)`.
        carried: bytes of payload.
    """

    protocol: Whole
    first: Whole
    time: Whole
    forward: Flags
    burst: Whole
    place: Whole
    values: npt.NDArray[np.uint16]
    payload: npt.NDArray[np.uint16]
    carried: Whole

    def __len__(self) -> int:
        return len(self.protocol)

    @property
    def flow(self) -> Whole:
        """The flow of each packet, `(P,)`."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    def take(self, rows: Whole) -> "FlowTable":
        """Return some flows, in the order asked for."""
        sizes = np.diff(self.first)[rows]
        first = np.concatenate([[0], np.cumsum(sizes)])
        packets = np.arange(first[-1]) + np.repeat(self.first[:-1][rows] - first[:-1], sizes)
        return FlowTable(
            self.protocol[rows],
            first,
            self.time[packets],
            self.forward[packets],
            self.burst[packets],
            self.place[packets],
            self.values[packets],
            self.payload[packets],
            self.carried[packets],
        )

    def again(self, rule: BurstRule, kept: Flags | None = None) -> "FlowTable":
        """Return the flows with their packets sorted by time and put in bursts anew, as if captured so.

        Args:
            rule: how packets make bursts.
            kept: packets that are there; at least one of each flow. None for all.
        """
        chosen = np.arange(len(self.time)) if kept is None else np.flatnonzero(kept)
        flow = self.flow[chosen]
        chosen = chosen[np.lexsort((self.time[chosen], flow))]
        flow, forward, time = self.flow[chosen], self.forward[chosen], self.time[chosen]
        lane = 2 * flow + ~forward
        by_lane = np.argsort(lane, kind="stable")
        index, place = (np.empty(len(chosen), np.int64) for _ in range(2))
        index[by_lane], place[by_lane] = mark_bursts(lane[by_lane], time[by_lane], rule, Lanes.empty(2 * len(self)))
        near = np.flatnonzero(place < rule.max_packets)
        order, burst, place = arrange(flow[near], forward[near], index[near], time[near], rule)
        return self.of(self.protocol, flow[near][order], chosen[near][order], burst, place, self)

    @staticmethod
    def of(protocol: Whole, flow: Whole, packets: Whole, burst: Whole, place: Whole, whole: "FlowTable") -> "FlowTable":
        """Return flows of some of a table's packets, in their order, with their bursts and places in them."""
        first = np.searchsorted(flow, np.arange(len(protocol) + 1))
        return replace(
            whole,
            protocol=protocol,
            first=first,
            time=whole.time[packets],
            forward=whole.forward[packets],
            burst=burst,
            place=place,
            values=whole.values[packets],
            payload=whole.payload[packets],
            carried=whole.carried[packets],
        )

    def bursts(self) -> "Bursts":
        """Return what is known of each burst."""
        begins = np.flatnonzero(self.place == 0)
        ends = np.append(begins[1:], len(self.place))
        flow, forward, time = self.flow[begins], self.forward[begins], self.time[begins]
        total = np.add.reduceat(self.values[:, TOTAL].astype(np.int64), begins) if len(begins) else begins
        by_lane = np.lexsort((self.burst[begins], ~forward, flow))
        gap = np.zeros(len(begins), np.int64)
        same = (flow[by_lane][1:] == flow[by_lane][:-1]) & (forward[by_lane][1:] == forward[by_lane][:-1])
        gap[by_lane[1:][same]] = np.diff(time[by_lane])[same]
        # Microseconds when they are read, whole milliseconds when they are loaded, as in the official code.
        milliseconds = np.rint(gap / 1000).astype(np.int64) // 1000
        return Bursts(flow, forward, total, ends - begins, milliseconds)


@dataclass(frozen=True)
class Bursts:
    """What is known of each of Q bursts, `(Q,)` each.

    Attributes:
        flow: whose it is.
        forward: its direction.
        total: bytes, by the total lengths of its kept packets.
        count: kept packets.
        gap: whole milliseconds since the burst before of the same direction began; 0 for the first.
    """

    flow: Whole
    forward: Flags
    total: Whole
    count: Whole
    gap: Whole


def columns_of(protocol: int, payload: bool) -> list[int]:
    """Return which of a packet's 18 numbers, header fields and payload, become tokens, in their order."""
    fields = list(range(len(NETWORK) + len(FIELDS[protocol])))
    return fields + [VALUES + place for place in range(PAYLOAD_TOKENS)] if payload else fields


def names_of(protocol: int, payload: bool) -> tuple[str, ...]:
    """Return what each of a packet's tokens stands for."""
    fields = [*(f"IP {name}" for name in NETWORK), *(f"{PROTOCOLS[protocol]} {name}" for name in FIELDS[protocol])]
    return (*fields, *(f"payload {2 * place} and {2 * place + 1}" for place in range(PAYLOAD_TOKENS) if payload))
