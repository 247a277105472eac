"""The probes by name, and `probe`, which embeds once and runs them all."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.preprocessing import MinMaxScaler

from withstand.core.errors import DataError
from withstand.core.findings.finding import Check, Finding
from withstand.core.roles import Source
from withstand.evaluation.features import Embedder, Features, ProgressCallback
from withstand.evaluation.probes.centroid import centroids, nearest_centroid
from withstand.evaluation.probes.few_shot import FewShot
from withstand.evaluation.probes.knn import Metric, vote
from withstand.evaluation.probes.linear import INSIDE, fit_linear, grid_for, on_the_edge
from withstand.evaluation.probes.naive_bayes import NaiveBayesProbe, Priors
from withstand.evaluation.probes.probe import AccuracyProbe, Embedded, Fitted, Probe, embed_all
from withstand.evaluation.representation.embedding_map import Map
from withstand.evaluation.representation.gauges import Gauges


@dataclass(frozen=True)
class KNN(AccuracyProbe):
    """k nearest neighbors among train features.

    Args:
        k: voters; with fewer train samples all of them vote.
        temperature: T of the weights exp(cos / T); None gives each neighbor the same vote.
        metric: "cosine" or "euclidean" (which needs temperature None).
    """

    k: int = 20
    temperature: float | None = 0.07
    metric: Metric = "cosine"

    name = "knn"

    def fit(self, train: Features) -> Fitted:
        k = min(self.k, len(train))
        labels = train.labels
        return Fitted(
            lambda x: vote(train.x, labels, x, k=k, temperature=self.temperature, metric=self.metric).argmax(1),
            {"k": k},
        )


@dataclass(frozen=True)
class Linear(AccuracyProbe):
    """Multinomial logistic regression by L-BFGS on standardized features.

    Args:
        C: inverse strength of the L2 penalty; of several values the best on a held-out part of train is taken,
            and fitted again on all of train.
        held_out: share of each class of train held out for that choice.
        seed: of the held-out part, with each sample's index.
        max_iter: most L-BFGS iterations.
    """

    C: float | tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    held_out: float = 0.2
    seed: int = 0
    max_iter: int = 1000

    name = "linear"

    def fit(self, train: Features) -> Fitted:
        grid = grid_for(train.labels, self.C) if isinstance(self.C, Sequence) else self.C
        probe = fit_linear(train, C=grid, held_out=self.held_out, seed=self.seed, max_iter=self.max_iter)
        model = probe.model
        steps = f"{model.n_iter_} of at most {self.max_iter} iterations"
        return Fitted(
            probe.predict,
            {"C": model.C, "accuracy of each C on the held-out part of train": [list(pair) for pair in probe.tried]},
            (Check("the fit converged", model.converged_, steps), *self._inside(model.C, probe.tried)),
        )

    def _inside(self, best: float, tried: Sequence[tuple[float, float]]) -> tuple[Check, ...]:
        """Return that the best C is an end of its grid, or that there was nothing to choose it by."""
        if not isinstance(self.C, Sequence) or len(self.C) < 2:
            return ()
        said = on_the_edge("C", best, self.C)
        if not tried:
            said = f"no class has two samples to hold one out for the choice, and the smallest, {best:g}, was taken"
        return (Check(INSIDE, None, said),) if said else ()


@dataclass(frozen=True)
class NaiveBayes(AccuracyProbe):
    """Gaussian naive Bayes; each feature is first scaled to [0, 1] by train's least and largest value.

    Args:
        eps: added to every variance of the scaled features.
        var_floor: least variance, as a share of the mean variance.
        shared_variance: one diagonal covariance for all classes (a linear classifier), or one each.
        priors: "empirical" or "uniform".
    """

    eps: float = 1e-9
    var_floor: float = 0.01
    shared_variance: bool = True
    priors: Priors = "empirical"

    name = "naive-bayes"

    def fit(self, train: Features) -> Fitted:
        scaler = MinMaxScaler().fit(train.x.double().numpy())
        model = NaiveBayesProbe(
            self.eps, var_floor=self.var_floor, shared_variance=self.shared_variance, priors=self.priors
        ).fit(scaler.transform(train.x.double().numpy()), train.labels.numpy())
        return Fitted(
            lambda x: torch.from_numpy(model.predict(scaler.transform(x.double().numpy()))),
            {"scaling": "each feature to [0, 1] by train"},
        )


@dataclass(frozen=True)
class Centroid(AccuracyProbe):
    """The nearest class mean.

    Args:
        cosine: by the angle between unit-length features; otherwise by Euclidean distance.
    """

    cosine: bool = True

    name = "centroid"

    def fit(self, train: Features) -> Fitted:
        means, classes = centroids(train, cosine=self.cosine)
        return Fitted(lambda x: nearest_centroid(x, means, classes, cosine=self.cosine), {})


def probe(
    subject: Embedder,
    train: Source,
    test: Source | None = None,
    *,
    control: Embedder | None = None,
    probes: Sequence[Probe] | None = None,
    held_out: float = 0.2,
    seed: int = 0,
    batch: int = 512,
    progress: ProgressCallback | None = None,
) -> list[Finding]:
    """Embed once, run all probes, and return one finding each.

    Args:
        subject: the encoder: a module, a method, or any function from samples to features.
        train: the samples that probes are fitted to.
        test: the samples that they are scored on; without it, `held_out` of each class of train.
        control: an untrained encoder of the same kind, whose numbers stand beside the subject's.
        probes: which; by default all that the labels allow.
        held_out: share of train that becomes test when none is given.
        seed: of that split, with each sample's index.
        batch: samples in one forward pass.
        progress: called after each batch.

    Raises:
        DataError: a probe was asked for that needs labels, and there are none.
    """
    labelled = train.labels is not None and (test is None or test.labels is not None)
    if probes is None:
        probes = [part for part in DEFAULT if labelled or not part.needs_labels]
    elif not labelled and any(part.needs_labels for part in probes):
        names = ", ".join(type(part).__name__ for part in probes if part.needs_labels)
        raise DataError(f"{names} need labels, and the source has none: only Gauges and Map work without")
    embedded = embed_all(subject, train, test, held_out=held_out, seed=seed, batch=batch, progress=progress)
    beside: Embedded | None = None
    if control is not None:
        beside = embed_all(control, train, test, held_out=held_out, seed=seed, batch=batch, progress=progress)
    return [part.measure(embedded, beside) for part in probes]


DEFAULT: tuple[Probe, ...] = (
    KNN(),
    Linear(),
    NaiveBayes(),
    Centroid(),
    FewShot((KNN(), Linear(C=1.0), NaiveBayes())),
    Gauges(),
    Map(),
)
"""What `probe` runs unless told otherwise."""
