"""Infinite-LR: one learning rate for sets that keep coming, cooled down once and annealed only for those who take away.

paper: Beyond Cosine Decay: On the effectiveness of Infinite Learning Rate Schedule for Continual Pre-training (Singh,
  Janson, Mehrbod, Ibrahim, Rish, Belilovsky, Thérien; 2025)
claims: a rate that stays on a plateau, with a quick fall on a branch wherever a finished model is wanted, forgets less
  than one that rises and falls by a cosine for each set
learns from: sets of unlabelled pictures, photos, images that come one after another
use it when: further data will come, or how much there will be is not known; as continual pretraining of any recipe
  without labels on pictures (base)
not for: a single set of known size, where a plain schedule does as well
longer runs: another number of epochs is another run: phases are shares of it; a run goes on with more sets by --first
differences: the paper's language models are not here, nor memory aware synapses among its baselines. Its small networks
  are MAEs on 2 x 2 patches, with weight decay 0.005 and batches of 512; here the recipe of `base` says. Sets of another
  shape are brought to that of the first. Adam's moments go on from set to set with every schedule, as in the authors'
  code. The end of each stage is the annealed branch: the next set starts from the checkpoint that the stage before kept
  on its plateau, and nothing of the annealing goes on.
command: withstand train infinite-lr --data fashion-mnist-small --stream cifar10,digits
time: 987 processor seconds for the claim, 6 seeds of three arms
reached: reproduced: held-out loss over clothes, CIFAR-10 in greys and digits 0.799 ± 0.008, 0.816 ± 0.008 by a cosine
  for each set (ahead by 0.017 ± 0.012 by seed; MAE, a ViT of 3 blocks of width 64). 200 samples of each set, replayed,
  take the forgetting away
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from withstand.core.errors import ConfigError, nearest
from withstand.engine.experiment import Experiment
from withstand.engine.schedules import WSD, Infinite, WarmupCosine
from withstand.recipes.setups.staged.stages import method_of, stageable
from withstand.recipes.setups.staged.streams import (
    Pace,
    Stream,
    parts_like,
    refuse_other_pictures,
    sets_of,
    streamed,
)
from withstand.recipes.setups.vision.masked_pictures import MASKED
from withstand.recipes.setups.vision.pictures import CropSetup

SETUP = MASKED


def experiment(
    setup: CropSetup = SETUP,
    *,
    stream: Stream = (),
    base: str = "mae",
    first: str | None = None,
    schedule: Literal["infinite", "wsd", "cosine"] = "infinite",
    warmup: float = 0.05,
    cooled: float = 0.5,
    annealing: float = 0.8,
    plateau: float = 0.75,
    final: float = 0.05,
    shape: Literal["cosine", "inverse-sqrt", "linear"] = "cosine",
    memory: int = 0,
    distil: float = 0.0,
) -> Experiment:
    """Return the experiment of the last set, with those before it inside.

    The shares of a set's steps and of the top rate are the authors' after tuning. The top rate is the same for all
    schedules unless `learning_rate` says otherwise: compare them with each one's own best.

    Args:
        setup: data, network, budget; epochs are those of each set.
        data: the first set.
        model: of `base`; with --first it is the run's.
        learning_rate: of AdamW with mae, the top rate for a batch of 256; scaled with the batch.
        stream: the sets that come after the first, names with commas between: a,b,c.
        base: what is trained on and on: a recipe without labels on pictures.
        first: folder of a run to go on from, from its plateau where it kept one; `data` is its next set then.
        schedule: infinite; wsd, which falls in a line and has no cooldown; cosine, which rises and falls anew for each
            set.
        warmup: share of the first set's steps in which the rate rises; of every set's by the cosine.
        cooled: share of the first set's steps after which the plateau is reached.
        annealing: share of each set's steps after which the final fall begins.
        plateau: rate there, as a share of the top; 1 for wsd.
        final: rate at the end, as a share of the top, above 0 where the fall is exponential.
        shape: of the cooldown.
        memory: samples kept of each earlier set, which are replayed beside each batch; 0 for none.
        distil: weight of learning without forgetting: features are held near those of before the set; 0 for none.

    Raises:
        ConfigError: phases out of order, or a base that cannot go on.
    """
    pace = _pace(schedule, setup.epochs, warmup, cooled, annealing, plateau, final, shape)
    plain = replace(stageable(base, setup), name="infinite-lr")
    if first is not None:
        plain = replace(plain, method=method_of(Path(first)))
        plain = replace(plain, method=getattr(plain.method, "method", plain.method))
        refuse_other_pictures(plain.method, plain.source, first)
    later = [parts_like(data, plain.source.shape, setup) for data in sets_of(stream)]
    return streamed(plain, later, pace, memory=memory, distil=distil, first=first)


def _pace(
    schedule: str,
    epochs: int,
    warmup: float,
    cooled: float,
    annealing: float,
    plateau: float,
    final: float,
    shape: Literal["cosine", "inverse-sqrt", "linear"],
) -> Pace:
    """Return the course of the rate, of shares of each set's epochs."""
    if schedule not in ("infinite", "wsd", "cosine"):
        raise ConfigError(f"schedule {schedule!r} is unknown: {nearest(schedule, ('infinite', 'wsd', 'cosine'))}")
    if schedule == "cosine":
        rising = WarmupCosine(warmup * epochs, final=final)
        return Pace(rising, rising)
    down = warmup if schedule == "wsd" else cooled
    if not 0 <= warmup <= down <= annealing <= 1:
        raise ConfigError(
            "0 <= warmup <= cooled <= annealing <= 1 must hold: they are shares of a set's steps, not "
            f"{warmup!r}, {cooled!r} and {annealing!r}"
        )
    begin = annealing * epochs
    left = epochs - begin
    if schedule == "wsd":
        return Pace(WSD(warmup * epochs, left, final), WSD(0.0, left, final), begin)
    once = Infinite(warmup * epochs, (cooled - warmup) * epochs, plateau, left, final, shape)
    return Pace(once, Infinite(0.0, 0.0, plateau, left, final, shape), begin)
