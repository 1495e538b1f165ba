"""Sets of labels a voxel against the oracle: the label chosen, and what every two labels share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import JIT, examples

from amos_dask.kernels.label_sets import LabelSets

Bits = NDArray[np.bool_]


def merged(
    binary: dict[int, Bits], order: Sequence[int], chunk: int = 1 << 20
) -> tuple[NDArray[np.uint8], list[tuple[int, int, int]]]:
    n_voxels = next(iter(binary.values())).size
    sets = LabelSets(n_voxels)
    for label, bits in binary.items():
        sets.begin(label)
        for start in range(0, n_voxels, chunk):
            assert not sets.cover(start, bits[start : start + chunk].astype(np.uint8))
    labels, shared = sets.resolve(order)
    assert (labels.dtype, shared.dtype, shared.shape[1:]) == (np.uint8, np.int64, (3,))
    return labels, [tuple(row) for row in shared.tolist()]


@st.composite
def binary_masks(draw: st.DrawFn) -> dict[int, Bits]:
    """Binary masks of some labels: runs and crumbs, of fewer and of more voxels than a block."""
    labels = draw(st.lists(st.integers(1, 255), min_size=1, max_size=7, unique=True))
    n_voxels = draw(st.sampled_from([0, 1, 63, 64, 65, 200, 1024, 1500]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    binary = {}
    for label in labels:
        bits = rng.random(n_voxels) < draw(st.sampled_from([0, 0, 0.01, 0.5, 1]))
        for _ in range(draw(st.integers(0, 3)) if n_voxels else 0):
            start, end = np.sort(rng.integers(0, n_voxels + 1, 2))
            bits[start:end] = draw(st.booleans())
        binary[label] = bits
    return binary


@given(binary=binary_masks(), data=st.data())
@examples(with_jit=80, without_jit=25)
def test_labels_and_overlaps_are_those_of_the_oracle(
    binary: dict[int, Bits], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(list(binary)))
    chunk = data.draw(st.sampled_from([7, 64, 1000, 1 << 20]))
    labels, shared = merged(binary, order, chunk)
    expected, expected_shared = oracle.merge_masks(binary, order)
    np.testing.assert_array_equal(labels, expected, strict=True)
    assert shared == expected_shared


def test_neither_the_order_of_adding_nor_labels_that_are_absent_matter() -> None:
    rng = np.random.default_rng(0)
    binary = {label: rng.random(300) < 0.4 for label in (3, 9, 1, 200)}
    order = [200, 5, 3, 1, 17, 9]
    expected = merged(binary, order)
    for labels in ([1, 3, 9, 200], [200, 9, 3, 1]):
        found = merged({label: binary[label] for label in labels}, order)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]


def test_three_labels_on_a_voxel_are_three_pairs() -> None:
    one = np.ones(1, np.bool_)
    labels, shared = merged({8: one, 2: one, 5: one}, [2, 8, 5])
    assert labels.tolist() == [5]
    assert shared == [(2, 5, 1), (2, 8, 1), (5, 8, 1)]


def test_all_255_labels_on_all_voxels() -> None:
    ones = np.ones(70, np.bool_)
    labels, shared = merged(dict.fromkeys(range(1, 256), ones), range(1, 256))
    assert set(labels.tolist()) == {255}
    assert len(shared) == 255 * 254 // 2
    assert {n for _, _, n in shared} == {70}


@pytest.mark.skipif(not JIT, reason="too large for plain Python")
def test_more_sets_than_16_bits_can_number() -> None:
    n_labels = 17
    numbers = np.random.default_rng(1).permutation(1 << n_labels)
    binary = {label: (numbers >> (label - 1) & 1).astype(bool) for label in range(1, n_labels + 1)}
    labels, shared = merged(binary, range(1, n_labels + 1))
    # The highest bit of a number is its label.
    np.testing.assert_array_equal(labels, np.frexp(numbers)[1])
    assert len(shared) == n_labels * (n_labels - 1) // 2
    assert {n for _, _, n in shared} == {1 << (n_labels - 2)}


def test_values_above_1_are_told_and_cover_nothing() -> None:
    rng = np.random.default_rng(2)
    for n_voxels in (1, 64, 150):
        sets = LabelSets(n_voxels)
        for label in (1, 2, 3):
            values = rng.choice(np.array([0, 1, 2, 3, 255], np.uint8), n_voxels)
            sets.begin(label)
            assert sets.cover(0, values) == np.any(values > 1)
            covered = values == 1
        labels = sets.resolve([1, 2, 3])[0]
        np.testing.assert_array_equal(labels == 3, covered)


def test_what_is_found_can_be_asked_for_again_and_in_another_order() -> None:
    sets = LabelSets(3)
    for label, values in ((1, [1, 1, 0]), (2, [0, 1, 1])):
        sets.begin(label)
        sets.cover(0, np.array(values, np.uint8))
    found = [sets.resolve(order) for order in ([1, 2], [2, 1], [1, 2])]
    assert [labels.tolist() for labels, _ in found] == [[1, 2, 2], [1, 1, 2], [1, 2, 2]]
    assert [shared.tolist() for _, shared in found] == [[[1, 2, 1]]] * 3


def test_what_does_not_fit_is_refused() -> None:
    sets = LabelSets(4)
    for label in (0, -1, 256):
        with pytest.raises(ValueError):
            sets.begin(label)
    sets.begin(7)
    sets.cover(0, np.ones(4, np.uint8))
    for start, values in (
        (0, np.ones(5, np.uint8)),
        (2, np.ones(3, np.uint8)),
        (0, np.ones(4, np.int8)),
        (0, np.ones((2, 2), np.uint8)),
    ):
        with pytest.raises(ValueError):
            sets.cover(start, values)
    with pytest.raises(ValueError):
        sets.begin(7)
    with pytest.raises(ValueError, match="order"):
        sets.resolve([1, 2])
