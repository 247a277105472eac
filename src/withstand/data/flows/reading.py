"""Packets of many captures: small ones are read together, for what is done at once for many costs as much for few."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from withstand.core.errors import DataError
from withstand.data.flows.headers import Packets, read_headers
from withstand.data.flows.opening import Capture
from withstand.data.flows.records import AHEAD, Records, read_records

TOGETHER: Final = 4 << 20
"""Bytes of pieces that are read together."""


def read_packets(
    captures: Sequence[Capture], skipped: Counter[str], failed: dict[int, DataError], *, ipv6: bool = False
) -> Iterator[tuple[int, Packets]]:
    """Yield packets of captures, in order, each time with the capture's place.

    Args:
        captures: files.
        skipped: gets a count of what cannot be used, by reason.
        failed: gets the error of captures that cannot be read, or not to their end, by place.
        ipv6: read IPv6 too.
    """
    waiting: list[tuple[int, Records]] = []
    for place, capture in enumerate(captures):
        try:
            with capture.open() as stream:
                for records in read_records(stream, skipped, capture.called):
                    waiting.append((place, records))
                    if sum(len(one.content) for _, one in waiting) >= TOGETHER:
                        yield from _headers(waiting, skipped, ipv6)
                        waiting.clear()
        except DataError as error:
            failed[place] = error
    yield from _headers(waiting, skipped, ipv6)


def _headers(pieces: Sequence[tuple[int, Records]], skipped: Counter[str], ipv6: bool) -> Iterator[tuple[int, Packets]]:
    if not pieces:
        return
    packets = read_headers(joined([records for _, records in pieces]), skipped, ipv6=ipv6)
    ends = np.cumsum([len(records) for _, records in pieces])
    bounds = np.searchsorted(packets.record, [0, *ends])
    for (place, _), begin, end in zip(pieces, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        yield place, packets.between(begin, end)


def joined(parts: Sequence[Records]) -> Records:
    """Return the packets of several pieces as those of one."""
    if len(parts) == 1:
        return parts[0]
    sizes = [len(part.content) for part in parts]
    offsets = np.cumsum([0, *sizes[:-1]])
    assert min(sizes) >= AHEAD
    return Records(
        np.concatenate([part.content for part in parts]),
        np.concatenate([part.start + offset for part, offset in zip(parts, offsets.tolist(), strict=True)]),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("length", "time", "link")),
    )
