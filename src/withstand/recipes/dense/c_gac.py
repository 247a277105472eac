"""C-GAC: keypoints and masks carried to pictures without labels, by agreement under geometry and two teachers.

paper: Domain Adaptive Hand Keypoint and Pixel Localization in the Wild (Ohkawa, Li, Fu, Furuta, Kitani, Sato;
  ECCV 2022)
claims: points and masks get better on pictures of another look, without their labels, when a student agrees with two
  teachers under geometric changes, and pictures on which the teachers disagree weigh less
learns from: pictures, photos, images with keypoints and masks, in one .npz file (x, keypoints, mask), and others
  without
use it when: keypoints, landmarks, a pose or a mask are labelled in a studio, and are wanted in the wild; domain
  adaptation, self-training
not for: a look on which the first stage fails wholly, from which no pseudo-label leads back; mirrored points with
  sides, as left and right of faces, unless swaps names their pairs
differences: a U-Net for small pictures in place of two stacked hourglasses of 256 channels on 128 pixels, without
  dropout, and a learning rate to match. Gaussian in place of box blur. The last weights are kept, not those of the best
  validation score. Teachers learn from the student by distillation, as the paper says; averaged ones are a setting
command: withstand train c-gac --data landmark-digits --target digits-on-photos
time: 139 processor seconds for the claim, 3 seeds of three arms
reached: reproduced: on the other look, mean of the points' AUC and the masks' IoU 0.427 ± 0.163, 0.379 ± 0.150 by what
  learnt from the source alone (ahead by 0.048 ± 0.032 by seed), 0.421 without teachers (digits on photos)
"""

from dataclasses import replace

from withstand.core.errors import ConfigError
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.dense.keypoints.judge import KeypointJudge
from withstand.losses.agreement.heatmaps import DELTA
from withstand.methods.dense.c_gac import CGAC, LABELLED, Teachers
from withstand.models.dense.locator import Locator
from withstand.models.dense.unet import UNet, UNetDecoder, UNetEncoder
from withstand.recipes.setups.vision.keypoints import KeypointSetup, keypoint_parts
from withstand.recipes.setups.vision.volumes import channels_of
from withstand.views.pictures.blur import GaussianBlur
from withstand.views.pictures.colors.color_views import ColorJitter
from withstand.views.pictures.placement import Placement

SETUP = KeypointSetup()
COLORS = (
    GaussianBlur(sigma=(0.5, 1.0), probability=0.3),
    ColorJitter(brightness=0.2, contrast=0.2, saturation=0.0, hue=0.0, probability=0.25),
    ColorJitter(brightness=0.1, contrast=0.0, saturation=0.15, hue=0.1, probability=0.25),
)
"""The official weak changes of color: blur, brightness and contrast, hue and saturation."""


def experiment(
    setup: KeypointSetup = SETUP,
    *,
    width: int = 16,
    levels: int = 3,
    teachers: Teachers = "distilled",
    weight: float = 0.1,
    distil: float = 0.1,
    strength: float = 1.0,
    keypoints: float = 1e5,
    masks: float = 1.0,
    delta: float = DELTA,
    sigma: float = 1 / 16,
    pose_first: float = 0.5,
    mirrored: float = 0.3,
    swaps: str = "",
) -> Experiment:
    """Return the experiment, with its first stage, which learns from the labelled pictures alone, inside.

    Args:
        setup: data, budget.
        width: channels of the U-Net's finest level.
        levels: of the U-Net; sides of pictures are multiples of 2^(levels - 1).
        teachers: distilled, averaged, or none, which is GAC: the student answers itself.
        weight: of the pictures without labels for the student; 0 goes on with the labelled ones alone.
        distil: the same for distilled teachers.
        strength: how fast a picture's weight falls with its teachers' disagreement; 0 for all weights 1.
        keypoints: what the loss of heatmaps weighs.
        masks: what the loss of masks weighs; 0 for no masks, as where the labelled pictures have none.
        delta: where the loss of heatmaps turns from a square into a line; the published one is 0.01.
        sigma: of heatmaps, as a share of the longer side.
        pose_first: share of the run in which masks do not yet learn from pictures without labels.
        mirrored: chance that a view is mirrored left to right.
        swaps: points that change places in a mirrored picture, as 0-1,2-3.
    """
    parts = keypoint_parts(setup)
    masks = masks if parts.masks else 0.0
    channels = channels_of(width, levels)
    pairs = pairs_of(swaps)

    def method(strong: float) -> CGAC:
        network = UNet(UNetEncoder(channels, parts.known.shape[0]), UNetDecoder(channels))
        return CGAC(
            Locator(network, parts.points),
            teachers=teachers,
            weight=strong,
            distil=distil,
            strength=strength,
            keypoints=keypoints,
            masks=masks,
            delta=delta,
            sigma=sigma,
            pose_first=pose_first,
            swaps=pairs,
        )

    view = Placement(1 if teachers == "none" else 3, mirrored=mirrored, colors=COLORS)
    plan = Plan(
        epochs=setup.source_epochs,
        batch=min(setup.batch, len(parts.known)),
        optimizer=Adam(setup.source_rate, weight_decay=5e-4, betas=(0.5, 0.999)),
        schedule=Constant(),
        seed=setup.seed,
        processes=setup.processes,
    )
    judges = (KeypointJudge(parts.lines, masks > 0, truth=parts.truth),)
    first = Experiment("c-gac", parts.known, view, method(0.0), plan, parts.test, judges=judges)
    return replace(
        first,
        source=parts.free,
        method=method(weight),
        plan=replace(
            plan,
            epochs=setup.epochs,
            batch=min(setup.batch, len(parts.free)),
            optimizer=Adam(setup.learning_rate, weight_decay=5e-4, betas=(0.5, 0.999)),
        ),
        first=first,
        beside={LABELLED: parts.known},
        beside_views={LABELLED: view},
    )


def pairs_of(swaps: str) -> tuple[tuple[int, int], ...]:
    """Return pairs of points, told as 0-1,2-3.

    Raises:
        ConfigError: something else.

    >>> pairs_of("0-1, 2-3")
    ((0, 1), (2, 3))
    """
    found: list[tuple[int, int]] = []
    for pair in filter(None, (word.strip() for word in swaps.split(","))):
        one, _, other = pair.partition("-")
        if not (one.strip().isdigit() and other.strip().isdigit()):
            raise ConfigError(f"swaps names pairs of points as 0-1,2-3, not {swaps!r}")
        found.append((int(one), int(other)))
    return tuple(found)
