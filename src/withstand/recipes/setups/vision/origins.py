"""What a recipe on real and synthetic pictures shares: data with their origins, views, the network, the plan."""

import warnings
from dataclasses import dataclass

from withstand.core.errors import ConfigError, DataError
from withstand.core.roles import Model, Source
from withstand.data.derived.origins import REAL, Origins, called_real
from withstand.data.derived.recompressed import Recompressed
from withstand.data.derived.subset import holdout_or_all
from withstand.data.derived.synthetic.generated import Generated
from withstand.data.load import splits_or_all
from withstand.data.pictures.decoding.formats import written
from withstand.data.pictures.npz.kinds import open_kinds
from withstand.engine.experiment import Plan
from withstand.engine.optimizers import SGD, Optimizer
from withstand.engine.schedules import WarmupCosine
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.recipes.setups.vision.pictures import PictureSetup, both, encoder
from withstand.views.compose import Compose, MultiCrop
from withstand.views.pictures.blur import GaussianBlur
from withstand.views.pictures.choice import NativeCrop, OneOf, QuarterTurns
from withstand.views.pictures.compression import Compression
from withstand.views.pictures.crop import HorizontalFlip, RandomResizedCrop
from withstand.views.pictures.picture import PictureView
from withstand.views.pictures.values import RandomGaussianNoise

_TELLS = 0.6
"""Balanced accuracy from which on the format of files alone is said to give pictures away."""


@dataclass(frozen=True, kw_only=True)
class OriginSetup(PictureSetup):
    """What a recipe on real and synthetic pictures can be told besides.

    Args:
        data: a folder with one folder of real pictures and one a generator, an .npz file of arrays by kind, as real,
            gan and vae; with generate any pictures, which are taken to be real.
        size: side in pixels to which a folder's photos are brought; their own side, so that nothing is resampled, is
            best: resizing takes the traces of generators away.
        learning_rate: of SGD, for a batch of 200; scaled with the batch.
        real: the class of real pictures, or several with commas between; the one called real if not said, or those with
            real as their first word.
        equalise: write all pictures as JPEG of one quality first, so that the format that they had gives nothing away.
        generate: make half of the pictures anew by simple processes that leave traces as generators do: a trial.
        strength: of these traces, above 0 to 1; small ones are hard to find.
    """

    batch: int = 200
    learning_rate: float = 0.05
    real: str | None = None
    equalise: bool = False
    generate: bool = False
    strength: float = 1.0

    def parts(self) -> tuple[Source, Source]:
        """Return (train, test) of the data, with their origins.

        Raises:
            ConfigError: a domain to leave out, or a class of real pictures that there is not.
            DataError: data that cannot be read, or do not say which pictures are real.
        """
        if self.leave_out is not None:
            raise ConfigError("leave_out is of domains, and these data are told apart by generators")
        kinds = open_kinds(self.data)
        train, test = both(
            splits_or_all(self.data, size=self.size, share=self.holdout, reading=self.reading)
            if kinds is None
            else holdout_or_all(kinds, self.holdout)
        )
        if self.generate:
            train, test = (
                Generated(part, strength=self.strength, seed=seed) for seed, part in enumerate((train, test))
            )
        named = tuple(name.strip() for name in self.real.split(",")) if self.real else ()
        if not named:
            guessed = called_real(train.classes)
            if not guessed:
                raise DataError(
                    f"no class of {train.name} is called real: say by --real which holds real pictures; "
                    "--generate makes half of any pictures anew, for a trial"
                )
            if [name.lower() for name in guessed] != [REAL]:
                warnings.warn(
                    f"taken for real by their names: {', '.join(guessed)}; --real says otherwise", stacklevel=2
                )
        origins = Origins(train, named), Origins(test, named)
        warn_of_formats(train, origins[0], equalised=self.equalise)
        return (Recompressed(origins[0]), Recompressed(origins[1])) if self.equalise else origins


def warn_of_formats(files: Source, origins: Source, *, equalised: bool) -> None:
    """Warn where the format of files tells real pictures from synthetic ones, and where reading resamples pictures.

    Args:
        files: the pictures as they were read.
        origins: the same, with labels 0 and 1.
        equalised: whether they are all compressed alike.
    """
    found = written(files)
    if found is None or origins.labels is None:
        return
    told = found.told_by_format(origins.labels)
    if told >= _TELLS and not equalised:
        real, synthetic = (
            ", ".join(f"{form} {count}" for form, count in found.counts(origins.labels, label).items())
            for label in (0, 1)
        )
        warnings.warn(
            f"the format of files alone tells real pictures ({real}) from synthetic ones ({synthetic}) with a balanced "
            f"accuracy of {told:.0%}, and a detector will learn it: --equalise compresses all alike",
            stacklevel=2,
        )
    size = origins.shape[-1]
    other = sum(side != size for side in found.sides)
    if other:
        warnings.warn(
            f"{other} of {len(found.sides)} pictures are resampled to {size} pixels ({min(found.sides)} to "
            f"{max(found.sides)} in their files), which takes traces of generators away: --size gives another side",
            stacklevel=2,
        )


def origin_encoder(setup: PictureSetup, shape: tuple[int, ...]) -> Model:
    """Return the encoder: a ResNet without strides before its second stage, or whatever else is named."""
    plain = encoder(setup.model, setup.width, setup.depth, shape)
    if not isinstance(plain, Normalized) or not isinstance(plain.encoder, ResNet):
        return plain
    asked = plain.encoder._init_args
    mean, std = (tuple(values.flatten().tolist()) for values in (plain.mean, plain.std))
    return Normalized(ResNet(asked["width"], asked["depth"], shape[0], "full"), mean, std)


def training_view(side: int, *, crop: int = 96) -> MultiCrop:
    """Return the paper's view for training: a part of the picture as it is; half of the time compressed, blurred or
    noisy; turned and mirrored a third of the time each.

    Args:
        side: of the pictures, which sets how wide a blur may be.
        crop: side of the part, pixels.
    """
    chain = (NativeCrop(crop), OneOf(_changes(side), 0.5), QuarterTurns(0.33), HorizontalFlip(0.33))
    return MultiCrop((Compose(chain),), (1,))


def calibration_view(side: int) -> MultiCrop:
    """Return the paper's stronger view for calibration: half of the pictures are left as they are; the others are
    parts, resized, and compressed three times in ten, or with a chance of 0.7 changed as in training.

    Args:
        side: of the pictures.
    """
    part = RandomResizedCrop(side, (0.25, 1.0), (3 / 4, 4 / 3), interpolation="bicubic")
    stronger = OneOf(
        (
            Compose((part, Compression(probability=0.3))),
            Compose((part, OneOf(_changes(side), 0.7))),
        ),
        0.5,
    )
    return MultiCrop((Compose((stronger, QuarterTurns(0.33), HorizontalFlip(0.33))),), (1,))


def _changes(side: int) -> tuple[PictureView, ...]:
    """Return what a picture may go through: compression, blur, noise of variance 3 to 10 in levels of 255."""
    kernel = 7 if side >= 16 else 3
    return (
        Compression(quality=(50, 95)),
        GaussianBlur((0.8, 1.4), kernel_size=kernel, probability=1.0),
        RandomGaussianNoise((3**0.5 / 255, 10**0.5 / 255)),
    )


def origin_plan(setup: OriginSetup, *, epochs: int | None = None, optimizer: Optimizer | None = None) -> Plan:
    """Return the plan: SGD with momentum, a linear rise over the first fortieth, and a cosine to a thousandth."""
    count = setup.epochs if epochs is None else epochs
    return Plan(
        epochs=count,
        batch=setup.batch,
        optimizer=optimizer or SGD(setup.learning_rate * setup.batch / 200, weight_decay=1e-4),
        schedule=WarmupCosine(count / 40, start=1e-4, final=1e-3),
        seed=setup.seed,
        processes=setup.processes,
    )
