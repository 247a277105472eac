import re
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from withstand.core.errors import DataError
from withstand.data.arrays.layout import arrange, find_layout, sample_shape
from withstand.data.arrays.source import ArraySource


@pytest.mark.parametrize(
    ("shape", "dtype", "layout"),
    [
        ((5, 3, 32, 32), torch.uint8, "NCHW"),
        ((5, 1, 28, 28), torch.float32, "NCHW"),
        ((5, 32, 32, 3), torch.uint8, "NHWC"),
        ((5, 28, 28, 1), torch.float64, "NHWC"),
        ((5, 28, 28), torch.uint8, "NHW"),
        ((5, 128, 6), torch.float32, "rows"),
        ((5, 14), torch.float32, "rows"),
        ((5, 14), torch.uint8, "rows"),
        ((5, 3, 8, 16, 16), torch.uint8, "rows"),
    ],
)
def test_auto_follows_the_table(shape, dtype, layout):
    assert find_layout(shape, dtype) == layout


@pytest.mark.parametrize("shape", [(5, 3, 32, 3), (5, 1, 28, 1), (5, 43, 59, 47), (5, 4, 32, 4)])
def test_doubt_is_asked_about_and_settled_by_the_argument(shape):
    with pytest.raises(DataError, match="say layout="):
        find_layout(shape, torch.uint8)
    for layout in ("NCHW", "NHWC", "rows"):
        assert find_layout(shape, torch.uint8, layout) == layout


@pytest.mark.parametrize(
    ("shape", "dtype", "layout", "says"),
    [
        ((5,), torch.float32, "auto", "samples along the first axis"),
        ((0, 3, 8, 8), torch.uint8, "auto", "samples along the first axis"),
        ((5, 0), torch.float32, "rows", "samples along the first axis"),
        ((5, 8, 8), torch.uint8, "NCHW", "has 4 axes"),
        ((5, 3, 8, 8), torch.int64, "auto", "int64: pictures are uint8"),
        ((5, 3, 8, 8), torch.bool, "NCHW", "bool: pictures are uint8"),
        ((5, 3, 8, 8), torch.uint8, "NHCW", "did you mean"),
    ],
)
def test_what_does_not_fit_is_refused(shape, dtype, layout, says):
    with pytest.raises(DataError, match=says):
        find_layout(shape, dtype, layout)


@given(
    layout=st.sampled_from(["NCHW", "NHWC", "NHW"]),
    sides=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    as_float=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_layout_arranges_to_the_same_pictures(layout, sides, as_float, seed):
    count, channels, high, wide = sides
    channels = 1 if layout == "NHW" else channels
    wanted = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, channels, high, wide), np.uint8))
    given_ = {"NCHW": wanted, "NHWC": wanted.permute(0, 2, 3, 1), "NHW": wanted[:, 0]}[layout]
    if as_float:
        given_ = given_.float() / 255
    arranged = arrange(given_, layout)
    assert arranged.dtype == torch.uint8
    assert arranged.is_contiguous()
    assert torch.equal(arranged, wanted)
    assert sample_shape(tuple(given_.shape), layout) == tuple(wanted.shape[1:])


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (1.6e9 + np.arange(18.0).reshape(6, 3), r"rounds 3 of 3 columns .*column 0 holds 1600000000 to 1600000015"),
        (np.stack([np.arange(6.0), 1e12 + np.arange(6.0)], 1), r"rounds 1 of 2 columns .*column 1"),
        (np.arange(18.0).reshape(6, 3) * 1e-50, r"rounds 3 of 3"),
        (np.full((6, 3, 8, 8), 0.003), r"floats up to 0.003, and become bytes: 2 levels of 256"),
        (np.linspace(0, 1e-6, 6 * 192).reshape(6, 3, 8, 8), r"1 levels of 256"),
        (np.random.default_rng(0).normal(1e3, 1, (50, 4)), ""),
        (np.full((6, 3), 1 / 3), ""),
        (np.linspace(0, 1, 6 * 192).reshape(6, 3, 8, 8), ""),
        (np.zeros((6, 3, 8, 8)), ""),
        ((1.6e9 + np.arange(18.0)).reshape(6, 3).astype(np.float32), ""),
    ],
)
def test_numbers_that_are_lost_by_rounding_are_told(x, told):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ArraySource(x)
    assert len(caught) == bool(told)
    assert not told or re.search(told, str(caught[0].message))
