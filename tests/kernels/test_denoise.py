"""The denoising kernel against the oracle, bit for bit, and what follows from its definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from numpy.typing import NDArray
from scipy import ndimage
from strategies import (
    HUGE_AREA_MM2,
    JIT,
    LAYOUTS,
    N_LABELS,
    SLICES,
    DenoiseCase,
    denoise_cases,
    examples,
    layouts,
    random_denoise_case,
    random_kernel,
    random_spacing,
    random_threshold,
)

from amos_dask.kernels.slice_denoise import denoise_slices

Mask = NDArray[np.uint8]

N_CASES = 500 if JIT else 200
MAX_SIDE = 14 if JIT else 8
HYPOTHESIS_SIDE = 12 if JIT else 7


def expected_of(case: DenoiseCase) -> Mask:
    # Labels that a mask lacks change nothing (see test_oracle), so its own ones are enough.
    labels = np.unique(case.mask).tolist()
    return oracle.denoise(case.mask, *case.parameters, labels=labels)


def assert_matches_oracle(case: DenoiseCase, message: str = "") -> None:
    result = denoise_slices(case.mask, *case.parameters)
    np.testing.assert_array_equal(result, expected_of(case), err_msg=f"{message}\n{case}")


# ---------------------------------------------------------------- against the oracle


@given(case=denoise_cases(HYPOTHESIS_SIDE), layout=layouts())
@examples(with_jit=120, without_jit=60)
def test_any_slice_gives_the_slice_of_the_oracle(
    case: DenoiseCase, layout: Callable[[Mask], Mask]
) -> None:
    assert_matches_oracle(replace(case, mask=layout(case.mask)))


def test_hundreds_of_random_slices_give_those_of_the_oracle() -> None:
    names = sorted(LAYOUTS)
    for seed in range(N_CASES):
        rng = np.random.default_rng(seed)
        case = random_denoise_case(rng, MAX_SIDE)
        layout = names[rng.integers(len(names))]
        case = replace(case, mask=LAYOUTS[layout](case.mask))
        assert_matches_oracle(case, f"seed {seed}, layout {layout}")


def test_random_masks_of_several_slices_give_those_of_the_oracle() -> None:
    for seed in range(60 if JIT else 20):
        rng = np.random.default_rng([seed, 1])
        assert_matches_oracle(random_denoise_case(rng, MAX_SIDE, max_slices=6), f"seed {seed}")


@pytest.mark.parametrize("name", sorted(SLICES))
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 7), (7, 3)], ids=str)
def test_every_pattern_in_thin_slices_gives_the_slice_of_the_oracle(
    name: str, shape: tuple[int, int]
) -> None:
    for seed in range(8 if JIT else 2):
        rng = np.random.default_rng([seed, 2])
        mask = SLICES[name](rng, shape)[:, :, np.newaxis]
        spacing = random_spacing(rng)
        threshold = random_threshold(rng, spacing, mask.size)
        case = DenoiseCase(mask, spacing, threshold, random_kernel(rng), int(rng.integers(5)))
        assert_matches_oracle(case, f"seed {seed}")


@pytest.mark.parametrize("kx", range(1, 9))
@pytest.mark.parametrize("ky", range(1, 9))
def test_every_kernel_from_1x1_to_8x8_gives_the_slices_of_the_oracle(kx: int, ky: int) -> None:
    for seed in range(4 if JIT else 1):
        rng = np.random.default_rng([seed, kx, ky])
        case = random_denoise_case(rng, 18 if JIT else 10)
        threshold = rng.choice([case.area_threshold_mm2, HUGE_AREA_MM2])
        case = replace(case, kernel_size=(kx, ky), area_threshold_mm2=float(threshold))
        assert_matches_oracle(case, f"seed {seed}")


def test_slices_with_labels_up_to_255_give_those_of_the_oracle() -> None:
    for seed in range(80 if JIT else 20):
        rng = np.random.default_rng([seed, 3])
        case = random_denoise_case(rng, 10 if JIT else 6)
        spread = rng.permutation(256).astype(np.uint8)  # in any order, and 0 need not stay 0
        assert_matches_oracle(replace(case, mask=spread[case.mask]), f"seed {seed}")


def test_area_is_multiplied_from_left_to_right_and_compared_strictly() -> None:
    # Spacings of any float64, whose products round differently in another order.
    for seed in range(150 if JIT else 20):
        rng = np.random.default_rng([seed, 4])
        spx, spy = (float(spacing) for spacing in rng.uniform(0.3, 5.0, size=2))
        n = int(rng.integers(1, 10))
        mask = np.full((9, 9, 1), 1, dtype=np.uint8)
        mask[4, :n, 0] = 2
        threshold = float(rng.choice([n * spx * spy, np.nextafter(n * spx * spy, np.inf)]))
        case = DenoiseCase(mask, (spx, spy), threshold, (3, 3), 2)
        assert_matches_oracle(case, f"seed {seed}")


@pytest.mark.skipif(not JIT, reason="too large for plain Python")
@pytest.mark.parametrize("order", ["C", "F"])
def test_slices_of_a_realistic_size_give_those_of_the_oracle(order: str) -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((160, 128, 3)), (5, 5, 1))
    mask = np.digitize(smooth, np.quantile(smooth, [0.5, 0.7, 0.8, 0.9, 0.97])).astype(np.uint8)
    specks = ndimage.binary_dilation(rng.random(mask.shape) < 0.002, np.ones((2, 2, 1)))
    mask[specks] = rng.integers(0, N_LABELS, size=int(specks.sum()))
    spacing = (float(np.float32(0.68)), float(np.float32(0.71)))
    for threshold, kernel, halfedge in ((10.0, (5, 5), 3), (300.0, (6, 3), 2)):
        case = DenoiseCase(np.array(mask, order=order), spacing, threshold, kernel, halfedge)
        np.testing.assert_array_equal(
            denoise_slices(case.mask, *case.parameters), expected_of(case)
        )


# ---------------------------------------------------------------- by hand, see test_oracle too


def test_halves_meeting_at_a_speck_tie_to_the_lowest_label() -> None:
    line = np.array([2, 2, 3, 1, 1], dtype=np.uint8).reshape(5, 1, 1)
    result = denoise_slices(line, (1.0, 1.0), 1.5, (3, 1), 2)
    assert result.ravel().tolist() == [2, 2, 1, 1, 1]


def test_small_slice_without_room_for_the_kernel_becomes_background() -> None:
    result = denoise_slices(np.full((4, 4, 1), 3, dtype=np.uint8), (1.0, 1.0), 17.0, (5, 5), 3)
    np.testing.assert_array_equal(result, np.zeros((4, 4, 1)))


def test_corner_pixel_outvoted_in_the_clipped_box() -> None:
    mask = np.ones((7, 7, 1), dtype=np.uint8)
    mask[0, 0] = mask[6, 6] = mask[0, 6] = 2
    np.testing.assert_array_equal(
        denoise_slices(mask, (1.0, 1.0), 10.0, (3, 3), 1), np.ones((7, 7, 1))
    )
    result = denoise_slices(mask, (1.0, 1.0), 10.0, (3, 3), 0)
    np.testing.assert_array_equal(result, np.where(mask == 2, 0, 1))


# ---------------------------------------------------------------- what follows from the definition


def big_pixels(case: DenoiseCase) -> NDArray[np.bool_]:
    """The pixels of components that are not small, slice by slice."""
    big = np.zeros(case.mask.shape, dtype=bool)
    for z in range(case.mask.shape[2]):
        for label in np.unique(case.mask[:, :, z]):
            binary = case.mask[:, :, z] == label
            small = oracle.small_components(binary, case.spacing_xy_mm, case.area_threshold_mm2)
            big[:, :, z] |= binary & ~small
    return big


@given(case=denoise_cases(HYPOTHESIS_SIDE))
@examples(with_jit=60, without_jit=20)
def test_pixels_of_big_components_never_change(case: DenoiseCase) -> None:
    big = big_pixels(case)
    result = denoise_slices(case.mask, *case.parameters)
    np.testing.assert_array_equal(result[big], case.mask[big])


@given(case=denoise_cases(HYPOTHESIS_SIDE))
@examples(with_jit=60, without_jit=20)
def test_no_label_appears_that_the_slice_lacked_other_than_0(case: DenoiseCase) -> None:
    result = denoise_slices(case.mask, *case.parameters)
    assert set(np.unique(result).tolist()) <= set(np.unique(case.mask).tolist()) | {0}


@given(case=denoise_cases(HYPOTHESIS_SIDE))
@examples(with_jit=60, without_jit=20)
def test_threshold_of_zero_or_of_one_pixel_changes_nothing(case: DenoiseCase) -> None:
    spx, spy = case.spacing_xy_mm
    for threshold in (0.0, 1 * spx * spy):
        same = replace(case, area_threshold_mm2=threshold)
        np.testing.assert_array_equal(denoise_slices(same.mask, *same.parameters), case.mask)


@given(case=denoise_cases(HYPOTHESIS_SIDE))
@examples(with_jit=60, without_jit=20)
def test_kernel_of_one_pixel_changes_nothing(case: DenoiseCase) -> None:
    same = replace(case, kernel_size=(1, 1))
    np.testing.assert_array_equal(denoise_slices(same.mask, *same.parameters), case.mask)


def test_each_slice_is_denoised_as_if_it_were_alone() -> None:
    for seed in range(40 if JIT else 10):
        case = random_denoise_case(np.random.default_rng([seed, 5]), MAX_SIDE, max_slices=8)
        together = denoise_slices(case.mask, *case.parameters)
        for z in range(case.mask.shape[2]):
            alone = denoise_slices(case.mask[:, :, z : z + 1], *case.parameters)
            np.testing.assert_array_equal(together[:, :, z : z + 1], alone, err_msg=f"seed {seed}")


@given(case=denoise_cases(HYPOTHESIS_SIDE))
@examples(with_jit=50, without_jit=20)
def test_x_and_y_are_treated_alike(case: DenoiseCase) -> None:
    # With equal spacings, so that the products round alike.
    case = replace(case, spacing_xy_mm=(case.spacing_xy_mm[0],) * 2)
    kx, ky = case.kernel_size
    turned = replace(case, mask=case.mask.transpose(1, 0, 2), kernel_size=(ky, kx))
    np.testing.assert_array_equal(
        denoise_slices(turned.mask, *turned.parameters).transpose(1, 0, 2),
        denoise_slices(case.mask, *case.parameters),
    )


@given(case=denoise_cases(HYPOTHESIS_SIDE))
@examples(with_jit=50, without_jit=20)
def test_odd_kernels_treat_opposite_borders_alike(case: DenoiseCase) -> None:
    kx, ky = case.kernel_size
    case = replace(case, kernel_size=(kx | 1, ky | 1))
    result = denoise_slices(case.mask, *case.parameters)
    for flip in (np.s_[::-1], np.s_[:, ::-1]):
        flipped = denoise_slices(case.mask[flip], *case.parameters)
        np.testing.assert_array_equal(flipped[flip], result)


@given(case=denoise_cases(HYPOTHESIS_SIDE))
@examples(with_jit=60, without_jit=20)
def test_renaming_labels_in_the_same_order_renames_the_result(case: DenoiseCase) -> None:
    names = np.array([0, *range(20, 20 + 14 * 16, 14), 255], dtype=np.uint8)  # 0 stays 0
    renamed = denoise_slices(names[case.mask], *case.parameters)
    np.testing.assert_array_equal(renamed, names[denoise_slices(case.mask, *case.parameters)])


# ---------------------------------------------------------------- memory


@given(case=denoise_cases(HYPOTHESIS_SIDE))
@examples(with_jit=60, without_jit=10)
def test_every_memory_layout_gives_the_same_and_is_not_written_to(case: DenoiseCase) -> None:
    expected = expected_of(case)
    for name, layout in LAYOUTS.items():
        given_mask = layout(case.mask)
        result = denoise_slices(given_mask, *case.parameters)
        np.testing.assert_array_equal(result, expected, err_msg=name)
        np.testing.assert_array_equal(given_mask, case.mask, err_msg=name)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_result_is_new_fortran_ordered_uint8(layout: str) -> None:
    mask = LAYOUTS[layout](np.ones((7, 5, 3), dtype=np.uint8))
    for threshold in (0.0, 10.0):  # also where nothing changes
        result = denoise_slices(mask, (1.0, 1.0), threshold, (3, 3), 1)
        assert result.dtype == np.uint8
        assert result.shape == mask.shape
        assert result.flags.f_contiguous
        assert result.flags.writeable
        assert not np.shares_memory(result, mask)


def test_a_second_call_gives_the_same_and_leaves_the_first_result_alone() -> None:
    cases = [random_denoise_case(np.random.default_rng([seed, 6]), 12, 4) for seed in range(4)]
    expected = [expected_of(case) for case in cases]
    results = [denoise_slices(case.mask, *case.parameters) for case in cases * 2]
    for result, wanted in zip(results, expected * 2, strict=True):
        np.testing.assert_array_equal(result, wanted)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty_axes_give_an_empty_mask(shape: tuple[int, int, int]) -> None:
    result = denoise_slices(np.zeros(shape, dtype=np.uint8), (1.0, 1.0), 10.0, (5, 5), 3)
    assert result.shape == shape
    assert result.dtype == np.uint8


# ---------------------------------------------------------------- what must be refused


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int16, np.int64, np.float64])
def test_mask_of_another_dtype_is_refused(dtype: type) -> None:
    with pytest.raises((TypeError, ValueError)):
        denoise_slices(np.zeros((3, 3, 3), dtype=dtype), (1.0, 1.0), 10.0, (5, 5), 3)


@pytest.mark.parametrize("shape", [(), (3,), (3, 3), (3, 3, 3, 1)], ids=str)
def test_mask_of_another_number_of_axes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        denoise_slices(np.zeros(shape, dtype=np.uint8), (1.0, 1.0), 10.0, (5, 5), 3)


@pytest.mark.parametrize("kernel_size", [(0, 5), (5, 0), (-1, 5), (5,), (5, 5, 5)], ids=str)
def test_kernel_without_two_positive_sides_is_refused(kernel_size: tuple[int, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        denoise_slices(np.zeros((9, 9, 1), dtype=np.uint8), (1.0, 1.0), 10.0, kernel_size, 3)


def test_negative_half_edge_is_refused() -> None:
    with pytest.raises((TypeError, ValueError)):
        denoise_slices(np.zeros((9, 9, 1), dtype=np.uint8), (1.0, 1.0), 10.0, (5, 5), -1)


def test_third_spacing_is_refused_or_plays_no_part() -> None:
    mask = np.ones((9, 9, 1), dtype=np.uint8)
    mask[4, 4] = 2
    for spz in (0.1, 100.0):
        try:
            result = denoise_slices(mask, (1.0, 1.0, spz), 10.0, (5, 5), 3)
        except (TypeError, ValueError):
            continue
        np.testing.assert_array_equal(result, np.ones((9, 9, 1)))
