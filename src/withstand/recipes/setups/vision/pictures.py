"""What every recipe that learns from pictures shares: the encoder, the sets, the plan."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from withstand.attacks.inputs.gradient import PGD
from withstand.core.errors import ConfigError, DataError, nearest
from withstand.core.files.reading import PLAIN, Reading
from withstand.core.options import Options
from withstand.core.roles import Evaluator, Method, Model, Source, View
from withstand.core.threat import Ball, parse_eps
from withstand.data.derived.subset import labelled
from withstand.data.load import DEFAULT_SIZE, SHARE, Data, is_picture_folder, splits_or_all
from withstand.data.pictures.domains import DomainPart, folder_of_domains
from withstand.data.pictures.folder import ImageFolder
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import SGD, Optimizer
from withstand.engine.schedules import WarmupCosine
from withstand.evaluation.probes.domains import DomainProbe
from withstand.methods.robust.acl import ACL
from withstand.models.pictures.convnets.convnet import ConvNet
from withstand.models.pictures.convnets.resnet import ResNet
from withstand.models.pictures.normalized import Normalized
from withstand.models.pictures.timm import Timm
from withstand.models.pictures.transformers.vit import ViT
from withstand.models.pictures.wavelet_scattering.scattering_encoder import ScatteringEncoder

LARGE = 96
"""From this size on, pictures get ImageNet's views and stems."""

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class PictureSetup(Options):
    """What every recipe on pictures can be told: data, network, budget.

    Args:
        data: a set's name, a folder of pictures (with one folder a class where labels are learnt from), one of tar
            shards, an array file.
        size: side in pixels to which a folder's photos are brought; the sets have their own.
        model: resnet, vit, convnet, scattering, timm:NAME or timm:NAME:pretrained.
        width: channels of the ResNet's first stage or the convnet's first layer, the ViT's width, or channels behind
            scattering; the network's own (16, 16, 192, 32) if not said.
        depth: layers of the encoder; convolutions of the convnet; the network's own (10, 6 of a ViT, 2 of a convnet, 8
            behind scattering) if not said.
        epochs: passes over the data.
        batch: samples a step.
        learning_rate: of SGD, for a batch of 256; scaled with the batch.
        seed: of weights, order, views and attacks.
        processes: how many train together.
        holdout: share of the data that is kept to judge by, where they have no test part; 0 learns from all
        leave_out: a domain that is not learnt from, and judged on: data is a folder of domains, each a folder of the
            same classes
        reading: what picture files do not say themselves.
    """

    data: Data = "fashion-mnist-small"
    size: int | None = None
    model: str = "resnet"
    width: int | None = None
    depth: int | None = None
    epochs: int = 20
    batch: int = 256
    learning_rate: float = 0.12
    seed: int = 0
    processes: int = 1
    holdout: float = SHARE
    leave_out: str | None = None
    reading: Reading = PLAIN

    def parts(self) -> tuple[Source, Source | None]:
        """Return (train, test) of the data; no test samples where all are learnt from.

        Raises:
            ConfigError: a domain to leave out that there is not, or a share to keep that the data do not allow.
            DataError: data that cannot be read.
        """
        if self.leave_out is None:
            return splits_or_all(
                self.data, size=self.size, share=self.holdout, cache_size=self.kept_side(), reading=self.reading
            )
        if self.holdout != SHARE:
            raise ConfigError("leave_out says already what is judged on: leave holdout out")
        size = DEFAULT_SIZE if self.size is None else self.size
        whole = ImageFolder(
            folder_of_domains(self.data), size, domains=True, cache_size=self.kept_side(), reading=self.reading
        )
        return DomainPart(whole, self.leave_out, "train"), labelled(DomainPart(whole, self.leave_out, "test"))

    def kept_side(self) -> int | None:
        """Return the shorter side at which photos are kept for crops; None where no crops are taken of whole photos."""
        return None

    def judges(self) -> tuple[Evaluator, ...]:
        """Return what judges besides the usual probes."""
        return () if self.leave_out is None else (DomainProbe(),)


def both(parts: tuple[Source, Source | None]) -> tuple[Source, Source]:
    """Return both parts of data whose test samples are needed.

    Raises:
        ConfigError: there are none, as all are learnt from.
    """
    train, test = parts
    if test is None:
        raise ConfigError("holdout must be above 0 here: this recipe is judged on samples that were kept")
    return train, test


@dataclass(frozen=True, kw_only=True)
class CropSetup(PictureSetup):
    """What a recipe whose views crop pictures can be told besides.

    Args:
        cache_size: crops are taken from the whole of photos that are larger than size, kept with a shorter side of at
            most this many pixels, twice the size if not said; 0 takes them from what photos are brought to
    """

    cache_size: int | None = None

    def kept_side(self) -> int | None:
        """Return the shorter side at which photos are kept for crops; None where crops are taken from what is judged.

        Raises:
            ConfigError: a side below the size, or one for other data than a folder of pictures.
        """
        photos = is_picture_folder(self.data)
        if self.cache_size and not photos:
            raise ConfigError("cache_size is of photos in a folder: the pictures of other data have one size")
        size = DEFAULT_SIZE if self.size is None else self.size
        if self.cache_size and self.cache_size < size:
            raise ConfigError(
                f"cache_size must be at least the size, {size}, or 0 to take crops from pictures of that size, not "
                f"{self.cache_size}"
            )
        return (2 * size if self.cache_size is None else self.cache_size or None) if photos else None


@dataclass(frozen=True, kw_only=True)
class TwoViewSetup(CropSetup):
    """What a recipe without labels can be told besides.

    Args:
        robust: harden it within this Linf radius, say 8/255, by adversarial contrastive learning (see acl).
    """

    robust: str | None = None


_OWN = {"resnet": (16, 10), "convnet": (16, 2), "vit": (192, 6), "scattering": (32, 8)}
"""Width and depth of each network where none are asked for."""


def encoder(model: str, width: int | None, depth: int | None, shape: tuple[int, ...]) -> Model:
    """Return an encoder of pictures in [0, 1], normalization inside.

    Args:
        model: "resnet", "vit", "convnet", "scattering" or "scattering:16" for other orientations than 8, or "timm:NAME"
            for any timm model (extra `timm`), "timm:NAME:pretrained" with its published weights.
        width: channels of the ResNet's first stage or the convnet's first layer, the ViT's width, or channels behind
            scattering; None for the network's own.
        depth: layers: 10, 18 or 34 of a ResNet, any number of a ViT; strided convolutions of a convnet; blocks behind
            scattering; None for the network's own.
        shape: the pictures' (C, H, W).
    """
    channels, size = shape[0], shape[-1]
    mean, std = _IMAGENET if channels == 3 else ((0.5,) * channels, (0.25,) * channels)
    kind, _, name = model.partition(":")
    own = _OWN.get(kind, (0, 0))
    width, depth = own[0] if width is None else width, own[1] if depth is None else depth
    network: Model
    if kind == "resnet":
        network = ResNet(width, depth, channels, "large" if size >= LARGE else "small")
    elif kind == "vit":
        network = ViT(_patch(size), width, depth, _heads(width), channels)
    elif kind == "convnet":
        network = ConvNet(width, (channels, shape[1], shape[2]), depth)
    elif kind == "scattering" and (name.isdigit() or not name):
        scales, orientations = 4 if size >= LARGE else 2, int(name or 8)
        like = (channels, shape[1], size)
        network = ScatteringEncoder(like, scales=scales, orientations=orientations, blocks=depth, width=width)
    elif kind == "timm" and name:
        network = Timm(name.removesuffix(":pretrained"), pretrained=name.endswith(":pretrained"), channels=channels)
    else:
        known = ["resnet", "vit", "convnet", "scattering", "timm:NAME"]
        raise ConfigError(f"model {model!r} is unknown: {nearest(kind, known)}")
    return Normalized(network, mean, std)


def hardened(make: Callable[[Model], Method], encoder: Model, *, eps: float, steps: int = 5) -> ACL:
    """Return any two-view method, made round an encoder and hardened within a radius (Linf) by ACL."""
    return ACL(make(encoder), attack=PGD(Ball("linf", eps), steps=steps, keep_best=False))


def _patch(size: int) -> int:
    """Return the largest of the usual patch sides that gives at least 7 x 7 patches; of smaller pictures 2 or 1."""
    usual = next((side for side in (16, 8, 4, 2) if size % side == 0 and size // side >= 7), None)
    return usual or (1 if size % 2 else 2)


def _heads(width: int) -> int:
    """Return 3 heads, as in the smallest published ViT, or 4 where its width is no multiple of 3."""
    return next(heads for heads in (3, 4, 2, 1) if width % heads == 0)


def experiment_on_pictures(
    name: str,
    method: Callable[[Model], Method],
    views: tuple[Callable[[int], View], Callable[[int], View]],
    setup: PictureSetup,
    *,
    optimizer: Optimizer | None = None,
    warmup: float = 1.0,
) -> Experiment:
    """Return the experiment of a method that learns from views of pictures.

    Args:
        name: the recipe's slug.
        method: makes the method round an encoder.
        views: what makes the view for small pictures, and for large ones, from their size.
        setup: data, network, budget.
        optimizer: in place of SGD with momentum 0.9 and weight decay 5e-4.
        warmup: epochs in which the rate rises.
    """
    if isinstance(setup, TwoViewSetup) and setup.robust is not None:
        method = partial(hardened, method, eps=parse_eps(setup.robust))
    train, test = setup.parts()
    if len(train.shape) != 3:
        raise DataError(f"{name} learns from pictures (C, H, W), not samples of shape {train.shape}")
    side = train.shape[-1]
    plan = Plan(
        epochs=setup.epochs,
        batch=setup.batch,
        optimizer=optimizer or SGD(setup.learning_rate * setup.batch / 256, weight_decay=5e-4),
        schedule=WarmupCosine(warmup, share=0.1),
        seed=setup.seed,
        processes=setup.processes,
    )
    make_view = views[1] if side >= LARGE else views[0]
    network = encoder(setup.model, setup.width, setup.depth, train.shape)
    return Experiment(name, train, make_view(side), method(network), plan, test, judges=setup.judges())
