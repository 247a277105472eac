"""Forgetting: what is left of each set of a stream after the sets that came later."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any

import torch

from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.random import Draws, derive
from withstand.core.roles import Method, Source, View
from withstand.core.victims.victim import Victim
from withstand.data.derived.subset import Subset, labelled
from withstand.evaluation.features import embed
from withstand.evaluation.probes.linear import fit_linear
from withstand.evaluation.statistics.intervals import shares

LOSS, ACCURACY = "held-out loss", "linear accuracy"
_AT_ONCE = 128


@dataclass(frozen=True)
class StageOutcome:
    """A stage of a stream, trained.

    Attributes:
        name: what its set is called.
        method: as it was at the end of the stage; its own loss is measured, or that of the method which it wraps.
        train: what it learnt from.
        test: what was kept out of it.
        view: what makes its views.
    """

    name: str
    method: Method
    train: Source
    test: Source
    view: View | None = None


def forgetting(stages: Sequence[StageOutcome], *, samples: int = 2000, seed: int = 0) -> Finding:
    """Measure the outcome of each stage on each stage's set, and how much of the earlier ones the last one forgot.

    Forgetting of a set is how much worse the last stage is on it than the stage that learnt it, the mean over all sets
    but the last; below 0 is a gain. Losses are the method's own, on test samples, with views of a seed; accuracies
    are a linear probe's, fitted to the features of train samples, where all sets have labels.

    Args:
        stages: in the order of training, two or more.
        samples: most train and test samples of each set, drawn by (seed, index).
        seed: of views and samples.

    Returns:
        the finding "forgetting", with a table of each quantity: a row a stage, a column a set.

    Raises:
        ConfigError: fewer than two stages, or stages that train different methods.
    """
    if len(stages) < 2:
        raise ConfigError("nothing can be forgotten yet: the run has learnt from one set alone")
    kinds = {type(_innermost(stage.method)).__name__ for stage in stages}
    if len(kinds) > 1:
        raise ConfigError(
            f"stages of different methods have losses that cannot be compared: {', '.join(sorted(kinds))}"
        )
    tests = [_some(stage.test, samples, seed) for stage in stages]
    names = _apart([stage.name for stage in stages])
    measured = {
        LOSS: [
            [held_out_loss(now.method, test, then.view, seed=seed) for test, then in zip(tests, stages, strict=True)]
            for now in stages
        ]
    }
    if all(part.labels is not None for stage in stages for part in (stage.train, stage.test)):
        trains = [_some(labelled(stage.train), samples, seed) for stage in stages]
        judged = [_some(labelled(stage.test), samples, seed) for stage in stages]
        measured[ACCURACY] = [
            [linear_accuracy(now.method, train, test) for train, test in zip(trains, judged, strict=True)]
            for now in stages
        ]
    figures: dict[str, Measure] = {}
    tables: dict[str, Table] = {}
    for quantity, found in measured.items():
        unit, sign = ("share", -1) if quantity == ACCURACY else ("the method's own", 1)
        last, count = found[-1], len(stages)
        lost = mean(sign * (last[place] - found[place][place]) for place in range(count - 1))
        figures[f"mean {quantity} over all sets"] = Measure(
            mean(last), unit, "higher" if quantity == ACCURACY else "lower", of=count
        )
        figures[f"forgetting, {quantity}"] = Measure(lost, unit, "lower", of=count - 1)
        rows: list[tuple[Cell, ...]] = [(name, *row) for name, row in zip(names, found, strict=True)]
        units = shares(*names) if quantity == ACCURACY else dict.fromkeys(names, unit)
        tables[quantity] = Table(("after", *names), tuple(rows), units=units)
    return Finding(
        name="forgetting",
        figures=figures,
        headline=f"forgetting, {LOSS}",
        tables=tables,
        protocol={
            "sets, in order": list(names),
            "test samples": [len(test) for test in tests],
            "seed": seed,
            "loss": f"in eval mode, batches of {_AT_ONCE}, views drawn by (seed, index)",
            "accuracy": "linear probe on each set's own train samples, C chosen on a held-out part of them",
            "forgetting": "how much worse the last stage is on a set than the one that learnt it; mean of the earlier",
        },
    )


def held_out_loss(method: Method, test: Source, view: View | None = None, *, seed: int = 0) -> float:
    """Return the mean loss of samples, in eval mode: that of the innermost method, where others wrap it.

    Args:
        method: whose loss.
        test: the samples.
        view: makes views of them, by (seed, index); None shows them as they are.
        seed: of views and of what the method draws.

    Raises:
        DataError: there are fewer samples than a step needs.
    """
    inner = _innermost(method)
    if len(test) < inner.fewest:
        raise DataError(f"a loss needs {inner.fewest} samples, and there are {len(test)}")
    device, count = device_of_network(inner), len(test)
    ends = list(range(0, count, _AT_ONCE))
    if count - ends[-1] < inner.fewest:
        ends.pop()  # its few samples go with those before
    total = 0.0
    with Victim(inner).held(), torch.no_grad():
        for start, end in zip(ends, [*ends[1:], count], strict=True):
            batch = replace(test[range(start, end)].to(device), seed=seed)
            if view is not None:
                batch = view(batch, Draws(derive(seed, "held out"), batch.index))
            total += float(inner.step(batch)["loss"]) * (end - start)
    return total / count


def linear_accuracy(method: Method, train: Source, test: Source) -> float:
    """Return the accuracy on test samples of a linear probe on the method's features."""
    probe, features = fit_linear(embed(method, train)), embed(method, test)
    return float((probe.predict(features.x) == features.labels).double().mean())


def _innermost(method: Method) -> Method:
    """Return the method that others wrap, each as its `method`."""
    while isinstance(wrapped := getattr(method, "method", None), Method):
        method = wrapped
    return method


def _some(source: Source, samples: int, seed: int) -> Source:
    if len(source) <= samples:
        return source
    keys = Draws(derive(seed, "forgetting"), torch.arange(len(source))).bits(1)[:, 0]
    return Subset(source, keys.argsort(stable=True)[:samples].sort().values.tolist())


def _apart(names: Sequence[Any]) -> list[str]:
    """Return names that differ: sets of one name are numbered."""
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, start=1)]
