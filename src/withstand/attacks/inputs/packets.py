"""What may happen to the packets of a flow on their way, or be done to them: late, longer, lost, out of order.

A change keeps to what networks and headers allow: no packet shrinks or loses header fields, none grows beyond what an
Ethernet frame holds, lengths and TCP's numbers stay consistent, and nothing is sent before it was. Bursts are made anew
from what is changed. What is changed are the packets that a flow kept; see `BurstRule`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws
from withstand.data.flows.bursts import BurstRule
from withstand.data.flows.headers import NETWORK, TCP, UDP
from withstand.data.flows.table import TOTAL, FlowTable

LARGEST: Final = 1500
"""Bytes of the largest IP packet on an Ethernet."""
_TRANSPORT: Final = len(NETWORK)
_SEQUENCE, _ACKNOWLEDGED = _TRANSPORT + 2, _TRANSPORT + 4

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PacketChange:
    """A change of flows' packets, as strong as is said.

    Args:
        kind: "jitter", each packet up to so many milliseconds late, in order in its direction; "padding", each packet
            with payload up to so many bytes longer; "loss", the share of packets that never come, the first of each
            direction apart; "reordering", the share of packets that come in the place of the next in their direction.
        strength: milliseconds, bytes or a share.

    Raises:
        ConfigError: an unknown kind, or a strength that there is not.
    """

    kind: str
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in _CHANGES:
            raise ConfigError(f"change {self.kind!r} is unknown: {nearest(self.kind, _CHANGES)}")
        most = 1.0 if self.kind in ("loss", "reordering") else np.inf
        if not 0 <= self.strength <= most:
            raise ConfigError(f"the strength of {self.kind} must lie in [0, {most:g}], not {self.strength!r}")

    def __call__(self, table: FlowTable, draws: Draws, rule: BurstRule) -> FlowTable:
        """Return changed flows.

        Args:
            table: the flows.
            draws: a stream of each flow.
            rule: how packets make bursts.
        """
        place = np.arange(len(table.time)) - np.repeat(table.first[:-1], np.diff(table.first))
        longest = int(place.max()) + 1 if len(place) else 0
        drawn = draws.uniform_at(torch.arange(longest).expand(len(table), longest)).double().numpy()
        return _CHANGES[self.kind](table, drawn[table.flow, place], self.strength, rule)


def jitter(table: FlowTable, drawn: Numbers, milliseconds: float, rule: BurstRule) -> FlowTable:
    """Return flows whose packets are up to so late; one that would overtake waits for the one before it."""
    late = table.time + (drawn * milliseconds * 1e6).astype(np.int64)
    order = _by_lane(table)
    lane = (2 * table.flow + ~table.forward)[order]
    # A running maximum in each lane: lanes are lifted above one another, and set down again.
    span = int(late.max() - late.min()) + 1 if len(late) else 1
    number = np.cumsum(np.diff(lane, prepend=lane[:1]) != 0)
    base = late.min() if len(late) else 0
    lifted = np.maximum.accumulate(late[order] - base + number * span) - number * span + base
    time = np.empty_like(late)
    time[order] = lifted
    return replace(table, time=time).again(rule)


def padding(table: FlowTable, drawn: Numbers, most: float, rule: BurstRule) -> FlowTable:
    """Return flows whose packets with payload are up to so many bytes longer, zeros behind their payload."""
    protocol = table.protocol[table.flow]
    total = table.values[:, TOTAL].astype(np.int64)
    room = np.maximum(LARGEST - total, 0)
    more = np.minimum((drawn * (most + 1)).astype(np.int64), room)
    more[(table.carried == 0) | (total == 0)] = 0
    values = table.values.copy()
    values[:, TOTAL] += more.astype(np.uint16)
    udp = protocol == UDP
    values[udp, _TRANSPORT] += more[udp].astype(np.uint16)
    # What a direction has sent more so far is added to its later sequence numbers, and to what the other acknowledges.
    order = np.lexsort((table.time, table.flow))
    flow, forward = table.flow[order], table.forward[order]
    opens = np.flatnonzero(np.diff(flow, prepend=-1) != 0)
    sizes = np.diff(np.append(opens, len(flow)))
    sent = {}
    for side in (True, False):
        own = np.where(forward == side, more[order], 0)
        before = np.cumsum(own) - own
        sent[side] = before - np.repeat(before[opens], sizes)
    tcp = protocol[order] == TCP
    answers = values[order, _TRANSPORT] & 16 != 0
    ahead, behind = (np.where(forward == side, sent[True], sent[False]) for side in (True, False))
    for column, shift, which in ((_SEQUENCE, ahead, tcp), (_ACKNOWLEDGED, behind, tcp & answers)):
        rows = order[which]
        number = (values[rows, column].astype(np.int64) << 16 | values[rows, column + 1]) + shift[which] & 0xFFFFFFFF
        values[rows, column], values[rows, column + 1] = number >> 16, number & 0xFFFF
    return replace(table, values=values, carried=table.carried + more).again(rule)


def loss(table: FlowTable, drawn: Numbers, share: float, rule: BurstRule) -> FlowTable:
    """Return flows without a share of their packets; the first of each direction, from which numbers count, stays."""
    order = _by_lane(table)
    lane = (2 * table.flow + ~table.forward)[order]
    kept = drawn >= share
    kept[order[np.diff(lane, prepend=-1) != 0]] = True
    return table.again(rule, kept)


def reordering(table: FlowTable, drawn: Numbers, share: float, rule: BurstRule) -> FlowTable:
    """Return flows in which a share of the packets and the next of their direction come at each other's time."""
    order = _by_lane(table)
    lane = (2 * table.flow + ~table.forward)[order]
    wanted = np.flatnonzero((drawn[order][:-1] < share) & (lane[1:] == lane[:-1]))
    time = table.time[order]
    last = -2
    for place in wanted.tolist():  # a packet changes places once
        if place > last + 1:
            time[place], time[place + 1] = time[place + 1], time[place]
            last = place
    changed = np.empty_like(time)
    changed[order] = time
    return replace(table, time=changed).again(rule)


def _by_lane(table: FlowTable) -> npt.NDArray[np.int64]:
    return np.lexsort((table.time, ~table.forward, table.flow))


_CHANGES: Final[Mapping[str, Callable[[FlowTable, Numbers, float, BurstRule], FlowTable]]] = {
    "jitter": jitter,
    "padding": padding,
    "loss": loss,
    "reordering": reordering,
}
