"""CTRL: what a faint trigger on one picture in a hundred does to training without labels, and who notices.

paper: An Embarrassingly Simple Backdoor Attack on Self-supervised Learning (Li, Pang, Xi, Du, Ji, Yao, Wang; ICCV 2023)
claims: a fixed pattern in the frequencies of color, on at most 1 % of the training pictures, all of one class, outlives
  the augmentations, so that contrastive learning ties it to that class: it then sends any picture there
learns from: pictures, photos, images in color, of which the test marks some itself, in memory; labels choose them
use it when: it is to be known how a training of one's own takes poisoned data, and which detectors would find them;
  backdoor, poisoning
not for: grey pictures; folders that may hold a trigger already, which `withstand inspect` looks through
command: withstand train ctrl --data cifar10 --base simclr
time: 313 processor seconds for the claim, 3 seeds
reached: undecided, and in so short a training the trigger does nothing: 0.091 ± 0.014 of other classes' pictures go to
  the target, 0.088 ± 0.014 on the clean twin. The frequency audit finds all poisoned pictures (AUC 1.0), activation
  clustering few (0.56)
differences: a clean twin learns beside the poisoned encoder, from the same weights, so that a run costs twice as much;
  triggered pictures are rounded to bytes, as in files; success is counted on pictures of other classes than the target,
  and as in the paper beside it; contrastive loss, views and rates are those of `base`, where the code has SimCLR's at
  temperature 0.5 times 7.14 and trains for 800 epochs
"""

from dataclasses import replace
from typing import Literal, get_args

from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.roles import Source
from withstand.data.derived.poisoned import Poisoned
from withstand.engine.experiment import Experiment
from withstand.evaluation.defenses.backdoor.cleansing import cleansed
from withstand.evaluation.defenses.backdoor.frequency_audit import FrequencyAudit
from withstand.evaluation.defenses.backdoor.poison_detection import PoisonDetection, knows_poison
from withstand.evaluation.defenses.backdoor.trigger_success import TriggerSuccess
from withstand.methods.attackers.poisoned_training import CLEAN, PoisonedTraining
from withstand.recipes.setups.staged.stages import stageable
from withstand.recipes.setups.vision.pictures import PictureSetup
from withstand.views.triggers import FrequencyTrigger

SETUP = PictureSetup(data="cifar10")
Cleanse = Literal["none", "frequencies"]


def experiment(
    setup: PictureSetup = SETUP,
    *,
    base: str = "simclr",
    rate: float = 0.01,
    target: int = 0,
    magnitude: float = 100.0,
    window: int | None = None,
    cleanse: Cleanse = "none",
) -> Experiment:
    """Return the experiment.

    Args:
        setup: data, network, budget; epochs are those of both encoders.
        base: how both learn: a method on views of pictures, by its name in `withstand list`.
        rate: share of all training pictures that carry the trigger, at most 0.01 in the paper.
        target: number of the class that they are of.
        magnitude: what the trigger adds to each of its coefficients, in grey levels of 255.
        window: side of the trigger's windows in pixels, which divides the pictures'; 32 if not said, and all of smaller
            pictures.
        cleanse: none, or frequencies: before training the frequency audit's most suspicious pictures are taken away,
            half as many again as are poisoned; the twin still learns from all clean ones.

    Raises:
        ConfigError: a base that cannot be wrapped, or a window that does not divide the pictures' sides.
        DataError: grey pictures, no labels, or a class that is too small for the rate.
    """
    if cleanse not in get_args(Cleanse):
        raise ConfigError(f"cleanse {cleanse!r} is unknown: {nearest(cleanse, get_args(Cleanse))}")
    plain = stageable(base, setup)
    if plain.source.labels is None:
        raise DataError("ctrl marks pictures of one class and asks where others then go, and the data have no labels")
    side = min(32, plain.source.shape[-1]) if window is None else window
    trigger = FrequencyTrigger(magnitude, side)
    trigger.check(plain.source.shape)
    poisoned = Poisoned(plain.source, trigger, rate=rate, target=target)
    source: Source = poisoned
    if cleanse == "frequencies":
        share = 1.5 * len(poisoned.rows) / len(poisoned)
        source = cleansed(poisoned, FrequencyAudit().look(poisoned).score, share)
    # Of cleansed data there may be no poison left to find.
    detection = (PoisonDetection(),) if knows_poison(source) else ()
    judges = (*plain.judges, TriggerSuccess(trigger, target), *detection)
    return replace(
        plain,
        name="ctrl",
        source=source,
        labelled=plain.source,
        method=PoisonedTraining(plain.method),
        judges=judges,
        beside={CLEAN: plain.source},
        beside_views={CLEAN: plain.view},
    )
