"""Poison detection: how well scores of suspicion find the samples that are known to carry a trigger."""

from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Victim
from withstand.data.derived.poisoned import POISONED, Poisoned
from withstand.evaluation.defenses.backdoor.frequency_audit import FrequencyAudit
from withstand.evaluation.defenses.backdoor.suspicion import (
    activation_clustering,
    deep_neighbours,
    pseudo_classes,
    spectral_signatures,
    strip,
)
from withstand.evaluation.defenses.detection.roc import auroc
from withstand.evaluation.features import Embedder, embed
from withstand.evaluation.probes.knn import vote
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import shares
from withstand.views.triggers import FrequencyTrigger

FREQUENCIES, CLUSTERS, SPECTRAL = "frequency audit", "activation clustering", "spectral signatures"
NEIGHBOURS, STRIP = "deep k-NN", "STRIP"


@dataclass(frozen=True)
class PoisonDetection(Evaluator):
    """The area under the ROC curve of five detectors, poisoned samples against clean ones of the same training set.

    The frequency audit reads pictures alone; activation clustering, spectral signatures and deep k-NN read features,
    class by class; STRIP asks a kNN on them about blends. Without labels classes are clusters of the features.

    Args:
        audit: the frequency audit.
        k: neighbors of deep k-NN and of STRIP's predictions.
        clusters: classes where there are no labels.
        blends: of STRIP, for each sample.
        asked: clean samples that STRIP is asked about, at most.
        seed: of all that is drawn.
    """

    audit: FrequencyAudit = field(default_factory=FrequencyAudit)
    k: int = 20
    clusters: int = 10
    blends: int = 8
    asked: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.k, self.clusters, self.blends, self.asked) < 1:
            raise ConfigError("k, clusters, blends and asked must be at least 1")

    @classmethod
    def example(cls) -> Self:
        return cls(blends=2)

    def example_trial(self) -> Trial:
        from withstand.methods.attackers.poisoned_training import PoisonedTraining

        data = Poisoned(small_pictures(), FrequencyTrigger(window=8), rate=0.1, target=None)
        return Trial(PoisonedTraining.example().encoder, data)

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "poison-detection".

        Args:
            subject: an encoder.
            source: pictures in color with an attribute "poisoned", as a `Poisoned` source has it.
            test: not read: what was learnt from is looked through.
            control: not read.

        Raises:
            DataError: no such attribute, or all samples of one kind.
        """
        if not knows_poison(source):
            raise DataError("nobody knows of these data which samples are poisoned and which are not")
        marked = source.attributes[POISONED].bool()
        scores = {FREQUENCIES: self.audit.look(source).score, **self._by_features(subject, source, marked)}
        rows: list[tuple[Cell, ...]] = []
        figures: dict[str, Measure] = {}
        for name, score in scores.items():
            known = ~score.isnan()
            area = auroc(-score[known & ~marked], -score[known & marked])
            figures[f"AUC, {name}"] = Measure(area, "share", "higher", of=int(marked.sum()))
            # Ties are broken by place: a detector that sees no difference finds what chance finds.
            most = score.nan_to_num(-torch.inf).sort(descending=True, stable=True).indices
            taken = max(1, int(1.5 * int(marked.sum())))
            found = float(marked[most[:taken]].double().mean()) * taken / int(marked.sum())
            rows.append((name, area, found if bool(known.all()) else None))
        return Finding(
            name="poison-detection",
            figures=figures,
            headline=f"AUC, {FREQUENCIES}",
            tables={"detectors": Table(_COLUMNS, tuple(rows), units=shares(*_COLUMNS[1:]))},
            protocol={
                "evaluator": describe(self),
                "samples": len(source),
                "poisoned": int(marked.sum()),
                "classes": "labels" if source.labels is not None else f"{self.clusters} clusters of the features",
                "STRIP": f"asked about all poisoned and {self.asked:,} others at most",
            },
        )

    def _by_features(self, subject: Embedder, source: Source, marked: Tensor) -> dict[str, Tensor]:
        features = embed(subject, source).x
        labels = source.labels
        if labels is None:
            labels = pseudo_classes(features, min(self.clusters, len(features)), seed=self.seed)
        return {
            CLUSTERS: activation_clustering(features, labels, seed=self.seed),
            SPECTRAL: spectral_signatures(features, labels),
            NEIGHBOURS: deep_neighbours(features, labels, k=self.k),
            STRIP: self._strip(subject, source, features, labels, marked),
        }

    def _strip(self, subject: Embedder, source: Source, features: Tensor, labels: Tensor, marked: Tensor) -> Tensor:
        """Return STRIP's scores of those that it is asked about, NaN for others."""
        known = labels >= 0
        bank, classes = features[known], labels[known]
        keys = Draws(derive(self.seed, "strip"), torch.arange(len(source)))
        order = keys.bits(1)[:, 0].argsort(stable=True)
        rows = torch.cat([marked.nonzero()[:, 0], order[~marked[order]][: self.asked]])
        clean = unit_range(source[order[: self.asked]].x)
        network = subject if isinstance(subject, torch.nn.Module) else None
        device = torch.device("cpu") if network is None else device_of_network(network)

        def probabilities(x: Tensor) -> Tensor:
            found = torch.cat([subject(some.to(device)).cpu().float() for some in torch.split(x, 128)])
            return vote(bank, classes, found, k=min(self.k, len(bank)))

        score = torch.full((len(source),), torch.nan, dtype=torch.float64)
        with Victim(network).held() if network is not None else torch.no_grad(), torch.no_grad():
            score[rows] = strip(
                probabilities, unit_range(source[rows].x), clean, keys.child("blends")[rows], blends=self.blends
            )
        return score


_COLUMNS = ("detector", "AUC", "poison found among the 1.5 times as many most suspicious")


def knows_poison(source: Source) -> bool:
    """Return whether a source tells which of its samples are poisoned, and has some of either kind."""
    found = source.attributes.get(POISONED)
    return found is not None and len(torch.unique(found)) == 2
