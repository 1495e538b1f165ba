"""Small regions: thresholds, rounding and order, with scipy and exact fractions as judges."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from amos_dask.datasets import AMOS22
from amos_dask.labels import LabelMap
from amos_dask.records import Region
from amos_dask.steps.denoise import find_small_regions, round_half_even

Mask = NDArray[np.uint8]

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SPACING = tuple(float(np.float32(size)) for size in (0.8, 0.7, 5.0))
FEW = LabelMap(((0, "background"), (1, "spleen"), (3, "liver")))
masks = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
    elements=st.sampled_from([0, 0, 1, 2, 3, 200]),
).map(np.asfortranarray)


def half_even(sum_: int, count: int) -> int:
    return round(Fraction(sum_, count))  # Python rounds fractions half to even


def by_definition(
    mask: Mask, spacing: tuple[float, ...], threshold: float, label_map: LabelMap
) -> tuple[Region, ...]:
    """26-connected components with scipy, label by label, in C order of their first voxels."""
    regions = []
    for label in label_map:
        components, n = ndimage.label(mask == label, np.ones((3, 3, 3)))
        for number in range(1, n + 1):
            voxels = np.argwhere(components == number)
            size = len(voxels)
            volume = size * spacing[0] * spacing[1] * spacing[2]
            if volume < threshold:
                x, y, z = (half_even(int(total), size) for total in voxels.sum(axis=0))
                first = tuple(voxels[0].tolist())
                regions.append((label, first, Region(label, x, y, z, size, volume)))
    return tuple(region for *_, region in sorted(regions, key=lambda found: found[:2]))


@quick
@given(
    pairs=st.lists(
        st.tuples(st.tuples(*[st.integers(0, 2**40)] * 3), st.integers(1, 2**27)),
        min_size=1,
        max_size=20,
    )
)
def test_means_are_rounded_half_to_even_exactly(
    pairs: list[tuple[tuple[int, int, int], int]],
) -> None:
    sums = np.array([total for total, _ in pairs], np.int64)
    counts = np.array([count for _, count in pairs], np.int64)
    expected = [[half_even(value, count) for value in total] for total, count in pairs]
    assert round_half_even(sums, counts).tolist() == expected


@pytest.mark.parametrize(
    ("total", "count", "mean"), [(1, 2, 0), (3, 2, 2), (5, 2, 2), (7, 2, 4), (5, 3, 2), (4, 3, 1)]
)
def test_halves_go_to_the_even_neighbour(total: int, count: int, mean: int) -> None:
    sums = np.array([[total, total, total]], np.int64)
    assert round_half_even(sums, np.array([count], np.int64)).tolist() == [[mean] * 3]


@quick
@given(mask=masks, threshold=st.sampled_from([0.0, 2.81, 2.9, 8.0, 100.0, 1e9]))
def test_regions_are_those_of_the_definition(mask: Mask, threshold: float) -> None:
    found = find_small_regions(mask, SPACING, [threshold], FEW)
    assert found == ((threshold, by_definition(mask, SPACING, threshold, FEW)),)


def test_small_is_strictly_below_the_threshold() -> None:
    mask = np.zeros((5, 5, 5), np.uint8, order="F")
    mask[1, 1, 1:4] = 3
    volume = 3 * SPACING[0] * SPACING[1] * SPACING[2]
    thresholds = [volume, float(np.nextafter(volume, np.inf))]
    at, above = find_small_regions(mask, SPACING, thresholds, FEW)
    assert at[1] == ()
    assert above[1] == (Region(3, 1, 1, 2, 3, volume),)


def test_each_threshold_has_its_own_regions_in_the_order_given() -> None:
    mask = np.zeros((6, 6, 6), np.uint8, order="F")
    mask[0, 0, 0] = 1
    mask[3:5, 3:5, 3:5] = 1
    found = find_small_regions(mask, (1.0, 1.0, 1.0), [300.0, 2.0], FEW)
    assert [threshold for threshold, _ in found] == [300.0, 2.0]
    assert [region.n_voxels for region in found[0][1]] == [208 - 1, 1, 8]
    assert [region.n_voxels for region in found[1][1]] == [1]


def test_voxels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.zeros((3, 3, 3), np.uint8, order="F")
    mask[0, 0, 0] = mask[1, 1, 1] = 1
    ((_, found),) = find_small_regions(mask, (1.0, 1.0, 1.0), [10.0], FEW)
    assert found == (Region(1, 0, 0, 0, 2, 2.0),)


def test_holes_in_the_background_are_regions_too() -> None:
    mask = np.ones((3, 3, 3), np.uint8, order="F")
    mask[1, 1, 1] = 0
    ((_, found),) = find_small_regions(mask, (1.0, 1.0, 1.0), [2.0], FEW)
    assert found == (Region(0, 1, 1, 1, 1, 1.0),)


def test_values_are_plain_python_so_that_they_can_be_kept() -> None:
    mask = np.zeros((3, 3, 3), np.uint8, order="F")
    mask[1, 1, 1] = 2
    ((threshold, found),) = find_small_regions(mask, (1.0, 1.0, 1.0), [5], AMOS22.label_map)
    (region,) = found
    assert type(threshold) is float
    assert [type(getattr(region, name)) for name in ("label", "x", "y", "z", "n_voxels")] == [
        int
    ] * 5
    assert type(region.volume_mm3) is float
