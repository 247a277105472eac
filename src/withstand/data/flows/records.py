"""The records of a capture file: where each packet lies, when it came, and on what kind of link.

Files are read in pieces, so that memory does not grow with them; of a piece, where the records begin is found one after
the other, for each says where the next one is, and everything else at once. Formats: pcap (draft-ietf-opsawg-pcap) and
pcapng (draft-ietf-opsawg-pcapng), where every interface has its own time unit.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from withstand.core.errors import DataError

Bytes = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]

PIECE: Final = 8 << 20
"""Bytes that are read at once."""
LARGEST: Final = 1 << 24
"""Bytes of the largest record that is believed; snapshots are at most 256 KiB, whatever a damaged length says."""
AHEAD: Final = 128
"""Zero bytes behind a piece, so that headers can be looked at before it is known whether they are whole."""
NANOSECONDS: Final = 1_000_000_000
_LAST_SECOND: Final = 1 << 33
"""Seconds since 1970 beyond which a time is damaged (the year 2242); nanoseconds fit 64 bits up to there."""

CUT = "the file ends inside a record"
DAMAGED = "a damaged record: what follows it is not read"
TIMELESS = "simple packet blocks, which have no time"
OUT_OF_TIME = "times that no clock shows"
LOST = "an interface that the file does not describe"


@dataclass(frozen=True)
class Records:
    """The packets of a piece, `(P,)` each.

    Attributes:
        content: the piece's bytes, with `AHEAD` zeros behind.
        start: where each packet's first byte lies in `content`.
        length: its captured bytes.
        time: when it came, nanoseconds since 1970.
        link: the link type of its interface, by the registry of tcpdump.org.
    """

    content: Bytes
    start: Whole
    length: Whole
    time: Whole
    link: Whole

    def __len__(self) -> int:
        return len(self.start)


def read_records(stream: BinaryIO, skipped: Counter[str], what: str, piece: int = PIECE) -> Iterator[Records]:
    """Yield the packets of a capture, piece by piece.

    Args:
        stream: of the file's bytes, from its beginning.
        skipped: gets a count of packets, or places in the file, that cannot be used, by reason.
        what: how errors call the file.
        piece: bytes that are read at once.

    Raises:
        DataError: this is no capture.
    """
    head = stream.read(4)
    if len(head) < 4:
        raise DataError(f"{what} is empty or too short for a capture")
    if head == _Section.MARK:
        walk: _Walk = _Section(skipped)
    elif head in _CLASSIC:
        head += stream.read(20)
        if len(head) < 24:
            raise DataError(f"{what} ends inside its header, and holds no packets")
        walk = _Classic(head, skipped)
        head = b""
    else:
        raise DataError(f"{what} is no capture: it begins with {head.hex(' ')}, neither as pcap nor as pcapng files do")
    rest = head
    while True:
        more = stream.read(piece)
        content = rest + more
        if not more:
            if content:
                skipped[CUT] += 1
            return
        starts, used, going = walk.find(content)
        if starts:
            padded = np.frombuffer(content + bytes(AHEAD), np.uint8)
            found = walk.read(padded, np.array(starts, np.int64))
            if len(found):
                yield found
        if not going:
            skipped[DAMAGED] += 1
            return
        rest = content[used:]


def words(content: Bytes, places: Whole, order: str, count: int) -> npt.NDArray[np.uint32]:
    """Return `count` 32-bit words from each place on, `(P, count)`; `order` is "<" or ">"."""
    picked = content[places[:, None] + np.arange(4 * count)]
    return np.ascontiguousarray(picked).view(f"{order}u4").astype(np.uint32, copy=False)


class _Walk:
    """A way of finding and reading records."""

    def __init__(self, skipped: Counter[str]) -> None:
        self.skipped = skipped

    def find(self, content: bytes) -> tuple[list[int], int, bool]:
        """Return where whole records begin, how many bytes are done with, and whether reading can go on."""
        raise NotImplementedError

    def read(self, content: Bytes, starts: Whole) -> Records:
        """Return the packets of the records that begin there."""
        raise NotImplementedError

    def kept(self, found: Records, seconds: Whole, nanoseconds: Whole, known: Any = None) -> Records:
        """Return the packets whose time is one, with that time."""
        right = (seconds >= 0) & (seconds < _LAST_SECOND) & (nanoseconds >= 0)
        for bad, why in ((~right, OUT_OF_TIME), (None if known is None else right & ~known, LOST)):
            if bad is not None and (count := int(bad.sum())):
                self.skipped[why] += count
        right = right if known is None else right & known
        time = np.where(right, seconds, 0) * NANOSECONDS + np.where(right, nanoseconds, 0)
        return Records(found.content, found.start[right], found.length[right], time[right], found.link[right])


_CLASSIC: Final = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
"""First bytes of pcap files: the order of their bytes, and nanoseconds of their small unit of time."""


class _Classic(_Walk):
    """pcap: a header of 24 bytes, and 16 before each packet."""

    def __init__(self, head: bytes, skipped: Counter[str]) -> None:
        super().__init__(skipped)
        self.order, self.unit = _CLASSIC[head[:4]]
        # The upper half of the field says how long a checksum at the packets' ends is, and no link type.
        self.link = struct.unpack_from(f"{self.order}I", head, 20)[0] & 0xFFFF

    def find(self, content: bytes) -> tuple[list[int], int, bool]:
        length_at = struct.Struct(f"{self.order}I").unpack_from
        starts: list[int] = []
        add, place, size = starts.append, 0, len(content)
        while place + 16 <= size:
            (length,) = length_at(content, place + 8)
            after = place + 16 + length
            if after > size:
                return starts, place, length <= LARGEST
            add(place)
            place = after
        return starts, place, True

    def read(self, content: Bytes, starts: Whole) -> Records:
        head = words(content, starts, self.order, 3).astype(np.int64)
        seconds, small, length = head.T
        found = Records(content, starts + 16, length, seconds, np.full(len(starts), self.link))
        return self.kept(found, seconds, small * self.unit)


@dataclass
class _Interface:
    """What a pcapng file says of one interface: link type, ticks a second (10 or 2 to a power), seconds to add."""

    link: int
    base: int = 10
    power: int = 6
    offset: int = 0


@dataclass
class _Part:
    """Interfaces of one section of a pcapng file, and the order of its bytes."""

    order: str
    interfaces: list[_Interface] = field(default_factory=list)


class _Section(_Walk):
    """pcapng: blocks, of which some describe a section or an interface, and some hold a packet."""

    MARK: Final = b"\x0a\x0d\x0d\x0a"
    MOST_INTERFACES: Final = 1 << 16

    def __init__(self, skipped: Counter[str]) -> None:
        super().__init__(skipped)
        self.part: _Part | None = None
        self._found: list[tuple[_Part, int]] = []
        """Section and kind of block, for each packet that was found and not read yet."""

    def find(self, content: bytes) -> tuple[list[int], int, bool]:
        starts: list[int] = []
        found, place, size = self._found, 0, len(content)
        found.clear()
        pair = struct.Struct(f"{self.part.order}II").unpack_from if self.part is not None else None
        while place + 12 <= size:
            if content[place : place + 4] == self.MARK:
                order = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}.get(content[place + 8 : place + 12])
                if order is None:
                    return starts, place, False
                self.part = _Part(order)
                pair = struct.Struct(f"{order}II").unpack_from
            if pair is None or self.part is None:
                return starts, place, False
            kind, length = pair(content, place)
            if length < 12 or length % 4 or length > LARGEST:
                return starts, place, False
            if place + length > size:
                return starts, place, True
            if kind == 6 or kind == 2:
                if length >= 32 and pair(content, place + 20)[0] <= length - 32:
                    starts.append(place)
                    found.append((self.part, kind))
                else:
                    return starts, place, False
            elif kind == 1:
                if length < 20 or len(self.part.interfaces) >= self.MOST_INTERFACES:
                    return starts, place, False
                self.part.interfaces.append(_interface(content[place + 8 : place + length - 4], self.part.order))
            elif kind == 3:
                self.skipped[TIMELESS] += 1
            place += length
        return starts, place, True

    def read(self, content: Bytes, starts: Whole) -> Records:
        parts: dict[int, _Part] = {id(part): part for part, _ in self._found}
        owner = np.array([id(part) for part, _ in self._found])
        obsolete = np.array([kind == 2 for _, kind in self._found])
        count = len(starts)
        link, seconds, small = (np.zeros(count, np.int64) for _ in range(3))
        length, known = np.zeros(count, np.int64), np.zeros(count, bool)
        for key, part in parts.items():
            rows = np.flatnonzero(owner == key)
            head = words(content, starts[rows] + 8, part.order, 4).astype(np.int64)
            # Obsolete packet blocks have 16 bits of interface, and 16 of a count of drops.
            first = head[:, 0] >> 16 if part.order == ">" else head[:, 0] & 0xFFFF
            number = np.where(obsolete[rows], first, head[:, 0])
            ticks = (head[:, 1].astype(np.uint64) << np.uint64(32)) | head[:, 2].astype(np.uint64)
            length[rows] = head[:, 3]
            for place in np.unique(number[number < len(part.interfaces)]).tolist():
                interface = part.interfaces[place]
                here = number == place
                link[rows[here]], known[rows[here]] = interface.link, True
                seconds[rows[here]], small[rows[here]] = _times(ticks[here], interface)
        found = Records(content, starts + 28, length, seconds, link)
        return self.kept(found, seconds, small, known)


def _interface(body: bytes, order: str) -> _Interface:
    """Return what an interface description block says; options that are cut off or unknown are passed over."""
    found = _Interface(struct.unpack_from(f"{order}H", body)[0])
    place = 8
    while place + 4 <= len(body):
        code, length = struct.unpack_from(f"{order}HH", body, place)
        value = body[place + 4 : place + 4 + length]
        if code == 0 or len(value) < length:
            break
        if code == 9 and length == 1:
            found.base, found.power = (2, value[0] & 0x7F) if value[0] & 0x80 else (10, value[0])
        elif code == 14 and length == 8:
            found.offset = struct.unpack(f"{order}q", value)[0]
        place += 4 + length + -length % 4
    return found


def _times(ticks: npt.NDArray[np.uint64], interface: _Interface) -> tuple[Whole, Whole]:
    """Return seconds and nanoseconds of an interface's ticks; seconds are -1 where they are no time."""
    unit = interface.base**interface.power
    if unit >= 1 << 64:  # 64 bits of ticks are less than a second then
        seconds, rest = np.zeros(len(ticks), np.uint64), ticks
        small = np.array([int(tick) * NANOSECONDS // unit for tick in rest.tolist()], np.int64)
    else:
        seconds, rest = np.divmod(ticks, np.uint64(unit))
        if unit <= 1 << 33:
            small = (rest * np.uint64(NANOSECONDS) // np.uint64(unit)).astype(np.int64)
        elif interface.base == 10:
            small = (rest // np.uint64(unit // NANOSECONDS)).astype(np.int64)
        else:  # to the nanosecond: 2^33 parts of a second are finer than that
            fine = rest >> np.uint64(interface.power - 33)
            small = (fine * np.uint64(NANOSECONDS) >> np.uint64(33)).astype(np.int64)
    far = seconds >= np.uint64(_LAST_SECOND)
    whole = np.where(far, 0, seconds).astype(np.int64)
    offset = min(max(interface.offset, -_LAST_SECOND), _LAST_SECOND)
    return np.where(far, -1, whole + offset), small
