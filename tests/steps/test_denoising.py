"""What denoising leaves as it was, the mark that it leaves, and what it changed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from strategies import layouts

from amos_dask.params import EVERY_LABEL, DenoiseParams
from amos_dask.records import find_difference
from amos_dask.steps.denoise import denoise_mask, denoising_mark, is_denoised, undo_labels

Mask = NDArray[np.uint8]

quick = settings(max_examples=50, deadline=None, derandomize=True, database=None)
shapes = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)
few_labels = st.sampled_from([0, 1, 2, 16, 255])
excluded_labels = st.frozensets(few_labels, max_size=4) | st.just(EVERY_LABEL)
params = st.builds(
    DenoiseParams,
    kernel_size=st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
    filter_halfedge=st.integers(0, 1000),
    region_area_thresh=st.floats(0, 1.7e308, allow_nan=False),
)


@st.composite
def before_and_after(draw: st.DrawFn) -> tuple[Mask, Mask]:
    shape = draw(shapes)
    masks = hnp.arrays(np.uint8, shape, elements=few_labels)
    return draw(masks), draw(masks)


@quick
@given(masks=before_and_after(), labels=excluded_labels, layout=layouts())
def test_labels_are_undone_as_the_oracle_says(
    masks: tuple[Mask, Mask], labels: frozenset[int], layout: Callable[[Mask], Mask]
) -> None:
    before, after = layout(masks[0]), layout(masks[1])
    kept = before.copy(), after.copy()
    result = undo_labels(before, after, labels)
    np.testing.assert_array_equal(result, oracle.undo_labels(before, after, labels), strict=True)
    np.testing.assert_array_equal(before, kept[0])
    np.testing.assert_array_equal(after, kept[1])


@quick
@given(masks=before_and_after(), labels=excluded_labels)
def test_an_excluded_label_is_untouched_and_nothing_else_is_invented(
    masks: tuple[Mask, Mask], labels: frozenset[int]
) -> None:
    before, after = masks
    result = undo_labels(before, after, labels)
    for label in labels:
        np.testing.assert_array_equal(result == label, before == label)
    assert ((result == before) | (result == after)).all()
    elsewhere = ~np.isin(before, list(labels)) & ~np.isin(after, list(labels))
    np.testing.assert_array_equal(result[elsewhere], after[elsewhere])


@quick
@given(masks=before_and_after(), labels=st.frozensets(few_labels, max_size=3), more=few_labels)
def test_with_every_label_all_is_as_before_and_more_labels_undo_no_less(
    masks: tuple[Mask, Mask], labels: frozenset[int], more: int
) -> None:
    before, after = masks
    np.testing.assert_array_equal(undo_labels(before, after, EVERY_LABEL), before)
    np.testing.assert_array_equal(undo_labels(before, after, frozenset()), after)
    undone = undo_labels(before, after, labels) == before
    assert (undone <= (undo_labels(before, after, labels | {more}) == before)).all()


def speckled() -> Mask:
    """Return two organs with an island each and a pinhole."""
    mask = np.zeros((20, 20, 2), np.uint8, order="F")
    mask[4:16, 4:10] = 6
    mask[4:16, 10:16] = 7
    mask[9, 6, 0] = 1  # in the liver
    mask[9, 12, 0] = 2  # in the stomach
    mask[6, 12, 1] = 0
    return mask


@pytest.mark.parametrize(
    ("excluded", "kept"),
    [
        ((), []),
        ((1,), [(9, 6, 0)]),
        ((2,), [(9, 12, 0)]),
        ((6,), [(9, 6, 0)]),
        ((7,), [(9, 12, 0), (6, 12, 1)]),
        ((0,), [(6, 12, 1)]),
        ((1, 7), [(9, 6, 0), (9, 12, 0), (6, 12, 1)]),
        ((13,), []),
        (EVERY_LABEL, [(9, 6, 0), (9, 12, 0), (6, 12, 1)]),
    ],
)
def test_denoising_leaves_what_is_excluded(
    excluded: tuple[int, ...], kept: list[tuple[int, int, int]]
) -> None:
    mask = speckled()
    clean = denoise_mask(mask, (1.0, 1.0, 5.0), DenoiseParams())
    assert int((clean != mask).sum()) == 3
    expected = clean.copy()
    for voxel in kept:
        expected[voxel] = mask[voxel]
    result = denoise_mask(mask, (1.0, 1.0, 5.0), DenoiseParams(), frozenset(excluded))
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(mask, speckled())


def test_an_island_is_voted_away_and_the_given_mask_is_left_alone() -> None:
    mask = np.zeros((20, 20, 2), np.uint8, order="F")
    mask[4:16, 4:16] = 6
    mask[9, 9, 0] = 1
    before = mask.copy(order="F")
    result = denoise_mask(mask, (1.0, 1.0, 5.0), DenoiseParams())
    assert result[9, 9, 0] == 6
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(mask, before)


# ---------------------------------------------------------------- the mark


@quick
@given(how=params, labels=st.frozensets(st.integers(0, 255)))
def test_a_mark_with_exclusions_fits_and_is_recognised(
    how: DenoiseParams, labels: frozenset[int]
) -> None:
    mark = denoising_mark(how, labels)
    if labels == EVERY_LABEL:
        assert mark == ""
        return
    assert mark.isascii()
    assert len(mark) <= 79
    assert is_denoised(mark)
    if not labels:
        assert mark == denoising_mark(how)


@quick
@given(first=params, second=params, data=st.data())
def test_marks_differ_with_the_parameters_or_the_labels(
    first: DenoiseParams, second: DenoiseParams, data: st.DataObject
) -> None:
    labels = [data.draw(st.frozensets(st.integers(0, 40))) for _ in range(2)]
    for one in (first, second):
        for other in (first, second):
            same = (one, labels[0]) == (other, labels[1])
            assert (denoising_mark(one, labels[0]) == denoising_mark(other, labels[1])) == same


def test_a_few_labels_are_spelled_in_the_mark() -> None:
    plain = denoising_mark(DenoiseParams())
    assert denoising_mark(DenoiseParams(), frozenset({15, 6})) == f"{plain} not=6,15"
    assert denoising_mark(DenoiseParams(), EVERY_LABEL) == ""
    many = denoising_mark(DenoiseParams(), frozenset(range(17)))
    assert many.startswith(f"{plain} not=#")


def test_a_whole_number_and_the_same_float_are_the_same_parameter() -> None:
    whole, fraction = DenoiseParams(region_area_thresh=10), DenoiseParams(region_area_thresh=10.0)
    assert whole == fraction
    assert denoising_mark(whole) == denoising_mark(fraction)


@pytest.mark.parametrize("description", ["", "FSL5.0", "denoise", "amos-dask", "x" * 79])
def test_other_descriptions_are_no_mark(description: str) -> None:
    assert not is_denoised(description)


# ---------------------------------------------------------------- what changed


@quick
@given(masks=before_and_after())
def test_changes_are_counted_as_the_oracle_counts_them(masks: tuple[Mask, Mask]) -> None:
    before, after = masks
    changes = find_difference(before, after).changes
    assert list(changes) == oracle.label_changes(before, after)
    assert {type(value) for change in changes for value in change} <= {int}
    assert find_difference(after, after).changes == ()
