"""Global and local contrast: a U-Net's encoder learns from the depth of slices, then its decoder from their regions.

paper: Contrastive learning of global and local features for medical image segmentation with limited annotations
  (Chaitanya, Erdil, Karani, Konukoglu; NeurIPS 2020)
claims: contrast of slices by their depth, then of regions on the decoder's map, gives a U-Net that segments better
  than a random start after fine-tuning on one, two or eight labelled volumes
learns from: volumes without masks that show one organ in much the same frame, as MRI or CT scans: folders of NIfTI
  files, DICOM series
use it when: structures are to be segmented in scans, many scans are at hand, and masks of a few of them
not for: volumes that are not aligned at all, whose depth says nothing
longer runs: another number of epochs is another run: each of its two stages has as many
command: withstand train global-local --data hippocampus-mri
time: 235 processor seconds for the claim, 3 seeds
reached: undecided: Dice 0.474 ± 0.217 from what was learnt, 0.498 ± 0.040 from a random start; the first swings from
  seed to seed, 0.23 to 0.64 (hippocampi, two labelled volumes, U-Net of width 8, an epoch a stage)
"""

from typing import Literal

from withstand.core.errors import DataError
from withstand.core.roles import Source
from withstand.data.volumes.load import split_volumes
from withstand.data.volumes.source import Axis
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.dense.segmentation.probe import SegmentationProbe
from withstand.methods.dense.global_contrast import Global, GlobalContrast
from withstand.methods.dense.local_contrast import Local, LocalContrast
from withstand.models.dense.unet import UNetDecoder, UNetEncoder
from withstand.recipes.setups.vision.volumes import channels_of, levels_of, slices_of
from withstand.views.compose import Compose, MultiCrop, TwoViews
from withstand.views.pictures.colors.intensity import Intensity
from withstand.views.pictures.crop import RandomResizedCrop

_SHARE = (100 / 192) ** 2
"""Share of a slice's area that a crop keeps."""


def experiment(
    *,
    data: str | Source = "hippocampus-mri",
    size: int | None = None,
    axis: Axis = "auto",
    width: int = 16,
    levels: int | None = None,
    partitions: int = 4,
    global_loss: Global = "gd",
    local_loss: Local = "lr",
    blocks: int | None = None,
    regions: Literal[9, 13] = 13,
    region: Literal[1, 3] = 3,
    temperature: float = 0.1,
    epochs: int = 5,
    batch: int = 24,
    learning_rate: float = 1e-3,
    seed: int = 0,
    processes: int = 1,
) -> Experiment:
    """Return the experiment: two stages, the encoder's and the decoder's, of equal length.

    Args:
        data: hippocampus-mri, a folder of NIfTI files or DICOM series, an .npz file.
        size: side of slices; the least multiple of 32 that holds every slice if not said.
        axis: across which slices lie: sagittal, coronal, axial; found by itself, and told, if not said.
        width: channels of the U-Net's finest level.
        levels: of the U-Net; six as published, or fewer for small slices, if not said.
        partitions: into how many parts the depth is cut.
        global_loss: gd draws slices at one depth of two volumes together, gd- only spares them, gr knows no depth.
        local_loss: lr compares regions of a slice, ld of two other volumes at its depth too.
        blocks: of the decoder that are learnt; those up to a quarter of the slices' side if not said.
        regions: compared in each slice, 13 or 9.
        region: their side on the map, 3 or 1.
        temperature: of both losses.
        epochs: passes over the slices in each stage.
        batch: slices a step; whole pairs of volumes, a slice from each partition.
        learning_rate: of Adam.
        seed: of weights, order and views.
        processes: how many train together.
    """
    train, test = split_volumes(data, size=size, axis=axis, partitions=partitions)
    if len(train.shape) != 3 or train.shape[1] != train.shape[2]:
        raise DataError(f"global-local learns from square slices of volumes, not from samples of shape {train.shape}")
    channels, side = train.shape[0], train.shape[1]
    widths = channels_of(width, levels_of(side, levels))
    slices = slices_of(train)
    plan = Plan(
        epochs=epochs,
        batch=batch,
        optimizer=Adam(learning_rate),
        schedule=Constant(),
        seed=seed,
        processes=processes,
    )
    crop = Compose((RandomResizedCrop(side, (_SHARE, _SHARE), (1.0, 1.0)), Intensity()))
    first = Experiment(
        "global-local",
        train,
        MultiCrop((crop,), (1 if global_loss == "gd" else 2,)),
        GlobalContrast(
            UNetEncoder(widths, channels),
            slices=slices,
            side=side,
            partitions=partitions,
            loss=global_loss,
            temperature=temperature,
        ),
        plan,
        test,
    )
    method = LocalContrast(
        UNetEncoder(widths, channels),
        UNetDecoder(widths),
        slices=slices,
        blocks=max(1, len(widths) - 3) if blocks is None else blocks,
        size=region,
        anchors=regions,
        loss=local_loss,
        partitions=partitions,
        temperature=temperature,
    )
    return Experiment(
        "global-local", train, TwoViews(Intensity()), method, plan, test, judges=(SegmentationProbe(),), first=first
    )
