"""Training on data of which some carry a trigger, with a twin that learns from the same data without it.

paper: An Embarrassingly Simple Backdoor Attack on Self-supervised Learning (Li, Pang, Xi, Du, Ji, Yao, Wang; ICCV 2023)
needs: what the wrapped method needs; the clean data beside, called "clean"          modalities: pictures
differences: the paper's clean encoder is a run of its own; here both start from the same weights and take as many
    steps, each on its own data.
"""

import copy
from dataclasses import replace
from typing import Self

from withstand.core.batch import Batch
from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Epoch, Method, Source, Terms
from withstand.methods.shared.pairs import example_of_pairs
from withstand.methods.shared.wrappers.wrapper import Wrapper

CLEAN = "clean"
"""The name of the data beside that hold the same samples without the trigger."""


class PoisonedTraining(Wrapper):
    """Two copies of a method: one learns from what may be poisoned, the twin from the clean data beside.

    No parameter is in both, so that the sum of their losses trains each as it would be trained alone.

    Args:
        method: what is trained; one that needs no pass over all data before an epoch, and orders none.

    Attributes:
        twin: the copy that sees no trigger.

    Raises:
        ConfigError: a method that prepares epochs or orders data by what it learnt.
    """

    def __init__(self, method: Method) -> None:
        super().__init__(method)
        for hook in (Method.before_epoch, Method.order):
            if getattr(type(method), hook.__name__) is not hook:
                raise ConfigError(
                    f"{type(method).__name__} looks at all data before an epoch: a twin on other data cannot follow; "
                    "name another method, as simclr"
                )
        self.twin = copy.deepcopy(method)

    @classmethod
    def example(cls) -> Self:
        return cls(example_of_pairs())

    def example_batch(self, rows: range = range(8)) -> Batch:
        batch = self.method.example_batch(rows)
        return replace(batch, beside={CLEAN: batch})

    def step(self, batch: Batch) -> Terms:
        """Return the wrapped method's terms with the sum of both losses, and each of them, `poisoned` and `clean`.

        Raises:
            DataError: there are no clean data beside.
        """
        if CLEAN not in batch.beside:
            raise DataError(f"there are no data beside called {CLEAN!r}, which the twin learns from")
        terms = self.inside(batch)
        clean = self.twin(batch.beside[CLEAN])["loss"]
        return {
            **terms,
            "loss": terms["loss"] + clean,
            "poisoned": terms["loss"].detach(),
            "clean": clean.detach(),
        }

    def accept(self, source: Source, batch: int) -> None:
        super().accept(source, batch)
        self.twin.accept(source, batch)

    def before_run(self, steps: int) -> None:
        super().before_run(steps)
        self.twin.before_run(steps)

    def before_epoch(self, epoch: Epoch) -> None:
        """Do nothing: neither copy prepares epochs."""

    def inherit(self, earlier: Method) -> None:
        """Take over an earlier stage's weights, into both copies."""
        super().inherit(earlier)
        self.twin.inherit(earlier)

    def after_step(self, step: int) -> None:
        super().after_step(step)
        self.twin.after_step(step)
