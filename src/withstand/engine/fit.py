"""The training loop, over Lightning Fabric (devices, process groups, torchrun and SLURM).

Nothing here draws from a global generator: order comes from (seed, epoch), views from (seed, epoch, index),
what the method draws from (seed, step, process). So a step's outcome depends on the parameters before it
and on its number alone, and a resumed run continues as if it had never stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from lightning_fabric import Fabric
from safetensors.torch import save_file
from torch import Tensor, nn

from withstand.core.batch import Batch, Further, tensors_of
from withstand.core.devices.distributed import as_on_first_process, average_gradients, gather, total
from withstand.core.errors import ConfigError, NonFiniteLoss, Preempted
from withstand.core.random import Draws, isolated, permutation
from withstand.core.roles import Epoch, Terms, View
from withstand.engine import checkpoint
from withstand.engine.checkpoint import RunProgress
from withstand.engine.experiment import BEGIN, Experiment, Plan
from withstand.engine.folder import RunFolder
from withstand.engine.journal import Journal, gauges, tensorboard_writer
from withstand.engine.numerics import Numerics
from withstand.engine.order import epoch_order
from withstand.engine.preemption import SIGNALS, Asked
from withstand.engine.progress.clock import Clock
from withstand.engine.progress.unread import Unread, note_on
from withstand.models.blocks.normalization.norm import synchronize


def fit(
    fabric: Fabric,
    experiment: Experiment,
    numerics: Numerics,
    folder: RunFolder,
    *,
    asked: Asked,
    carried: Path | None = None,
    quiet: bool = False,
    tensorboard: bool = False,
    note: str = "",
) -> RunProgress:
    """Train `experiment.method` in place, from the folder's last checkpoint on, and return how far it is.

    Args:
        fabric: devices and processes.
        experiment: what is trained.
        numerics: precision and layout.
        folder: where the run is kept.
        asked: whether the run is to stop, looked at after every step: it saves first.
        carried: the checkpoints of an earlier stage whose optimizers' state a new run starts with; None for none.
        quiet: show no progress.
        tensorboard: also write TensorBoard events.
        note: what is to be said where a run is resumed.

    Raises:
        Preempted: it was asked to stop, and has saved.
    """
    plan, method, per_epoch = experiment.plan, experiment.method, experiment.steps_per_epoch()
    last = plan.epochs * per_epoch
    every = max(1, min(plan.log_every, last // 50))
    trainer = _Trainer(fabric, experiment, numerics, folder.path, asked)
    resumed = checkpoint.load(folder.checkpoints, method, trainer.optimizers)
    if resumed is None and carried is not None:
        checkpoint.carry_optimizers(carried, trainer.optimizers)
    progress = resumed or RunProgress(0, 0.0)
    main = fabric.is_global_zero
    writer = tensorboard_writer(folder.path / "tensorboard") if tensorboard and main else None
    journal = Journal(
        folder.metrics_path if main else None,
        total=last, done=progress.step, title=experiment.name, quiet=quiet or not main, writer=writer,
    )  # fmt: skip
    clock = Clock(progress)
    step, line, method = progress.step, dict[str, float](), method.train()
    method.before_run(last)
    wanted = _steps_kept(plan, per_epoch) | ({} if experiment.start is None else {BEGIN: 0})
    ahead = {name: at for name, at in wanted.items() if at > step or (at == 0 and not step)}

    def keep() -> None:
        """Keep the checkpoints whose time has come; with gradients pending they wait for the update."""
        ready = trainer.settled or step == last
        for name in [name for name, at in ahead.items() if at <= step and ready]:
            del ahead[name]
            if main:
                trainer.refuse_non_finite_weights(step)
                checkpoint.save(folder.kept(name), method, trainer.optimizers, clock.reached(step), keep=1)

    keep()
    if resumed is not None:
        journal.note(
            f"all {last:,} steps are done already"
            if step == last
            else f"goes on at step {step:,} of {last:,}, in epoch {step // per_epoch + 1} of {plan.epochs}"
        )
        if note:
            journal.note(note)
    trainer.look_ahead()
    watched = True
    with journal:
        while step < last:
            epoch, first = divmod(step, per_epoch)
            if first == 0:  # in mid-epoch its outcome is in the checkpoint, and the weights it saw are gone
                with isolated(plan.seed, "epoch", epoch):
                    method.before_epoch(Epoch(epoch, plan.seed, trainer.pass_over))
            order = method.order(epoch_order(experiment.source, plan.batch, plan.seed, epoch), plan.batch)
            if len(order) <= (per_epoch - 1) * plan.batch:
                raise ConfigError(f"{type(method).__name__} makes whole batches only: it needs drop_last=True")
            for place in range(first, per_epoch):
                batch = trainer.batch(order, place, epoch, step)
                trainer.set_rates(step, per_epoch)
                with isolated(plan.seed, "step", step, fabric.global_rank):
                    terms = method.update(batch, trainer)
                    step += 1
                    method.after_step(step)
                journal.advance()
                if watched:
                    watched = False
                    if main and (said := _unread(folder, trainer.unread, type(method).__name__)):
                        journal.note(said)
                if step % every == 0 or step == last:
                    line = trainer.line(terms, step, step / per_epoch, clock)
                    journal.write(line)
                    journal.watch(line)
                keep()
                stop = trainer.settled and trainer.stop
                due = step == last or stop or clock.since_save() > plan.save_every
                if main and due and (step == last or trainer.settled):  # pending gradients are not saved
                    trainer.refuse_non_finite_weights(step)
                    checkpoint.save(folder.checkpoints, method, trainer.optimizers, clock.mark(step))
                if stop and step < last:
                    fabric.barrier()  # no process ends before the first one has saved
                    raise Preempted(asked.signal or SIGNALS[0])
            journal.epoch(epoch + 1, plan.epochs, line)
    return clock.mark(step)


def _steps_kept(plan: Plan, per_epoch: int) -> dict[str, int]:
    """Return after how many steps each checkpoint of `Plan.keep_at` is due."""
    return {name: round(at * per_epoch) for name, at in plan.keep_at.items()}


class _Trainer:
    """What a method's `update` is given: its own step under the run's numerics, and the way down."""

    def __init__(self, fabric: Fabric, experiment: Experiment, numerics: Numerics, folder: Path, asked: Asked) -> None:
        self._asked, self._stop = asked, False
        self._fabric, self._plan, self._numerics, self._folder = fabric, experiment.plan, numerics, folder
        self._source, self._view = experiment.source, experiment.view
        method = experiment.method
        if fabric.world_size > 1:
            synchronize(method)
        numerics.prepare(method)
        self._method = method
        self._parameters = method.groups()
        self.optimizers = {
            name: experiment.plan.optimizer_of(name).make(parameters) for name, parameters in self._parameters.items()
        }
        # DDP wants every parameter to have a gradient in every pass: a group's own are averaged by hand instead.
        self._alone = len(self._parameters) == 1
        self._module: nn.Module = fabric.setup_module(method) if self._alone else fabric.to_device(method)
        if not self._alone:  # as DDP does: all begin where the first process does
            for value in method.state_dict().values():
                value.copy_(as_on_first_process(value))
        self._pending = dict.fromkeys(self.optimizers, 0)
        self._beside, self._beside_views = experiment.beside, experiment.beside_views
        self._orders: dict[str, tuple[int, Tensor]] = {}
        self.unread: Unread | None = None

    def look_ahead(self) -> None:
        """Let views ask for what they take parts of: a source that has to decode it first shows its own progress."""
        sources = {"": self._source, **self._beside}
        views = {"": self._view, **self._beside_views}
        for name, source in sources.items():
            batch, view = source.for_views(range(min(2, len(source)))), views.get(name)
            if batch.whole is not None and view is not None:
                view(batch.to(self._fabric.device), Draws(self._plan.seed, batch.index))

    def batch(self, order: Tensor, place: int, epoch: int, step: int) -> Batch:
        """Return this process's share of an epoch's batch, with its views."""
        first, world = place * self._plan.batch, self._fabric.world_size
        share = min(self._plan.batch, len(order) - first) // world
        start = first + self._fabric.global_rank * share
        batch = self._source.for_views(order[start : start + share])
        watch = batch.extras and self.unread is None
        if watch:
            self.unread = Unread(batch)
        batch = self._viewed(batch, self._view, epoch, "views", self.unread if watch else None)
        beside = {name: self._from(name, step, share) for name in self._beside}
        return replace(batch, beside=beside, seed=self._plan.seed, step=step, epoch=epoch)

    def _viewed(self, batch: Batch, view: View | None, epoch: int, stream: str, unread: Unread | None = None) -> Batch:
        """Return a batch on the device, with its views, in the run's type and layout."""
        batch = batch.to(self._fabric.device)
        if view is not None:
            seen = batch if unread is None else unread.watched(batch)
            changed = view(seen, Draws(self._plan.seed, batch.index, epoch=epoch).child(stream))
            batch = replace(changed, extras=_own(changed.extras, seen.extras, batch.extras))
        batch = self._numerics.cast_batch(replace(batch, whole=None))  # methods read what views made of it
        return batch if unread is None else unread.watched(batch)

    def _from(self, name: str, step: int, share: int) -> Batch:
        """Return this process's share of a further source's samples for a step."""
        source = self._beside[name]
        first = step * self._plan.batch + self._fabric.global_rank * share
        rows, epoch = torch.empty(share, dtype=torch.int64), first // len(source)
        done = 0
        while done < share:  # where a pass ends inside a batch, the next begins there
            epoch, place = divmod(first + done, len(source))
            if self._orders.get(name, (-1, rows))[0] != epoch:
                self._orders[name] = epoch, permutation(len(source), self._plan.seed, "beside", name, epoch)
            order = self._orders[name][1]
            taken = order[place : place + share - done]
            rows[done : done + len(taken)] = taken
            done += len(taken)
        batch = self._viewed(source.for_views(rows), self._beside_views.get(name), step, f"views of {name}")
        return replace(batch, seed=self._plan.seed, step=step, epoch=epoch)

    def pass_over(self, function: Callable[[Tensor], Tensor], batch: int = 512) -> Tensor:
        """Return `function` of every sample, without views or gradients, in index order."""
        device, count, batch = self._fabric.device, len(self._source), self._source.at_once or batch
        with torch.no_grad(), self._numerics.autocast(device):
            parts = [
                function(self._numerics.cast(self._source[range(start, min(start + batch, count))].x.to(device)))
                for start in range(0, count, batch)
            ]
        return torch.cat(parts)

    @property
    def settled(self) -> bool:
        """True when no gradients wait for more batches."""
        return not any(self._pending.values())

    @property
    def stop(self) -> bool:
        """Whether any process was asked to stop; of others it is known from the step's last terms on."""
        return self._stop or (self._fabric.world_size == 1 and self._asked.signal is not None)

    def set_rates(self, step: int, per_epoch: int) -> None:
        """Set every group's learning rate for the coming update."""
        factor = self._plan.schedule.factor(step, per_epoch, self._plan.epochs)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def terms(self, batch: Batch, objective: Callable[[Batch], Terms] | None = None) -> Terms:
        with self._numerics.autocast(self._fabric.device):
            terms: Terms = (objective or self._module)(batch)
        self._refuse_non_finite(terms, batch)
        return terms

    def descend(self, loss: Tensor, group: str = "main", *, retain: bool = False) -> None:
        optimizer = self.optimizers[group]
        only = None if self._alone else self._parameters[group]
        self._fabric.backward(loss / self._plan.accumulate, inputs=only, retain_graph=retain)
        self._pending[group] += 1
        if self._pending[group] < self._plan.accumulate:
            return
        self._pending[group] = 0
        if not self._alone:
            average_gradients(self._parameters[group])
        if self._plan.clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters[group], self._plan.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def line(self, terms: Terms, step: int, epochs: float, clock: Clock) -> dict[str, float]:
        """Return a line of metrics; scalars are means over processes."""
        scalars = {name: value for name, value in terms.items() if value.dim() == 0}
        stacked = torch.stack([value.detach().to(self._fabric.device) for value in scalars.values()])
        reduced = self._fabric.all_reduce(stacked, reduce_op="mean")
        assert isinstance(reduced, Tensor)  # as what it was given: Fabric's type allows trees of them
        line = {"step": float(step), "epoch": epochs, **dict(zip(scalars, reduced.tolist(), strict=True))}
        line |= {
            "lr" if self._alone else f"lr of {name}": optimizer.param_groups[0]["lr"]
            for name, optimizer in self.optimizers.items()
        }
        line |= {
            "seconds": clock.seconds(),
            "rate": clock.rate(step) * self._plan.batch,
        }
        if "embeddings" in terms:
            line |= gauges(terms["embeddings"])
        return line

    def refuse_non_finite_weights(self, step: int) -> None:
        """Stop before weights that are not finite become a checkpoint."""
        for name, parameter in self._method.named_parameters():
            if not parameter.detach().isfinite().all():
                raise NonFiniteLoss(f"after step {step} the weights are not finite, {name!r} first. {self._remedies()}")

    def _remedies(self) -> str:
        """Return what is left, and what usually helps."""
        sound = checkpoint.last_step(RunFolder(self._folder).checkpoints)
        left = f"The checkpoint of step {sound} is sound" if sound else "There is no checkpoint yet"
        return f"{left}. Usual remedies: a lower learning rate, --set plan.precision=float32, --set plan.clip=1"

    def _refuse_non_finite(self, terms: Terms, batch: Batch) -> None:
        """Stop before a non-finite loss reaches the parameters; keep the batch for whoever looks into it."""
        broken = (~torch.isfinite(terms["loss"].detach())).float()
        # Processes that were asked to stop say so in the same exchange.
        told = total(torch.stack([broken, torch.full_like(broken, float(self._asked.signal is not None))])).tolist()
        self._stop = self._stop or (self._fabric.world_size > 1 and told[1] > 0)
        if told[0] == 0:
            return
        views: dict[str, Tensor] = {}
        for place, view in enumerate(batch.views):
            views |= tensors_of(view, f"view {place}")
        tensors = views | terms
        # In the order in which they are computed; most methods' terms begin with the loss.
        names = sorted(tensors, key=lambda name: (name == "loss", not name.startswith("view "), name != "embeddings"))
        place = next((n for n, name in enumerate(names) if not tensors[name].isfinite().all()), len(names))
        places = gather(torch.tensor([place], device=broken.device))
        owner = int(places.argmin())
        path = self._folder / "non-finite-batch-{}.safetensors"
        kept = {"index": batch.index} | views
        save_file(
            {name: value.detach().cpu().contiguous().clone() for name, value in kept.items()},
            str(path).format(self._fabric.global_rank),
        )
        raise NonFiniteLoss(
            f"the loss is not finite, and the first term that is not is {names[int(places[owner])]!r}. The batch is in "
            f"{str(path).format(owner)}. {self._remedies()}"
        )


def _unread(folder: RunFolder, found: Unread | None, reader: str) -> str:
    """Return what is to be said of extras after a stage's first step: once a run, by its last stage, of all stages."""
    stages = [] if found is None else [found.record()]
    if found is not None and folder.exists():
        folder.update(extras=found.record())
    last = RunFolder(folder.path.parent)
    if last.first.path == folder.path and last.exists():
        return ""
    while (folder := folder.first).exists():
        if isinstance(kept := folder.record().get("extras"), dict):
            stages.append(kept)
    return note_on(stages, reader)


def _own(extras: Mapping[str, Tensor], seen: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return what a view hands on: the batch's own extras where those stand that were watched, and what it added."""
    if extras is seen:
        return own
    if isinstance(extras, Further):
        return {**_own(extras.base, seen, own), **extras.own}
    return extras
