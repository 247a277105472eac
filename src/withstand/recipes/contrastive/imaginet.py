"""ImagiNet: a detector of synthetic pictures on features that SelfCon learnt, and what sharing pictures leaves of it.

paper: ImagiNet: A Multi-Content Dataset for Generalizable Synthetic Image Detection via Contrastive Learning (Boychev,
  Cholakov; 2024)
claims: features learnt by contrast between two levels of a network, without strides at its start, make a detector that
  tells synthetic pictures of several generators better than one trained by cross-entropy, compressed and resized too
learns from: pictures labelled real or by the generator that made them: a folder real/, and a folder for each generator
use it when: you have pictures of the generators that you expect, and want to know which ones, and whether compression
  and resizing hide them
not for: proof that a picture is real: a generator that training never had may go unseen; look at its AUC when left out
differences: a ResNet of basic blocks from new weights, where the paper has a ResNet-50 from ImageNet's. Folders are
  read at one side, centers alone, and judged at it, where the paper takes centers of 256 pixels. There are no pictures
  for calibration alone: the training pictures serve, in stronger views. The rate of SGD is 10 times the paper's, and
  that of Adam too, for weights that start new and short runs
time: 326 processor seconds for the claim, 3 seeds of two arms
reached: not reproduced at this scale: mean AUC over generators and perturbations 0.566 ± 0.034, cross-entropy 0.787 ±
  0.010 (effect -0.221 [-0.292, -0.150]; 2,000 CIFAR-10 pictures, half of them made anew by stand-ins of generators at
  strength 0.5, ResNet of width 8, 200 steps). From new weights SelfCon learns slowly, and without normalised heads
  (batch_norm) its rows came out alike
longer runs: another number of epochs is another run: its first stage is as long
command: withstand train imaginet --data FOLDER --size 256
"""

from dataclasses import replace
from typing import Literal, get_args

from withstand.core.errors import ConfigError, nearest
from withstand.core.part import again
from withstand.core.roles import Source
from withstand.data.derived.origins import GENERATOR, Generators
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import Adam
from withstand.evaluation.defenses.detection.synthetic import SyntheticBench
from withstand.methods.contrastive.origin_detector import OriginDetector
from withstand.methods.supervised_contrast.selfcon import SelfCon
from withstand.recipes.setups.vision.origins import (
    OriginSetup,
    calibration_view,
    origin_encoder,
    origin_plan,
    training_view,
)

SETUP = OriginSetup()
Track = Literal["origin", "generator"]


def experiment(
    setup: OriginSetup = SETUP,
    *,
    track: Track = "origin",
    crop: int = 96,
    stage: int = 3,
    dim: int = 128,
    temperature: float = 0.07,
    batch_norm: bool = False,
    calibration_epochs: int = 5,
    hidden: int = 1024,
) -> Experiment:
    """Return the experiment: a detector on the encoder that an earlier stage trains.

    Args:
        setup: data, network, budget.
        track: what the detector tells: origin, real or synthetic; or generator, which one made a synthetic picture.
        crop: side of the parts that are learnt from, pixels; smaller pictures are taken whole.
        stage: after which of the encoder's stages the early exit is: 3 is the second one of a ResNet.
        dim: width of the projections.
        temperature: the loss's tau.
        batch_norm: normalise inside the heads, which the paper's do not; try it where the embeddings collapse.
        calibration_epochs: passes over the data by the detector.
        hidden: width of its hidden layer.
    """
    if track not in get_args(Track):
        raise ConfigError(f"track {track!r} is unknown: {nearest(str(track), get_args(Track))}")
    train, test = setup.parts()
    side = train.shape[-1]
    network = origin_encoder(setup, train.shape)
    first = Experiment(
        "selfcon",
        train,
        training_view(side, crop=crop),
        SelfCon(
            network,
            shape=train.shape,
            stage=stage,
            dim=dim,
            temperature=temperature,
            batch_norm=batch_norm,
            generator_weight=float(_several(train)),
        ),
        origin_plan(setup),
        test,
    )
    told: tuple[Source, Source] = (train, test) if track == "origin" else (Generators(train), Generators(test))
    detector = OriginDetector(again(network), classes=len(told[0].classes), hidden=hidden)
    plan = origin_plan(setup, epochs=calibration_epochs, optimizer=Adam(1e-3, weight_decay=1e-3))
    return replace(
        first,
        name="imaginet",
        source=told[0],
        test=told[1],
        view=calibration_view(side),
        method=detector,
        plan=replace(plan, batch=min(setup.batch, len(told[0]))),
        judges=(SyntheticBench(),),
        first=first,
    )


def _several(source: Source) -> bool:
    return len(source.group_names[GENERATOR]) > 1
