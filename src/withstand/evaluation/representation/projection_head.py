"""What a projection head does: layer by layer, how much is left, and how unequally features are weighed.

Investigating the Benefits of Projection Head for Representation Learning (2024): from layer to layer training weighs
features more unequally, and the last ones drop what augmentation disturbs, so that layers before the output transfer
better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Cell, Check, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Source, Trial
from withstand.evaluation.features import Embedder, Features, ProgressCallback
from withstand.evaluation.probes.knn import vote
from withstand.evaluation.probes.linear import LogisticProbe, fit_linear
from withstand.evaluation.probes.probe import CONTROL
from withstand.evaluation.probes.splits import hold_out
from withstand.evaluation.representation.layers import (
    ENCODER,
    HEAD,
    HeadWeights,
    condition,
    head_weights,
    layer_features,
    spectrum,
)
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import Share, paired_difference, shares
from withstand.losses.contrast.geometry import effective_rank

_READINGS = ("linear accuracy", "weighted accuracy", "kNN accuracy")


@dataclass(frozen=True)
class Layers(Evaluator):
    """Probes and spectra of every layer of an encoder and of its projection head.

    Three readings: a linear probe on standardised features, which undoes any weighing of them; a linear probe on
    features as they are, of equal penalty for all layers; and kNN by cosine, which needs no fit. What the first
    loses is gone, what the others lose besides is weighed down.

    Args:
        samples: most train samples, and most test samples, evenly by index.
        C: inverse strength of both linear probes' penalty, the same for all layers.
        k: neighbors that vote.
        most: layers of the encoder at most, evenly; the last is always among them.
        directions: of the spectra, at most.
        held_out: share of each class that becomes test where none is given.
        seed: of that split, with each sample's index.
        batch: samples in one forward pass.
    """

    samples: int = 2000
    C: float = 0.1
    k: int = 20
    most: int = 12
    directions: int = 64
    held_out: float = 0.2
    seed: int = 0
    batch: int = 512

    product = "method"

    def __post_init__(self) -> None:
        if min(self.samples, self.k, self.most, self.directions, self.batch) < 1 or not self.C > 0:
            raise ConfigError(
                "samples, k, most, directions and batch must be at least 1 and C above 0, not "
                f"{self.samples}, {self.k}, {self.most}, {self.directions}, {self.batch}, {self.C!r}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(k=3)

    def example_trial(self) -> Trial:
        from withstand.methods.contrastive.simclr import SimCLR

        return Trial(SimCLR.example(), small_pictures(48), SimCLR.example())

    def evaluate(
        self,
        subject: Embedder,
        source: Source,
        *,
        test: Source | None = None,
        control: Embedder | None = None,
        progress: ProgressCallback | None = None,
    ) -> Finding:
        """Return the finding "layers".

        Args:
            subject: a method, whose head counts as layers after the encoder; or any network.
            source: train samples; without labels spectra and ranks alone are found.
            test: test samples; without them a part of each class of `source` is held out.
            control: an untrained subject of the same kind.
            progress: called after each batch.

        Raises:
            ConfigError: the subject is a function, which has no layers.
        """
        parts = self._parts(subject, source, test, progress)
        beside = None if control is None else self._parts(control, source, test, progress)
        worth = {name: self._worth(*pair) for name, pair in parts.items()} if _labelled(parts) else {}
        untrained: dict[str, float] = {}
        if beside is not None and worth:
            untrained = {name: _share(self._linear(*pair)[0]) for name, pair in beside.items()}
        judged = {name: (pair[1] or pair[0]).x for name, pair in parts.items()}
        spectra = {name: spectrum(x) for name, x in judged.items()}
        figures = self._figures(worth, judged, spectra)
        tables = self._tables(worth, untrained, judged, spectra, beside)
        checks: tuple[Check, ...] = ()
        if HEAD in judged:
            all_of = {name: torch.cat([one.x for one in parts[name] if one is not None]) for name in (ENCODER, HEAD)}
            count, width = all_of[ENCODER].shape
            if count < 2 * width:
                detail = f"{count} samples are fewer than twice the {width} features"
                checks = (Check("the head's weighing can be measured", None, detail),)
            else:
                weights = head_weights(all_of[ENCODER], all_of[HEAD])
                linear = Measure(weights.linear_share, "share", None, of=count)
                figures["share of the head's output that is linear in the features"] = linear
                tables["weighing by the head"] = self._weighing(weights)
        if worth:
            figures |= self._compared(parts, worth)
            fits = [one.fits for one in worth.values()]
            fitted = f"{sum(map(sum, fits))} of {2 * len(fits)}"
            checks = (*checks, Check("the fits converged", all(map(all, fits)), fitted))
        return Finding(
            name="layers",
            figures=figures,
            tables=tables,
            checks=checks,
            protocol={
                "evaluator": describe(self),
                "layers": list(parts),
                "best layer": max(worth, key=lambda name: worth[name].shares[0]) if worth else None,
                "maps": "averaged over height and width, tokens over places",
                "linear accuracy": "each feature to mean 0 and variance 1; weighted accuracy: all by one factor",
                "train": len(parts[ENCODER][0]),
                "test": len(parts[ENCODER][1] or parts[ENCODER][0]),
                "weighing": "standard deviation along the features' principal directions before the head; after it, "
                "how far its output moves with one standard deviation along them (least squares)",
                "interval": "95 %, Wilson; difference: paired, Newcombe",
            },
        )

    def _parts(
        self, subject: Embedder, source: Source, test: Source | None, progress: ProgressCallback | None
    ) -> dict[str, tuple[Features, Features | None]]:
        """Return train and test features of every layer, from the input on; test is None without labels and `test`."""
        if not isinstance(subject, nn.Module):
            raise ConfigError(f"only networks have layers, and this is a {type(subject).__name__}: give the method")
        train = layer_features(subject, source, most=self.most, limit=self.samples, batch=self.batch, progress=progress)
        if test is not None:
            tested = layer_features(
                subject, test, most=self.most, limit=self.samples, batch=self.batch, progress=progress
            )
            return {name: (one, tested[name]) for name, one in train.items()}
        if source.labels is None:
            return {name: (one, None) for name, one in train.items()}
        return {name: hold_out(one, self.held_out, self.seed, "test") for name, one in train.items()}

    def _worth(self, train: Features, test: Features | None) -> "_Worth":
        judged = train if test is None else test
        standard, converged = self._linear(train, test)
        weighted, scaled = _as_weighted(train, self.C)
        votes = vote(train.x, train.labels, judged.x, k=min(self.k, len(train)), temperature=0.07, metric="cosine")
        found = (torch.from_numpy(weighted.predict(scaled(judged.x).numpy())), votes.argmax(1))
        right = (standard, *(predicted == judged.labels for predicted in found))
        return _Worth(right, (converged, weighted.converged_))

    def _linear(self, train: Features, test: Features | None) -> tuple[Tensor, bool]:
        """Return which samples a linear probe on standardised features gets right, and whether its fit converged."""
        judged, probe = train if test is None else test, fit_linear(train, C=self.C)
        return probe.predict(judged.x) == judged.labels, probe.model.converged_

    def _figures(
        self, worth: dict[str, "_Worth"], judged: dict[str, Tensor], spectra: dict[str, Tensor]
    ) -> dict[str, Measure]:
        ends = {"before the head": ENCODER, "after the head": HEAD} if HEAD in judged else {"of the encoder": ENCODER}
        figures: dict[str, Measure] = {}
        if worth:
            for words, name in ends.items():
                figures[f"linear accuracy {words}"] = Share.of(worth[name].right[0]).measure()
            if HEAD in judged:
                lost, *ends_of_it = paired_difference(worth[ENCODER].right[0], worth[HEAD].right[0])
                figures["accuracy lost in the head"] = Measure(
                    lost, "share", "lower", interval=(ends_of_it[0], ends_of_it[1]), of=len(judged[HEAD])
                )
            best = max((Share.of(one.right[0]) for one in worth.values()), key=lambda share: share.hits)
            figures["linear accuracy of the best layer"] = Measure(best.value, "share", "higher", of=best.count)
        for words, name in ends.items():
            rank = float(effective_rank(judged[name]))
            figures[f"effective rank {words}"] = Measure(rank, "directions", "higher", of=len(judged[name]))
            condition_number = Measure(condition(spectra[name]), "ratio", "lower", of=len(judged[name]))
            figures[f"condition number {words}"] = condition_number
        return figures

    def _compared(
        self, parts: dict[str, tuple[Features, Features | None]], worth: dict[str, "_Worth"]
    ) -> dict[str, Measure]:
        """Return kNN at both ends of the head, and the features cut to as many directions as the head has outputs."""
        if HEAD not in parts:
            return {}
        found = {
            "kNN accuracy before the head": worth[ENCODER].right[2],
            "kNN accuracy after the head": worth[HEAD].right[2],
        }
        train, test = parts[ENCODER]
        width = parts[HEAD][0].width
        if width < train.width:
            cut = _principal(train, test, width)
            found[f"linear accuracy before the head, {width} principal directions"] = self._worth(*cut).right[0]
        return {name: Measure(_share(hits), "share", "higher", of=len(hits)) for name, hits in found.items()}

    def _tables(
        self,
        worth: dict[str, "_Worth"],
        untrained: dict[str, float],
        judged: dict[str, Tensor],
        spectra: dict[str, Tensor],
        beside: dict[str, tuple[Features, Features | None]] | None,
    ) -> dict[str, Table]:
        tables: dict[str, Table] = {}
        order = list(enumerate(judged, start=1))
        if worth:
            columns = ["layer", "layer name", _READINGS[0]]
            rows: list[tuple[Cell, ...]] = [(k, name, worth[name].shares[0]) for k, name in order]
            if untrained:
                columns.append(f"{_READINGS[0]}, {CONTROL}")
                rows = [(*row, untrained[name]) for row, (_, name) in zip(rows, order, strict=True)]
            note = "From the input to what the loss sees: how much can be read off each layer."
            tables["accuracy by layer"] = Table(
                tuple(columns),
                tuple(rows),
                x="layer",
                note=note,
                units=shares(*columns[2:]),
                controls=dict.fromkeys(columns[3:], columns[2]),
            )
            note = (
                "Where the linear probe falls, something is gone; where only the others fall, it is weighed down: they "
                "take features as they are."
            )
            tables["three readings of each layer"] = Table(
                ("layer", "layer name", *_READINGS),
                tuple((k, name, *worth[name].shares) for k, name in order),
                x="layer",
                note=note,
                units=shares(*_READINGS),
            )
        columns = ["layer", "layer name", "effective rank"]
        ranks: list[tuple[Cell, ...]] = [(k, name, float(effective_rank(judged[name]))) for k, name in order]
        if beside is not None:
            columns.append(f"effective rank, {CONTROL}")
            ranks = [
                (*row, float(effective_rank((beside[name][1] or beside[name][0]).x)))
                for row, (_, name) in zip(ranks, order, strict=True)
            ]
        note = "How many independent directions each layer uses."
        tables["effective rank by layer"] = Table(
            tuple(columns),
            tuple(ranks),
            x="layer",
            note=note,
            units=dict.fromkeys(columns[2:], "directions"),
            controls=dict.fromkeys(columns[3:], columns[2]),
        )
        tables["singular values"] = _spectra({name: spectra[name] for name in _shown(judged)}, self.directions)
        tables["layers"] = Table(
            ("layer", "width", "effective rank", "directions above round-off", "condition number"),
            tuple(
                (name, x.shape[1], float(effective_rank(x)), int((spectra[name] > 0).sum()), condition(spectra[name]))
                for name, x in judged.items()
            ),
            units={"effective rank": "directions", "condition number": "ratio"},
        )
        return tables

    def _weighing(self, weights: "HeadWeights") -> Table:
        count = min(self.directions, len(weights.before))
        before, after = (some[:count] / some.max().clamp_min(1e-30) for some in (weights.before, weights.after))
        columns = ("principal direction", "share of the largest, before", "share of the largest, after")
        rows = zip(range(1, count + 1), before.tolist(), after.tolist(), strict=True)
        note = "How strongly the head weighs each direction of the features: where it falls below, it throws away."
        return Table(columns, tuple(rows), x="principal direction", note=note, units=shares(*columns[1:]))


class _Worth(NamedTuple):
    """Which test samples each reading gets right, and which of the linear fits converged."""

    right: tuple[Tensor, ...]
    fits: tuple[bool, bool]

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(map(_share, self.right))


def _share(hits: Tensor) -> float:
    return float(hits.double().mean())


def _labelled(parts: dict[str, tuple[Features, Features | None]]) -> bool:
    return all(part is None or part.y is not None for part in parts[ENCODER]) and parts[ENCODER][1] is not None


def _as_weighted(train: Features, C: float) -> tuple[LogisticProbe, Callable[[Tensor], Tensor]]:
    """Fit a linear probe to features scaled by one factor, and return it with what scales."""
    mean = train.x.double().mean(0)
    size = float((train.x.double() - mean).square().mean().sqrt()) or 1.0

    def scaled(x: Tensor) -> Tensor:
        return (x.double() - mean) / size

    return LogisticProbe(C).fit(scaled(train.x).numpy(), train.labels.numpy()), scaled


def _principal(train: Features, test: Features | None, count: int) -> tuple[Features, Features | None]:
    """Return features on the first principal directions of train."""
    mean = train.x.double().mean(0)
    directions = torch.linalg.svd(train.x.double() - mean, full_matrices=False)[2][:count].T

    def turned(some: Features) -> Features:
        return Features(((some.x.double() - mean) @ directions).float(), some.y, some.index, some.classes)

    return turned(train), None if test is None else turned(test)


def _shown(judged: dict[str, Tensor]) -> list[str]:
    """Return the layers whose spectra are drawn: the first, the encoder, the head."""
    return list(dict.fromkeys([next(iter(judged)), ENCODER, *(name for name in judged if name == HEAD)]))


def _spectra(spectra: dict[str, Tensor], most: int) -> Table:
    count = min(most, max(len(values) for values in spectra.values()))
    columns = ("direction", *(f"share of the largest, {name}" for name in spectra))
    rows: list[tuple[Cell, ...]] = []
    for place in range(count):
        sizes = [
            float(values[place] / values[0]) if place < len(values) and values[0] > 0 else None
            for values in spectra.values()
        ]
        rows.append((place + 1, *sizes))
    note = "The steeper a curve falls, the more unequally that layer weighs what it holds."
    return Table(columns, tuple(rows), x="direction", note=note, units=shares(*columns[1:]))
