"""KRR-ST: learn a few pictures and features on which a new network learns what a trained encoder tells.

paper: Self-Supervised Dataset Distillation for Transfer Learning (Lee, Lee, Hwang, Hutter, Ha, Kawaguchi; ICLR 2024)
claims: pictures and features that are learnt by kernel ridge regression are a better set to pretrain a small network on
  than as many real pictures with the teacher's features
learns from: a run that trained an encoder, and unlabelled pictures, photos, images
use it when: many networks are to be pretrained, and quickly, on some hundred pictures in place of a whole set;
  withstand apply writes the set
not for: a set that shows nothing of single pictures (it begins with some of them); one good encoder, which the teacher
  is already
command: withstand train krr-st --data fashion-mnist-small --teacher runs/simclr-fashion-mnist-small
time: 533 processor seconds for the claim, 3 seeds
reached: reproduced: a new network explains 0.915 ± 0.007 of the variance of the teacher's features after learning from
  learnt pictures and features, 0.872 ± 0.012 from as many real ones (Fashion-MNIST, a teacher of five epochs of Barlow
  Twins). Of the learnt pixels 27 % lie outside [0, 1], and are lost where pictures are written
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from withstand.core.errors import ConfigError
from withstand.core.part import again
from withstand.core.roles import Method, Source
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.engine.schedules import Linear
from withstand.evaluation.representation.condensed import Condensed
from withstand.methods.condensation.krr_st import KRRST
from withstand.models.pictures.convnets.pooled_convnet import PooledConvNet
from withstand.recipes.setups.staged.stages import encoder_of, require_taken, side_of
from withstand.recipes.setups.vision.bare_pictures import BareSetup, experiment_without_views

SETUP = replace(BareSetup(), learning_rate=1e-2)


def experiment(
    setup: BareSetup = SETUP,
    *,
    teacher: str | Experiment | None = None,
    count: int = 50,
    pool: int = 3,
    oldest: int = 100,
    ridge: float = 1e-6,
    channels: Sequence[int] = (16, 32, 64),
    bounded: bool = False,
) -> Experiment:
    """Return the experiment.

    The defaults are for small networks and short runs: the paper's condense to 1000 pictures or more, with 10 networks
    of 128, 256 and 512 channels that grow 1000 steps old, in 160,000 steps of 1024 pictures.

    Args:
        setup: data, budget.
        learning_rate: of AdamW, on pictures and features; the paper's is 1e-4, for 160,000 steps. It falls in a line.
        teacher: folder of the run whose encoder is imitated, say one of barlow-twins; an experiment is trained first.
        count: pictures of the condensed set.
        pool: networks that are trained beside; each step takes one.
        oldest: steps after which such a network gives way to a new one.
        ridge: of the regression, as a share of the kernel's trace.
        channels: of the networks' blocks, each of which halves the side.
        bounded: keep pictures in [0, 1], so that they can be read as pictures again; in the paper they may leave it.

    Raises:
        ConfigError: no run is named.
    """
    if teacher is None:
        raise ConfigError(
            "krr-st imitates a trained encoder: give its run by --teacher FOLDER; withstand train barlow-twins makes "
            "one"
        )
    known = encoder_of(Path(teacher)) if isinstance(teacher, str) else again(teacher.method.encoder)

    setup = replace(setup, size=side_of(teacher, setup.data, setup.size))

    def method(source: Source) -> Method:
        require_taken(known, source, teacher)
        depth = source.shape[0]
        return KRRST(
            known,
            PooledConvNet(source.shape, tuple(channels)),
            source.shape,
            samples=len(source),
            count=count,
            mean=(0.5,) * depth,
            std=(0.25,) * depth,
            pool=pool,
            oldest=oldest,
            ridge=ridge,
            bounded=bounded,
        )

    optimizer = AdamW(setup.learning_rate, weight_decay=0.0)
    made = experiment_without_views("krr-st", method, setup, optimizer, (Condensed(),))
    return replace(made, plan=replace(made.plan, schedule=Linear(final=1e-3)), first=teacher)
