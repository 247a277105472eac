"""Segmentation: a U-Net learns the masks of labelled volumes, from new weights or from what a run learnt without any.

paper: Contrastive learning of global and local features for medical image segmentation with limited annotations
  (Chaitanya, Erdil, Karani, Konukoglu; NeurIPS 2020), its third stage
claims: a U-Net that learnt from volumes without masks needs masks of few volumes
learns from: volumes with masks: folders of NIfTI files with masks beside them, arrays; those without are passed over
use it when: masks of new scans are wanted: withstand apply RUN --data scans writes them
not for: volumes without any mask: withstand train global-local learns from these
command: withstand train segmentation --data hippocampus-mri --first runs/global-local-hippocampus-mri --volumes 8
"""

from pathlib import Path

import torch

from withstand.core.errors import DataError
from withstand.core.random import permutation
from withstand.core.roles import Source
from withstand.data.derived.subset import Subset
from withstand.data.volumes.load import split_volumes
from withstand.data.volumes.source import Axis
from withstand.engine.experiment import Experiment, Plan
from withstand.engine.optimizers import Adam
from withstand.engine.schedules import Constant
from withstand.evaluation.dense.segmentation.judge import SegmentationJudge
from withstand.evaluation.dense.segmentation.masks import masked_volumes
from withstand.methods.dense.segmentation import Segmentation
from withstand.models.dense.unet import Dense, Segmenter, UNet, UNetDecoder, UNetEncoder
from withstand.recipes.setups.staged.stages import method_of
from withstand.recipes.setups.vision.volumes import channels_of, levels_of
from withstand.views.compose import MultiCrop
from withstand.views.pictures.colors.intensity import Intensity


def experiment(
    *,
    data: str | Source = "hippocampus-mri",
    first: str | None = None,
    volumes: int | None = None,
    size: int | None = None,
    axis: Axis = "auto",
    width: int = 16,
    levels: int | None = None,
    epochs: int = 50,
    batch: int = 10,
    learning_rate: float = 1e-3,
    seed: int = 0,
    processes: int = 1,
) -> Experiment:
    """Return the experiment.

    Args:
        data: a folder of volumes with masks, or the name of a set.
        first: folder of the run whose U-Net is the start, one of global-local; new weights if not said.
        volumes: labelled volumes to learn from, drawn by the seed; all that there are if not said.
        size: side of the slices, in pixels; the least multiple of 32 that holds every slice if not said.
        axis: across which slices lie: sagittal, coronal, axial; found by itself, and told, if not said.
        width: channels of the U-Net's finest level; the run's with --first.
        levels: of the U-Net; the run's with --first.
        epochs: passes over the labelled slices.
        batch: slices a step.
        learning_rate: of Adam.
        seed: of weights, order, views and the choice of volumes.
        processes: how many train together.

    Raises:
        DataError: no masks, or fewer volumes with masks than are asked for.
    """
    train, test = split_volumes(data, size=size, axis=axis)
    labelled = masked_volumes(train)
    wanted = len(labelled) if volumes is None else volumes
    if not 1 <= wanted <= len(labelled):
        raise DataError(f"volumes must lie between 1 and {len(labelled)}, those with masks to learn from, not {wanted}")
    chosen = permutation(len(labelled), seed, "labelled volumes")[:wanted].sort().values
    source = Subset(train, torch.cat([labelled[place] for place in chosen.tolist()]).tolist())
    if first is None:
        widths = channels_of(width, levels_of(train.shape[-1], levels))
        network = UNet(UNetEncoder(widths, train.shape[0]), UNetDecoder(widths))
    else:
        earlier = method_of(Path(first))
        if not isinstance(earlier, Dense):
            raise DataError(f"{first} trained a {type(earlier).__name__}, which has no U-Net to start from")
        known = earlier.dense().encoder.channels
        network = UNet(UNetEncoder(known, train.shape[0]), UNetDecoder(known))
    plan = Plan(
        epochs=epochs,
        batch=min(batch, len(source)),
        optimizer=Adam(learning_rate),
        schedule=Constant(),
        seed=seed,
        processes=processes,
    )
    method = Segmentation(Segmenter(network, len(train.structures)))
    view, judges = MultiCrop((Intensity(),), (1,)), (SegmentationJudge(),)
    return Experiment("segmentation", source, view, method, plan, test, judges=judges, first=first)
