"""Self-distillation: further pretraining on the data at hand, held near its start by a second pass under a teacher.

paper: Self-Distillation for Further Pre-training of Transformers (Lee, Kang, Lee, Hwang, Kawaguchi; ICLR 2023)
claims: further pretraining on a small set overfits; the same start trained again, its features drawn to those of the
  further pretrained network, stays nearer to the start and is better after fine-tuning with few labels
learns from: unlabelled pictures, photos, images of the kind that matters, and a run that was trained on others
mechanism: masked, self-distillation
target: pixels, features
granularity: picture, patch
guard: reconstruction, teacher
needs: one view, patches, decoder, teacher, trained run
use it when: there is a pretrained encoder, a few hundred to some thousand pictures of one's own, and few labels
not for: large sets, where further pretraining alone does; its two runs cost twice as much
longer runs: another number of epochs is another run: each stage has as many
differences: the text half of the paper, on masked language models, is not here. Rates are scaled with the batch, as in
  the recipe of `base`; the official code has 1.5e-4 for a batch of 64 and 20,000 steps for each stage.
command: withstand train self-distillation --data digits --pretrain fashion-mnist-small
time: 424 processor seconds for the claim, 3 seeds
reached: undecided: accuracy after fine-tuning with 20 labels a class 0.506 ± 0.022, 0.505 ± 0.017 by further
  pretraining alone, 0.001 ± 0.014 apart by seed (300 CIFAR-10 pictures, MAE of 60 epochs)
"""

from dataclasses import replace
from pathlib import Path

from withstand.core.errors import ConfigError
from withstand.core.part import again
from withstand.core.roles import Method, Source
from withstand.engine.experiment import Experiment
from withstand.engine.optimizers import AdamW
from withstand.engine.schedules import Linear
from withstand.evaluation.continual.drift import Drift
from withstand.methods.continual.self_distillation import FurtherPretraining, Match, SelfDistillation
from withstand.recipes.setups.staged.stages import method_of, stageable
from withstand.recipes.setups.staged.streams import parts_like, refuse_other_pictures
from withstand.recipes.setups.vision.masked_pictures import MASKED
from withstand.recipes.setups.vision.pictures import CropSetup
from withstand.views.compose import Compose

SETUP = MASKED
CACHED = 1 << 24
"""Most numbers of teacher's features that are kept, and written with each checkpoint."""


def experiment(
    setup: CropSetup = SETUP,
    *,
    first: str | Experiment | None = None,
    pretrain: str | Source | None = None,
    base: str = "mae",
    rounds: int = 1,
    weight: float = 1.0,
    match: Match = "features",
    augment: bool = False,
    weight_decay: float = 0.01,
) -> Experiment:
    """Return the experiment of the last round, with the stages before it inside.

    Stages: the start, unless a run is given; further pretraining on `data`; a round of self-distillation, or more.

    Args:
        setup: data, network, budget; epochs are those of each stage.
        data: the pictures at hand.
        model: vit or timm:vit_NAME; with --first it is the run's.
        learning_rate: of AdamW, for a batch of 256; scaled with the batch.
        first: folder of the run whose method is the start, one of mae or hpm, say; an experiment is trained first.
        pretrain: without --first: what the start is trained on, brought to the pictures' shape; `data` if not said.
        base: without --first: how the start is trained: a recipe that can learn from pictures as they are, or any
            without labels together with --augment.
        rounds: of self-distillation, each taught by the one before; 0 is further pretraining alone.
        weight: of the squared distance to the teacher's features.
        match: features, the class token or the mean of the patches; or tokens, each patch's.
        augment: learn from the views of `base`, in place of the pictures as they are.
        weight_decay: of AdamW, on matrices.

    Raises:
        ConfigError: both a run and a set to pretrain on, or less than no rounds.
        DataError: pictures that the run's encoder does not take.
    """
    if rounds < 0:
        raise ConfigError(f"rounds must be at least 0, not {rounds!r}")
    if first is not None and pretrain is not None:
        raise ConfigError("first and pretrain both name a start: give one of them")
    plain = stageable(base, setup)
    start = _start(plain, setup, pretrain) if first is None else first
    method: Method = method_of(Path(start)) if isinstance(start, str) else again(start.method)
    if isinstance(start, str):
        refuse_other_pictures(method, plain.source, start)
    optimizer = AdamW(setup.learning_rate * setup.batch / 256, weight_decay, betas=(0.9, 0.95))
    further = replace(
        plain,
        name="self-distillation",
        view=plain.view if augment else Compose(()),
        method=FurtherPretraining(method),
        plan=replace(plain.plan, optimizer=optimizer, schedule=Linear()),
        judges=(*plain.judges, Drift()),
        first=start,
    )
    count, current = len(further.source), further
    kept = match == "features" and not augment and count * method.encoder.width <= CACHED
    for _ in range(rounds):
        student = SelfDistillation(again(method), weight=weight, match=match, samples=count if kept else None)
        current = replace(further, method=student, first=current)
    return current


def _start(plain: Experiment, setup: CropSetup, pretrain: str | Source | None) -> Experiment:
    """Return the stage that trains the start, on other pictures where they are named."""
    if pretrain is None:
        return plain
    train, test = parts_like(pretrain, plain.source.shape, setup)
    return replace(plain, source=train, test=test)
