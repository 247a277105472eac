"""What recipes share that learn points on labelled pictures and carry them to other ones."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from withstand.core.batch import KEYPOINTS, MASK
from withstand.core.errors import DataError, nearest
from withstand.core.options import Options
from withstand.core.roles import Source
from withstand.data.arrays.npz import npz_names
from withstand.data.derived.joined import Joined
from withstand.data.derived.resized import as_shaped
from withstand.data.derived.subset import holdout
from withstand.data.derived.synthetic.landmarks import LandmarkDigits, Look
from withstand.data.load import splits
from withstand.data.pictures.named import VARIABLE
from withstand.data.pictures.npz.keypoints import KeypointFile, has_keypoints
from withstand.data.shared.rows import all_to_learn_from
from withstand.evaluation.dense.keypoints.drawing import HAND, Lines

DIGITS, PHOTOS = "landmark-digits", "digits-on-photos"
HANDS = {
    "hands-studio": ("sign_digits_300_pseudo.npz", "pseudo labels, points by MediaPipe and masks by GrabCut"),
    "hands-wild": ("mmpose_hand_samples.npz", "points of FreiHAND, OneHand10K, Panoptic and RHD"),
}
"""Sets of hands: the file in the folder `hands` of $WITHSTAND_DATA, and where the truth comes from."""
SETS = (DIGITS, PHOTOS, *HANDS)
_HAND_POINTS = 21
_DEFAULT_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class KeypointSetup(Options):
    """What a recipe that carries points and masks to other pictures can be told: data, budget.

    Args:
        data: labelled pictures: an .npz file with x, keypoints (N, J, 2) in pixels and mask (N, H, W), or
            landmark-digits, hands-studio.
        target: pictures to adapt to, whose labels are not learnt from: such a file, a folder or set of pictures,
            digits-on-photos, hands-wild; digits-on-photos for landmark-digits, hands-wild for hands-studio.
        size: side in pixels to which files and photos are brought; 64 for hands, as they are if not said.
        epochs: passes over the target, while adapting.
        source_epochs: passes over the labelled pictures before.
        batch: pictures of each kind a step.
        learning_rate: of Adam, while adapting; the paper's is 1e-6 with a pretrained hourglass.
        source_rate: of Adam before.
        seed: of weights, order and views.
        processes: how many train together.
    """

    data: str | Source = DIGITS
    target: str | Source | None = None
    size: int | None = None
    epochs: int = 10
    source_epochs: int = 10
    batch: int = 32
    learning_rate: float = 3e-4
    source_rate: float = 1e-3
    seed: int = 0
    processes: int = 1


class KeypointParts(NamedTuple):
    """Labelled pictures, those to adapt to, and those that are judged.

    Attributes:
        known: labelled pictures.
        free: those to adapt to, without their labels.
        test: of the target where its points are known, else of the labelled kind.
        points: J.
        masks: whether the labelled pictures have masks.
        lines: pairs of points with lines between.
        truth: where the judged truth comes from, where no person told it.
    """

    known: Source
    free: Source
    test: Source
    points: int
    masks: bool
    lines: Lines
    truth: str


def keypoint_parts(setup: KeypointSetup) -> KeypointParts:
    """Return the parts of a setup's data.

    Raises:
        DataError: labelled pictures without points, no target, or one of other points.
    """
    size = setup.size
    if size is None and isinstance(setup.data, str) and setup.data in HANDS:
        size = _DEFAULT_SIZE
    known, known_test = _opened(setup.data, size, "data")
    extras = known[[0]].extras
    if KEYPOINTS not in extras:
        raise DataError(
            f"data has no points: give an .npz file with pictures x and keypoints (N, J, 2) in pixels, or one of "
            f"{', '.join(SETS)}"
        )
    points = int(extras[KEYPOINTS].shape[1])
    partners = {DIGITS: PHOTOS, "hands-studio": "hands-wild"}
    target = setup.target
    if target is None:
        target = partners.get(setup.data) if isinstance(setup.data, str) else None
        if target is None:
            raise DataError("name pictures to adapt to by target: a file or folder of pictures, or a set's name")
    side = known.shape[-1] if size is None else size
    free, free_test = _opened(target, side, "target")
    theirs = free[[0]].extras.get(KEYPOINTS)
    if theirs is None:  # none of them can judge
        free = all_to_learn_from(target, size=_of_folder(target, side))
    if theirs is not None and theirs.shape[1] != points:
        raise DataError(f"data has {points} points a picture, and target {theirs.shape[1]}: give pictures of one kind")
    if free.shape != known.shape:
        if theirs is not None:
            raise DataError(
                f"data has pictures of shape {known.shape}, and target {free.shape}: bring both to one by size"
            )
        free = as_shaped(free, known.shape)
    judged = target if theirs is not None else setup.data
    truth = HANDS[judged][1] if isinstance(judged, str) and judged in HANDS else ""
    if judged != setup.data and isinstance(setup.data, str) and setup.data in HANDS:
        truth = "; ".join(filter(None, (truth, f"of what was learnt from: {HANDS[setup.data][1]}")))
    lines = HAND if points == _HAND_POINTS else ()
    test = free_test if theirs is not None else known_test
    return KeypointParts(known, Joined((free,)), test, points, MASK in extras, lines, truth)


def _opened(data: str | Source, size: int | None, name: str) -> tuple[Source, Source]:
    """Return what is learnt from, and a part kept out."""
    if isinstance(data, Source):
        return holdout(data, 0.2, 0)
    if data in (DIGITS, PHOTOS):
        look: Look = "clean" if data == DIGITS else "photos"
        # Digits of one look are none of the other's, and those that are judged are nobody's else.
        return LandmarkDigits(look, first=0 if look == "clean" else 600, count=600), LandmarkDigits(
            look, first=1200, count=300
        )
    path = Path(data).expanduser()
    if data in HANDS:
        folder = os.environ.get(VARIABLE)
        if folder is None:
            raise DataError(f"{data} is read from the folder hands of ${VARIABLE}, which is not set")
        path = Path(folder) / "hands" / HANDS[data][0]
        if not path.is_file():
            raise DataError(f"{data} is read from {str(path)!r}, and there is no such file")
    if has_keypoints(path):
        return holdout(KeypointFile(path, size), 0.2, 0)
    if path.suffix == ".npz" and path.is_file() and name == "data":
        held = ", ".join(npz_names(path))
        raise DataError(f"data has no points: {str(path)!r} holds {held}, where x, keypoints and mask are wanted")
    if not path.exists() and name == "data":
        raise DataError(f"there is no file or set {data!r}: {nearest(data, SETS)}")
    return splits(data, size=_of_folder(data, size), seed=0)


def _of_folder(data: str | Source, size: int | None) -> int | None:
    """Return the side to which photos of a folder are brought; other data have theirs."""
    return size if isinstance(data, str) and Path(data).expanduser().is_dir() else None
