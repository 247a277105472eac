"""What belongs to samples and is no class comes along with them, and never silently short."""

import numpy as np
import pytest
import torch

from withstand.core.errors import DataError
from withstand.core.part import build, describe, externals
from withstand.data.arrays.source import ArraySource
from withstand.data.derived.paired import PairedSource
from withstand.data.derived.subset import holdout

PICTURES = ArraySource(np.zeros((6, 3, 4, 4), np.uint8), np.arange(6) % 2)
MASKS = np.arange(6 * 16).reshape(6, 4, 4)


def test_rows_follow_their_samples_through_parts() -> None:
    paired = PairedSource(PairedSource(PICTURES, {"mask": MASKS}), {"caption": torch.arange(12).view(6, 2)})
    train, test = holdout(paired, 0.5)
    for part in (train, test):
        batch = part[torch.arange(len(part))]
        assert set(batch.extras) == {"mask", "caption"}
        assert torch.equal(batch.extras["mask"], torch.from_numpy(MASKS)[part.rows])
        assert torch.equal(batch.extras["caption"][:, 0] // 2, part.rows)
        assert torch.equal(batch.to("cpu").extras["mask"], batch.extras["mask"])


def test_a_description_gives_it_back() -> None:
    paired = PairedSource(PICTURES, {"mask": MASKS})
    again = build(describe(paired), supply=externals(paired))
    assert again.fingerprint() == paired.fingerprint()


@pytest.mark.parametrize(
    ("beside", "told"),
    [
        ({}, "needs something beside"),
        ({"mask": MASKS[:5]}, r"beside\['mask'\] has 5 rows for 6 samples"),
        ({"mask": MASKS.astype(object)}, r"beside\['mask'\] has type object"),
        ({"mask": np.full((6, 2), np.nan)}, r"beside\['mask'\] holds NaN"),
        ({"other": PairedSource(PICTURES, {"mask": MASKS})}, r"beside\['other'\] brings 'mask' along itself"),
    ],
)
def test_what_does_not_fit_is_refused(beside: dict[str, object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        PairedSource(PICTURES, beside)


def test_a_name_is_not_taken_twice() -> None:
    with pytest.raises(DataError, match="bring 'mask' along already"):
        PairedSource(PairedSource(PICTURES, {"mask": MASKS}), {"mask": MASKS})
