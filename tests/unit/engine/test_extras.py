"""What a batch brings along is cast as views are, and named where nobody reads it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from toys import ToyPictures, toy_experiment, toy_method
from withstand.core.batch import Batch
from withstand.core.random import Draws
from withstand.core.roles import Method, Terms, View
from withstand.core.sequences import Sequences
from withstand.data.derived.paired import PairedSource
from withstand.engine.launch import train
from withstand.engine.numerics import Numerics
from withstand.methods.contrastive.simclr import SimCLR
from withstand.views.presets import simclr_small

ALLOW = ("toys", "test_extras")


class GoesOn(SimCLR):
    """Takes an earlier stage."""

    def inherit(self, earlier: Method) -> None:
        self.load_state_dict(earlier.state_dict())


class ReadsMask(GoesOn):
    """Asks for one extra by its name."""

    def step(self, batch: Batch) -> Terms:
        terms = super().step(batch)
        return terms | {"loss": terms["loss"] + 0 * batch.extras["mask"].float().mean()}


class CopiesAll(SimCLR):
    """Hands all extras on."""

    def step(self, batch: Batch) -> Terms:
        return super().step(replace(batch, extras={**batch.extras}))


class ViewReadsMask(View):
    """Asks for one extra by its name."""

    def __init__(self, inner: View) -> None:
        self.inner = inner

    def __call__(self, batch: Batch, draws: Draws) -> Batch:
        assert batch.extras["mask"].shape == (len(batch), 2, 2)
        return self.inner(batch, draws)


@pytest.mark.parametrize(
    ("kind", "reads", "named"),
    [
        (SimCLR, False, "'mask', 'times' along, which neither the views nor SimCLR read"),
        (ReadsMask, False, "'times' along, which neither the views nor ReadsMask read"),
        (SimCLR, True, "'times' along, which neither the views nor SimCLR read"),
        (CopiesAll, False, ""),
    ],
)
@pytest.mark.parametrize("quiet", [False, True])
def test_what_nobody_reads_is_named_once(
    kind: type[Method], reads: bool, named: str, quiet: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    beside = {"mask": torch.zeros(32, 2, 2, dtype=torch.int64), "times": torch.zeros(32, 3)}
    source = PairedSource(ToyPictures(32), beside)
    view = ViewReadsMask(simclr_small(16)) if reads else simclr_small(16)
    experiment = replace(toy_experiment(epochs=1, method=toy_method(kind)), source=source, view=view)
    train(experiment, tmp_path / "run", quiet=quiet, allow=ALLOW)
    said = capsys.readouterr().err
    assert said.count("along, which neither") == (named != "" and not quiet)
    assert quiet or named in said


def test_what_another_stage_reads_is_not_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    beside = {"mask": torch.zeros(32, 2, 2, dtype=torch.int64), "times": torch.zeros(32, 3)}
    source = PairedSource(ToyPictures(32), beside)
    for number, kinds in enumerate(((SimCLR, ReadsMask), (ReadsMask, GoesOn))):
        first, last = (replace(toy_experiment(epochs=1, method=toy_method(kind)), source=source) for kind in kinds)
        train(replace(last, first=first), tmp_path / str(number), allow=ALLOW)
        said = capsys.readouterr().err
        assert "the data bring 'times' along, which no stage of this run reads" in said
        assert said.count("along, which") == 1
        masks = PairedSource(ToyPictures(32), {"mask": beside["mask"]})
        first, last = (replace(stage, source=masks) for stage in (first, last))
        train(replace(last, first=first), tmp_path / f"{number} all", allow=ALLOW)
        assert "along, which" not in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_samples_views_and_extras_come_in_the_runs_type(precision: str) -> None:
    ids = torch.arange(6).view(2, 3)
    batch = Batch(
        torch.rand(2, 3),
        torch.arange(2),
        views=(torch.rand(2, 3, 4, 4),),
        extras={"mask": ids, "times": torch.rand(2, 3), "of lengths": Sequences.whole(torch.rand(2, 3)).as_samples()},
    )
    cast = Numerics(precision, "channels-last").cast_batch(batch)
    wanted = getattr(torch, precision)
    values: Mapping[str, Tensor] = cast.extras
    assert cast.x.dtype == cast.views[0].dtype == values["times"].dtype == wanted
    assert Sequences.of(values["of lengths"]).values.dtype == wanted
    assert torch.equal(values["mask"], ids)
    assert values["mask"].dtype == torch.int64
    assert cast.views[0].is_contiguous(memory_format=torch.channels_last)
