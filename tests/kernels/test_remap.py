"""Relabelling and counting labels against the oracle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from strategies import JIT, LAYOUTS, examples, layouts, random_volume, volumes

from amos_dask.kernels.voxelwise import count_labels, remap_labels

Mask = NDArray[np.uint8]

WRONG_DTYPES = [bool, np.int8, np.uint16, np.int16, np.int64, np.float64]

lookups = hnp.arrays(np.uint8, 256, elements=st.integers(0, 255))


def mask_of_all_bytes(shape: tuple[int, int, int] = (4, 8, 16)) -> Mask:
    n = int(np.prod(shape))
    return np.random.default_rng(0).permutation(np.arange(n) % 256).astype(np.uint8).reshape(shape)


# ---------------------------------------------------------------- remap_labels


@given(mask=volumes(), lookup=lookups, layout=layouts())
@examples(with_jit=80, without_jit=30)
def test_every_label_is_looked_up(mask: Mask, lookup: Mask, layout: Callable[[Mask], Mask]) -> None:
    given_mask = layout(mask)
    result = remap_labels(given_mask, lookup)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, lookup[mask], strict=True)
    np.testing.assert_array_equal(given_mask, mask)


@pytest.mark.parametrize("sex", ["F", "M", "UND"])
def test_lookup_of_15_to_16_is_the_rule_for_prostate_and_uterus(sex: str) -> None:
    lookup = np.arange(256, dtype=np.uint8)
    if sex == "F":
        lookup[15] = 16
    for seed in range(40 if JIT else 10):
        mask = random_volume(np.random.default_rng(seed), 6)
        result = remap_labels(mask, lookup)
        np.testing.assert_array_equal(result, oracle.split_prostate_uterus(mask, sex))
        np.testing.assert_array_equal(remap_labels(result, lookup), result)  # again: no change


def test_all_256_labels_are_remapped_in_every_layout() -> None:
    lookup = np.random.default_rng(1).permutation(256).astype(np.uint8)
    mask = mask_of_all_bytes()
    before = lookup.copy()
    for name, layout in LAYOUTS.items():
        result = remap_labels(layout(mask), lookup)
        np.testing.assert_array_equal(result, lookup[mask], err_msg=name)
    np.testing.assert_array_equal(lookup, before)


def test_remapped_mask_is_new_even_when_nothing_changes() -> None:
    mask = mask_of_all_bytes()
    result = remap_labels(mask, np.arange(256, dtype=np.uint8))
    assert not np.shares_memory(result, mask)


@pytest.mark.parametrize("dtype", WRONG_DTYPES)
def test_remapping_a_mask_of_another_dtype_is_refused(dtype: type) -> None:
    with pytest.raises((TypeError, ValueError)):
        remap_labels(np.zeros((3, 3, 3), dtype=dtype), np.arange(256, dtype=np.uint8))


@pytest.mark.parametrize("n", [0, 1, 17, 255, 257])
def test_lookup_of_another_length_than_256_is_refused(n: int) -> None:
    mask = np.full((2, 2, 2), 255, dtype=np.uint8)
    with pytest.raises((TypeError, ValueError)):
        remap_labels(mask, np.zeros(n, dtype=np.uint8))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64, np.float64])
def test_lookup_of_another_dtype_is_refused(dtype: type) -> None:
    with pytest.raises((TypeError, ValueError)):
        remap_labels(np.zeros((2, 2, 2), dtype=np.uint8), np.ones(256, dtype=dtype))


# ---------------------------------------------------------------- count_labels


@given(mask=volumes(), layout=layouts())
@examples(with_jit=80, without_jit=30)
def test_voxels_of_every_label_are_counted(mask: Mask, layout: Callable[[Mask], Mask]) -> None:
    given_mask = layout(mask)
    counts = count_labels(given_mask)
    assert counts.dtype == np.int64
    assert counts.shape == (256,)
    expected = [int(np.sum(mask == label)) for label in range(256)]
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(given_mask, mask)


def test_all_256_labels_are_counted_in_every_layout() -> None:
    mask = mask_of_all_bytes()
    for name, layout in LAYOUTS.items():
        np.testing.assert_array_equal(count_labels(layout(mask)), np.full(256, 2), err_msg=name)


@pytest.mark.skipif(not JIT, reason="too large for plain Python")
def test_many_voxels_of_one_label_are_counted() -> None:
    counts = count_labels(np.full((400, 200, 100), 3, dtype=np.uint8, order="F"))
    assert counts[3] == counts.sum() == 8_000_000


@pytest.mark.parametrize("dtype", WRONG_DTYPES)
def test_counting_a_mask_of_another_dtype_is_refused(dtype: type) -> None:
    with pytest.raises((TypeError, ValueError)):
        count_labels(np.zeros((3, 3, 3), dtype=dtype))
