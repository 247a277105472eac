"""GOPro: a few words before the names of classes, learnt from few labels for a network of pictures and texts.

paper: GOPro: Generate and Optimize Prompts in CLIP using Self-Supervised Learning (Singha, Jha, Banerjee; BMVC 2023)
claims: prompts made of a picture's content and style, and kept alike over its views, lose less on new classes and on
  pictures from elsewhere than prompts that are the same for all pictures
learns from: a run of clip-rocket, and a few labelled pictures, photos, images of each class, whose names are in words
  that its captions had
use it when: classes are told in words, some labels are there, and classes to come, or pictures from elsewhere, must
  not suffer; few-shot learning, prompt learning, domain generalisation
not for: many labels, which train a classifier of their own better; speed, since every picture has texts of its own,
  where CoOp's (--prompts coop) are computed once
differences: pictures below 96 pixels are not blurred. The rate rises in the first epoch, and then falls with every
  step, where the official one stays at 1e-5 and falls by epochs. See the method for what differs there
time: 334 processor seconds for the claim, 8 seeds
reached: undecided: harmonic mean of base and new classes 0.444 ± 0.035, CoOp 0.439 ± 0.039, 0.005 ± 0.013 apart by
  seed; 0.441 by plain names (CIFAR-10, a CLIP of eight epochs)
command: withstand train gopro --first runs/clip-rocket-cifar10 --base 5
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from withstand.core.errors import ConfigError, DataError
from withstand.core.options import Options
from withstand.core.part import again
from withstand.core.roles import Source, View
from withstand.data.captions.source import Captioned
from withstand.data.derived.subset import Subset, in_whole, labelled
from withstand.data.load import Data, judged, read_like, splits
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import SGD
from withstand.engine.schedules import WarmupCosine
from withstand.evaluation.features import Features
from withstand.evaluation.multimodal.prompts import PromptTransfer
from withstand.evaluation.probes.splits import per_class
from withstand.methods.multimodal.clip_rocket import CLIPRocket
from withstand.methods.multimodal.gopro import Distance, GOPro, Prompts
from withstand.models.tokens.towers import Towers
from withstand.recipes.setups.staged.forgetting import data_of
from withstand.recipes.setups.staged.stages import method_of, side_of
from withstand.recipes.setups.vision.pictures import LARGE
from withstand.views.compose import Compose, MultiCrop
from withstand.views.pictures.augmix import AugMix
from withstand.views.pictures.blur import GaussianBlur
from withstand.views.pictures.colors.color_views import ColorJitter, Greyscale
from withstand.views.pictures.crop import RandomResizedCrop
from withstand.views.pictures.picture import PictureView


@dataclass(frozen=True, kw_only=True)
class PromptSetup(Options):
    """What learning prompts can be told: the run, labels, budget.

    Args:
        first: folder of a run of clip-rocket, which stays as it is; an experiment is trained first.
        data: labelled pictures with named classes; those of the run if not said.
        elsewhere: further pictures of the same classes, to be judged on: other cameras, drawings.
        base: how many classes, the first ones, are learnt from, so that the others are new; all if not said.
        shots: pictures of each of them; 0 for all there are.
        epochs: passes over these.
        batch: pictures a step, at most all.
        learning_rate: of SGD.
        seed: of the choice of pictures, of weights, order and views.
        processes: how many train together.
    """

    first: str | Experiment | None = None
    data: Data | None = None
    elsewhere: str | Source | None = None
    base: int | None = None
    shots: int = 16
    epochs: int = 50
    batch: int = 4
    learning_rate: float = 0.002
    seed: int = 0
    processes: int = 1


SETUP = PromptSetup()


def experiment(
    setup: PromptSetup = SETUP,
    *,
    context: str = "a photo of a",
    prompts: Prompts = "gopro",
    own: bool = False,
    consistency: float = 1.0,
    distance: Distance = "squared",
    contrast: float = 0.1,
    temperature: float = 0.1,
    smallest_crop: float = 0.08,
) -> Experiment:
    """Return the experiment.

    Args:
        setup: the run, labels, budget.
        context: words before a class's name, from which is started.
        prompts: gopro; or coop, which learns words alone, the same for all pictures.
        own: give each word of the context a shift of its own; as in the official code all have one.
        consistency: what the distance of texts between views of a picture weighs.
        distance: squared, as published; or cosine, which acts more, for it is not divided by the width of embeddings.
        contrast: what the contrast of pictures weighs, on which no prediction hangs; 0 leaves it out.
        temperature: of the contrast.
        smallest_crop: least share of a picture that a view shows.

    Raises:
        ConfigError: no run, one of another method, a setting out of range, or a class with a word that no caption had.
        DataError: pictures without labels or names of classes, of other channels, or fewer than asked for.
    """
    first = setup.first
    if first is None:
        raise ConfigError(
            "gopro learns prompts for a trained network of pictures and texts: give its run by --first FOLDER; "
            "withstand train clip-rocket --data PHOTOS makes one"
        )
    clip = method_of(Path(first)) if isinstance(first, str) else first.method
    if not isinstance(clip, CLIPRocket):
        raise ConfigError(f"first is a run of {type(clip).__name__}, and prompts need one of clip-rocket")
    train, test = _parts(setup, first)
    if train.labels is None or not train.classes:
        raise DataError(
            f"{train.name} has no labels with names, and prompts are learnt from labelled pictures: name some by "
            "--data, say a folder with one folder a class"
        )
    if len(train.shape) != 3:
        raise DataError(f"gopro learns from pictures (C, H, W), not samples of shape {train.shape}")
    towers = Towers(again(clip.encoder), again(clip.text), again(clip.picture_head), again(clip.text_head))
    method = GOPro(
        towers,
        clip.vocabulary,
        train.classes,
        (train.shape[0], train.shape[1], train.shape[2]),
        base=setup.base,
        context=context,
        prompts=prompts,
        own=own,
        consistency=consistency,
        distance=distance,
        contrast=contrast,
        temperature=temperature,
    )
    few = _few(train, method.base, setup)
    elsewhere = None if setup.elsewhere is None else {"elsewhere": _elsewhere(train, setup.elsewhere)}
    size = min(setup.batch, len(few))
    plan = Plan(
        epochs=setup.epochs,
        batch=max(size - size % setup.processes, 1),
        optimizer=SGD(setup.learning_rate, weight_decay=5e-4),
        schedule=WarmupCosine(1.0, start=0.005),
        seed=setup.seed,
        processes=setup.processes,
    )
    view = _views(train.shape[-1], smallest_crop, prompts)
    judges = (PromptTransfer(elsewhere),)
    return Experiment("gopro", few, view, method, plan, test, labelled=train, judges=judges, first=first)


def _parts(setup: PromptSetup, first: str | Experiment) -> tuple[Source, Source | None]:
    """Return (train, test), read as the run's own data were."""
    if setup.data is None:
        train, test = data_of(Path(first), None, None) if isinstance(first, str) else (first.source, first.test)
        return _without_captions(train), None if test is None else _without_captions(test)
    return splits(setup.data, size=side_of(first, setup.data, None))


def _without_captions(source: Source) -> Source:
    """Return the pictures that captions were made for: prompts are learnt from labels."""
    whole, rows = in_whole(source)
    if not isinstance(whole, Captioned):
        return source
    return whole.source if len(rows) == len(whole) else Subset(whole.source, rows.tolist())


def _elsewhere(train: Source, data: str | Source) -> Source:
    """Return pictures of the same classes.

    Raises:
        DataError: other classes, or none.
    """
    found = judged(data, **read_like(train, data))
    if found.labels is None or found.classes != train.classes:
        raise DataError(
            f"pictures from elsewhere are of the same classes, {', '.join(train.classes[:3])} ..., and those of "
            f"{found.name} are {', '.join(found.classes[:3]) or 'not named'} ..."
        )
    return found


def _few(train: Source, base: int, setup: PromptSetup) -> Source:
    """Return so many pictures of each base class."""
    if setup.shots < 0:
        raise ConfigError(f"shots must be at least 0, not {setup.shots!r}")
    some = labelled(train)
    assert some.labels is not None
    rows = (some.labels < base).nonzero()[:, 0]
    missing = sorted(set(range(base)) - set(some.labels[rows].tolist()))
    if missing:
        raise DataError(f"there is no picture of the class {train.classes[missing[0]]!r} to learn from")
    if not setup.shots:
        return Subset(some, rows.tolist())
    everyone = Features(torch.zeros(len(rows), 1), some.labels[rows], rows)
    return Subset(some, per_class(everyone, setup.shots, setup.seed, "shots").index.tolist())


def _views(side: int, smallest: float, prompts: Prompts) -> View:
    """Return the views: the picture, its colors changed, and mixed; of those that are the same for all, the first."""
    crop = RandomResizedCrop(side, (smallest, 1.0), flip=0.5, interpolation="bicubic")
    if prompts == "coop":
        return MultiCrop((crop,), (1,))
    colors: tuple[PictureView, ...] = (crop, ColorJitter(0.4, 0.4, 0.2, 0.1), Greyscale(probability=0.2))
    if side >= LARGE:
        colors = (*colors, GaussianBlur(probability=1.0))
    return MultiCrop((crop, Compose(colors), Compose((crop, AugMix()))), (1, 1, 1))
