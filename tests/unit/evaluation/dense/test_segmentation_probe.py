"""Dice after fine-tuning: what a network that has the answer gets, what is left out, and what is shown."""

import numpy as np
import pytest
import torch
from torch import Tensor

from withstand.core.errors import ConfigError, DataError
from withstand.core.findings.finding import Finding
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.paired import PairedSource
from withstand.data.derived.subset import Held, Subset
from withstand.data.volumes.source import VolumeSource
from withstand.evaluation.dense.segmentation.masks import masked_volumes, overlaid, scores
from withstand.evaluation.dense.segmentation.probe import SegmentationProbe
from withstand.methods.dense.local_contrast import LocalContrast


def bright(volumes: int = 6) -> VolumeSource:
    """Volumes of which one bright box is a structure, and the last has no mask."""
    draws = np.random.default_rng(0)
    scans, masks = [], list[np.ndarray | None]()
    for place in range(volumes):
        x, mask = draws.random((6, 16, 16)).astype(np.float32) / 3, np.zeros((6, 16, 16), np.int16)
        row = 2 + place
        x[1:5, row : row + 6, 4:10] += 0.6
        mask[1:5, row : row + 6, 4:10] = 2
        scans.append(x)
        masks.append(mask)
    return VolumeSource(scans, [*masks[:-1], None], size=16, axis="sagittal")


@pytest.fixture(scope="module")
def finding() -> Finding:
    source = bright()
    train, test = Held(source, "train", fraction=0.34), Held(source, "test", fraction=0.34)
    torch.manual_seed(0)
    probe = SegmentationProbe(volumes=(1, 2, 50), choices=2, steps=30, batch=8, learning_rate=0.02, shown=3)
    return probe.evaluate(LocalContrast.example(), train, test=test, control=LocalContrast.example())


def test_an_easy_structure_is_found(finding: Finding) -> None:
    assert list(finding.figures) == ["Dice, 1 labelled volume", "Dice, 2 labelled volumes"]
    figure = finding.figures["Dice, 2 labelled volumes"]
    assert finding.headline == "Dice, 2 labelled volumes"
    assert figure.value > 0.5
    assert figure.control is not None
    assert figure.unit == "ratio"


def test_tables_and_pictures_tell_of_structures_volumes_and_the_worst(finding: Finding) -> None:
    assert finding.tables["structures"].column("structure") == ("structure 2", "structure 2")
    assert "volumes, 2 labelled" in finding.tables
    assert finding.pictures["found masks"].shape == (3, 16, 16, 3)
    worst = finding.tables["pictures"].column("Dice")
    assert list(worst) == sorted(worst)


def test_it_comes_out_the_same_again(finding: Finding) -> None:
    source = bright()
    train, test = Held(source, "train", fraction=0.34), Held(source, "test", fraction=0.34)
    torch.manual_seed(0)
    probe = SegmentationProbe(volumes=(1,), choices=2, steps=30, batch=8, learning_rate=0.02)
    again = probe.evaluate(LocalContrast.example(), train, test=test)
    assert again.figures["Dice, 1 labelled volume"].value == finding.figures["Dice, 1 labelled volume"].value


def test_without_test_volumes_some_of_the_labelled_are_kept_from_fine_tuning() -> None:
    probe = SegmentationProbe(volumes=(1, 4, 5), choices=1, steps=1, batch=2)
    found = probe.evaluate(LocalContrast.example(), bright())
    assert list(found.figures) == ["Dice, 1 labelled volume", "Dice, 4 labelled volumes"]
    assert found.protocol["test volumes"] == 1


def test_volumes_without_masks_are_neither_drawn_nor_judged() -> None:
    source = bright()
    assert [len(rows) for rows in masked_volumes(source)] == [6] * 5
    assert all(bool((source[rows].extras["mask"] >= 0).all()) for rows in masked_volumes(source))
    last = Subset(source, (source.attributes["volume"] == 5).nonzero()[:, 0])
    assert "no volume" in SegmentationProbe().lacks(LocalContrast.example(), last)


def test_samples_without_volumes_are_each_their_own() -> None:
    class Named(PairedSource):
        @property
        def structures(self) -> tuple[str, ...]:
            return ("background", "thing")

    pictures = ArraySource(np.zeros((3, 1, 8, 8), np.uint8), layout="NCHW")
    assert [rows.tolist() for rows in masked_volumes(Named(pictures, {"mask": torch.zeros(3, 8, 8)}))] == [
        [0],
        [1],
        [2],
    ]


def test_dice_is_of_volumes_and_not_of_slices() -> None:
    found: Tensor = torch.tensor([[[1, 0]], [[1, 1]], [[0, 0]]])
    true = torch.tensor([[[1, 1]], [[0, 1]], [[0, 0]]])
    each = scores(found, true, torch.tensor([0, 0, 1]), 2)
    assert float(each[0, 0]) == pytest.approx(2 * 2 / 6)
    assert bool(each[1, 0].isnan())


def test_masks_are_drawn_over_what_they_are_of() -> None:
    picture = np.full((1, 2, 2, 1), 100, np.uint8)
    found = overlaid(picture, torch.tensor([[[0, 1], [2, -1]]]))
    assert found.shape == (1, 2, 2, 3)
    assert (found[0, 0, 0] == 100).all()
    assert (found[0, 1, 1] == 100).all()
    assert found[0, 0, 1].tolist() != found[0, 1, 0].tolist()


def test_what_is_lacking_is_said() -> None:
    source = bright()
    with pytest.raises(ConfigError, match="no maps"):
        SegmentationProbe().evaluate(torch.nn.Identity(), source, test=source)
    with pytest.raises(DataError, match="8 are asked"):
        SegmentationProbe(volumes=(8,)).evaluate(LocalContrast.example(), source, test=source)
    with pytest.raises(ConfigError, match="numbers from 1"):
        SegmentationProbe(volumes=())
