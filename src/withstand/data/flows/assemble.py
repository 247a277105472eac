"""From packets to flows, in portions: what is kept of a capture hangs on its flows, and not on its length."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from withstand.core.errors import ConfigError
from withstand.data.flows.bursts import BurstRule, Lanes, arrange, mark_bursts
from withstand.data.flows.headers import NETWORK, PAYLOAD_TOKENS, TCP, Flags, Packets
from withstand.data.flows.records import Whole
from withstand.data.flows.table import VALUES, FlowTable

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

WINDOW: Final = 1 << 19
"""Packets that are sorted by time together. In a larger capture those that lie out of order over more stay so."""

_SEQUENCE, _ACKNOWLEDGED = len(NETWORK) + 2, len(NETWORK) + 4
_FLAGS: Final = len(NETWORK)
_ACK: Final = 16
_SIXTH: Final = 1 << 32
"""Added to the numbers that IPv6 addresses get, so that no IPv4 address is one of them."""


@dataclass(frozen=True)
class Ends:
    """A flow's two ends, by address and port; it is `forward` from the first to the second, or back."""

    protocol: int
    source: str
    source_port: int
    target: str
    target_port: int


@dataclass(frozen=True)
class Assembled:
    """All flows of a capture.

    Attributes:
        table: their kept packets.
        ends: of each flow; source is where its forward packets come from.
        packets: how many packets each flow had, kept or not, `(F,)`.
        bursts: how many bursts.
        long_bursts: how many of them had more packets than are kept.
        late: packets that came out of order, too far apart to be sorted.
    """

    table: FlowTable
    ends: tuple[Ends, ...]
    packets: Whole
    bursts: Whole
    long_bursts: Whole
    late: int


def networks(internal: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks that are written so.

    Raises:
        ConfigError: one is no network.
    """
    found: list[Network] = []
    for one in internal:
        try:
            found.append(ipaddress.ip_network(one, strict=False))
        except ValueError:
            raise ConfigError(
                f"internal network {one!r} is none: write an address and a length, as 10.0.0.0/8"
            ) from None
    return tuple(found)


class Assembler:
    """Takes packets in portions and makes flows of them.

    Args:
        rule: how packets make bursts.
        internal: networks whose hosts are a flow's forward side; else who sent the first packet is.
        window: packets that are sorted together.
    """

    def __init__(self, rule: BurstRule, internal: Sequence[Network] = (), window: int = WINDOW) -> None:
        self.rule, self.internal, self.window = rule, tuple(internal), window
        self._flows: dict[tuple[int, int], int] = {}
        self._hosts: dict[tuple[int, int], int] = {}
        self._host_list: list[tuple[int, int]] = []
        self._ends: list[tuple[int, int, int]] = []
        """Of each flow: protocol and the keys of its lower and its higher end."""
        self._pending: list[_Portion] = []
        self._waiting = 0
        self._kept: list[_Portion] = []
        self._lanes = Lanes.empty(0)
        size = 0
        self._side = np.zeros(size, np.int8)  # -1 not known; 1 where the lower end is the forward side
        self._base = np.zeros((size, 2), np.int64)
        """The number from which each direction of a flow counts, forward first; -1 where it is not known."""
        self._counts = np.zeros((size, 2), np.int64)
        """Packets of each flow, and bursts that are longer than what is kept."""
        self.late = 0

    def add(self, packets: Packets) -> None:
        """Take more packets, in the order of the capture."""
        if not len(packets):
            return
        low, high, from_low = self._keys(packets)
        flow = self._number(packets.protocol, low, high)
        self._pending.append(
            _Portion(flow, packets.time, from_low, flow, packets.values, packets.payload, packets.carried)
        )
        self._waiting += len(packets)
        if self._waiting >= self.window:
            self._flush()

    def finish(self) -> Assembled:
        """Return the flows; the assembler is used up."""
        self._flush()
        count = len(self._ends)
        kept = _Portion.joined(self._kept)
        self._kept.clear()
        order, burst, place = arrange(kept.flow, kept.forward, kept.index, kept.time, self.rule)
        protocol = np.array([ends[0] for ends in self._ends], np.int64)
        flow = kept.flow[order]
        table = FlowTable(
            protocol=protocol,
            first=np.searchsorted(flow, np.arange(count + 1)),
            time=kept.time[order],
            forward=kept.forward[order],
            burst=burst,
            place=place,
            values=kept.values[order],
            payload=kept.payload[order],
            carried=kept.carried[order],
        )
        bursts = self._lanes.bursts[: 2 * count].reshape(-1, 2).sum(1)
        ends = tuple(self._named(place) for place in range(count))
        return Assembled(table, ends, self._counts[:count, 0], bursts, self._counts[:count, 1], self.late)

    def _keys(self, packets: Packets) -> tuple[Whole, Whole, Flags]:
        """Return the keys of each packet's lower and higher end, address and port, and whether the lower one sent."""
        sides = [packets.source[:, 1].astype(np.int64), packets.target[:, 1].astype(np.int64)]
        six = np.flatnonzero(packets.sixth)
        if len(six):
            both = np.concatenate([packets.source[six], packets.target[six]])
            unique, inverse = np.unique(both, axis=0, return_inverse=True)
            numbers = np.array([self._host(int(high), int(low)) for high, low in unique.tolist()], np.int64)
            found = numbers[inverse.reshape(-1)]
            sides[0][six], sides[1][six] = found[: len(six)], found[len(six) :]
        source = sides[0] << 16 | packets.source_port
        target = sides[1] << 16 | packets.target_port
        from_low = source <= target
        return np.minimum(source, target), np.maximum(source, target), from_low

    def _host(self, high: int, low: int) -> int:
        """Return the number of an IPv6 address."""
        found = self._hosts.get((high, low))
        if found is None:
            found = self._hosts[high, low] = _SIXTH + len(self._host_list)
            self._host_list.append((high, low))
        return found

    def _number(self, protocol: Whole, low: Whole, high: Whole) -> Whole:
        """Return each packet's flow."""
        first = protocol << 56 | low  # keys have at most 50 bits
        order = np.lexsort((high, first))
        begins = np.ones(len(order), bool)
        begins[1:] = (np.diff(first[order]) != 0) | (np.diff(high[order]) != 0)
        opened = np.flatnonzero(begins)
        # Flows are numbered as they come.
        earliest = np.minimum.reduceat(order, opened)
        numbers = np.empty(len(opened), np.int64)
        flows, ends = self._flows, self._ends
        keys = list(zip(first[earliest].tolist(), high[earliest].tolist(), strict=True))
        known = len(ends)
        for place in np.argsort(earliest).tolist():
            key = keys[place]
            found = flows.get(key)
            if found is None:
                found = flows[key] = len(ends)
                ends.append((key[0] >> 56, key[0] & (1 << 56) - 1, key[1]))
            numbers[place] = found
        if len(ends) > known:
            self._grow(len(ends))
        flow = np.empty(len(order), np.int64)
        flow[order] = np.repeat(numbers, np.diff(np.append(opened, len(order))))
        return flow

    def _grow(self, count: int) -> None:
        more = count - len(self._side)
        if more > 0:
            more = max(more, len(self._side))
            self._side = np.concatenate([self._side, np.full(more, -1, np.int8)])
            self._base = np.concatenate([self._base, np.full((more, 2), -1, np.int64)])
            self._counts = np.concatenate([self._counts, np.zeros((more, 2), np.int64)])
        self._lanes.grow(2 * count)

    def _flush(self) -> None:
        """Sort what is waiting by time, put it in bursts and keep what counts."""
        if not self._pending:
            return
        waiting = _Portion.joined(self._pending)
        self._pending.clear()
        self._waiting = 0
        waiting = waiting.take(np.lexsort((waiting.time, waiting.flow)))
        flow = waiting.flow
        begins = np.ones(len(flow), bool)
        begins[1:] = flow[1:] != flow[:-1]
        first = np.flatnonzero(begins)
        self._sides(flow[first], waiting.forward[first])
        forward = waiting.forward == (self._side[flow] == 1)
        waiting = waiting.with_forward(forward)
        self._relative(waiting, first)
        lane = 2 * flow + ~forward
        by_lane = np.argsort(lane, kind="stable")
        opens = np.ones(len(lane), bool)
        opens[1:] = np.diff(lane[by_lane]) != 0
        ahead = by_lane[opens]
        seen = self._lanes.bursts[lane[ahead]] > 0
        self.late += int((seen & (waiting.time[ahead] < self._lanes.last[lane[ahead]])).sum())
        index, place = (np.empty(len(flow), np.int64) for _ in range(2))
        index[by_lane], place[by_lane] = mark_bursts(lane[by_lane], waiting.time[by_lane], self.rule, self._lanes)
        size = len(self._counts)
        self._counts[:, 0] += np.bincount(flow, minlength=size)
        self._counts[:, 1] += np.bincount(flow[place == self.rule.max_packets], minlength=size)
        near = (place < self.rule.max_packets) & (index < self.rule.max_bursts)
        self._kept.append(waiting.with_index(index).take(np.flatnonzero(near)))

    def _sides(self, flow: Whole, from_low: Flags) -> None:
        """Settle which end of each new flow is the forward side, by internal networks or by its first packet."""
        new = self._side[flow] < 0
        flow, from_low = flow[new], from_low[new]
        self._side[flow] = from_low
        if self.internal:
            for place in flow.tolist():
                _, low, high = self._ends[place]
                inside = self._inside(low >> 16), self._inside(high >> 16)
                if inside[0] != inside[1]:
                    self._side[place] = inside[0]

    def _inside(self, number: int) -> bool:
        address = self._address(number)
        return any(address in network for network in self.internal if network.version == address.version)

    def _address(self, number: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        if number < _SIXTH:
            return ipaddress.IPv4Address(number)
        high, low = self._host_list[number - _SIXTH]
        return ipaddress.IPv6Address(high << 64 | low)

    def _relative(self, waiting: "_Portion", first: Whole) -> None:
        """Count TCP's sequence and acknowledgement numbers from where the flow began, in place."""
        protocol = np.array([ends[0] for ends in self._ends], np.int64)
        values, flow = waiting.values, waiting.flow
        sequence, acknowledged = (_long(values, column) for column in (_SEQUENCE, _ACKNOWLEDGED))
        answers = values[:, _FLAGS] & _ACK != 0
        opened = first[(self._base[flow[first]] < 0).all(1)]
        side = np.where(waiting.forward[opened], 0, 1)
        self._base[flow[opened], side] = sequence[opened]
        tells = answers[opened] & (acknowledged[opened] != 0)
        self._base[flow[opened][tells], 1 - side[tells]] = acknowledged[opened][tells]
        way = np.where(waiting.forward, 0, 1)
        unknown = np.flatnonzero(self._base[flow, way] < 0)
        lanes, earliest = np.unique(2 * flow[unknown] + way[unknown], return_index=True)
        self._base[lanes // 2, lanes % 2] = sequence[unknown[earliest]]
        tcp = protocol[flow] == TCP
        own, other = self._base[flow, way], self._base[flow, 1 - way]
        sequence = sequence - own & 0xFFFFFFFF
        acknowledged = np.where(answers & (other >= 0), acknowledged - other & 0xFFFFFFFF, 0)
        for column, number in ((_SEQUENCE, sequence), (_ACKNOWLEDGED, acknowledged)):
            values[tcp, column], values[tcp, column + 1] = number[tcp] >> 16, number[tcp] & 0xFFFF

    def _named(self, place: int) -> Ends:
        protocol, low, high = self._ends[place]
        source, target = (low, high) if self._side[place] == 1 else (high, low)
        return Ends(
            protocol,
            str(self._address(source >> 16)),
            source & 0xFFFF,
            str(self._address(target >> 16)),
            target & 0xFFFF,
        )


def _long(values: npt.NDArray[np.uint16], column: int) -> Whole:
    return values[:, column].astype(np.int64) << 16 | values[:, column + 1]


@dataclass(frozen=True)
class _Portion:
    """Packets with their flows, `(P, ...)` each; `forward` is whether the lower end sent until sides are known."""

    flow: Whole
    time: Whole
    forward: Flags
    index: Whole
    values: npt.NDArray[np.uint16]
    payload: npt.NDArray[np.uint16]
    carried: Whole

    def take(self, rows: Whole) -> "_Portion":
        return _Portion(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def with_forward(self, forward: Flags) -> "_Portion":
        return _Portion(self.flow, self.time, forward, self.index, self.values, self.payload, self.carried)

    def with_index(self, index: Whole) -> "_Portion":
        return _Portion(self.flow, self.time, self.forward, index, self.values, self.payload, self.carried)

    @staticmethod
    def joined(parts: "Sequence[_Portion]") -> "_Portion":
        if not parts:
            none = np.zeros(0, np.int64)
            return _Portion(
                none, none, none.astype(bool), none, np.zeros((0, VALUES), np.uint16),
                np.zeros((0, PAYLOAD_TOKENS), np.uint16), none,
            )  # fmt: skip
        return _Portion(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _Portion.__dataclass_fields__)
        )
