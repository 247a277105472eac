"""What a file of a volume holds is what arrives, by nibabel's own writing; what cannot be read is said in one line."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from withstand.core.errors import DataError
from withstand.data.load import load, splits
from withstand.data.volumes.files import holds_volumes, read_path
from withstand.data.volumes.nifti import read_nifti
from withstand.data.volumes.source import VolumeSource
from withstand.data.volumes.volume import oriented

nibabel = pytest.importorskip("nibabel", reason="extra medical")

Values = npt.NDArray[np.generic]


def scan(shape: tuple[int, ...] = (7, 9, 8), seed: int = 0) -> Values:
    return np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)


def write(path: Path, x: Values, affine: Values | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(x, np.eye(4) if affine is None else affine), path)
    return path


@given(st.permutations([0, 1, 2]), st.lists(st.booleans(), min_size=3, max_size=3), st.floats(-8, 8))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_however_a_scan_lies_it_arrives_turned_to_the_body(
    tmp_path: Path, order: list[int], flipped: list[bool], tilt: float
) -> None:
    """A scan is written with its axes swapped, reversed and tilted, and its affine told."""
    x, spacing = scan(), np.array([1.0, 2.0, 3.5])
    turn = np.deg2rad(tilt)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag(spacing)
    stored, stored_affine = x.transpose(order), affine[:, [*order, 3]]
    for axis, reverse in enumerate(flipped):
        if reverse:
            stored = np.flip(stored, axis)
            stored_affine = stored_affine.copy()
            stored_affine[:, 3] += stored_affine[:, axis] * (stored.shape[axis] - 1)
            stored_affine[:, axis] *= -1
    found = read_nifti(write(tmp_path / "scan.nii", stored.copy(), stored_affine))
    np.testing.assert_array_equal(found.x, x)
    np.testing.assert_allclose(found.spacing, spacing, rtol=1e-5)
    assert found.oblique == pytest.approx(abs(tilt), abs=0.01)
    assert found.turned == (list(order) != [0, 1, 2] or any(flipped))
    assert found.oriented


def test_scaled_values_are_as_nibabel_scales_them(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(scan(), np.eye(4))
    image.header.set_slope_inter(0.25, -100)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    found = read_nifti(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(found.x, nibabel.load(tmp_path / "scan.nii.gz").get_fdata(), rtol=1e-6)


LAYOUTS = {
    "called beside": ("a.nii.gz", "a_seg.nii.gz"),
    "ground truth beside": ("patient1/a_frame01.nii.gz", "patient1/a_frame01_gt.nii.gz"),
    "one of each in a folder": ("patient1/t1.nii.gz", "patient1/mask.nii.gz"),
    "folders of the decathlon": ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"),
    "channels": ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_are_found_where_the_field_puts_them(tmp_path: Path, layout: str) -> None:
    image, mask = LAYOUTS[layout]
    x = scan()
    write(tmp_path / image, x)
    write(tmp_path / mask, (x > 500).astype(np.uint8))
    (tmp_path / "imagesTr").mkdir(exist_ok=True)
    (tmp_path / "._a.nii.gz").write_bytes(b"macOS keeps such files")
    found = read_path(tmp_path)
    assert len(found.volumes) == 1
    assert not found.skipped
    assert found.volumes[0].mask is not None
    np.testing.assert_array_equal(found.volumes[0].mask, x > 500)


def test_numbered_cases_are_no_channels_and_channels_are_of_one_case(tmp_path: Path) -> None:
    for number in (1, 2):
        write(tmp_path / "cases" / f"case_{number:04d}.nii.gz", scan(seed=number))
    write(tmp_path / "channels" / "imagesTr" / "a_0000.nii.gz", scan())
    write(tmp_path / "channels" / "imagesTr" / "a_0001.nii.gz", scan())
    write(tmp_path / "channels" / "labelsTr" / "a.nii.gz", np.ones((7, 9, 8), np.uint8))
    assert read_path(tmp_path / "cases").wholes == ["case_0001", "case_0002"]
    assert read_path(tmp_path / "channels").wholes == ["a", "a"]


def test_structures_have_the_names_that_the_set_gives(tmp_path: Path) -> None:
    write(tmp_path / "imagesTr" / "a.nii.gz", scan())
    write(tmp_path / "labelsTr" / "a.nii.gz", (scan() > 500).astype(np.uint8) * 2)
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "background", "2": "Posterior"}}')
    source = VolumeSource(tmp_path)
    assert source.structures == ("background", "Posterior")
    assert source[range(len(source))].extras["mask"].unique().tolist() == [0, 1]


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        VolumeSource(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "axes",
    [
        [[1e17, 1e17, 0], [0, 1, 0], [0, 0, 1]],  # two axes that are one beside their length
        [[0, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[float("nan"), 0, 0], [0, 1, 0], [0, 0, 1]],
    ],
)
def test_an_affine_that_loses_an_axis_is_refused(axes: list[list[float]]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = axes
    with pytest.raises(DataError, match="the affine of a says not how its axes lie"):
        oriented(np.zeros((4, 5, 6), np.float32), affine, "a")


def test_what_is_no_volume_is_refused_and_beside_others_left_out(tmp_path: Path) -> None:
    write(tmp_path / "bad" / "time.nii.gz", scan((4, 4, 4, 3)))
    assert "4 axes" in refused(tmp_path / "bad")
    x = scan().astype(np.float32)
    x[0, 0, 0] = np.nan
    write(tmp_path / "nan" / "a.nii.gz", x)
    assert "NaN" in refused(tmp_path / "nan")
    (tmp_path / "cut").mkdir()
    whole = write(tmp_path / "whole.nii.gz", scan()).read_bytes()
    (tmp_path / "cut" / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refused(tmp_path / "cut")
    write(tmp_path / "flat" / "a.nii.gz", np.full((4, 5, 6), 7, np.int16))
    assert "one value all over" in refused(tmp_path / "flat")
    for name in ("bad", "nan", "cut"):
        write(tmp_path / name / "good.nii.gz", scan())
        source = VolumeSource(tmp_path / name)
        assert len(source.counts) == 1
        assert len(source.skipped) == 1


def test_a_mask_that_does_not_fit_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", scan())
    write(tmp_path / "a_seg.nii.gz", np.zeros((7, 9, 7), np.uint8))
    assert "(7, 9, 7)" in refused(tmp_path)
    write(tmp_path / "a_seg.nii.gz", np.full((7, 9, 8), 0.5, np.float32))
    assert "no whole numbers" in refused(tmp_path)
    write(tmp_path / "a_seg.nii.gz", np.full((7, 9, 8), -1, np.int16))
    assert "-1" in refused(tmp_path)


def test_a_mask_without_a_volume_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.nii.gz", scan())
    write(tmp_path / "b_seg.nii.gz", np.zeros((7, 9, 8), np.uint8))
    assert VolumeSource(tmp_path).skipped == (("b_seg.nii.gz", "a mask without a volume of its name that can be read"),)


def test_the_front_door_knows_volumes(tmp_path: Path) -> None:
    for place in range(5):
        write(tmp_path / "scans" / f"{place}.nii.gz", scan(seed=place))
    assert holds_volumes(tmp_path / "scans")
    source = load(str(tmp_path / "scans"))
    assert source.kind == "slice"
    train, test = splits(str(tmp_path / "scans"))
    assert len(train) + len(test) == len(source)
    both = [set(part.attributes["volume"].tolist()) for part in (train, test)]
    assert not both[0] & both[1], "a volume lies on one side"
    assert len(load(str(tmp_path / "scans" / "0.nii.gz"))) == 9
    with pytest.raises(DataError, match="second whole"):
        splits(str(tmp_path / "scans" / "0.nii.gz"))


def test_parts_are_the_folders_own(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for place in range(count):
            write(tmp_path / part / f"{part}{place}.nii.gz", scan((7, 9, 8 + 4 * count), seed=place))
    train, test = splits(str(tmp_path))
    assert train.shape == test.shape, "the test part is read as the training part"
    assert len(set(train.attributes["volume"].tolist())) == 3
    assert len(set(test.attributes["volume"].tolist())) == 2


def test_a_series_of_dicom_files_is_a_volume(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    x = scan((6, 5, 4)).astype(np.uint16)
    for place in (2, 0, 3, 1):
        file = pydicom.Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.file_meta.MediaStorageSOPClassUID = MRImageStorage
        file.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{place}"
        file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, f"1.2.3.{place}"
        file.SeriesInstanceUID, file.SeriesDescription = "1.2.4", "T1"
        # Rows run to the left and columns to the back, as DICOM's own axes do.
        file.ImageOrientationPatient, file.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [-10, -20, 2.5 * place]
        file.PixelSpacing, file.Rows, file.Columns = [1.5, 1.0], 5, 6
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.RescaleSlope, file.RescaleIntercept = 2, -100
        file.PixelData = np.ascontiguousarray(x[:, :, place].T).tobytes()
        file.save_as(tmp_path / f"{place}.dcm", enforce_file_format=True)
    (volume,) = read_path(tmp_path).volumes
    np.testing.assert_array_equal(volume.x, 2.0 * x[::-1, ::-1] - 100)  # to the right and to the front
    assert volume.spacing == (1.0, 1.5, 2.5)
    assert volume.name == "series 1 T1"
    (tmp_path / "1.dcm").unlink()
    assert "some are missing" in refused(tmp_path)
