"""The certificate of a smoothed classifier: with confidence, in L2, for networks that bounds cannot reach."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.core.part import describe
from withstand.core.random import Draws, derive, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.core.victims.victim import Outputs, Victim
from withstand.evaluation.provenance import traced
from withstand.evaluation.robustness.audit_case import ball_name
from withstand.evaluation.robustness.classifiers.plausible import plausible
from withstand.evaluation.small import digit_classifier, small_digits
from withstand.evaluation.statistics.intervals import Share
from withstand.verification.smoothing import ABSTAIN, Smoothing


@dataclass(frozen=True)
class SmoothedCertificate(Evaluator):
    """Certify the classifier that answers by majority under Gaussian noise.

    Args:
        eps: the L2 radius that headlines, in input units.
        smoothing: the noise and the confidence.
        samples: how many samples are certified, drawn by the seed as an audit draws them.
        seed: of the choice of samples and of the noise.
    """

    eps: float = 0.25
    smoothing: Smoothing = Smoothing()  # noqa: RUF009 - a frozen value
    samples: int = 100
    seed: int = 0

    product = "classifier"

    def __post_init__(self) -> None:
        if not self.eps > 0 or self.samples < 1:
            raise ConfigError(f"eps must be above 0 and samples at least 1, not {self.eps} and {self.samples}")

    @classmethod
    def example(cls) -> Self:
        return cls(0.1, Smoothing(0.1, samples=50, selection=10), samples=4)

    def example_trial(self) -> Trial:
        return Trial(digit_classifier(), small_digits())

    def evaluate(
        self,
        subject: Victim | Callable[[Tensor], Outputs],
        source: Source,
        *,
        test: Source | None = None,
        control: Victim | Callable[[Tensor], Outputs] | None = None,
    ) -> Finding:
        """Return the finding "certificate".

        Args:
            subject: a classifier, or a victim of one.
            source: labelled samples; bytes are read as 0 to 1.
            test: samples to certify in place of the source's.
            control: not used: a proof needs none.

        Raises:
            DataError: no samples, no labels, inputs outside the range.
        """
        victim, source = subject if isinstance(subject, Victim) else Victim(subject), source if test is None else test
        if not len(source):
            raise DataError("a certificate needs samples, and the source is empty")
        rows = permutation(len(source), self.seed, "audit")[: self.samples].sort().values
        batch = source[rows]
        if batch.y is None:
            raise DataError("a certificate is about right answers, and the source has no labels")
        x = victim.ready(batch.x.to(device_of_network(victim.model)))
        draws = Draws(derive(self.seed, "smoothing"), batch.index)
        found = self.smoothing.certify(victim, x, generator=draws)
        head = ball_name("l2", self.eps)
        largest = max(self.smoothing.largest, self.eps)
        return Finding(
            name="certificate",
            figures={
                "clean accuracy, smoothed": Share.of(found.certified(batch.y, 0.0)).measure(),
                f"certified accuracy, {head}": Share.of(found.certified(batch.y, self.eps)).measure(),
                "share of abstentions": Share.of(found.prediction == ABSTAIN).measure("lower"),
            },
            headline=f"certified accuracy, {head}",
            tables={"certified accuracy against eps, l2": found.curve(batch.y, [largest * k / 10 for k in range(11)])},
            checks=(plausible(victim, x, batch.y.to(x.device), source.classes),),
            protocol={
                "certificate": describe(self),
                "ball": {"norm": "l2", "eps": self.eps},
                **traced(victim, source, rows, x, batch.y, asked=self.samples),
                "certified": "the smoothed classifier's answer is right and cannot change within the radius; for each "
                f"sample wrong with probability {self.smoothing.alpha:g} at most. It says nothing of the network",
                "interval": "95 %, Wilson",
            },
        )
