"""What was read of captures: packets left out by reason, what the limits cut, and how flows of each class look."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.flows.source import Flows, flows_of, lacks_flows
from withstand.data.flows.table import PROTOCOLS, FlowTable

_SIDE = 36
_FORWARD, _BACK, _EMPTY = (34, 94, 168), (217, 95, 14), (255, 255, 255)


@dataclass(frozen=True)
class FlowFacts(Evaluator):
    """The flows of a source, in numbers and in strips of their bursts; the network is not asked.

    In a strip a bar is a burst, in the order in which they began: up and blue what the forward side sent, down and
    orange what came back, as high as the logarithm of its bytes.

    Args:
        shown: flows that are drawn, of different classes by turns.
        seed: chooses them.
    """

    shown: int = 12
    seed: int = 0

    product = "method"

    @classmethod
    def example(cls) -> Self:
        return cls(4)

    def example_trial(self) -> Trial:
        from withstand.methods.masked.netfound import NetFound

        return Trial(NetFound.example(), Flows.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the samples are no flows."""
        return lacks_flows(source)

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: object = None) -> Finding:
        """Return the finding "flows"; only `source` is used.

        Raises:
            DataError: other samples.
        """
        whole, rows = flows_of(source)
        table, seen, rule = whole.table, whole.seen, whole.rule
        bursts = np.minimum(seen.bursts, rule.max_bursts)
        packets = int(seen.packets.sum())
        cut = int((seen.bursts > rule.max_bursts).sum())
        chosen = self._chosen(source)
        picked = rows[chosen].numpy()
        pictures = np.stack([strip(table.take(np.array([row])), rule.max_bursts) for row in picked.tolist()])
        tables = {
            "limits": Table(
                ("what", "of", "cut", "share"),
                (
                    (f"flows of more than {rule.max_bursts} bursts", len(table), cut, cut / len(table)),
                    (
                        f"bursts of more than {rule.max_packets} packets",
                        int(seen.bursts.sum()),
                        int(seen.long_bursts.sum()),
                        float(seen.long_bursts.sum() / seen.bursts.sum()),
                    ),
                    ("packets that are not kept", packets, packets - len(table.time), 1 - len(table.time) / packets),
                ),
                units={"share": "share"},
            ),
            "protocols": Table(
                ("protocol", "flows", "packets", "bursts of a flow, median"),
                tuple(
                    (name, int(here.sum()), int(seen.packets[here].sum()), float(np.median(bursts[here])))
                    for number, name in PROTOCOLS.items()
                    if (here := table.protocol == number).any()
                ),
                units={"bursts of a flow, median": "count"},
            ),
            "pictures": Table(("flow", "class"), tuple(self._named(source, row) for row in chosen.tolist())),
        }
        if whole.skipped:
            tables["packets left out"] = Table(("what", "why"), whole.skipped)
        return Finding(
            name="flows",
            figures={
                "flows": Measure(len(table), "count", None),
                "packets of flows": Measure(packets, "count", None),
                "flows cut to their first bursts": Measure(cut / len(table), "share", None, of=len(table)),
            },
            tables=tables,
            protocol={"judge": describe(self), "data": whole.name, "origin": whole.origin},
            pictures={"bursts of some flows": pictures},
        )

    def _chosen(self, source: Source) -> torch.Tensor:
        """Return rows to draw: at random, of each class by turns."""
        order = permutation(len(source), self.seed, "flows")
        if source.labels is not None:
            labels = source.labels[order]
            turn = torch.zeros_like(order)
            for label in torch.unique(labels).tolist():
                here = labels == label
                turn[here] = torch.arange(int(here.sum()))
            order = order[(turn * 2 + (labels < 0)).argsort(stable=True)]
        return order[: self.shown]

    def _named(self, source: Source, row: int) -> tuple[Cell, ...]:
        label = -1 if source.labels is None else int(source.labels[row])
        return source.names[row] if source.names else row, source.classes[label] if label >= 0 else None


def strip(table: FlowTable, most: int) -> npt.NDArray[np.uint8]:
    """Return one flow's bursts as a picture, uint8 `(36, 4 most, 3)`."""
    picture = np.full((_SIDE, 4 * most, 3), _EMPTY, np.uint8)
    bursts, middle = table.bursts(), _SIDE // 2
    for place, (forward, total) in enumerate(zip(bursts.forward.tolist(), bursts.total.tolist(), strict=True)):
        height = max(1, min(middle - 1, round((middle - 1) * np.log1p(total) / np.log1p(9000))))
        rows = slice(middle - height, middle) if forward else slice(middle, middle + height)
        picture[rows, 4 * place : 4 * place + 3] = _FORWARD if forward else _BACK
    return picture
