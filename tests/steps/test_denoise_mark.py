"""The mark in the header that says with which parameters a mask was denoised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.params import DenoiseParams
from amos_dask.steps.denoise import denoise_mask, denoising_mark, is_denoised

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)
params = st.builds(
    DenoiseParams,
    kernel_size=st.tuples(st.integers(1, 99), st.integers(1, 99)),
    filter_halfedge=st.integers(0, 99),
    region_area_thresh=st.floats(0, 1e9, allow_nan=False),
)


@quick
@given(given_params=params)
def test_a_mark_fits_into_descrip_and_is_recognised(given_params: DenoiseParams) -> None:
    mark = denoising_mark(given_params)
    assert mark.isascii()
    assert len(mark) <= 79
    assert is_denoised(mark)


@quick
@given(first=params, second=params)
def test_marks_are_equal_exactly_when_the_parameters_are(
    first: DenoiseParams, second: DenoiseParams
) -> None:
    assert (denoising_mark(first) == denoising_mark(second)) == (first == second)


def test_a_whole_number_and_the_same_float_are_the_same_parameter() -> None:
    whole, fraction = DenoiseParams(region_area_thresh=10), DenoiseParams(region_area_thresh=10.0)
    assert whole == fraction
    assert denoising_mark(whole) == denoising_mark(fraction)


@pytest.mark.parametrize("description", ["", "FSL5.0", "denoise", "amos-dask", "x" * 79])
def test_other_descriptions_are_no_mark(description: str) -> None:
    assert not is_denoised(description)


def test_an_island_is_voted_away_and_the_given_mask_is_left_alone() -> None:
    mask = np.zeros((20, 20, 2), np.uint8, order="F")
    mask[4:16, 4:16] = 6
    mask[9, 9, 0] = 1
    before = mask.copy(order="F")
    result = denoise_mask(mask, (1.0, 1.0, 5.0), DenoiseParams())
    assert result[9, 9, 0] == 6
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(mask, before)
