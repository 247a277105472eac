"""From captured bytes to header fields, for all packets of a piece at once.

Links: Ethernet with VLAN tags and MPLS labels, raw IP, Linux "cooked" (SLL, SLL2), BSD loopback. Networks: IPv4 (RFC
791) and IPv6 (RFC 8200). Transport: TCP, UDP, ICMP, ICMPv6. Nothing is read beyond what was captured.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from withstand.data.flows.records import Records, Whole

Flags = npt.NDArray[np.bool_]

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
FIELDS: Final[dict[int, tuple[str, ...]]] = {
    TCP: ("flags", "window", "sequence high", "sequence low", "acknowledged high", "acknowledged low", "urgent"),
    UDP: ("length",),
    ICMP: ("type", "code"),
    ICMP6: ("type", "code"),
}
"""The fields of transport headers that become tokens, in their order."""
NETWORK: Final = ("header length", "service", "total length", "flags", "time to live")
"""The fields of network headers that do."""
PAYLOAD_TOKENS: Final = 6
"""16-bit pieces of the payload's first 12 bytes."""

_ETHERNET, _SLL, _SLL2, _NULL, _LOOP = 1, 113, 276, 0, 108
_RAW: Final = (101, 12, 14, 228, 229)
_IP4, _IP6 = 0x0800, 0x86DD
_NONE: Final = -1
"""The EtherType of a packet that has been counted as one that cannot be used."""
_VLAN: Final = (0x8100, 0x88A8, 0x9100)
_MPLS: Final = (0x8847, 0x8848)
_MOST_TAGS: Final = 16
_EXTENSIONS: Final = (0, 43, 44, 51, 60, 135)
_MOST_EXTENSIONS: Final = 12

_ETHERTYPES: Final = {0x0806: "ARP", 0x8863: "PPPoE discovery", 0x8864: "PPPoE", 0x88CC: "LLDP", 0x888E: "EAPOL"}
_PROTOCOLS: Final = {
    0: "hop-by-hop options", 2: "IGMP", 4: "IPv4 in IP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP", 51: "AH",
    59: "no next header", 89: "OSPF", 103: "PIM", 112: "VRRP", 132: "SCTP",
}  # fmt: skip
_LINKS: Final = {105: "802.11", 127: "802.11 with radiotap", 195: "802.15.4", 220: "USB", 9: "PPP", 187: "Bluetooth"}


@dataclass(frozen=True)
class Packets:
    """Headers of packets, `(P, ...)` each.

    Attributes:
        time: nanoseconds since 1970.
        protocol: TCP, UDP, ICMP or ICMP6.
        source: address, as 128 bits in two halves, uint64 `(P, 2)`; of IPv4 0 and the 32 bits.
        target: the address it goes to.
        source_port: 0 where there are none.
        target_port: likewise.
        sixth: whether it is IPv6.
        values: the network header's fields and the transport header's, uint16 `(P, 12)`, 0 where a protocol has fewer.
            Sequence and acknowledgement numbers are as they were sent.
        payload: its first 12 bytes as 16-bit numbers, `(P, 6)`, 0 beyond its end.
        carried: bytes of payload, by the headers.
        record: which of the piece's records each one is, ascending.
    """

    time: Whole
    protocol: Whole
    source: npt.NDArray[np.uint64]
    target: npt.NDArray[np.uint64]
    source_port: Whole
    target_port: Whole
    sixth: Flags
    values: npt.NDArray[np.uint16]
    payload: npt.NDArray[np.uint16]
    carried: Whole
    record: Whole

    def __len__(self) -> int:
        return len(self.time)

    def between(self, begin: int, end: int) -> "Packets":
        """Return the packets from one place to another."""
        return Packets(*(getattr(self, name)[begin:end] for name in self.__dataclass_fields__))


def read_headers(records: Records, skipped: Counter[str], *, ipv6: bool = False) -> Packets:
    """Return the headers of those packets that have what flows are made of.

    Args:
        records: packets of a piece.
        skipped: gets a count of the others, by reason.
        ipv6: read IPv6 too.
    """
    return _Parse(records, skipped).run(ipv6)


class _Parse:
    """One piece's packets, of which fewer and fewer are left."""

    def __init__(self, records: Records, skipped: Counter[str]) -> None:
        self.content, self.skipped = records.content, skipped
        self.records = records
        self.rows = np.arange(len(records))
        self.at = records.start.copy()
        self.end = records.start + records.length

    def run(self, ipv6: bool) -> Packets:
        kind = self._network()
        four, six = np.flatnonzero(kind == 4), np.flatnonzero(kind == 6)
        if not ipv6 and len(six):
            self.skipped["IPv6, which is not asked for"] += len(six)
            six = six[:0]
        parts = [self._fourth(four), self._sixth(six)]
        whole = _Network.joined(parts)
        order = np.argsort(whole.row, kind="stable")
        return self._transport(whole.take(order))

    def _drop(self, bad: Flags, why: str) -> Flags:
        """Count what is bad, and return what is not."""
        if count := int(bad.sum()):
            self.skipped[why] += count
        return ~bad

    def _byte(self, place: Whole) -> Whole:
        return self.content[place].astype(np.int64)

    def _pair(self, place: Whole) -> Whole:
        return self._byte(place) << 8 | self._byte(place + 1)

    def _quad(self, place: Whole) -> Whole:
        return self._pair(place) << 16 | self._pair(place + 2)

    def _network(self) -> Whole:
        """Find network headers: `at` moves there; 4, 6 or 0 for each packet, `(P,)`."""
        link, kind = self.records.link, np.zeros(len(self.rows), np.int64)
        ether = np.full(len(self.rows), _NONE)
        length = self.end - self.at
        for value in np.unique(link).tolist():
            rows = np.flatnonzero(link == value)
            if value == _ETHERNET or value in (_SLL, _SLL2):
                type_at, size = {_ETHERNET: (12, 14), _SLL: (14, 16), _SLL2: (0, 20)}[value]
                rows = rows[self._drop(length[rows] < size, SHORT)]
                ether[rows] = self._pair(self.at[rows] + type_at)
                self.at[rows] += size
            elif value in _RAW:
                rows = rows[self._drop(length[rows] < 1, SHORT)]
                ether[rows] = self._by_version(rows)
                self._refuse_types(rows[ether[rows] == _NONE], "raw IP of another version")
            elif value in (_NULL, _LOOP):
                rows = rows[self._drop(length[rows] < 4, SHORT)]
                family = self._quad(self.at[rows])
                if value == _NULL:  # in the order of the machine that captured
                    family = np.where(family >> 16 != 0, _swapped(family), family)
                known = np.isin(family, (24, 28, 30))
                ether[rows] = np.where(family == 2, _IP4, np.where(known, _IP6, _NONE))
                self.at[rows] += 4
                self._refuse_types(rows[ether[rows] == _NONE], "loopback of no IP family")
            else:
                name = f" ({_LINKS[value]})" if value in _LINKS else ""
                self.skipped[f"link type {value}{name}"] += len(rows)
        self._tags(ether)
        kind[ether == _IP4], kind[ether == _IP6] = 4, 6
        return kind

    def _refuse_types(self, rows: Whole, why: str) -> None:
        if len(rows):
            self.skipped[why] += len(rows)

    def _by_version(self, rows: Whole) -> Whole:
        version = self._byte(self.at[rows]) >> 4
        return np.where(version == 4, _IP4, np.where(version == 6, _IP6, _NONE))

    def _tags(self, ether: Whole) -> None:
        """Step over VLAN tags and MPLS labels; `ether` becomes what is under them, `_NONE` for nothing known."""
        for _ in range(_MOST_TAGS):
            tagged = np.flatnonzero(np.isin(ether, _VLAN))
            if not len(tagged):
                break
            whole = self._drop(self.end[tagged] - self.at[tagged] < 4, SHORT)
            ether[tagged[~whole]] = _NONE
            tagged = tagged[whole]
            ether[tagged] = self._pair(self.at[tagged] + 2)
            self.at[tagged] += 4
        labelled = np.flatnonzero(np.isin(ether, _MPLS))
        ether[labelled] = _NONE
        for _ in range(_MOST_TAGS):
            labelled = labelled[self._drop(self.end[labelled] - self.at[labelled] < 5, SHORT)]
            if not len(labelled):
                break
            last = (self._byte(self.at[labelled] + 2) & 1) == 1
            self.at[labelled] += 4
            bottom = labelled[last]
            ether[bottom] = self._by_version(bottom)
            self._refuse_types(bottom[ether[bottom] == _NONE], "MPLS with something else than IP inside")
            labelled = labelled[~last]
        self._refuse_types(labelled, "too many labels")
        other = ether[(ether != _NONE) & (ether != _IP4) & (ether != _IP6)]
        for value, count in zip(*np.unique(other, return_counts=True), strict=True):
            name = _ETHERTYPES.get(int(value), "" if value >= 0x600 else "802.3")
            self.skipped[f"no IP: {name or f'EtherType 0x{int(value):04x}'}"] += int(count)

    def _fourth(self, rows: Whole) -> "_Network":
        at, end = self.at[rows], self.end[rows]
        fine = self._drop(end - at < 20, SHORT)
        rows, at, end = rows[fine], at[fine], end[fine]
        first = self._byte(at)
        size, total = (first & 15) * 4, self._pair(at + 2)
        # A total length of 0 is what offloading to the network card leaves: all that was captured belongs to it.
        bad = (first >> 4 != 4) | (size < 20) | ((total < size) & (total != 0))
        fine = self._drop(bad, BROKEN)
        fine[fine] = self._drop((end - at < size)[fine], SHORT)
        rows, at, end, size, total = rows[fine], at[fine], end[fine], size[fine], total[fine]
        fragment = self._pair(at + 6)
        fine = self._drop(fragment & 0x1FFF != 0, "fragments after the first, which have no ports")
        rows, at, end, size, total, fragment = (part[fine] for part in (rows, at, end, size, total, fragment))
        values = np.stack([size, self._byte(at + 1), total, fragment >> 13, self._byte(at + 8)], 1)
        addresses = np.zeros((len(rows), 2, 2), np.uint64)
        addresses[:, 0, 1], addresses[:, 1, 1] = self._quad(at + 12), self._quad(at + 16)
        data_end = np.where(total == 0, end - at, total) + at
        sixth = np.zeros(len(rows), bool)
        return _Network(rows, at + size, data_end, self._byte(at + 9), values, addresses, sixth)

    def _sixth(self, rows: Whole) -> "_Network":
        at, end = self.at[rows], self.end[rows]
        fine = self._drop(end - at < 40, SHORT)
        fine[fine] = self._drop((self._byte(at[fine]) >> 4) != 6, BROKEN)
        rows, at, end = rows[fine], at[fine], end[fine]
        inside = self._pair(at + 4)
        service = self._pair(at) >> 4 & 0xFF
        zeros = np.zeros_like(at)
        values = np.stack([zeros + 40, service, (inside + 40) & 0xFFFF, zeros, self._byte(at + 7)], 1)
        halves = self.content[(at + 8)[:, None] + np.arange(32)]
        addresses = np.ascontiguousarray(halves).view(">u8").astype(np.uint64).reshape(-1, 2, 2)
        following, place = self._byte(at + 6), at + 40
        data_end = np.where(inside == 0, end, at + 40 + inside)
        left = np.ones(len(rows), bool)
        for _ in range(_MOST_EXTENSIONS):
            more = np.flatnonzero(left & np.isin(following, _EXTENSIONS))
            if not len(more):
                break
            whole = self._drop(end[more] - place[more] < 8, SHORT)
            left[more[~whole]] = False
            more = more[whole]
            kind, size = following[more], (self._byte(place[more] + 1) + 1) * 8
            size = np.where(kind == 44, 8, np.where(kind == 51, (self._byte(place[more] + 1) + 2) * 4, size))
            later = self._drop(
                (kind == 44) & (self._pair(place[more] + 2) >> 3 != 0), "fragments after the first, which have no ports"
            )
            left[more[~later]] = False
            following[more] = self._byte(place[more])
            place[more] += size
        # A place far beyond the packet is refused with the transport header, before anything is read there.
        found = _Network(rows, place, data_end, following, values, addresses, np.ones(len(rows), bool))
        return found.take(np.flatnonzero(left))

    def _transport(self, net: "_Network") -> Packets:
        protocol, end = net.protocol, self.end[net.row]
        wanted = np.where(net.sixth, np.isin(protocol, (TCP, UDP, ICMP6)), np.isin(protocol, (TCP, UDP, ICMP)))
        for value, count in zip(*np.unique(protocol[~wanted], return_counts=True), strict=True):
            name = _PROTOCOLS.get(int(value), f"protocol {int(value)}")
            self.skipped[f"neither TCP, UDP nor ICMP: {name}"] += int(count)
        least = np.where(protocol == TCP, 20, np.where(protocol == UDP, 8, 4))
        fine = wanted
        fine[fine] = self._drop((net.at + least > net.end)[fine], BROKEN)
        fine[fine] = self._drop((net.at + least > end)[fine], SHORT)
        net, end = net.take(np.flatnonzero(fine)), end[fine]
        at, protocol = net.at, net.protocol
        tcp = protocol == TCP
        size = np.where(tcp, (self._byte(at + 12) >> 4) * 4, 8)
        fine = self._drop(tcp & ((size < 20) | (at + size > net.end)), BROKEN)
        net, end, size = net.take(np.flatnonzero(fine)), end[fine], size[fine]
        at, protocol = net.at, net.protocol
        tcp, udp = protocol == TCP, protocol == UDP
        values = np.zeros((len(at), len(NETWORK) + len(FIELDS[TCP])), np.uint16)
        values[:, : len(NETWORK)] = net.values
        for column, place in enumerate((13, 14, 4, 6, 8, 10, 18), start=len(NETWORK)):
            field = self._byte(at[tcp] + place) if place == 13 else self._pair(at[tcp] + place)
            values[tcp, column] = field
        values[udp, len(NETWORK)] = self._pair(at[udp] + 4)
        rest = ~tcp & ~udp
        values[rest, len(NETWORK)], values[rest, len(NETWORK) + 1] = self._byte(at[rest]), self._byte(at[rest] + 1)
        ports = tcp | udp
        begin = at + size
        carried = np.maximum(net.end - begin, 0)
        there = np.minimum(net.end, end)
        columns = begin[:, None] + np.arange(2 * PAYLOAD_TOKENS)
        inside = columns < there[:, None]
        taken = np.where(inside, self.content[np.where(inside, columns, 0)], 0).astype(np.uint16)
        return Packets(
            time=self.records.time[net.row],
            protocol=protocol,
            source=net.addresses[:, 0],
            target=net.addresses[:, 1],
            source_port=np.where(ports, self._pair(at), 0),
            target_port=np.where(ports, self._pair(at + 2), 0),
            sixth=net.sixth,
            values=values,
            payload=(taken[:, 0::2] << 8 | taken[:, 1::2]).astype(np.uint16),
            carried=carried,
            record=net.row,
        )


SHORT = "too little of the packet was captured for its headers"
BROKEN = "damaged headers"


@dataclass(frozen=True)
class _Network:
    """Network headers, `(P, ...)` each: row, where the transport header is, where the packet ends, and their fields."""

    row: Whole
    at: Whole
    end: Whole
    protocol: Whole
    values: Whole
    addresses: npt.NDArray[np.uint64]
    sixth: Flags

    def take(self, rows: Whole) -> "_Network":
        return _Network(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @staticmethod
    def joined(parts: "list[_Network]") -> "_Network":
        return _Network(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in _Network.__dataclass_fields__)
        )


def _swapped(values: Whole) -> Whole:
    return values.astype(np.uint32).byteswap().astype(np.int64)
