"""Flows as token ids and as figures of their bursts. Sizes: `B` flows, `N` bursts, `L` tokens of a burst."""

from typing import Any

import numpy as np

from withstand.data.flows.container import CLS, METADATA, PAD
from withstand.data.flows.table import Bursts, FlowTable, columns_of


def tokens_of(table: FlowTable, payload: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return flows' token ids, int64 `(B, N, L)`, padded with `PAD`."""
    count = len(table)
    if not count:
        return np.zeros((0, 1, 1), np.int64)
    columns = {number: columns_of(number, payload) for number in np.unique(table.protocol).tolist()}
    flow = table.flow
    protocol = table.protocol[flow]
    wide = np.zeros(len(flow), np.int64)
    for number, some in columns.items():
        wide[protocol == number] = len(some)
    longest = 1 + int(((table.place + 1) * wide).max())
    tokens = np.full((count, int(table.burst.max()) + 1, longest), PAD, np.int64)
    tokens[flow, table.burst, 0] = CLS
    both = np.concatenate([table.values, table.payload], 1)
    for number, some in columns.items():
        rows = np.flatnonzero(protocol == number)
        at = 1 + table.place[rows, None] * len(some) + np.arange(len(some))
        tokens[flow[rows, None], table.burst[rows, None], at] = both[rows][:, some].astype(np.int64) + 1
    return tokens


def metadata_of(table: FlowTable, bursts: Bursts) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return what is known of flows' bursts, float32 `(B, N, 4)`: direction, bytes, packets and the gap before."""
    most = int(table.burst.max()) + 1 if len(table) else 1
    found = np.zeros((len(table), most, len(METADATA)), np.float32)
    number = table.burst[table.place == 0]
    found[bursts.flow, number] = np.stack(
        [np.where(bursts.forward, 1, -1), bursts.total, bursts.count, bursts.gap], 1
    ).astype(np.float32)
    return found
