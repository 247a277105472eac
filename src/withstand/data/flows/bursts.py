"""The rule of bursts: packets of one direction that follow one another closely; and their order in a flow.

As netFound's `Tokenize.py` has it (Guthula et al., 2023): in each direction a new burst begins where more than 10 ms
have passed since the packet before; bursts of both directions are ordered by the time of their first packet. The first
12 bursts of a flow and the first 6 packets of a burst are kept.
"""

from dataclasses import dataclass

import numpy as np

from withstand.core.errors import ConfigError
from withstand.data.flows.headers import Flags
from withstand.data.flows.records import Whole


@dataclass(frozen=True)
class BurstRule:
    """How packets make bursts.

    Args:
        max_bursts: bursts of a flow that are kept.
        max_packets: packets of a burst that are kept.
        gap: nanoseconds between two packets of one direction; where more have passed a new burst begins.

    Raises:
        ConfigError: nothing would be kept, or a gap below 0.
    """

    max_bursts: int = 12
    max_packets: int = 6
    gap: int = 10_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.max_bursts <= 127 or not 1 <= self.max_packets <= 127:
            raise ConfigError(
                f"max_bursts and max_packets must lie in [1, 127], not {self.max_bursts} and {self.max_packets}"
            )
        if self.gap < 0:
            raise ConfigError(f"the gap between bursts must be at least 0, not {self.gap} ns")


@dataclass
class Lanes:
    """How far each direction of each flow has got, `(G,)` each, where packets come in portions.

    Attributes:
        last: the time of its last packet.
        bursts: how many bursts it has had.
        packets: packets of its last burst.
    """

    last: Whole
    bursts: Whole
    packets: Whole

    @classmethod
    def empty(cls, count: int) -> "Lanes":
        """Return lanes that have seen nothing."""
        zeros = np.zeros(count, np.int64)
        return cls(zeros, zeros.copy(), zeros.copy())

    def grow(self, count: int) -> None:
        """Make place for so many lanes."""
        more = max(0, count - len(self.last))
        if more:
            size = max(more, len(self.last))
            for name in ("last", "bursts", "packets"):
                setattr(self, name, np.concatenate([getattr(self, name), np.zeros(size, np.int64)]))


def mark_bursts(lane: Whole, time: Whole, rule: BurstRule, lanes: Lanes) -> tuple[Whole, Whole]:
    """Return which burst of its direction each packet belongs to, and its place in it, both from 0, `(P,)`.

    Args:
        lane: the flow and direction of each packet, numbered, ascending, `(P,)`.
        time: nanoseconds, ascending in each lane.
        rule: when a burst begins.
        lanes: what came before; it is brought up to date.
    """
    count = len(lane)
    if not count:
        return lane, lane
    begins = np.ones(count, bool)
    begins[1:] = lane[1:] != lane[:-1]
    first = np.flatnonzero(begins)
    own = lane[first]
    before = np.empty(count, np.int64)
    before[1:] = time[:-1]
    before[first] = lanes.last[own]
    new = (time - before > rule.gap) | (begins & (lanes.bursts[lane] == 0))
    # Numbers are counted through all lanes, and the count at each lane's beginning is taken off.
    total = np.cumsum(new)
    sizes = np.diff(np.append(first, count))
    index = total - np.repeat(total[first] - new[first], sizes) + np.repeat(lanes.bursts[own], sizes) - 1
    starts = np.where(new | begins, np.arange(count), 0)
    place = np.arange(count) - np.maximum.accumulate(starts)
    carried = np.where(new[first], 0, lanes.packets[own])
    # Only the burst that goes on from before has packets from before.
    goes_on = index == np.repeat(index[first], sizes)
    place += np.where(goes_on, np.repeat(carried, sizes), 0)
    last = np.append(first[1:], count) - 1
    lanes.last[own] = np.maximum(time[last], np.where(lanes.bursts[own] > 0, lanes.last[own], time[last]))
    lanes.bursts[own], lanes.packets[own] = index[last] + 1, place[last] + 1
    return index, place


def arrange(flow: Whole, forward: Flags, index: Whole, time: Whole, rule: BurstRule) -> tuple[Whole, Whole, Whole]:
    """Return the packets of each flow's first bursts in order, and each one's burst and place in it, `(Q,)` each.

    Args:
        flow: of each packet, `(P,)`.
        forward: its direction.
        index: its burst's number in that direction.
        time: nanoseconds; packets of one burst lie in their order.
        rule: how many bursts are kept.
    """
    by_burst = np.lexsort((time, index, ~forward, flow))
    flow, forward, index, time = flow[by_burst], forward[by_burst], index[by_burst], time[by_burst]
    begins = np.ones(len(flow), bool)
    begins[1:] = (flow[1:] != flow[:-1]) | (forward[1:] != forward[:-1]) | (index[1:] != index[:-1])
    first = np.flatnonzero(begins)
    burst = np.cumsum(begins) - 1
    order = np.lexsort((time[first], flow[first]))  # stable: of two that begin at once the forward one leads
    owner = flow[first][order]
    opens = np.ones(len(owner), bool)
    opens[1:] = owner[1:] != owner[:-1]
    rank = np.empty(len(owner), np.int64)
    rank[order] = np.arange(len(owner)) - np.maximum.accumulate(np.where(opens, np.arange(len(owner)), 0))
    place = np.arange(len(flow)) - first[burst] if len(flow) else flow
    ranks = rank[burst]
    kept = np.flatnonzero(ranks < rule.max_bursts)
    final = kept[np.lexsort((place[kept], ranks[kept], flow[kept]))]
    return by_burst[final], ranks[final], place[final]
