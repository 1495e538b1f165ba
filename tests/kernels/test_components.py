"""The component kernel against the oracle, exactly and in the promised order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from strategies import (
    JIT,
    LAYOUTS,
    VOLUMES,
    examples,
    layouts,
    random_volume,
    spacings,
    thresholds,
    volumes,
)

from amos_dask.kernels.components import Components, label_components

Mask = NDArray[np.uint8]

N_VOLUMES = 600 if JIT else 200
MAX_SIDE = 8 if JIT else 5


def as_arrays(components: list[oracle.Component]) -> dict[str, NDArray[np.generic]]:
    """The oracle's components as the kernel gives them."""
    return {
        "label": np.array([c.label for c in components], dtype=np.uint8),
        "n_voxels": np.array([c.n_voxels for c in components], dtype=np.int64),
        "coordinate_sums": np.array([c.centroid_sums for c in components], dtype=np.int64).reshape(
            -1, 3
        ),
        "first_voxel": np.array([c.first_voxel for c in components], dtype=np.int64),
    }


def assert_components_equal(
    actual: Components, expected: dict[str, NDArray[np.generic]], message: str = ""
) -> None:
    for name, values in expected.items():
        found = np.asarray(getattr(actual, name))
        assert found.dtype == values.dtype, f"{name} is {found.dtype}"
        np.testing.assert_array_equal(found, values, err_msg=f"{name}\n{message}", strict=True)


def assert_matches_oracle(mask: Mask, message: str = "") -> None:
    expected = as_arrays(oracle.components(mask))
    note = f"{message}\nmask = np.array({mask.tolist()}, np.uint8).reshape({mask.shape})"
    assert_components_equal(label_components(mask), expected, note)


# ---------------------------------------------------------------- against the oracle


@given(mask=volumes(), layout=layouts())
@examples(with_jit=150, without_jit=60)
def test_any_mask_gives_the_components_of_the_oracle(
    mask: Mask, layout: Callable[[Mask], Mask]
) -> None:
    assert_matches_oracle(layout(mask))


def test_hundreds_of_random_volumes_give_the_components_of_the_oracle() -> None:
    names = sorted(LAYOUTS)
    for seed in range(N_VOLUMES):
        rng = np.random.default_rng(seed)
        mask = random_volume(rng, MAX_SIDE)
        layout = names[rng.integers(len(names))]
        assert_matches_oracle(LAYOUTS[layout](mask), f"seed {seed}, layout {layout}")


@pytest.mark.parametrize("name", sorted(VOLUMES))
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (1, 9, 1), (9, 1, 1), (2, 9, 3)], ids=str)
def test_every_pattern_in_thin_shapes_gives_the_components_of_the_oracle(
    name: str, shape: tuple[int, int, int]
) -> None:
    for seed in range(10 if JIT else 2):
        assert_matches_oracle(VOLUMES[name](np.random.default_rng(seed), shape), f"seed {seed}")


@pytest.mark.skipif(not JIT, reason="too large for plain Python")
@pytest.mark.parametrize("order", ["C", "F"])
def test_volume_of_a_realistic_shape_gives_the_components_of_the_oracle(order: str) -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.standard_normal((96, 80, 40)), 3)
    mask = np.digitize(smooth, np.quantile(smooth, [0.5, 0.7, 0.8, 0.9, 0.97])).astype(np.uint8)
    specks = rng.random(mask.shape) < 0.0005
    mask[specks] = rng.integers(0, 17, size=int(specks.sum()))
    given_mask = np.array(mask, order=order)
    expected = as_arrays(oracle.components(mask))
    assert_components_equal(label_components(given_mask), expected)


@given(
    mask=volumes(5),
    spx=spacings(),
    spy=spacings(),
    spz=spacings(),
    data=st.data(),
)
@examples(with_jit=50, without_jit=20)
def test_small_regions_from_the_kernels_arrays_are_those_of_the_oracle(
    mask: Mask, spx: float, spy: float, spz: float, data: st.DataObject
) -> None:
    threshold_mm3 = data.draw(thresholds(spx * spy, spz))
    found = label_components(mask)
    regions: dict[int, list[oracle.Region]] = {label: [] for label in range(17)}
    for label, n, sums in zip(
        found.label.tolist(), found.n_voxels.tolist(), found.coordinate_sums, strict=True
    ):
        volume_mm3 = n * spx * spy * spz
        if label < 17 and volume_mm3 < threshold_mm3:
            x, y, z = (int(c) for c in np.rint(sums / n))
            regions[label].append(oracle.Region(x, y, z, n, volume_mm3))
    assert regions == oracle.small_regions(mask, (spx, spy, spz), threshold_mm3, range(17))


# ---------------------------------------------------------------- adjacency, one case at a time


def test_all_26_neighbours_are_adjacent_and_no_other_voxel_is() -> None:
    for offset in np.ndindex(5, 5, 5):
        if offset == (2, 2, 2):
            continue
        mask = np.zeros((5, 5, 5), dtype=np.uint8)
        mask[2, 2, 2] = mask[offset] = 3
        adjacent = max(abs(o - 2) for o in offset) == 1
        n_threes = np.count_nonzero(label_components(mask).label == 3)
        assert n_threes == (1 if adjacent else 2), offset


def test_rows_do_not_wrap_around_into_the_next() -> None:
    for order in ("C", "F"):
        mask = np.zeros((3, 4, 5), dtype=np.uint8, order=order)
        mask[0, 0, 4] = mask[0, 2, 0] = 1  # the end of a row and the start of the one after next
        mask[0, 3, 2] = mask[2, 0, 2] = 2
        mask[2, 2, 4] = mask[0, 3, 0] = 3
        assert_matches_oracle(mask, order)


@pytest.mark.parametrize("label", [0, 1, 127, 128, 254, 255])
def test_any_byte_is_a_label(label: int) -> None:
    mask = np.full((3, 3, 3), 255 - label, dtype=np.uint8)
    mask[1, 1, :] = label
    assert_matches_oracle(mask)


def test_alternating_labels_give_as_many_components_as_voxels() -> None:
    mask = (np.arange(4 * 4 * 4) % 251).astype(np.uint8).reshape(4, 4, 4)
    found = label_components(mask)
    np.testing.assert_array_equal(found.first_voxel, np.arange(64))
    np.testing.assert_array_equal(found.n_voxels, np.ones(64))
    np.testing.assert_array_equal(found.label, mask.ravel())


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty_axes_give_empty_arrays(shape: tuple[int, int, int]) -> None:
    for order in ("C", "F"):
        found = label_components(np.zeros(shape, dtype=np.uint8, order=order))
        assert_components_equal(found, as_arrays([]))


# ---------------------------------------------------------------- what follows from the definition


@given(mask=volumes())
@examples(with_jit=50, without_jit=20)
def test_components_partition_the_volume(mask: Mask) -> None:
    found = label_components(mask)
    n_voxels = np.bincount(found.label, weights=found.n_voxels, minlength=256)
    np.testing.assert_array_equal(n_voxels, np.bincount(mask.ravel(), minlength=256))
    total = np.indices(mask.shape, dtype=np.int64).reshape(3, -1).sum(axis=1)
    np.testing.assert_array_equal(found.coordinate_sums.sum(axis=0), total)
    np.testing.assert_array_equal(mask.ravel()[found.first_voxel], found.label)
    assert np.all(np.diff(found.first_voxel) > 0)


@given(mask=volumes())
@examples(with_jit=60, without_jit=20)
def test_every_memory_layout_gives_the_same_and_is_not_written_to(mask: Mask) -> None:
    expected = as_arrays(oracle.components(mask))
    for name, layout in LAYOUTS.items():
        given_mask = layout(mask)
        assert_components_equal(label_components(given_mask), expected, name)
        np.testing.assert_array_equal(given_mask, mask, err_msg=name)


def test_input_without_strides_is_read_as_it_is() -> None:
    mask = np.broadcast_to(np.array([[[7]]], dtype=np.uint8), (4, 3, 5))
    found = label_components(mask)
    assert found.label.tolist() == [7]
    assert found.n_voxels.tolist() == [60]


def test_a_second_call_gives_the_same_and_leaves_the_first_result_alone() -> None:
    rng = np.random.default_rng(5)
    first, second = (rng.integers(0, 3, size=(6, 6, 6), dtype=np.uint8) for _ in range(2))
    found = label_components(first)
    label_components(second)
    assert_components_equal(found, as_arrays(oracle.components(first)))
    assert_components_equal(label_components(first), as_arrays(oracle.components(first)))


# ---------------------------------------------------------------- large sums


@pytest.mark.skipif(not JIT, reason="too large for plain Python")
@pytest.mark.parametrize(
    "shape", [(3_000_000, 1, 1), (1, 3_000_000, 1), (1, 1, 3_000_000), (1500, 90, 80)], ids=str
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_sums_beyond_32_bits_are_exact(shape: tuple[int, int, int], order: str) -> None:
    mask = np.full(shape, 9, dtype=np.uint8, order=order)
    n = int(np.prod(shape, dtype=np.int64))
    sums = [n * (side - 1) // 2 for side in shape]
    assert max(sums) > 2**32
    found = label_components(mask)
    assert [array.tolist() for array in found] == [[9], [n], [sums], [0]]


@pytest.mark.skipif(not JIT, reason="too large for plain Python")
def test_more_than_65536_components_are_kept_apart() -> None:
    side = 83
    mask = np.zeros((side, side, side), dtype=np.uint8)
    mask[::2, ::2, ::2] = 1  # 42**3 = 74,088 single voxels in one background
    found = label_components(mask)
    assert found.label.size == 42**3 + 1
    crumbs = found.label == 1
    assert np.all(found.n_voxels[crumbs] == 1)
    np.testing.assert_array_equal(found.coordinate_sums[crumbs].T, np.nonzero(mask))
    np.testing.assert_array_equal(found.first_voxel[crumbs], np.flatnonzero(mask))
    assert found.n_voxels[~crumbs].tolist() == [side**3 - 42**3]


# ---------------------------------------------------------------- what must be refused


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int16, np.int64, np.float64])
def test_mask_of_another_dtype_is_refused(dtype: type) -> None:
    with pytest.raises((TypeError, ValueError)):
        label_components(np.zeros((3, 3, 3), dtype=dtype))


@pytest.mark.parametrize("shape", [(), (3,), (3, 3), (3, 3, 3, 1)], ids=str)
def test_mask_of_another_number_of_axes_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises((TypeError, ValueError)):
        label_components(np.zeros(shape, dtype=np.uint8))
