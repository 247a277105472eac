"""Drift: how far further training has moved an encoder's weights from where they began."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from withstand.core.errors import ConfigError
from withstand.core.findings.finding import Finding, Measure
from withstand.core.part import describe
from withstand.core.roles import Evaluator, Method, Model, Source, Trial
from withstand.evaluation.small import small_pictures

MOVED, TEACHER = "the encoder's distance from its start", "its teacher's distance from that start"


@runtime_checkable
class Begun(Protocol):
    """A method that keeps what it began with.

    Attributes:
        encoder: what is trained.
        start: the method as it was before the first step.
    """

    encoder: Model
    start: Method


@dataclass(frozen=True)
class Drift(Evaluator):
    """The Euclidean distance of an encoder's parameters from those that it began with, over the length of these.

    Beside it stands its teacher's, where it has one. No samples are looked at.
    """

    product = "method"

    def example_trial(self) -> Trial:
        from withstand.methods.continual.self_distillation import SelfDistillation

        return Trial(SelfDistillation.example(), small_pictures(8))

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method has not kept its start."""
        return "" if isinstance(subject, Begun) else f"{type(subject).__name__} has not kept what it began with"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "drift".

        Args:
            subject: a method that is `Begun`; its `teacher`, where there is one, is like its encoder.
            source: not used.
            test: not used.
            control: not used.

        Raises:
            ConfigError: the method has not kept its start.
        """
        if lacking := self.lacks(subject, source):
            raise ConfigError(lacking)
        found = {MOVED: _moved(subject.encoder, subject.start.encoder)}
        teacher = getattr(subject, "teacher", None)
        if isinstance(teacher, nn.Module):
            found[TEACHER] = _moved(teacher, subject.start.encoder)
        figures = {name: Measure(value, "ratio", None) for name, value in found.items()}
        return Finding(name="drift", figures=figures, headline=MOVED, protocol={"evaluator": describe(self)})


def _moved(network: nn.Module, start: nn.Module) -> float:
    """Return the distance of two networks' parameters over the length of the second's."""
    ours, theirs = (parameters_to_vector(each.parameters()).detach().double() for each in (network, start))
    apart: float = torch.linalg.vector_norm(ours - theirs).item()
    length: float = torch.linalg.vector_norm(theirs).item()
    return apart / max(length, 1e-30)
