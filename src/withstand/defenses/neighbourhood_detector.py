"""BEYOND: reject inputs that do not agree with their own augmentations in a frozen self-supervised model.

paper: Be Your Own Neighborhood: Detecting Adversarial Example by the Neighborhood Relations Built on Self-Supervised
    Learning (2024)
sizes: N samples, k neighbours, C classes, D projection width

A clean input and its neighbours agree; an attack moves the label far and the representation little, or the reverse.
"""

from dataclasses import dataclass
from typing import Self, get_args

from torch import Tensor, nn

from withstand.core.errors import ConfigError, nearest
from withstand.core.random import Draws, isolated
from withstand.core.roles import View
from withstand.core.victims.victim import Victim
from withstand.defenses.detector import Detector, Exposed
from withstand.defenses.neighbourhood import Combine, LabelSource, Neighbourhood, Relations, label_cosine
from withstand.defenses.small import small_features, small_victim
from withstand.views.pictures.noise import GaussianNoise


@dataclass(frozen=True)
class Explanation:
    """Why samples are accepted or not, one row each, `(N,)`.

    Attributes:
        label: the label that neighbours are asked to confirm.
        score: the detector's score.
        agreeing: how many neighbours the linear classifier gives that label.
        label_similarity: mean cosine of the label, as a one-hot vector, to the neighbours' logits.
        similarity: mean cosine of the neighbours' projections to the sample's.
    """

    label: Tensor
    score: Tensor
    agreeing: Tensor
    label_similarity: Tensor
    similarity: Tensor


class NeighbourhoodDetector(Detector):
    """Reject inputs that do not agree with their own augmentations.

    `score_j = alpha cos(onehot(label), logits_j) + (1 - alpha) cos(z, z_j)`, and the score is the `rank`-th largest of
    the k. With `combine="counts"` two counters are judged instead: the neighbours with the same label, and those with a
    cosine of at least `similar`. Each has a threshold from clean data, and the score is how far the worse one lies
    above its own, as a share of k.

    Args:
        encoder: a frozen self-supervised network, inputs to features `(N, W)`, normalisation inside; it should not be
            the classifier's own, or one attack deceives both.
        projector: features to projections `(N, D)`; None compares the features themselves.
        labeller: a linear classifier on the features, trained on clean data, `(N, C)`.
        victim: the classifier that is guarded.
        view: makes one neighbour of each sample, see `picture_neighbours`.
        neighbours: k.
        rank: K, from 1 (the most similar neighbour decides) to k (the least).
        alpha: 1 judges by labels alone, 0 by representations alone.
        combine: "mixed" or "counts".
        label_source: which label the neighbours are asked to confirm: the classifier's, or the labeller's own of the
            sample ("ssl"), which cannot see an attack that deceives the classifier alone.
        similar: the cosine from which a neighbour counts as similar; None takes the median of clean neighbours.
        seed: of the augmentations, with each sample's content.
        at_once: most samples in one pass through the encoder; bounds memory, also where gradients are asked for.

    Raises:
        ConfigError: a setting outside its range.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | None,
        labeller: nn.Module,
        victim: Victim | nn.Module,
        *,
        view: View,
        neighbours: int = 50,
        rank: int = 20,
        alpha: float = 0.8,
        combine: Combine = "mixed",
        label_source: LabelSource = "classifier",
        similar: float | None = None,
        seed: int = 0,
        at_once: int = 512,
    ) -> None:
        if neighbours < 1 or at_once < 1:
            raise ConfigError(f"neighbours and at_once must be at least 1, not {neighbours} and {at_once}")
        if not 1 <= rank <= neighbours:
            raise ConfigError(f"rank must lie between 1 and the {neighbours} neighbours, not {rank}")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha must lie in [0, 1], not {alpha!r}")
        if combine not in get_args(Combine):
            raise ConfigError(f"combine {combine!r} is unknown: {nearest(str(combine), get_args(Combine))}")
        if label_source not in get_args(LabelSource):
            hint = nearest(str(label_source), get_args(LabelSource))
            raise ConfigError(f"label_source {label_source!r} is unknown: {hint}")
        if similar is not None and not -1 <= similar <= 1:
            raise ConfigError(f"similar is a cosine in [-1, 1], not {similar!r}")
        self.gauge = Neighbourhood(
            encoder,
            projector,
            labeller,
            view=view,
            neighbours=neighbours,
            rank=rank,
            alpha=alpha,
            combine=combine,
            label_source=label_source,
            similar=similar,
            at_once=at_once,
        )
        super().__init__(victim, self.gauge, seed)

    @classmethod
    def example(cls) -> Self:
        with isolated("an example's labeller"):
            labeller = nn.Linear(36, 5)
        victim = small_victim()
        return cls(small_features(), None, labeller, victim, view=GaussianNoise(0.2), neighbours=7, rank=3)

    def explain(self, x: Tensor, draws: Draws | None = None) -> Explanation:
        """Return why each input is accepted or not; arguments as for `score`."""
        label, relations = self._compare(x, draws)
        return Explanation(
            label=label,
            score=self.gauge.judge(relations, label),
            agreeing=(relations.votes.argmax(2) == label[:, None]).sum(1),
            label_similarity=label_cosine(relations.votes, label).mean(1),
            similarity=relations.cosines.mean(1),
        )

    def _calibrate(self, clean: Tensor, fpr: float) -> None:
        if self.gauge.combine == "mixed":
            super()._calibrate(clean, fpr)
            return
        label, relations = self._compare(clean, None)
        if self.gauge.similar is None:
            self.gauge.similar = float(relations.cosines.median())
        shares = self.gauge.counts(relations, label)
        ordered = shares.sort(dim=0).values
        # The highest level of both counters at which they together reject no more than asked for.
        least = ordered[0]
        for place in range(1, len(shares)):
            if float((shares < ordered[place]).any(1).double().mean()) > fpr + 1e-9:
                break
            least = ordered[place]
        self.gauge.least = least.to(self.gauge.least)
        self.threshold = 0.0

    def _compare(self, x: Tensor, draws: Draws | None) -> tuple[Tensor, Relations]:
        """Return the labels to confirm and the relations of samples to their neighbours."""

        def read(network: Exposed, x: Tensor, draws: Draws) -> tuple[Tensor, ...]:
            found = self.gauge.relations(x, draws)
            label = found.own if self.gauge.label_source == "ssl" else network.victim.output(x)
            return label.argmax(1), found.own, found.votes, found.cosines

        label, own, votes, cosines = self._passes(read, x, draws)
        return label, Relations(own, votes, cosines)
