"""Label 15 is prostate or uterus by the patient's sex."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from amos_dask.steps.mask_labels import check_sex, labels_present, split_prostate_uterus

Mask = NDArray[np.uint8]

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
masks = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=4),
    elements=st.sampled_from([0, 1, 14, 15, 16, 17, 255]),
).map(np.asfortranarray)
UNKNOWN = ["UND", "", "O", "0", "1", "15"]
FEMALE = ["F", "f", "female", "F "]


@quick
@given(mask=masks)
def test_labels_present_are_those_numpy_finds(mask: Mask) -> None:
    found = labels_present(mask)
    assert found == tuple(np.unique(mask).tolist())
    assert {type(label) for label in found} == {int}


@quick
@given(mask=masks, sex=st.sampled_from([*FEMALE, "M", "male", *UNKNOWN]))
def test_only_a_womans_15_becomes_16(mask: Mask, sex: str) -> None:
    given_mask = mask.copy(order="F")
    result = split_prostate_uterus(mask, sex, labels_present(mask))
    expected = np.where(mask == 15, 16, mask) if sex in FEMALE else given_mask
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(mask, given_mask)


@quick
@given(mask=masks, sex=st.sampled_from(["F", "M", *UNKNOWN]))
def test_once_more_changes_nothing(mask: Mask, sex: str) -> None:
    once = split_prostate_uterus(mask, sex, labels_present(mask))
    twice = split_prostate_uterus(once, sex, labels_present(once))
    np.testing.assert_array_equal(twice, once)


@pytest.mark.parametrize("sex", UNKNOWN)
def test_label_15_with_unknown_sex_is_told(sex: str) -> None:
    (issue,) = check_sex((0, 15), sex, "amos_0001", "a.nii.gz")
    assert (issue.code, issue.sample, issue.file) == ("unknown_sex", "amos_0001", "a.nii.gz")
    assert issue.severity != "error"


@pytest.mark.parametrize(
    ("present", "sex"),
    [((0, 15), "F"), ((0, 15), "M"), ((0, 16), "UND"), ((0,), "UND"), ((0, 14, 16), "")],
)
def test_nothing_is_told_where_nothing_is_unclear(present: tuple[int, ...], sex: str) -> None:
    assert check_sex(present, sex, "amos_0001", "a") == []
