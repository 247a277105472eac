"""Parts that fail when a test says so; importable as `faults`.

Their description does not say when, so that the run that fails and the run that resumes are the same experiment.
"""

import os
from dataclasses import dataclass

import torch

from toys import ToyPictures
from withstand.core.batch import Batch
from withstand.core.devices.distributed import rank
from withstand.core.random import Draws
from withstand.core.roles import Indices, View


class Stop(Exception):
    """A stand-in for whatever ends a run early."""


@dataclass
class Plan:
    """What happens at which call, counted from 1; None is never."""

    stop_view: int | None = None
    spoil_view: int | None = None
    stop_source: int | None = None
    views: int = 0
    reads: int = 0


plan = Plan()


def arrange(*, stop_view: int | None = None, spoil_view: int | None = None, stop_source: int | None = None) -> None:
    """Say what shall fail from now on, and count anew."""
    plan.__init__(stop_view, spoil_view, stop_source)  # type: ignore[misc]


class FaultyView(View):
    """Another view, which stops the run or gives NaN at the arranged call."""

    def __init__(self, inner: View) -> None:
        self.inner = inner

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        plan.views += 1
        process, _, call = os.environ.get("WITHSTAND_TEST_SPOIL", "0:0").partition(":")  # for processes to come
        if plan.views == plan.stop_view:
            raise Stop
        batch = self.inner(batch, draws)
        if plan.views == plan.spoil_view or (rank(), plan.views) == (int(process), int(call)):
            first, second = batch.views
            second = second.clone()
            second[0, 0, 0, 0] = torch.nan
            batch = batch.with_views(first, second)
        return batch


class FaultySource(ToyPictures):
    """Toy pictures whose reading stops the run at the arranged call."""

    def __getitem__(self, indices: Indices) -> Batch:
        plan.reads += 1
        if plan.reads == plan.stop_source:
            raise Stop
        return super().__getitem__(indices)
