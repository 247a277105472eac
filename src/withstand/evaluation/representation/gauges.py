"""Collapse gauges: what features look like as a cloud of points, without any label."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from withstand.core.errors import DataError
from withstand.core.findings.finding import Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.roles import Source, View
from withstand.evaluation.features import embed_views
from withstand.evaluation.probes.probe import CONTROL, Embedded, Probe, beside
from withstand.evaluation.representation.collapse import collapse_check, spread
from withstand.evaluation.statistics.intervals import shares
from withstand.losses.contrast.geometry import alignment, effective_rank, uniformity


@dataclass(frozen=True)
class Gauges(Probe):
    """Effective rank, spread and uniformity of the features; with a view that makes two views, alignment too.

    Args:
        view: makes the two views whose distance is the alignment; None leaves it out.
        samples: most samples read, evenly by index.
        seed: of the views' draws, with each sample's index.
    """

    view: View | None = None
    samples: int = 2048
    seed: int = 0

    needs_labels = False

    def measure(self, embedded: Embedded, control: Embedded | None = None) -> Finding:
        """Return the gauges of test features where there are any, else of train's."""
        figures = self._figures(embedded)
        spectra = [_spectrum(self._some(embedded))]
        columns = ["direction", "share of variance"]
        if control is not None:
            figures = beside(figures, self._figures(control))
            spectra.append(_spectrum(self._some(control)))
            columns.append(f"share of variance, {CONTROL}")
        rows = tuple((place, *shares) for place, shares in enumerate(zip(*spectra, strict=False), start=1))
        return Finding(
            name="gauges",
            figures=figures,
            tables={
                "spectrum": Table(
                    tuple(columns),
                    rows,
                    x="direction",
                    units=shares(*columns[1:]),
                    controls=dict.fromkeys(columns[2:], columns[1]),
                )
            },
            checks=(collapse_check(self._some(embedded), None if control is None else self._some(control)),),
            protocol={
                "probe": describe(self),
                **embedded.protocol(),
                "read": "train" if embedded.test is None else "test",
                "samples": len(self._some(embedded)),
                "spread": "mean over dimensions of the standard deviation of unit-length features, times sqrt(width)",
                "uniformity": "log mean exp(-2 d^2) over pairs of unit-length features; lower is more even",
                "alignment": "mean squared distance of two views' unit-length features; lower is closer",
            },
        )

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that there is a single sample."""
        return "" if len(source) > 1 else "gauges need at least two samples"

    def _some(self, embedded: Embedded) -> Tensor:
        x = embedded.judged.x
        if len(x) < 2:
            raise DataError("gauges need at least two samples")
        return x[torch.arange(min(self.samples, len(x))) * len(x) // min(self.samples, len(x))]

    def _figures(self, embedded: Embedded) -> dict[str, Measure]:
        x = self._some(embedded)
        figures = {
            "effective rank": Measure(float(effective_rank(x)), "directions", "higher"),
            "spread": Measure(spread(x), "ratio", "higher"),
            "uniformity": Measure(float(uniformity(x)), "nats", "lower"),
        }
        if self.view is not None:
            pair = embed_views(embedded.subject, embedded.judged_source, self.view, limit=self.samples, seed=self.seed)
            figures["alignment"] = Measure(float(alignment(pair[0].x, pair[1].x)), "squared distance", "lower")
        return figures


def _spectrum(x: Tensor) -> list[float]:
    """Return the largest 64 directions' shares of the variance."""
    values = torch.linalg.svdvals((x - x.mean(0)).double()).square()
    shares: list[float] = (values[:64] / values.sum().clamp_min(1e-300)).tolist()
    return shares
