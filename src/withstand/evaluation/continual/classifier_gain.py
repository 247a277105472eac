"""What further learning did to a classifier: its accuracy beside that of the one it started from."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import nn

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding, Measure
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Product, Source, Trial, network_of
from withstand.data.derived.subset import labelled
from withstand.evaluation.features import embed
from withstand.evaluation.robustness.classifiers.plausible import skilled
from withstand.evaluation.small import small_pictures
from withstand.evaluation.statistics.intervals import Share, paired_difference


@runtime_checkable
class Started(Protocol):
    """A method whose classifier went on from another one, which it keeps."""

    def started(self) -> nn.Module:
        """Return the classifier that learning started from: inputs in [0, 1] to logits."""
        ...

    def product(self, name: str) -> Product:
        """Return a product by its name."""
        ...


@dataclass(frozen=True)
class ClassifierGain(Evaluator):
    """Accuracy of a classifier on test samples, and of the one that it started from, on the same samples."""

    product = "method"

    def example_trial(self) -> Trial:
        from withstand.methods.robust.rss import RSS

        return Trial(RSS.example(), small_pictures())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method has not kept a start; what it learnt from needs no labels, what judges it does."""
        return "" if isinstance(subject, Started) else f"{type(subject).__name__} has not kept its start"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "classifier gain".

        Args:
            subject: a method that is `Started`.
            source: judged where there is no test part.
            test: labelled samples.
            control: not used: the start is compared with.

        Raises:
            ConfigError: the method has not kept a start.
            DataError: no labels.
        """
        judged = source if test is None else test
        if lacking := self.lacks(subject, judged):
            raise ConfigError(lacking)
        if judged.labels is None:
            raise DataError("accuracy needs labels, and the data have none")
        judged = labelled(judged)
        found, start = (embed(network, judged) for network in (network_of(subject, "classifier"), subject.started()))
        assert found.labels is not None
        ours, theirs = (one.x.argmax(1) == found.labels for one in (found, start))
        difference, low, high = paired_difference(ours, theirs)
        figures = {
            "accuracy": Share.of(ours).measure(),
            "accuracy at the start": Share.of(theirs).measure(),
            "gain": Measure(difference, "share", "higher", interval=(low, high), of=len(ours)),
        }
        return Finding(
            name="classifier gain",
            figures=figures,
            headline="accuracy",
            checks=(skilled(found.x, found.labels, judged.classes, why="learning may have taken away all it knew"),),
            protocol={"evaluator": describe(self), "start": "the classifier that learning started from"},
        )
