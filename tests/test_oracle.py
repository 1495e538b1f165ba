"""Examples small enough to work out on paper, so that the oracle itself can be trusted.

In the grids below a line is one x and a character one y; spacing is 1 mm unless stated.
"""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.uint8]

ALL_LABELS = range(17)


def grid(*lines: str) -> Mask:
    return np.array([[int(digit) for digit in line] for line in lines], dtype=np.uint8)


def denoise(
    slice_: Mask,
    *,
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0),
    threshold: float = 10.0,
    kernel: tuple[int, int] = (3, 3),
    halfedge: int = 3,
) -> Mask:
    result = oracle.denoise(
        slice_[:, :, np.newaxis], spacing_mm, threshold, kernel, halfedge, ALL_LABELS
    )
    assert result.dtype == np.uint8
    return result[:, :, 0]


def full(shape: tuple[int, int], label: int, **pixels: tuple[int, int]) -> Mask:
    """A constant slice with single pixels, `l2=(3, 4)` being label 2 at x 3, y 4."""
    slice_ = np.full(shape, label, dtype=np.uint8)
    for name, position in pixels.items():
        slice_[position] = int(name[1:])
    return slice_


# ---------------------------------------------------------------- denoise, one rule at a time


def test_single_pixel_island_becomes_its_surroundings() -> None:
    np.testing.assert_array_equal(denoise(full((7, 7), 1, l2=(3, 3))), full((7, 7), 1))


def test_pinhole_is_filled() -> None:
    np.testing.assert_array_equal(denoise(full((7, 7), 6, l0=(3, 3))), full((7, 7), 6))


def test_island_in_the_background_becomes_background() -> None:
    np.testing.assert_array_equal(denoise(full((7, 7), 0, l16=(2, 4))), full((7, 7), 0))


def test_component_of_exactly_the_threshold_stays_and_one_just_below_goes() -> None:
    island = grid("1111111", "1111111", "1111111", "1112211", "1111111", "1111111", "1111111")
    np.testing.assert_array_equal(denoise(island, threshold=2.0), island)
    gone = denoise(island, threshold=float(np.nextafter(2.0, 3.0)))
    np.testing.assert_array_equal(gone, full((7, 7), 1))


def test_area_is_multiplied_from_left_to_right() -> None:
    spx, spy = 0.1, 0.7
    assert 3 * spx * spy != 3 * (spx * spy)  # 0.21000000000000002 and 0.21
    island = grid("0000000", "0000000", "0000000", "0022200", "0000000", "0000000", "0000000")
    kept = denoise(island, spacing_mm=(spx, spy, 1.0), threshold=3 * spx * spy)
    np.testing.assert_array_equal(kept, island)


def test_spacing_counts_in_both_directions_and_slice_distance_does_not() -> None:
    island = full((7, 7), 1, l2=(3, 3))
    np.testing.assert_array_equal(denoise(island, spacing_mm=(2.0, 5.0, 0.1)), island)  # 10 mm2
    for spacing_mm in ((2.0, 4.9, 100.0), (4.9, 2.0, 100.0)):  # 9.8 mm2
        np.testing.assert_array_equal(denoise(island, spacing_mm=spacing_mm), full((7, 7), 1))


def test_pixels_that_touch_at_a_corner_are_one_component() -> None:
    chain = full((7, 7), 1, l2=(3, 3))
    chain[4, 4] = 2
    np.testing.assert_array_equal(denoise(chain, threshold=2.0), chain)
    np.testing.assert_array_equal(denoise(chain, threshold=2.5), full((7, 7), 1))


def test_pixel_at_the_border_is_not_closed_but_decided_by_vote() -> None:
    corner = full((7, 7), 1, l2=(0, 0))
    # The closing is 0 along the border, so no label is set at (0, 0); in the clipped box of
    # 2x2 pixels label 1 has 3 votes, in the box of the pixel alone nothing has any.
    np.testing.assert_array_equal(denoise(corner, halfedge=1), full((7, 7), 1))
    np.testing.assert_array_equal(denoise(corner, halfedge=0), full((7, 7), 1, l0=(0, 0)))


def test_vote_of_an_unset_pixel_goes_to_the_lowest_of_equal_labels() -> None:
    line = grid("2", "2", "3", "1", "1")
    for halfedge in (1, 2, 3):
        result = denoise(line, threshold=1.5, kernel=(3, 1), halfedge=halfedge)
        np.testing.assert_array_equal(result, grid("2", "2", "1", "1", "1"))


def test_vote_of_an_unset_pixel_goes_to_the_label_with_most_pixels_in_the_box() -> None:
    line = grid("1", "1", "3", "2", "2", "2")
    result = denoise(line, threshold=1.5, kernel=(3, 1), halfedge=3)
    # The box of 7 pixels holds two 1s (clipped at the border) and three 2s.
    np.testing.assert_array_equal(result, grid("1", "1", "2", "2", "2", "2"))


def test_votes_count_processed_masks_not_the_mask_as_it_was() -> None:
    # The 3s are small and vanish: they have the most pixels in the box, but no vote.
    line = grid("2", "2", "2", "3", "3")
    result = denoise(line, threshold=2.5, kernel=(3, 1), halfedge=1)
    # (3): the box holds one processed 2. (4): the box holds nothing, hence 0.
    np.testing.assert_array_equal(result, grid("2", "2", "2", "2", "0"))


RING = ("111111111", "111111111", "111111111", "111222111", "111232111", "111222111",
        "111111111", "111111111", "111111111")  # fmt: skip


def test_pixel_set_by_two_closings_goes_to_the_one_with_more_votes() -> None:
    # Ring (8 pixels) and centre (1) are below 10 mm2. A 5x5 kernel opens both away; the closing
    # of 1 fills the 3x3 hole and that of 2 fills the ring's centre: there 1 and 2 are both set.
    ring = grid(*RING)
    result = denoise(ring, kernel=(5, 5), halfedge=1)
    np.testing.assert_array_equal(result, full((9, 9), 1))  # 9 votes to 1
    swapped = np.array([0, 2, 1, 3], dtype=np.uint8)[ring]
    result = denoise(swapped, kernel=(5, 5), halfedge=1)
    np.testing.assert_array_equal(result, full((9, 9), 2))  # 9 votes to 1, now for label 2


def test_tie_between_two_set_labels_goes_to_the_lowest() -> None:
    swapped = np.array([0, 2, 1, 3], dtype=np.uint8)[grid(*RING)]
    result = denoise(swapped, kernel=(5, 5), halfedge=0)  # 1 vote to 1
    np.testing.assert_array_equal(result, full((9, 9), 2, l1=(4, 4)))


def test_labels_not_set_at_an_ambiguous_pixel_have_no_vote_there() -> None:
    # 279 pixels of label 5 are in the box, but only 1 and 2 are set at the ring's centre.
    wide = np.concatenate([grid(*RING), np.full((9, 31), 5, dtype=np.uint8)], axis=1)
    result = denoise(wide, kernel=(5, 5), halfedge=40)
    expected = np.concatenate([full((9, 9), 1), full((9, 31), 5)], axis=1)
    np.testing.assert_array_equal(result, expected)


def test_small_island_that_holds_a_whole_kernel_stays() -> None:
    island = np.ones((11, 11), dtype=np.uint8)
    island[3:8, 3:8] = 2
    np.testing.assert_array_equal(denoise(island, threshold=26.0, kernel=(5, 5)), island)
    island[7, 3:8] = 1  # 4x5
    result = denoise(island, threshold=26.0, kernel=(5, 5))
    np.testing.assert_array_equal(result, full((11, 11), 1))


def test_opening_trims_a_small_island_to_the_kernels_in_it() -> None:
    island = np.zeros((9, 9), dtype=np.uint8)
    island[3:6, 3:6] = 4
    expected = island.copy()
    island[4, 6] = 4  # a spur
    np.testing.assert_array_equal(denoise(island, threshold=11.0), expected)


def test_kernel_is_kx_by_ky() -> None:
    island = np.zeros((9, 9), dtype=np.uint8)
    island[3:6, 4] = 4
    np.testing.assert_array_equal(denoise(island, kernel=(3, 1)), island)
    np.testing.assert_array_equal(denoise(island, kernel=(1, 3)), np.zeros((9, 9)))


def test_even_kernel_keeps_its_own_shape_and_removes_less() -> None:
    island = np.ones((6, 6), dtype=np.uint8)
    island[2:4, 2:4] = 2
    np.testing.assert_array_equal(denoise(island, threshold=5.0, kernel=(2, 2)), island)
    result = denoise(full((6, 6), 1, l2=(2, 2)), threshold=5.0, kernel=(2, 2))
    np.testing.assert_array_equal(result, full((6, 6), 1))


def test_even_kernel_treats_the_two_borders_as_scipy_does() -> None:
    # A kernel of 4 with its centre at index 2 closes x when the kernels centred on x-2 ... x+1
    # are inside: not for x = 1, but for x = 6 of 8.
    holes = full((8, 5), 1, l2=(1, 2), l3=(6, 2))
    result = denoise(holes, threshold=1.5, kernel=(4, 1), halfedge=0)
    np.testing.assert_array_equal(result, full((8, 5), 1, l0=(1, 2)))


def test_small_constant_slice_survives_unless_the_kernel_is_larger() -> None:
    constant = full((4, 4), 3)
    np.testing.assert_array_equal(denoise(constant, threshold=17.0), constant)
    np.testing.assert_array_equal(denoise(constant, threshold=16.0, kernel=(5, 5)), constant)
    # Opened away, and no label has a pixel in any box.
    vanished = denoise(constant, threshold=17.0, kernel=(5, 5))
    np.testing.assert_array_equal(vanished, np.zeros((4, 4)))


def test_single_pixel_slice() -> None:
    np.testing.assert_array_equal(denoise(grid("5"), kernel=(1, 1)), grid("5"))
    np.testing.assert_array_equal(denoise(grid("5"), kernel=(3, 3)), grid("0"))
    np.testing.assert_array_equal(denoise(grid("5"), threshold=1.0), grid("5"))


def test_big_regions_stay_whatever_lies_in_them() -> None:
    mask = full((20, 20), 1)
    mask[5:10, 5:10] = 2
    mask[15, 3] = 7
    expected = full((20, 20), 1)
    expected[5:10, 5:10] = 2
    np.testing.assert_array_equal(denoise(mask, kernel=(7, 7)), expected)


def test_slices_are_denoised_one_by_one() -> None:
    mask = np.ones((7, 7, 3), dtype=np.uint8)
    mask[3, 3, :] = 2  # a rod of 3 voxels, but of one pixel in each slice
    result = oracle.denoise(mask, (1.0, 1.0, 50.0), 10.0, (3, 3), 1, ALL_LABELS)
    np.testing.assert_array_equal(result, np.ones((7, 7, 3)))
    mask[:, :, 1] = 0
    result = oracle.denoise(mask, (1.0, 1.0, 50.0), 10.0, (3, 3), 1, ALL_LABELS)
    np.testing.assert_array_equal(result[:, :, 1], np.zeros((7, 7)))
    np.testing.assert_array_equal(result[:, :, ::2], np.ones((7, 7, 2)))


def test_labels_of_the_map_that_a_slice_lacks_change_nothing() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.choice(np.array([0, 3, 9], dtype=np.uint8), size=(7, 9, 1), p=[0.5, 0.4, 0.1])
        few = oracle.denoise(mask, (1.0, 1.0), 6.0, (3, 2), 2, [0, 3, 9])
        every = oracle.denoise(mask, (1.0, 1.0), 6.0, (3, 2), 2, range(256))
        np.testing.assert_array_equal(few, every)


def test_label_that_the_map_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"17"):
        oracle.denoise(np.full((3, 3, 1), 17, dtype=np.uint8), (1, 1, 1), 10, (3, 3), 3, ALL_LABELS)


def test_denoise_leaves_its_input_alone_and_takes_empty_masks() -> None:
    mask = full((7, 7), 1, l2=(3, 3))[:, :, np.newaxis]
    before = mask.copy()
    oracle.denoise(mask, (1.0, 1.0, 1.0), 10.0, (3, 3), 1, ALL_LABELS)
    np.testing.assert_array_equal(mask, before)
    for shape in ((0, 4, 2), (4, 0, 2), (4, 4, 0)):
        empty = np.zeros(shape, dtype=np.uint8)
        assert oracle.denoise(empty, (1, 1, 1), 10, (3, 3), 1, ALL_LABELS).shape == shape


def test_opening_and_closing_are_those_of_scipy_with_border_value_zero() -> None:
    # The defaults of scipy are what the specification names; should they change, this fails.
    rng = np.random.default_rng(1)
    for kx, ky in ((1, 1), (3, 3), (2, 4), (5, 2)):
        binary = rng.random((9, 8)) < 0.6
        structure = np.ones((kx, ky), dtype=bool)
        eroded = ndimage.binary_erosion(binary, structure, border_value=0)
        dilated = ndimage.binary_dilation(binary, structure, border_value=0)
        opened = ndimage.binary_dilation(eroded, structure, border_value=0)
        closed = ndimage.binary_erosion(dilated, structure, border_value=0)
        result = oracle.optimize(binary, (1.0, 1.0), 1e9, (kx, ky))
        np.testing.assert_array_equal(result, np.where(binary, opened, closed))


# ---------------------------------------------------------------- components and small regions


def test_components_of_a_volume_worked_out_by_hand() -> None:
    mask = np.zeros((2, 2, 3), dtype=np.uint8)
    mask[0, 0, 2] = 5  # flat index 2
    mask[1, 1, 0] = 5  # flat index 9: two apart from the other 5
    mask[1, 0, 1] = 7  # flat index 7
    assert oracle.components(mask) == [
        # 12 voxels less three: sums of x 6-2, of y 6-1, of z 12-3
        oracle.Component(label=0, n_voxels=9, centroid_sums=(4, 5, 9), first_voxel=0),
        oracle.Component(label=5, n_voxels=1, centroid_sums=(0, 0, 2), first_voxel=2),
        oracle.Component(label=7, n_voxels=1, centroid_sums=(1, 0, 1), first_voxel=7),
        oracle.Component(label=5, n_voxels=1, centroid_sums=(1, 1, 0), first_voxel=9),
    ]


def test_voxels_that_touch_at_a_corner_are_one_component() -> None:
    mask = np.zeros((3, 3, 3), dtype=np.uint8)
    mask[0, 2, 0] = mask[1, 1, 1] = mask[2, 0, 2] = 9
    assert oracle.components(mask) == [
        oracle.Component(label=0, n_voxels=24, centroid_sums=(24, 24, 24), first_voxel=0),
        oracle.Component(label=9, n_voxels=3, centroid_sums=(3, 3, 3), first_voxel=6),
    ]


def test_equal_labels_two_apart_and_different_labels_side_by_side_are_not_joined() -> None:
    mask = np.array([4, 3, 4, 4, 255], dtype=np.uint8).reshape(1, 1, 5)
    assert [(c.label, c.n_voxels, c.first_voxel) for c in oracle.components(mask)] == [
        (4, 1, 0),
        (3, 1, 1),
        (4, 2, 2),
        (255, 1, 4),
    ]


def test_empty_volume_has_no_components() -> None:
    for shape in ((0, 3, 3), (3, 0, 3), (3, 3, 0)):
        assert oracle.components(np.zeros(shape, dtype=np.uint8)) == []


def test_centroid_is_rounded_half_to_even() -> None:
    mask = np.zeros((9, 3, 2), dtype=np.uint8)
    mask[0:2, 0, 0] = 1  # x 0.5 -> 0
    mask[3:5, 2, 0] = 1  # x 3.5 -> 4
    mask[6:9, 0, :] = 1  # x 7, z 0.5 -> 0
    regions = oracle.small_regions(mask, (1.0, 1.0, 1.0), 100.0, [1])[1]
    found = [(r.x, r.y, r.z, r.n_voxels) for r in regions]
    assert found == [(0, 0, 0, 2), (4, 2, 0, 2), (7, 0, 0, 6)]


def test_region_of_exactly_the_threshold_is_not_small() -> None:
    mask = np.zeros((1, 1, 20), dtype=np.uint8)
    mask[0, 0, 2:6] = 3
    regions = oracle.small_regions(mask, (5.0, 5.0, 1.0), 100.0, ALL_LABELS)
    assert regions[3] == []
    regions = oracle.small_regions(mask, (5.0, 5.0, 1.0), 100.1, ALL_LABELS)
    assert regions[3] == [oracle.Region(0, 0, 4, 4, 100.0)]  # z 3.5 -> 4


def test_volume_is_multiplied_from_left_to_right() -> None:
    spacing_mm = (0.7, 0.9, 0.7)
    volume_mm3 = 3 * 0.7 * 0.9 * 0.7
    assert volume_mm3 != 3 * (0.7 * 0.9 * 0.7)
    mask = np.zeros((1, 1, 5), dtype=np.uint8)
    mask[0, 0, 1:4] = 2
    assert oracle.small_regions(mask, spacing_mm, volume_mm3, [2]) == {2: []}
    above = float(np.nextafter(volume_mm3, 2.0))
    assert oracle.small_regions(mask, spacing_mm, above, [2])[2][0].volume_mm3 == volume_mm3


def test_regions_are_reported_for_labels_of_the_map_background_included() -> None:
    mask = np.full((3, 3, 3), 20, dtype=np.uint8)
    mask[2, 0, 0] = 0
    mask[0, 0, 2] = 0
    mask[0, 2, 0] = 1
    regions = oracle.small_regions(mask, (1.0, 1.0, 1.0), 2.0, [0, 1, 2])
    assert regions == {
        0: [oracle.Region(0, 0, 2, 1, 1.0), oracle.Region(2, 0, 0, 1, 1.0)],
        1: [oracle.Region(0, 2, 0, 1, 1.0)],
        2: [],
    }


def test_region_cell_holds_entries_without_inner_spaces() -> None:
    regions = [oracle.Region(12, 0, 7, 1, 0.125), oracle.Region(3, 4, 5, 90, 99.999)]
    assert oracle.region_cell(regions) == "(12,0,7,0.12); (3,4,5,100.00)"
    assert oracle.region_cell([]) == ""


def test_region_cell_that_would_be_too_long_keeps_whole_entries_and_counts_the_rest() -> None:
    regions = [oracle.Region(1, 2, 3, 1, 1.0)] * 6  # "(1,2,3,1.00)" is 12 characters
    assert len(oracle.region_cell(regions)) == 6 * 12 + 5 * 2
    assert oracle.region_cell(regions, limit=82) == oracle.region_cell(regions)
    # Four entries and the ending are 4 * 14 + 23 = 79 characters.
    for limit in (81, 79):
        text = oracle.region_cell(regions, limit=limit)
        assert text == "(1,2,3,1.00); " * 4 + "… (2 more; see Regions)"
    text = oracle.region_cell(regions, limit=78)
    assert text == "(1,2,3,1.00); " * 3 + "… (3 more; see Regions)"
    many = oracle.region_cell([oracle.Region(100, 200, 30, 1, 12.34)] * 5000)
    assert len(many) <= 32_767
    assert many.endswith("more; see Regions)")


# ---------------------------------------------------------------- labels and values


def test_only_sex_f_turns_prostate_into_uterus() -> None:
    mask = np.array([0, 14, 15, 16], dtype=np.uint8).reshape(1, 2, 2)
    assert oracle.split_prostate_uterus(mask, "F").ravel().tolist() == [0, 14, 16, 16]
    for sex in ("M", "UND", "", "f"):
        assert oracle.split_prostate_uterus(mask, sex).ravel().tolist() == [0, 14, 15, 16]
    assert mask.ravel().tolist() == [0, 14, 15, 16]


def test_binary_mask_is_one_where_the_label_is() -> None:
    binary = oracle.binary_mask(np.array([0, 2, 1, 2], dtype=np.uint8), 2)
    assert binary.dtype == np.uint8
    assert binary.tolist() == [0, 1, 0, 1]


def test_values_are_scaled_in_float64_before_the_cast() -> None:
    # 16777217 is not a float32; scaled in float32 the result would be 0.
    scaled = oracle.scaled_float32(np.array([16_777_217], dtype=np.int32), 1.0, -16_777_216.0)
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [1.0]
    # 186,452 is beyond int16.
    assert oracle.scaled_float32(np.array([186_452.0]), 1.0, 0.0).tolist() == [186_452.0]


@pytest.mark.parametrize(
    ("values", "valid"),
    [
        ([], True),
        ([0, 255], True),
        ([0.0, -0.0, 16.0], True),
        ([256], False),
        ([-1], False),
        ([1.5], False),
        ([254.99999999999997], False),
        ([np.nan], False),
        ([np.inf], False),
        ([0, 1, -np.inf], False),
    ],
)
def test_mask_values_are_whole_numbers_from_0_to_255(values: list[float], valid: bool) -> None:
    assert oracle.valid_mask_values(np.array(values)) is valid
