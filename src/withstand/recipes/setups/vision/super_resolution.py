"""What recipes of super-resolution share: pictures at full resolution in tiles, the network that enlarges, budget."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from withstand.core.files.reading import PLAIN, Reading
from withstand.core.options import Options
from withstand.core.roles import Source
from withstand.data.derived.subset import holdout
from withstand.data.load import Data, judged, splits
from withstand.data.pictures.tiles import Tiles
from withstand.data.pictures.whole import is_whole, whole_parts
from withstand.data.shared.rows import all_to_learn_from
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.restoration.super_resolution import SuperResolved
from withstand.methods.restoration.srgan import SuperResolution
from withstand.models.restoration.srresnet import Norm, SRResNet
from withstand.views.columns import AsIs

JUDGES = (SuperResolved(),)


@dataclass(frozen=True, kw_only=True)
class SuperSetup(Options):
    """What a recipe of super-resolution can be told: data, network, budget.

    Args:
        data: a folder of pictures, which are never shrunk, a set (yang91, set5, set14, bsd100), or an array file.
        reading: what picture files of a folder do not say themselves.
        test: another folder or set that is judged on; else the data's own test part, or a fifth of the pictures.
        tile: side in pixels of the squares that are learnt from.
        stride: pixels from one square to the next; half a side if not said.
        scale: how many times as long sides become: 2, 4 or 8.
        width: channels of the network's maps.
        blocks: residual blocks.
        norm: batch as in the paper, or none, which trains faster where steps are few.
        global_skip: learn what bicubic enlargement lacks, in place of the whole picture.
        average: weights' exponential moving average that is given in their place; 0 for none.
        epochs: passes over the data.
        batch: squares a step.
        learning_rate: of Adam.
        seed: of weights and order.
        processes: how many train together.
    """

    data: Data = "yang91"
    test: str | None = None
    tile: int = 96
    stride: int | None = None
    scale: int = 4
    width: int = 64
    blocks: int = 16
    norm: Norm = "batch"
    global_skip: bool = False
    average: float = 0.0
    epochs: int = 20
    batch: int = 16
    learning_rate: float = 1e-4
    seed: int = 0
    processes: int = 1
    reading: Reading = PLAIN


def pictures(setup: SuperSetup) -> tuple[Source, Source]:
    """Return (squares to learn from, pictures to judge on).

    Raises:
        DataError: no pictures, or none as large as a square.
    """
    data, given = setup.data, setup.test
    if not isinstance(data, str) or not is_whole(data):
        train, test = _split(data, setup.reading, kept=given is None)
    else:
        parts = dict(whole_parts(data, setup.reading))
        train, test = parts["train"], _to_judge(parts)
    if given is not None and is_whole(given):
        parts = dict(whole_parts(given, setup.reading))
        test = _to_judge(parts) or parts["train"]
    elif given is not None:
        test = judged(given)
    if test is None:
        train, test = holdout(train)
    return Tiles(train, setup.tile, setup.stride), test


def _split(data: Data, reading: Reading, *, kept: bool) -> tuple[Source, Source | None]:
    if kept:
        return splits(data, seed=0, reading=reading)
    return all_to_learn_from(data, reading=reading), None


def _to_judge(parts: Mapping[str, Source]) -> Source | None:
    return parts.get("test", parts.get("validation"))


def network(setup: SuperSetup, channels: int) -> SRResNet:
    """Return the network that enlarges, with new weights."""
    return SRResNet(
        setup.scale,
        channels=channels,
        width=setup.width,
        blocks=setup.blocks,
        norm=setup.norm,
        global_skip=setup.global_skip,
    )


def by_squared_error(setup: SuperSetup, name: str = "srresnet") -> Experiment:
    """Return the experiment of the network that lowers the squared error.

    Raises:
        DataError: as for `pictures`.
    """
    train, test = pictures(setup)
    method = SuperResolution(network(setup, train.shape[0]), average=setup.average)
    plan = Plan(
        epochs=setup.epochs,
        batch=setup.batch,
        optimizer=Adam(setup.learning_rate),
        schedule=Constant(),
        seed=setup.seed,
        processes=setup.processes,
    )
    return Experiment(name, train, AsIs(), method, plan, test, judges=JUDGES)


def of_first_stage(setup: SuperSetup, epochs: int, learning_rate: float) -> Experiment:
    """Return the stage before a critic's: as many epochs by squared error."""
    return by_squared_error(replace(setup, epochs=epochs, learning_rate=learning_rate))
