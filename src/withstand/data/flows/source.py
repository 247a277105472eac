"""Packet captures as a source: its samples are flows, the conversations of two hosts."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import numpy as np
import torch
from torch import Tensor

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.files import printable
from withstand.core.roles import Indices, Source
from withstand.data.derived.separate import Separate
from withstand.data.derived.subset import Subset, in_whole
from withstand.data.flows import labels as named
from withstand.data.flows.assemble import Assembled, Assembler, Ends, Network, networks
from withstand.data.flows.bursts import BurstRule
from withstand.data.flows.container import CLS, PAD, FlowBatch
from withstand.data.flows.example import write_example
from withstand.data.flows.headers import TCP
from withstand.data.flows.named import NAMED_FLOWS, Known, broad, named_flows
from withstand.data.flows.opening import Capture, captures_in, is_capture, is_capture_folder
from withstand.data.flows.reading import read_packets
from withstand.data.flows.table import PROTOCOLS, FlowTable, columns_of
from withstand.data.flows.tokens import metadata_of, tokens_of
from withstand.data.pictures.named import VARIABLE
from withstand.data.shared.digest import as_indices
from withstand.data.shared.labels import read_labels

FILE: Final = "file"
"""The attribute that tells which capture a flow comes from, numbered in the order of `Flows.files`."""
PART: Final = "part"
"""The attribute that tells training flows, 0, from test flows, 1, where their folders do."""


class Flows(Source):
    """The flows of one capture, or of all captures in a folder or a zip archive.

    A flow is what two ends, each an address and a port, exchange by one protocol in one file. Addresses and ports name
    flows, and are no part of a sample. Whatever is not read is counted in `skipped`, by reason.

    Args:
        path: a pcap or pcapng file, also in gzip; a zip archive or a folder of these; or the name of a set, `ndpi`,
            whose labels are its protocols.
        labels: "auto", the folders that captures lie in, where there are two or more; "file", the captures themselves;
            "none"; or the path of a table that names flows by protocol and ends, see `withstand.data.flows.labels`.
        column: of the labels in that table.
        internal: networks, as 10.0.0.0/8, whose hosts are a flow's forward side; where neither end is in one, or both
            are, who sent the flow's first packet is.
        max_bursts: bursts of a flow that are kept.
        max_packets: packets of a burst that are kept.
        gap_ms: milliseconds between packets of one direction after which a new burst begins.
        payload: the first 12 bytes of payload are tokens too, which the published networks leave out.
        ipv6: read IPv6 too, which the paper does not.

    Raises:
        DataError: no capture, a damaged one, or none with a usable flow.
        ConfigError: settings out of range, or labels of no known kind.
    """

    kind = "flow"
    low, high = -np.inf, np.inf

    def __init__(
        self,
        path: str | Path,
        *,
        labels: str = "auto",
        column: str | None = None,
        internal: Sequence[str] = (),
        max_bursts: int = 12,
        max_packets: int = 6,
        gap_ms: float = 10.0,
        payload: bool = False,
        ipv6: bool = False,
    ) -> None:
        self.rule = BurstRule(max_bursts, max_packets, round(gap_ms * 1e6))
        inside = networks(internal)
        known = named_flows(path) if isinstance(path, str) and path in NAMED_FLOWS else None
        place = Path(path).expanduser() if known is None else known.archive
        self.payload = payload
        skipped: Counter[tuple[str, str]] = Counter()
        with captures_in(place) as captures:
            read = _read(captures, self.rule, inside, ipv6, skipped)
        kept = [(capture, one) for capture, one in zip(captures, read, strict=True) if one is not None and one.ends]
        self.skipped = tuple((_counted(count, what), why) for (what, why), count in skipped.most_common())
        if not kept:
            shown = "; ".join(f"{what}: {why}" for what, why in self.skipped[:3])
            raise DataError(f"{str(path)!r} has no usable flow" + (f" ({shown})" if shown else ": it holds no packets"))
        self.files = tuple(printable(capture.name) for capture, _ in kept)
        self.table = _joined([one.table for _, one in kept])
        self._file = torch.from_numpy(np.repeat(np.arange(len(kept)), [len(one.ends) for _, one in kept]))
        self.ends: tuple[Ends, ...] = tuple(ends for _, one in kept for ends in one.ends)
        self.seen = Seen(
            np.concatenate([one.packets for _, one in kept]),
            np.concatenate([one.bursts for _, one in kept]),
            np.concatenate([one.long_bursts for _, one in kept]),
        )
        self._part = named.parts_of(self.files)
        if self._part is not None:
            self._part = self._part[self._file]
        late = sum(one.late for _, one in kept)
        self._measure()
        self.name = printable(str(path) if known is not None else place.name.split(".")[0])
        where = "the file" if len(captures) == 1 and not place.is_dir() else f"{len(captures)} captures of"
        if known is not None:
            where = f"{VARIABLE}: {len(captures)} captures of"
        self.origin = f"{where} {printable(str(path))}; {self._said(late)}"
        self.names = tuple(map(self._called, range(len(self.ends))))
        self._labels, self._classes = self._read_labels(labels, column, known)
        if self.skipped and known is None:
            lost, all_of_them = sum(skipped.values()), int(self.seen.packets.sum())
            shown = "; ".join(f"{what}: {why}" for what, why in self.skipped[:3])
            warnings.warn(
                f"{printable(str(path))!r}: beside the {_counted(all_of_them, 'packet')} of its flows {lost:,} cannot "
                f"be used ({shown})",
                stacklevel=2,
            )

    @classmethod
    def example(cls) -> Self:
        with TemporaryDirectory() as folder:
            write_example(Path(folder))
            made = cls(folder)
        made.name, made.origin = "flows", "an example"
        return made

    def _measure(self) -> None:
        """Note where flows' bursts lie, and how long they are."""
        table = self.table
        self._bursts = table.bursts()
        count = np.bincount(self._bursts.flow, minlength=len(table))
        self._first_burst = np.concatenate([[0], np.cumsum(count)])
        tokens = {number: len(columns_of(number, self.payload)) for number in PROTOCOLS}
        wide = np.array([tokens[number] for number in table.protocol.tolist()], np.int64)
        longest = np.maximum.reduceat(self._bursts.count, self._first_burst[:-1])
        self._sizes = torch.from_numpy(1 + longest * wide)

    def _said(self, late: int) -> str:
        packets, kept = int(self.seen.packets.sum()), len(self.table.time)
        cut = int((self.seen.bursts > self.rule.max_bursts).sum())
        more = f", {late:,} out of order" if late else ""
        return (
            f"{len(self.table):,} flows of {packets:,} packets, of which {kept:,} are kept{more}; {cut:,} flows have "
            f"more than {self.rule.max_bursts} bursts, and {int(self.seen.long_bursts.sum()):,} bursts more than "
            f"{self.rule.max_packets} packets"
        )

    def _called(self, row: int) -> str:
        ends = self.ends[row]
        both = f"{_end(ends.source, ends.source_port)} > {_end(ends.target, ends.target_port)}"
        return f"{self.files[int(self._file[row])]}: {PROTOCOLS[ends.protocol]} {both}"

    def _read_labels(
        self, labels: str, column: str | None, known: Known | None
    ) -> tuple[Tensor | None, tuple[str, ...]]:
        files = [self.files[place] for place in self._file.tolist()]
        if labels == "none":
            return None, ()
        words: Sequence[str | None] | None
        if labels == "auto" and known is not None and column is None:
            words = broad(named.by_table(known.table, known.column, files, self.ends, quiet=True), files)
        elif labels in ("auto", "folder", "file"):
            if column is not None:
                raise ConfigError("column names one of a table of labels: give the table by labels")
            words = named.by_file(files) if labels == "file" else named.by_folder(files)
            if words is None:
                if labels == "folder":
                    raise DataError(f"the captures of {self.name} lie in no two folders, which could be classes")
                return None, ()
        elif Path(labels).expanduser().is_file():
            words = named.by_table(Path(labels).expanduser(), column, files, self.ends)
        else:
            raise ConfigError(f"labels {labels!r} are neither 'auto', 'folder', 'file', 'none' nor a table's file")
        found = read_labels(words, len(words), name="labels")
        return found.y, found.classes

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, indices: Indices) -> Batch:
        chosen = as_indices(indices, len(self))
        flows = self.batch_of(self.table.take(chosen.numpy()), self.payload)
        return Batch(flows.as_samples(), chosen, None if self._labels is None else self._labels[chosen])

    @staticmethod
    def batch_of(table: FlowTable, payload: bool) -> FlowBatch:
        """Return flows as tokens, with or without payload."""
        bursts = table.bursts()
        return FlowBatch(
            torch.from_numpy(tokens_of(table, payload)),
            torch.from_numpy(metadata_of(table, bursts)),
            torch.from_numpy(table.protocol.copy()),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Bursts and tokens of a burst, at most."""
        return (self.rule.max_bursts, 1 + self.rule.max_packets * len(columns_of(TCP, self.payload)))

    @property
    def labels(self) -> Tensor | None:
        return self._labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def attributes(self) -> Mapping[str, Tensor]:
        return {FILE: self._file} | ({} if self._part is None else {PART: self._part})

    @property
    def sizes(self) -> Tensor:
        return self._sizes

    def like(self, data: Any, split: str = "all") -> Source | None:
        """Return other captures, read by these settings; "train" and "test" share no capture where there are two."""
        if isinstance(data, Source):
            whole: Source = data
        elif isinstance(data, str | Path):
            keep = {name: value for name, value in self._init_args.items() if name not in ("path", "labels", "column")}
            whole = Flows(data, **keep)
        else:
            raise DataError(f"a {type(data).__name__} is no packet capture: give the path of a file or a folder")
        return whole if split == "all" else parted(whole, split)

    def fingerprint(self) -> str:
        state = blake2b(repr((len(self), self.shape, self._classes)).encode(), digest_size=16)
        table = self.table
        for value in (table.protocol, table.first, table.time, table.forward, table.burst, table.values, table.payload):
            state.update(np.ascontiguousarray(value).tobytes())
        if self._labels is not None:
            state.update(self._labels.numpy().tobytes())
        return state.hexdigest()


@dataclass(frozen=True)
class Seen:
    """What a capture had of each flow before anything was left out, `(F,)` each.

    Attributes:
        packets: of the flow.
        bursts: of the flow.
        long_bursts: bursts with more packets than are kept.
    """

    packets: Any
    bursts: Any
    long_bursts: Any


def parted(source: Source, part: str, fraction: float = 0.2, seed: int = 0) -> Source:
    """Return the training or test part of flows.

    They are what folders called so hold, where there are such; else flows of other captures, or, of a single capture,
    other flows.
    """
    parts = source.attributes.get(PART)
    if parts is not None and len(torch.unique(parts)) == 2:
        return Subset(source, (parts == int(part == "test")).nonzero()[:, 0].tolist())
    return Separate(source, part, FILE, fraction=fraction, seed=seed)


def _read(
    captures: Sequence[Capture],
    rule: BurstRule,
    internal: Sequence[Network],
    ipv6: bool,
    skipped: Counter[tuple[str, str]],
) -> list[Assembled | None]:
    """Return the flows of each capture; None for one that cannot be read, which is counted unless it is alone."""
    packets: Counter[str] = Counter()
    failed: dict[int, DataError] = {}
    assemblers: dict[int, Assembler] = {}
    found: list[Assembled | None] = [None] * len(captures)
    for place, some in read_packets(captures, packets, failed, ipv6=ipv6):
        for done in [other for other in assemblers if other < place]:
            found[done] = assemblers.pop(done).finish()
        assemblers.setdefault(place, Assembler(rule, internal)).add(some)
    for place, assembler in assemblers.items():
        found[place] = assembler.finish()
    for place, error in failed.items():
        if len(captures) == 1:
            raise error
        found[place] = None
        skipped["file", str(error)] += 1
    for why, count in packets.items():
        skipped["packet", why] += count
    return found


def _joined(tables: Sequence[FlowTable]) -> FlowTable:
    """Return the flows of several captures, one after the other."""
    first = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(table.first) for table in tables]))])
    return FlowTable(
        np.concatenate([table.protocol for table in tables]),
        first,
        *(
            np.concatenate([getattr(table, name) for table in tables])
            for name in ("time", "forward", "burst", "place", "values", "payload", "carried")
        ),
    )


def _end(address: str, port: int) -> str:
    shown = f"[{address}]" if ":" in address else address
    return f"{shown}:{port}" if port else shown


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def flows_of(source: Source) -> tuple[Flows, Tensor]:
    """Return the captures that samples come from, and each sample's place among their flows, int64 `(N,)`.

    Raises:
        DataError: the samples are no flows of captures.
    """
    whole, rows = in_whole(source)
    if not isinstance(whole, Flows):
        raise DataError(f"{source.name} holds no flows of packet captures")
    return whole, rows


def lacks_flows(source: Source) -> str:
    """Return that samples are no flows of captures; "" where they are."""
    try:
        flows_of(source)
    except DataError as error:
        return str(error)
    return ""


def is_flows(data: object) -> bool:
    """Return whether data are flows, or name a set of them, a capture, or a folder or archive of captures."""
    if isinstance(data, str) and data in NAMED_FLOWS:
        return True
    if isinstance(data, Source):
        return isinstance(data, Flows)
    if not isinstance(data, str | Path):
        return False
    path = Path(data).expanduser()
    return is_capture_folder(path) if path.is_dir() else is_capture(path)


def open_flows(data: Any) -> Source:
    """Return a source for what `is_flows` is true of."""
    return data if isinstance(data, Source) else Flows(data)


def frequent_tokens(source: Source, most: int) -> tuple[int, ...]:
    """Return the ids of values that occur most often in flows, at most so many, ascending.

    Args:
        source: of flows.
        most: how many ids.
    """
    counts = torch.zeros(CLS, dtype=torch.int64)
    for start in range(0, len(source), 1024):
        tokens = FlowBatch.of(source[range(start, min(start + 1024, len(source)))].x).tokens
        counts += torch.bincount(tokens[(tokens != PAD) & (tokens != CLS)], minlength=CLS)
    order = counts.argsort(descending=True, stable=True)[:most]
    return tuple(sorted(order[counts[order] > 0].tolist()))
