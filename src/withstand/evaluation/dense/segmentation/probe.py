"""What a network's maps are worth for segmentation: fine-tuned on few labelled volumes, judged on others by Dice."""

import copy
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from withstand.core.batch import MASK, Batch, unit_range
from withstand.core.devices.device import device_of_network
from withstand.core.errors import ConfigError, DataError, require_at_least
from withstand.core.findings.finding import Cell, Finding, Measure, Table
from withstand.core.part import describe
from withstand.core.random import Draws, derive, isolated, permutation
from withstand.core.roles import Evaluator, Source, Trial
from withstand.data.derived.subset import Subset, holdout
from withstand.data.volumes.source import VolumeSource
from withstand.evaluation.dense.segmentation.masks import by_volume, masked_volumes, predicted, scores, worst_slices
from withstand.losses.agreement.dice import dice_loss
from withstand.models.dense.unet import Dense, Segmenter, UNet
from withstand.views.pictures.colors.intensity import Intensity


@dataclass(frozen=True)
class SegmentationProbe(Evaluator):
    """Dice on test volumes after fine-tuning on a few labelled ones.

    The network is trained whole with a new last layer, on slices of labelled volumes whose intensities are changed at
    random, by the Dice loss with the background. The untrained control gets the same volumes, batches and steps.
    The network is taken after the last step; the paper chooses by the Dice of validation volumes.

    Args:
        volumes: numbers of labelled volumes; those that there are not are left out.
        choices: of labelled volumes, drawn for each number.
        steps: of fine-tuning.
        batch: slices a step.
        learning_rate: of Adam.
        shown: slices that are shown, the worst ones.
        seed: of choices, last layers and batches.
    """

    volumes: tuple[int, ...] = (1, 2, 8)
    choices: int = 2
    steps: int = 200
    batch: int = 10
    learning_rate: float = 1e-3
    shown: int = 8
    seed: int = 0

    product = "method"

    def __post_init__(self) -> None:
        if not self.volumes or min(self.volumes) < 1:
            raise ConfigError(f"volumes must be numbers from 1 on, not {self.volumes!r}")
        require_at_least(1, choices=self.choices, steps=self.steps, batch=self.batch, shown=self.shown)

    @classmethod
    def example(cls) -> Self:
        return cls(volumes=(1,), choices=1, steps=2, batch=4)

    def example_trial(self) -> Trial:
        from withstand.methods.dense.local_contrast import LocalContrast

        return Trial(LocalContrast.example(), VolumeSource.example(), LocalContrast.example())

    def lacks(self, subject: Any, source: Source) -> str:
        """Return that the method gives no maps, or that the data have no masks."""
        if not isinstance(subject, Dense):
            return f"{type(subject).__name__} gives no maps that could be fine-tuned"
        if not source.structures:
            return f"{source.name} has no masks"
        return "" if masked_volumes(source) else f"no volume of this part of {source.name} has a mask"

    def evaluate(self, subject: Any, source: Source, *, test: Source | None = None, control: Any = None) -> Finding:
        """Return the finding "segmentation".

        Args:
            subject: a method that is `Dense`.
            source: slices with masks, of which labelled volumes are drawn.
            test: slices of the volumes that decide; without them one in five of the source's labelled volumes does.
            control: the method untrained.

        Raises:
            ConfigError: the subject gives no maps.
            DataError: no masks, or too few volumes with them.
        """
        for some in (source, test or source):
            if lacking := self.lacks(subject, some):
                raise (DataError if isinstance(subject, Dense) else ConfigError)(lacking)
        if test is None:
            source, test = holdout(Subset(source, torch.cat(masked_volumes(source))))
        labelled, judged = masked_volumes(source), masked_volumes(test)
        numbers = [number for number in self.volumes if number <= len(labelled)]
        if not numbers:
            raise DataError(f"{len(labelled)} volumes have masks, and {min(self.volumes)} are asked for at least")
        names = source.structures[1:]
        rows = torch.cat(judged)
        places = torch.arange(len(judged)).repeat_interleave(torch.tensor([len(one) for one in judged]))
        true = test[rows].extras[MASK]
        sides = {"": subject, **({} if control is None else {"control": control})}
        dice: dict[tuple[str, int], list[Tensor]] = {}
        last = true
        for number in numbers:
            for choice in range(self.choices):
                order = permutation(len(labelled), self.seed, "labelled volumes", number, choice)[:number]
                chosen = torch.cat([labelled[place] for place in order.tolist()])
                for side, method in sides.items():
                    network = self._tuned(method.dense(), source, chosen, derive(self.seed, number, choice))
                    found = predicted(network, test, rows)
                    dice.setdefault((side, number), []).append(scores(found, true, places, len(source.structures)))
                    last = found if not side else last
        figures = {_title(number): self._figure(number, dice, len(judged)) for number in numbers}
        finals = torch.stack(dice["", numbers[-1]]).nanmean(0)
        worst = worst_slices(test, rows, last, true, self.shown)
        return Finding(
            name="segmentation",
            figures=figures,
            headline=_title(2 if 2 in numbers else numbers[-1]),
            tables={
                "structures": _structures(numbers, dice, names, "control" in sides),
                f"volumes, {numbers[-1]} labelled": by_volume(test, judged, finals, names),
                **worst[1],
            },
            protocol={
                "evaluator": describe(self),
                "samples": len(rows),
                "samples given": len(test),
                "test volumes": len(judged),
                "volumes with masks to draw from": len(labelled),
                "mean": "over structures, then volumes, then choices of labelled volumes; where neither mask has a "
                "structure it does not count",
                "network": "after the last step of fine-tuning; intensities changed at random, nothing else",
            },
            pictures=worst[0],
        )

    def _tuned(self, network: UNet, source: Source, rows: Tensor, seed: int) -> Segmenter:
        """Return a copy of a network, fine-tuned on some slices, in eval mode."""
        device = device_of_network(network)
        with isolated(seed, "last layer"):
            tuned = Segmenter(copy.deepcopy(network), len(source.structures)).to(device).requires_grad_(True).train()
        optimizer = torch.optim.Adam(tuned.parameters(), lr=self.learning_rate)
        given, view = source[rows], Intensity()
        x, masks = unit_range(given.x), given.extras[MASK]
        order = rows.new_empty(0)
        for step in range(self.steps):
            while len(order) < self.batch:
                order = torch.cat([order, permutation(len(rows), seed, "order", step, len(order))])
            now, order = order[: self.batch], order[self.batch :]
            seen = view(Batch(x[now], now), Draws(derive(seed, "intensity"), now, epoch=step)).x
            loss = dice_loss(tuned(seen.to(device)), masks[now].to(device))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return tuned.eval()

    def _figure(self, number: int, dice: dict[tuple[str, int], list[Tensor]], volumes: int) -> Measure:
        found = torch.stack([one.nanmean(1).nanmean() for one in dice["", number]])
        beside = dice.get(("control", number))
        spread = float(found.std()) if len(found) > 1 else None
        control = None
        if beside is not None:
            values = torch.stack([one.nanmean(1).nanmean() for one in beside])
            control = Measure(
                float(values.mean()), "ratio", "higher", spread=float(values.std()) if len(values) > 1 else None
            )
        return Measure(float(found.mean()), "ratio", "higher", spread=spread, of=volumes, control=control)


def _title(number: int) -> str:
    return f"Dice, {number} labelled volume{'s' if number > 1 else ''}"


def _structures(
    numbers: list[int], dice: dict[tuple[str, int], list[Tensor]], names: tuple[str, ...], beside: bool
) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for number in numbers:
        for place, name in enumerate(names):
            values = [torch.stack(dice["", number])[:, :, place].nanmean()]
            if beside:
                values.append(torch.stack(dice["control", number])[:, :, place].nanmean())
            rows.append((number, name, *map(float, values)))
    columns = ("labelled volumes", "structure", "Dice", *(("untrained",) if beside else ()))
    return Table(
        columns,
        tuple(rows),
        units={"Dice": "ratio"} | ({"untrained": "ratio"} if beside else {}),
        controls={"untrained": "Dice"} if beside else {},
    )
