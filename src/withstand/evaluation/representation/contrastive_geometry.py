"""The geometry of codes on the sphere: how evenly they spread, and what a contrastive loss would push at a temperature.

Understanding the Behaviour of Contrastive Loss (2021); uniformity and alignment are of Understanding Contrastive
Representation Learning through Alignment and Uniformity on the Hypersphere (2020).
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Source, Trial, View
from withstand.data.derived.subset import labelled
from withstand.evaluation.features import Embedder, Features, embed, embed_views
from withstand.evaluation.probes.probe import CONTROL, beside
from withstand.evaluation.representation.readouts import readouts
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import shares
from withstand.losses.contrast.geometry import alignment, effective_rank, per_dimension_std, uniformity
from withstand.losses.contrast.hard_negatives.hardness import (
    Penalties,
    ordered_negatives,
    penalties,
    relative_penalties,
    tolerance,
)
from withstand.losses.precision import unit_rows
from withstand.views.presets import simclr_small

TEMPERATURES = (0.03, 0.07, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
_BINS = 50


@dataclass(frozen=True)
class ContrastiveGeometry(Evaluator):
    """Uniformity, tolerance, alignment, and who gets the push of a contrastive loss.

    Every sample is an anchor and all others are its negatives. Codes are read in eval mode, without augmentation but
    for the two views of alignment, and brought to unit length. Where a method has a projection head the figures are
    of its output, which is what the loss compares, and the features stand beside.

    Args:
        temperature: tau at which the push is shared out in detail.
        temperatures: at which its concentration is measured.
        view: makes the two views whose distance is the alignment; None leaves alignment out.
        samples: most samples read, evenly by index; time and memory grow with the square.
        neighbors: nearest neighbors whose cosines stand beside the positive's.
        seed: of the views' draws, with each sample's index.
    """

    temperature: float = 0.2
    temperatures: tuple[float, ...] = TEMPERATURES
    view: View | None = None
    samples: int = 2000
    neighbors: int = 10
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        for value in (self.temperature, *self.temperatures):
            if not value > 0:
                raise ConfigError(f"temperature must be above 0, not {value!r}")
        if self.samples < 8 or self.neighbors < 1:
            raise ConfigError(
                f"samples must be at least 8 and neighbors at least 1, not {self.samples!r} and {self.neighbors!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(view=simclr_small(8))

    def example_trial(self) -> Trial:
        from withstand.methods.contrastive.simclr import SimCLR

        return Trial(SimCLR.example(), small_pictures(), SimCLR.example())

    def evaluate(
        self,
        subject: Embedder,
        source: Source,
        *,
        test: Source | None = None,
        control: Embedder | None = None,
    ) -> Finding:
        """Return the finding "geometry".

        Args:
            subject: a method, an encoder, or any function from samples to features.
            source: samples that training has not seen, best; with labels the tolerance is measured too.
            test: samples to read in place of the source's.
            control: an untrained subject of the same kind.

        Raises:
            DataError: fewer than 8 samples.
        """
        source = source if test is None else test
        if len(source) < 8:
            raise DataError(f"the geometry of codes needs at least 8 samples, not {len(source)}")
        clouds = self._clouds(subject, source)
        untrained = {} if control is None else self._clouds(control, source)
        place = list(clouds)[-1]
        ours, theirs = clouds[place], untrained.get(place)
        figures = self._figures(ours)
        if theirs is not None:
            figures = beside(figures, self._figures(theirs))
        named = clouds | {f"{name}, {CONTROL}": cloud for name, cloud in untrained.items()}
        return Finding(
            name="geometry",
            figures=figures,
            tables=self._tables(ours, theirs, named),
            checks=self._checks(ours, place),
            protocol={
                "evaluator": describe(self),
                "read at": f"{place}; eval mode, unit length",
                "samples": len(ours.codes),
                "digest": ours.codes.digest(),
                "uniformity": "log mean exp(-2 d^2) over pairs; lower is more even, 0 is a point",
                "tolerance": "mean cosine of different samples of one class; joint: mean over all pairs, 0 for "
                "pairs of two classes, which depends on how large classes are",
                "alignment": "mean squared distance of two views; lower is closer",
                "push": f"each negative's share of the gradient on an anchor, softmax of cosine / {self.temperature:g}",
                "entropy of the push": "in nats; evenness: over the largest possible, 1 when all are pushed alike",
            },
        )

    def _clouds(self, subject: Embedder, source: Source) -> dict[str, "_Cloud"]:
        source = labelled(source)
        codes = readouts(subject, embed(subject, source, limit=self.samples))
        if self.view is None:
            return {name: _Cloud(some, None) for name, some in codes.items()}
        first, second = embed_views(subject, source, self.view, limit=self.samples, seed=self.seed)
        ones, twos = readouts(subject, first), readouts(subject, second)
        return {name: _Cloud(some, (ones[name].x, twos[name].x)) for name, some in codes.items()}

    def _figures(self, cloud: "_Cloud") -> dict[str, Measure]:
        x = cloud.codes.x
        push = penalties(cloud.ordered, self.temperature)
        figures = {"uniformity": Measure(float(uniformity(x)), "nats", "lower")}
        if cloud.labels is not None:
            figures["tolerance"] = Measure(float(tolerance(x, cloud.labels)), "cosine", "higher")
        if cloud.pair is not None:
            figures["alignment"] = Measure(float(alignment(*cloud.pair)), "squared distance", "lower")
        figures |= {
            "effective rank": Measure(float(effective_rank(x)), "directions", "higher"),
            "entropy of the push": Measure(float(push.entropy), "nats", None),
            "push on the nearest": Measure(float(push.largest), "ratio", None),
            "evenness of the push": Measure(float(push.evenness), "ratio", None),
        }
        if cloud.labels is not None:
            figures["tolerance, joint"] = Measure(float(tolerance(x, cloud.labels, joint=True)), "cosine", "higher")
        return figures

    def _tables(self, ours: "_Cloud", theirs: "_Cloud | None", named: dict[str, "_Cloud"]) -> dict[str, Table]:
        found = {
            "push by nearness": self._by_nearness(ours),
            "push by temperature": self._by_temperature(ours, theirs),
            "push by cosine": self._by_cosine(ours),
            "nearest samples": self._nearest(ours, theirs),
        }
        if ours.labels is not None or ours.pair is not None:
            found["cosines of pairs"] = _pairs(ours)
        measures = {name: self._figures(cloud) for name, cloud in named.items()}
        columns = list(next(iter(measures.values())))
        rows: tuple[tuple[Cell, ...], ...] = tuple(
            (name, named[name].codes.width, *(values[column].value for column in columns))
            for name, values in measures.items()
        )
        units = {name: measure.unit for name, measure in next(iter(measures.values())).items()}
        return {**found, "where it is read": Table(("codes", "width", *columns), rows, units=units)}

    def _by_nearness(self, cloud: "_Cloud") -> Table:
        """Return how much of the push the k nearest negatives get, at this temperature, a lower and a higher one."""
        taus = sorted({min(self.temperatures), self.temperature, max(self.temperatures)})
        courses = [penalties(cloud.ordered, tau).curve for tau in taus]
        count = cloud.ordered.shape[1]
        ranks = [*[2**power for power in range(count.bit_length()) if 2**power < count][-11:], count]
        columns = ("nearest negatives", *(f"share of the push at {tau:g}" for tau in taus))
        return Table(
            columns,
            tuple((k, *(float(course[k - 1]) for course in courses)) for k in ranks),
            x="nearest negatives",
            note="How much of a contrastive loss's push the nearest negatives get together. The straight line of an "
            "even share is bent on this axis; the higher a curve starts, the harder the loss looks.",
            units=shares(*columns[1:]),
        )

    def _by_temperature(self, ours: "_Cloud", theirs: "_Cloud | None") -> Table:
        columns = ["temperature", "share of the largest entropy", "share of the push on the nearest negative"]
        taus = sorted({*self.temperatures, self.temperature})
        rows: list[list[Cell]] = [[tau] for tau in taus]
        for cloud in (ours, theirs):
            if cloud is None:
                continue
            if cloud is theirs:
                columns += [f"{column}, {CONTROL}" for column in columns[1:3]]
            for row, tau in zip(rows, taus, strict=True):
                push: Penalties = penalties(cloud.ordered, tau)
                row += [float(push.evenness), float(push.largest)]
        note = "Low temperatures push the nearest negatives alone, high ones all alike, which is 100 % entropy."
        return Table(
            tuple(columns),
            tuple(tuple(row) for row in rows),
            x="temperature",
            note=note,
            units={"temperature": "ratio"} | shares(*columns[1:]),
            controls=dict(zip(columns[3:], columns[1:3], strict=False)),
        )

    def _by_cosine(self, cloud: "_Cloud") -> Table:
        """Return which cosines negatives have, and which are pushed."""
        pushed = relative_penalties(cloud.ordered, self.temperature)
        edges = _edges(cloud.ordered)
        columns = ("cosine", "share of the negatives", f"share of the push at {self.temperature:g}")
        note = "Which negatives there are, and which of them are pushed: the further right, the harder they are."
        return _histogram(columns, edges, [(cloud.ordered, None), (cloud.ordered, pushed)], note)

    def _nearest(self, ours: "_Cloud", theirs: "_Cloud | None") -> Table:
        """Return the mean cosine of the positive and of each nearest neighbor."""
        columns = ["rank", "rank name", "cosine", f"cosine, {CONTROL}"][: 4 if theirs is not None else 3]
        k = min(self.neighbors, ours.ordered.shape[1])
        courses = [cloud.ordered[:, :k].mean(0).tolist() for cloud in (ours, theirs) if cloud is not None]
        rows: list[tuple[Cell, ...]] = [(r, f"{r}.", *(one[r - 1] for one in courses)) for r in range(1, k + 1)]
        if ours.pair is not None:
            pairs = [cloud.pair for cloud in (ours, theirs) if cloud is not None and cloud.pair is not None]
            rows.insert(0, (0, "two views", *(float(_paired(*pair).mean()) for pair in pairs)))
        note = "How near the nearest other samples lie. A gap after the two views sets each apart from all others."
        return Table(
            tuple(columns),
            tuple(rows),
            x="rank",
            note=note,
            units=dict.fromkeys(columns[2:], "cosine"),
            controls=dict.fromkeys(columns[3:], columns[2]),
        )

    def _checks(self, cloud: "_Cloud", place: str) -> tuple[Check, ...]:
        x = cloud.codes.x
        spread = float(per_dimension_std(x).mean()) * x.shape[1] ** 0.5
        halves = [float(uniformity(part)) for part in (x[::2], x[1::2])]
        apart = abs(halves[0] - halves[1])
        return (
            Check(
                "the codes have not collapsed",
                spread >= 0.01,
                f"spread of the {place} {spread:.3g} (1 is even, 0 a point)",
            ),
            Check(
                "there are samples enough",
                apart <= 0.1,
                f"each half of them alone gives uniformity {halves[0]:.3f} and {halves[1]:.3f}",
            ),
        )


class _Cloud:
    """Codes at one place, the two views' codes there, and all cosines between samples, nearest first."""

    def __init__(self, codes: Features, pair: tuple[Tensor, Tensor] | None) -> None:
        self.codes, self.pair = codes, pair
        self.ordered = ordered_negatives(codes.x)
        same = codes.y is not None and int(torch.bincount(codes.y).max()) > 1
        self.labels = codes.y if same else None
        """Labels, where two samples share one."""


def _paired(one: Tensor, two: Tensor) -> Tensor:
    return (unit_rows(one) * unit_rows(two)).sum(1)


def _pairs(cloud: _Cloud) -> Table:
    """Return how the cosines of pairs are distributed: two views, one class, two classes."""
    rows = unit_rows(cloud.codes.x)
    cosines, columns = rows @ rows.T, ["cosine"]
    parts: list[tuple[Tensor, Tensor | None]] = []
    if cloud.labels is not None:
        same = cloud.labels[:, None] == cloud.labels
        other = ~same
        same.fill_diagonal_(False)
        columns += ["share of pairs, one class", "share of pairs, two classes"]
        parts += [(cosines[same], None), (cosines[other], None)]
    if cloud.pair is not None:
        columns.append("share of pairs, two views")
        parts.append((_paired(*cloud.pair), None))
    note = "What should lie together on the right, what should not on the left."
    return _histogram(tuple(columns), _edges(*(values for values, _ in parts)), parts, note)


def _edges(*values: Tensor) -> Tensor:
    """Return the bounds of even bins from the smallest cosine to 1."""
    low = min(float(some.min()) for some in values if some.numel())
    return torch.linspace(max(-1.0, low - 1e-3), 1.0 + 1e-6, _BINS + 1)


def _histogram(columns: tuple[str, ...], edges: Tensor, parts: list[tuple[Tensor, Tensor | None]], note: str) -> Table:
    """Return each part's weight in every bin, as shares; unweighted values count alike."""
    middles = ((edges[1:] + edges[:-1]) / 2).tolist()
    weighed: list[list[float]] = []
    for values, weights in parts:
        flat = values.flatten()
        bins = torch.bucketize(flat, edges[1:-1])
        count = torch.bincount(bins, None if weights is None else weights.flatten().double(), len(middles)).double()
        weighed.append((count / count.sum().clamp_min(1e-300)).tolist())
    return Table(
        columns,
        tuple((round(x, 4), *row) for x, row in zip(middles, zip(*weighed, strict=True), strict=True)),
        x=columns[0],
        note=note,
        units={columns[0]: "cosine"} | shares(*columns[1:]),
    )
