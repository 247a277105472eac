"""Slices of volumes: partitions, bytes, sizes, masks, and what other volumes are read by."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from withstand.core.errors import ConfigError, DataError
from withstand.data.derived.subset import Held, Subset
from withstand.data.volumes.load import open_volumes
from withstand.data.volumes.slices import as_bytes, fitted, partition_of, partitions_of, stacked, usual_axis
from withstand.data.volumes.source import VolumeSource
from withstand.data.volumes.volume import Volume


@given(st.integers(1, 60), st.integers(1, 8))
def test_partitions_cover_all_slices_and_are_equal_to_within_one(count: int, partitions: int) -> None:
    found = [int(partition_of(place, count, partitions)) for place in range(count)]
    sizes = np.bincount(found, minlength=partitions)
    assert found == sorted(found)
    assert len(sizes) == partitions
    assert sizes.max() - sizes.min() <= 1


def test_partitions_of_several_volumes_are_each_ones_own() -> None:
    volumes, partitions = partitions_of((3, 5), 2)
    assert volumes.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert partitions.tolist() == [
        *(partition_of(k, 3, 2) for k in range(3)),
        *(partition_of(k, 5, 2) for k in range(5)),
    ]


def test_bytes_run_between_the_percentiles() -> None:
    x = np.arange(1001, dtype=np.float32).reshape(7, 11, 13)
    found = as_bytes(x).ravel()
    assert (found[:11] == 0).all()
    assert (found[990:] == 255).all()
    np.testing.assert_array_equal(found, np.rint(np.clip((x.ravel() - 10) / 980, 0, 1) * 255))
    spike = np.zeros((4, 5, 6), np.float32)
    spike[0, 0, 0] = 9  # beyond both percentiles
    assert as_bytes(spike).max() == 255


def test_slices_show_up_or_front_first_and_are_centred() -> None:
    x = np.zeros((2, 3, 4), np.int16)
    x[1, 2, 3] = 5  # right, front, up
    assert stacked(x, 2)[3].tolist() == [[0, 5], [0, 0], [0, 0]]
    assert stacked(x, 0)[1][0].tolist() == [0, 0, 5]
    whole = fitted(stacked(x, 2), 4)
    assert whole.shape == (4, 4, 4)
    assert whole[3, 0, 2] == 5
    assert fitted(whole, 2).shape == (4, 2, 2)


def test_the_axis_is_the_one_of_thick_slices_or_else_the_longest() -> None:
    thick = Volume("a", np.zeros((40, 50, 8), np.float32), spacing=(1, 1, 6))
    assert usual_axis([thick])[0] == 2
    assert usual_axis([Volume("a", np.zeros((4, 6, 5), np.float32))])[0] == 1


def test_masks_follow_their_slices_and_volumes_without_are_unknown() -> None:
    source = VolumeSource.example()
    whole = source[range(len(source))]
    masks, volume = whole.extras["mask"], source.attributes["volume"]
    assert source.shape == (1, 16, 16)
    assert source.structures == ("background", "structure 1")
    assert bool((masks[volume == 2] == -1).all())
    assert masks[volume < 2].unique().tolist() == [0, 1]
    assert source.attributes["masked"].tolist() == (volume < 2).tolist()
    assert source.names[7] == "volume 1 slice 0"
    known = masks[0] == 1
    assert bool((whole.x[0, 0][known] > 130).all()), "structures lie on the brightest voxels"


def test_empty_slices_are_left_out_and_told() -> None:
    x = np.random.default_rng(0).random((6, 9, 8)).astype(np.float32)
    x[[0, 5]] = 0
    mask = np.zeros(x.shape, np.int16)
    mask[5, 2, 2] = 3
    source = VolumeSource([x], [mask], axis="sagittal")
    assert source.attributes["slice"].tolist() == [1, 2, 3, 4, 5], "the mask keeps the last"
    assert source.skipped == (("1 slice(s)", "one value all over, and no mask on it"),)
    assert source.structures == ("background", "structure 3")


def test_other_volumes_are_read_alike() -> None:
    draws = np.random.default_rng(1)
    source = VolumeSource.example()
    other = Subset(source, range(4)).like(tuple(draws.random((3, 30, 30)).astype(np.float32) for _ in range(2)))
    assert other is not None
    assert other.shape == source.shape
    assert other.attributes["partition"].max() == 1
    assert source.like([draws.random((3, 3, 3))], "test") is None


def test_a_structure_that_was_not_there_is_refused() -> None:
    x = np.random.default_rng(1).random((3, 9, 9)).astype(np.float32)
    mask = np.full(x.shape, 4, np.int16)
    with pytest.raises(DataError, match="value 4"):
        VolumeSource([x], [mask], values=(0, 1))


def test_a_size_that_cuts_masks_is_told() -> None:
    x = np.random.default_rng(1).random((3, 20, 20)).astype(np.float32)
    with pytest.warns(UserWarning, match="cuts"):
        VolumeSource([x], [np.ones(x.shape, np.int16)], size=16, axis="sagittal")


def test_whole_volumes_are_held_out_whatever_the_seed() -> None:
    source = VolumeSource.example()
    for seed in range(4):
        train, test = (Held(source, part, seed=seed).together for part in ("train", "test"))
        assert train is not None
        assert test is not None
        assert len(test.unique()) == 1
        assert not set(train.tolist()) & set(test.tolist())


def test_masks_and_depth_count_for_the_fingerprint() -> None:
    draws = np.random.default_rng(1)
    x = draws.random((4, 9, 9)).astype(np.float32)
    masks = [np.zeros(x.shape, np.int16), np.ones(x.shape, np.int16), None]
    marks = {VolumeSource([x], [mask]).fingerprint() for mask in masks} | {
        VolumeSource([x], partitions=2).fingerprint()
    }
    assert len(marks) == 4


def test_an_npz_of_padded_volumes_gives_their_own_extent(tmp_path: Path) -> None:
    draws = np.random.default_rng(1)
    x = np.zeros((2, 8, 8, 8), np.uint8)
    x[0, 1:7, 2:6], x[1] = draws.integers(1, 255, (6, 4, 8)), draws.integers(1, 255, (8, 8, 8))
    np.savez(tmp_path / "v.npz", x=x, y=x > 99, shape=[[6, 4, 8], [8, 8, 8]], id=["a", "b"])
    source = open_volumes(str(tmp_path / "v.npz"), axis="sagittal")
    assert source.attributes["slice"].tolist() == [*range(6), *range(8)]
    assert source.names[0] == "a slice 0"
    assert torch.equal(
        source[[0]].extras["mask"][0] == 1, torch.from_numpy(fitted(stacked(x[0, 1:7, 2:6] > 99, 0), 32))[0]
    )


def test_what_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="axis"):
        VolumeSource([np.ones((3, 3, 3))], axis="axail")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="hippocampus-mri"):
        open_volumes("hippocampus")
    with pytest.raises(DataError, match="3 masks for 1"):
        VolumeSource([np.ones((3, 3, 3))], [None] * 3)
    np.savez(tmp_path / "v.npz", z=np.ones(3))
    with pytest.raises(DataError, match="called x"):
        open_volumes(str(tmp_path / "v.npz"))
    with pytest.raises(DataError, match="int holds no volumes"):
        open_volumes(3)
