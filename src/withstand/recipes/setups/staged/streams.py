"""What recipes share that learn from sets which come one after another: a chain of stages, memory, one shape."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.part import again
from withstand.core.random import derive, permutation
from withstand.core.roles import Method, Source
from withstand.data.derived.joined import Joined
from withstand.data.derived.resized import as_shaped
from withstand.data.derived.subset import Subset
from withstand.data.load import Data, is_picture_folder, splits_or_all
from withstand.engine.experiment import Experiment
from withstand.engine.schedules import Schedule
from withstand.methods.continual.continual_pretraining import REPLAY, ContinualPretraining
from withstand.models.pictures.transformers.patches import TokenEncoder
from withstand.recipes.setups.vision.pictures import CropSetup

Stream: TypeAlias = str | Sequence[str] | Sequence[Source]
"""Sets in the order in which they come; in one word, their names with commas between."""
Parts: TypeAlias = tuple[Source, Source | None]
"""What is learnt from, and what is kept out."""

PLATEAU = "plateau"
"""What the checkpoint is called from which a later stage goes on: the last one at the plateau's rate."""


@dataclass(frozen=True)
class Pace:
    """The learning rate over a stream.

    Args:
        first: the schedule of the first set.
        later: of the others.
        plateau: epochs after which a stage is at its end but for annealing: there a checkpoint is kept, and the next
            set goes on from it. None goes on from the end.
    """

    first: Schedule
    later: Schedule
    plateau: float | None = None


def sets_of(stream: Stream) -> list[Data]:
    """Return a stream's sets.

    Raises:
        ConfigError: a name is empty.
    """
    words = stream.split(",") if isinstance(stream, str) else stream
    found: list[Data] = []
    for word in words:
        if isinstance(word, Source):
            found.append(word)
            continue
        names = [name.strip() for name in word.split(",")]
        if not all(names):
            raise ConfigError(f"stream names sets with commas between, say fashion-mnist-small,digits, not {stream!r}")
        found.extend(names)
    return found


def parts_like(data: Data, shape: Sequence[int], setup: CropSetup) -> Parts:
    """Return the parts of pictures, brought to a shape where they have another one.

    Args:
        data: the pictures.
        shape: the wanted (C, H, W).
        setup: how those of a folder are read.
    """
    kept = replace(setup, data=data).kept_side() if is_picture_folder(data) else None
    train, test = splits_or_all(data, size=setup.size, share=setup.holdout, cache_size=kept, reading=setup.reading)
    return as_shaped(train, shape), None if test is None else as_shaped(test, shape)


def streamed(
    plain: Experiment,
    later: Sequence[Parts],
    pace: Pace,
    *,
    memory: int = 0,
    distil: float = 0.0,
    first: str | None = None,
) -> Experiment:
    """Return the experiment of the last set of a stream, with those before it inside.

    Each stage has the plan's budget, goes on with the weights and the optimizer of the one before, and has a seed of
    its own.

    Args:
        plain: how the first set is learnt from; its method, views and plan are every stage's.
        later: the further sets.
        pace: of the learning rate.
        memory: samples kept of each earlier set, drawn by the seed, as many of which as a batch holds are replayed with
            each batch; 0 for none.
        distil: weight of learning without forgetting; 0 for none.
        first: folder of the run that the first stage goes on from; None starts with new weights.

    Raises:
        ConfigError: memory or distil out of range, or without anything that came before.
    """
    if memory < 0 or not distil >= 0:
        raise ConfigError(f"memory and distil must be at least 0, not {memory!r} and {distil!r}")
    if not later and (memory or (distil and first is None)):
        raise ConfigError("memory and distil are about sets that came before: name further ones by stream")
    keep = {} if pace.plateau is None else {PLATEAU: pace.plateau}
    at = None if pace.plateau is None else PLATEAU
    plan = replace(plain.plan, keep_at=keep)
    current = replace(plain, plan=replace(plan, schedule=pace.first))
    if first is not None:
        method: Method = ContinualPretraining(again(plain.method), distil=distil)
        at_first = at if (Path(first) / "kept" / PLATEAU).is_dir() else None
        goes_on = replace(plan, schedule=pace.later)
        current = replace(plain, plan=goes_on, method=method, first=first, first_at=at_first, carry=True)
    for place, (train, test) in enumerate(later, start=1):
        past = _memory(current, memory)
        current = replace(
            plain,
            source=train,
            test=test,
            method=ContinualPretraining(again(plain.method), distil=distil),
            plan=replace(plan, schedule=pace.later, seed=derive(plain.plan.seed, "set", place) % 2**31),
            first=current,
            first_at=at,
            carry=True,
            beside={} if past is None else {REPLAY: past},
            beside_views={} if past is None else {REPLAY: plain.view},
        )
    return current


def _memory(before: Experiment, count: int) -> Joined | None:
    """Return what is remembered of the sets of a stage and of those before it."""
    kept: list[Source] = []
    stage: Experiment | str | None = before if count else None
    while isinstance(stage, Experiment):
        rows = permutation(len(stage.source), stage.plan.seed, "memory")[:count]
        kept.append(Subset(stage.source, rows.sort().values.tolist()))
        stage = stage.first
    return Joined(tuple(reversed(kept))) if kept else None


def refuse_other_pictures(method: Method, source: Source, path: str) -> None:
    """Refuse pictures that a run's encoder does not take, before anything is trained.

    Raises:
        DataError: they have other channels, or its patches do not tile them.
    """
    encoder = method.encoder
    if not isinstance(encoder, TokenEncoder) or not encoder.patch:
        return
    if len(source.shape) != 3 or source.shape[0] != encoder.channels:
        wanted = f"{encoder.channels} channel{'s' if encoder.channels > 1 else ''}"
        raise DataError(f"{path} learnt from pictures with {wanted}, and these samples are of shape {source.shape}")
    encoder.grid(torch.empty(1, *source.shape))
