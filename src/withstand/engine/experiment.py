"""Experiment: what is trained on what, how long, and with which settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from withstand.core.batch import as_structured
from withstand.core.errors import ConfigError, DataError, nearest, require_at_least
from withstand.core.part import Part
from withstand.core.roles import Evaluator, Method, Source, View
from withstand.engine.optimizers import SGD, Optimizer
from withstand.engine.schedules import Schedule, WarmupCosine

Precision = Literal["auto", "float32", "bfloat16", "float64"]
Layout = Literal["auto", "contiguous", "channels-last"]


BEGIN = "begin"
"""What the checkpoint is called that holds what a run began with, where that was another run's."""


@dataclass(frozen=True)
class Plan(Part):
    """How a method is trained.

    Args:
        epochs: passes over the data; raising it later continues a finished run on the longer schedule.
        batch: samples a step, over all processes.
        drop_last: drop what is left of an epoch when no whole batch is left, as methods that compare samples with one
            another need; otherwise it is a smaller batch, unless there is less than a sample for each process.
        optimizer: what steps the parameters; by group's name, where a method has several and they differ.
        schedule: the learning rate's course.
        accumulate: batches whose gradients are averaged into one update.
        clip: largest gradient norm; None clips nothing.
        precision: "float32", "bfloat16" (autocast), "float64", or "auto": one of the first two, by rule from the device
            and the network, and kept for the life of the run; see `engine.numerics.choose`.
        layout: of four-axis tensors: "contiguous", "channels-last", or "auto", by rule likewise.
        device: "auto", "cpu", "cuda" or "mps".
        processes: how many train together; each takes its share of every batch.
        seed: of weights, order and views.
        log_every: most steps between lines of `metrics.jsonl`; short runs get about 50 lines.
        save_every: seconds between checkpoints, besides the one at the end: what a kill can cost.
        keep_at: checkpoints that are kept for good, by name, after so many epochs from the start; fractions are
            allowed, and 0 is before the first step. Another run can start from one (`Experiment.first_at`).
    """

    epochs: int = 20
    batch: int = 256
    drop_last: bool = True
    optimizer: Optimizer | Mapping[str, Optimizer] = field(default_factory=lambda: SGD(0.06))
    schedule: Schedule = field(default_factory=WarmupCosine)
    accumulate: int = 1
    clip: float | None = None
    precision: Precision = "auto"
    layout: Layout = "auto"
    device: str = "auto"
    processes: int = 1
    seed: int = 0
    log_every: int = 10
    save_every: float = 30.0
    keep_at: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_at_least(
            1,
            epochs=self.epochs,
            batch=self.batch,
            accumulate=self.accumulate,
            processes=self.processes,
            log_every=self.log_every,
        )
        if self.clip is not None and not self.clip > 0:
            raise ConfigError(f"clip must be above 0, or None to clip nothing, not {self.clip!r}")
        if self.batch % self.processes:
            raise ConfigError(f"batch {self.batch} cannot be shared evenly by {self.processes} processes")
        for name, allowed in (("precision", get_args(Precision)), ("layout", get_args(Layout))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} {getattr(self, name)!r} is unknown: {nearest(getattr(self, name), allowed)}")
        for name, at in self.keep_at.items():
            if not re.fullmatch(r"\w[\w-]*", name):
                raise ConfigError(f"keep_at names folders, in letters, digits, _ and -, not {name!r}")
            if not 0 <= at <= self.epochs:
                raise ConfigError(f"keep_at {name!r} must lie between 0 and the {self.epochs} epochs, not {at!r}")

    def optimizer_of(self, group: str) -> Optimizer:
        """Return what steps a group of parameters.

        Raises:
            ConfigError: the plan names optimizers by group, and not this one.
        """
        if isinstance(self.optimizer, Optimizer):
            return self.optimizer
        if group not in self.optimizer:
            raise ConfigError(f"the plan has no optimizer for group {group!r}: {nearest(group, self.optimizer)}")
        return self.optimizer[group]


def auditable(method: Method, source: Source, audit: Evaluator | None) -> bool:
    """Return whether `withstand audit` measures what was trained.

    It does where there is an audit of its own, or what embeds or predicts samples that are one tensor each.
    """
    if audit is not None:
        return True
    embeds = not {"encoder", "classifier"}.isdisjoint(method.products())
    return embeds and as_structured(source[[0]].x) is None


@dataclass(frozen=True, eq=False)
class Experiment(Part):
    """Everything that decides a run's result.

    Args:
        name: the recipe's slug, or the user's own word.
        source: what is learnt from.
        view: what makes views of a batch.
        method: the objective, with the encoder inside.
        plan: how long and how.
        test: samples kept out of training, for evaluation; None when there are none.
        labelled: what probes are fitted to, where that is not `source`: the labelled nodes of a graph, say.
        judges: evaluations by the data's own protocol, on `source`, besides the usual probes.
        audit: what audits the encoder, where its inputs are no tensors that a ball fits round; see `Run.audit`.
        first: the stage before this one, which is trained first, in the folder `first` inside this run's, or the folder
            of a run that was; the method inherits from its method. None where there is nothing to build on.
        first_at: name of the earlier stage's checkpoint, of its `Plan.keep_at`, that is built on; its last one if None.
        carry: let the optimizers go on with the state that those of the earlier stage had there, in place of a new
            one. Parameters must be as many, in the same order.
        start: folder of a run whose learnt weights the method begins with, all of them where it is of the same make,
            else its encoder's; see `engine.origin.begun`. They are kept, as the checkpoint "begin". None for drawn
            ones.
        beside: further sources by name, of which each batch brings as many samples along, in `Batch.beside`. Each is
            passed over at its own pace, in an order by (seed, name, its own epoch).
        beside_views: what makes views of their batches, by the same names; those without one come as they are.
    """

    name: str
    source: Source
    view: View
    method: Method
    plan: Plan
    test: Source | None = None
    labelled: Source | None = None
    judges: tuple[Evaluator, ...] = ()
    audit: Evaluator | None = None
    first: "Experiment | str | None" = None
    first_at: str | None = None
    carry: bool = False
    start: str | None = None
    beside: Mapping[str, Source] = field(default_factory=dict)
    beside_views: Mapping[str, View] = field(default_factory=dict)

    def __post_init__(self) -> None:
        roles: dict[str, tuple[object, type]] = {
            "source": (self.source, Source),
            "view": (self.view, View),
            "method": (self.method, Method),
            "plan": (self.plan, Plan),
            "test": (self.test, Source),
            "labelled": (self.labelled, Source),
            **{f"beside[{name!r}]": (one, Source) for name, one in self.beside.items()},
        }
        for name, (given, role) in roles.items():
            if not isinstance(given, role) and not (given is None and name in ("test", "labelled")):
                remedy = ": withstand.data.load.load(...) makes one of arrays and datasets" if role is Source else ""
                raise ConfigError(f"{name} must be a {role.__name__}, not a {type(given).__name__}{remedy}")

    def check(self) -> None:
        """Refuse an experiment that cannot run, and its earlier stages', before anything is touched.

        Raises:
            DataError: there is not one whole batch.
            ConfigError: a setting does not fit the data or the batch.
        """
        fewest, method = self.method.fewest, type(self.method).__name__
        if self.plan.batch < fewest:
            raise ConfigError(
                f"batch must be at least {fewest}, not {self.plan.batch}: {method} compares samples with one another"
            )
        self.steps_per_epoch()
        for name, source in self.beside.items():
            if len(source) == 0:
                raise DataError(f"the data beside, {name!r}, hold no samples")
        for name in self.beside_views:
            if name not in self.beside:
                raise ConfigError(f"there are views for {name!r}, but no data beside: {nearest(name, self.beside)}")
        groups = self.method.groups()
        for group in groups:
            self.plan.optimizer_of(group)
        if not isinstance(self.plan.optimizer, Optimizer):
            for group in self.plan.optimizer:
                if group not in groups:
                    raise ConfigError(f"{type(self.method).__name__} has no group {group!r}: {nearest(group, groups)}")
        self.method.accept(self.source, self.plan.batch)
        self._refuse_odd_shares()
        if self.first is not None and type(self.method).inherit is Method.inherit:
            raise ConfigError(
                f"{type(self.method).__name__} starts from new weights: it takes no earlier stage (first=)"
            )
        if self.first is not None and self.start is not None:
            raise ConfigError(
                "an experiment goes on from an earlier stage (first) or begins with a run's weights (start)"
            )
        if self.first is None and (self.carry or self.first_at is not None):
            said = "carry" if self.carry else "first_at"
            raise ConfigError(f"{said} is about an earlier stage, and there is none: name one by first")
        if isinstance(self.first, Experiment):
            kept = self.first.plan.keep_at
            if self.first_at is not None and self.first_at not in kept:
                raise ConfigError(
                    f"the earlier stage keeps no checkpoint {self.first_at!r}: {nearest(self.first_at, kept)}"
                )
            self.first.check()
            self.check_carry(self.first.plan)

    def _refuse_odd_shares(self) -> None:
        """Refuse a batch whose shares, one a process, cut apart what belongs together."""
        batch, processes, unit = self.plan.batch, self.plan.processes, self.method.share_unit
        step = unit * processes
        if batch % step == 0:
            return
        most = len(self.source) // step * step
        around = {min(max(size, step), most) for size in (batch // step * step, -(-batch // step) * step)}
        fit = [size for size in sorted(around) if size and self._accepts(size)]
        remedy = f"use --batch {' or '.join(map(str, fit))}" if fit else f"the {len(self.source):,} samples fill none"
        raise ConfigError(
            f"batch {batch} gives each of {processes} processes {batch / processes:g} samples, and each takes a "
            f"multiple of {unit}: {remedy}{', or fewer processes' if processes > 1 else ''}"
        )

    def check_carry(self, earlier: Plan) -> None:
        """Refuse to carry the state of another kind of optimizer.

        Raises:
            ConfigError: an optimizer of the earlier stage is of another kind.
        """
        for group in self.method.groups() if self.carry else ():
            ours, theirs = type(self.plan.optimizer_of(group)), type(earlier.optimizer_of(group))
            if ours is not theirs:
                raise ConfigError(f"carry: {ours.__name__} cannot go on with the state of {theirs.__name__}")

    def steps_per_epoch(self) -> int:
        """Return how many batches an epoch has.

        Raises:
            DataError: there is not one whole batch.
        """
        count, batch = len(self.source), self.plan.batch
        if count < batch:
            raise DataError(f"batch {batch} is larger than the {count} sample(s) of the data: {self._remedy(count)}")
        rest = 0 if self.plan.drop_last else count % batch // self.plan.processes
        return count // batch + (rest > 0)

    def _remedy(self, count: int) -> str:
        """Return what can be done where a batch is larger than the data: a batch that the method accepts, if any."""
        sizes = range(count - count % self.plan.processes, self.method.fewest - 1, -self.plan.processes)
        fit = [size for size in sizes if self._accepts(size)]
        if not fit:
            return f"give {self.method.fewest} or more" if count < self.method.fewest else "give more data"
        any_less = len(fit) == count - self.method.fewest + 1
        return f"use --batch {fit[0]}{' or less' if any_less else ''}, or more data"

    def _accepts(self, batch: int) -> bool:
        try:
            self.method.accept(self.source, batch)
        except (ConfigError, DataError):
            return False
        return batch % (self.method.share_unit * self.plan.processes) == 0
