"""Scaling to float32 and casting to labels against the oracle, value by value.

NaN equals NaN, and -0.0 equals 0.0: whether an intercept of 0 is added or left out, as nibabel
leaves it out, shows in nothing but the sign of a zero.
"""

from __future__ import annotations

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from strategies import JIT, examples

from amos_dask.kernels.voxelwise import cast_to_labels, scale_to_float32

RAW_DTYPES = [
    np.uint8,
    np.int8,
    np.uint16,
    np.int16,
    np.uint32,
    np.int32,
    np.uint64,
    np.int64,
    np.float32,
    np.float64,
]

pytestmark = pytest.mark.filterwarnings(
    # With the JIT off the kernels' arithmetic is numpy's, which warns where IEEE 754 does not.
    "ignore:overflow encountered:RuntimeWarning",
    "ignore:invalid value encountered:RuntimeWarning",
)


def raw_values(rng: np.random.Generator, dtype: type, n: int) -> NDArray[np.generic]:
    """Values all over the range of a dtype, its ends and (for floats) specials among them."""
    if np.issubdtype(dtype, np.integer):
        info = np.iinfo(dtype)
        values = rng.integers(info.min, info.max, size=n, dtype=dtype, endpoint=True)
        values[: min(n, 3)] = np.array([info.min, info.max, 0], dtype=dtype)[:n]
        return values
    with np.errstate(over="ignore"):
        floats = (rng.standard_normal(n) * 10.0 ** rng.integers(-45, 45, size=n)).astype(dtype)
    specials = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, np.finfo(dtype).max], dtype=dtype)
    floats[: len(specials)] = specials[:n]
    return floats


def assert_scaled_as_the_oracle_does(
    raw: NDArray[np.generic], slope: float, inter: float, why: str = ""
) -> None:
    before = raw.copy()
    out = np.full(raw.shape, 12345.0, dtype=np.float32)
    scale_to_float32(raw, slope, inter, out)
    expected = oracle.scaled_float32(raw, slope, inter)
    np.testing.assert_array_equal(out, expected, err_msg=f"{why} {raw.dtype} {slope=} {inter=}")
    np.testing.assert_array_equal(raw, before)


# ---------------------------------------------------------------- scale_to_float32


@pytest.mark.parametrize("dtype", RAW_DTYPES)
def test_values_are_scaled_in_float64_then_cast(dtype: type) -> None:
    for seed in range(40 if JIT else 10):
        rng = np.random.default_rng(seed)
        slope = float(rng.choice([1.0, 2.0, -1.0, 0.1, 1e-3, rng.uniform(-5, 5), 1e30, 0.0]))
        inter = float(rng.choice([0.0, -1024.0, 0.1, rng.uniform(-5, 5), -1e20, 1e300]))
        n = int(rng.integers(0, 300 if JIT else 40))
        assert_scaled_as_the_oracle_does(raw_values(rng, dtype, n), slope, inter, f"{seed=}")


@pytest.mark.parametrize("dtype", RAW_DTYPES)
def test_values_without_scaling_are_only_cast(dtype: type) -> None:
    raw = raw_values(np.random.default_rng(0), dtype, 200 if JIT else 40)
    assert_scaled_as_the_oracle_does(raw, 1.0, 0.0)


@given(
    raw=st.sampled_from(RAW_DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 20))),
    slope=st.floats(allow_nan=False, allow_infinity=False),
    inter=st.floats(allow_nan=False, allow_infinity=False),
)
@examples(with_jit=120, without_jit=40)
def test_any_values_and_scaling_give_those_of_the_oracle(
    raw: NDArray[np.generic], slope: float, inter: float
) -> None:
    assert_scaled_as_the_oracle_does(raw, slope, inter)


def test_multiplication_and_addition_round_one_after_the_other() -> None:
    # The product rounds to a multiple of 2**-52 before the subtraction leaves a few of those; a
    # fused multiply-add would leave their exact number, a different float32.
    rng = np.random.default_rng(1)
    n = 2000 if JIT else 200
    raw = 1.0 + rng.integers(1, 2**16, size=n) * 2.0**-52
    for slope in (1.0 + 2.0**-30, 1.0 - 2.0**-31, 1.1):
        assert_scaled_as_the_oracle_does(raw, slope, -slope)


def test_values_beyond_int16_and_beyond_float32_integers_survive() -> None:
    assert_scaled_as_the_oracle_does(np.array([186_452, 16_777_217], dtype=np.int32), 1.0, 0.0)
    assert_scaled_as_the_oracle_does(np.array([16_777_217], dtype=np.int32), 1.0, -16_777_216.0)
    big = np.array([2**63 - 1, -(2**63), 2**53 + 1], dtype=np.int64)
    assert_scaled_as_the_oracle_does(big, 1.0, 0.0)
    assert_scaled_as_the_oracle_does(np.array([2**64 - 1, 2**63], dtype=np.uint64), 1.0, 0.0)


@pytest.mark.parametrize("dtype", RAW_DTYPES)
def test_part_of_a_buffer_is_filled_and_the_rest_left_alone(dtype: type) -> None:
    raw = raw_values(np.random.default_rng(2), dtype, 10)
    raw.flags.writeable = False
    buffer = np.full(20, -7.0, dtype=np.float32)
    scale_to_float32(raw, 2.0, 1.0, buffer[5:15])
    np.testing.assert_array_equal(buffer[5:15], oracle.scaled_float32(raw, 2.0, 1.0))
    assert buffer[:5].tolist() == buffer[15:].tolist() == [-7.0] * 5


@pytest.mark.parametrize("dtype", RAW_DTYPES)
def test_big_endian_and_strided_values_are_right_or_refused(dtype: type) -> None:
    raw = raw_values(np.random.default_rng(3), dtype, 12)
    for odd in (raw.astype(np.dtype(dtype).newbyteorder(">")), np.repeat(raw, 2)[::2], raw[::-1]):
        out = np.zeros(12, dtype=np.float32)
        try:
            scale_to_float32(odd, 2.0, 1.0, out)
        except (TypeError, ValueError, NotImplementedError):
            continue
        np.testing.assert_array_equal(out, oracle.scaled_float32(odd, 2.0, 1.0))


@pytest.mark.parametrize("n_out", [0, 4, 6])
def test_scaling_into_another_length_is_refused(n_out: int) -> None:
    with pytest.raises((TypeError, ValueError)):
        scale_to_float32(np.zeros(5, np.int16), 1.0, 0.0, np.zeros(n_out, np.float32))


@pytest.mark.parametrize("dtype", [np.int16, np.float64, np.uint8])
def test_scaling_into_another_dtype_is_refused(dtype: type) -> None:
    with pytest.raises((TypeError, ValueError)):
        scale_to_float32(np.zeros(5, np.int16), 1.0, 0.0, np.zeros(5, dtype=dtype))


def test_scaling_arrays_of_more_axes_is_refused_or_right() -> None:
    raw = np.arange(6, dtype=np.int16).reshape(2, 3)
    for out in (np.zeros((2, 3), np.float32), np.zeros(6, np.float32)):
        try:
            scale_to_float32(raw, 2.0, 1.0, out)
        except (TypeError, ValueError):
            continue
        np.testing.assert_array_equal(out.ravel(), [1, 3, 5, 7, 9, 11])


# ---------------------------------------------------------------- cast_to_labels


def assert_cast_as_the_oracle_does(values: NDArray[np.generic]) -> None:
    before = values.copy()
    out = np.full(values.shape, 99, dtype=np.uint8)
    n_bad = cast_to_labels(values, out)
    good = np.array([oracle.valid_mask_values(value) for value in values], dtype=bool)
    assert int(n_bad) == n_bad == np.count_nonzero(~good), f"{values.dtype} {values.tolist()}"
    assert (n_bad == 0) == oracle.valid_mask_values(values)
    np.testing.assert_array_equal(out[good], values[good].astype(np.uint8))
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("dtype", RAW_DTYPES)
def test_every_label_is_cast_to_itself(dtype: type) -> None:
    highest = 127 if dtype is np.int8 else 255
    labels = np.arange(highest + 1).astype(dtype)
    out = np.zeros(highest + 1, dtype=np.uint8)
    assert cast_to_labels(labels, out) == 0
    np.testing.assert_array_equal(out, np.arange(highest + 1))


@pytest.mark.parametrize("dtype", RAW_DTYPES)
def test_values_that_are_no_labels_are_counted(dtype: type) -> None:
    for seed in range(50 if JIT else 8):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(0, 60))
        values = raw_values(rng, dtype, n)
        labels = rng.integers(0, 128 if dtype is np.int8 else 256, size=n).astype(dtype)
        assert_cast_as_the_oracle_does(np.where(rng.random(n) < 0.5, values, labels))


@given(
    values=st.sampled_from(RAW_DTYPES).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 12)))
)
@examples(with_jit=120, without_jit=50)
def test_any_values_are_judged_as_the_oracle_does(values: NDArray[np.generic]) -> None:
    assert_cast_as_the_oracle_does(values)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fractions_infinities_and_neighbours_of_labels_are_no_labels(dtype: type) -> None:
    one = dtype(1)
    values = [
        np.nan, np.inf, -np.inf, -1.0, -0.5, 0.5, 255.5, 256.0, 1e300, -1e300, 2.0**32, 2.0**63,
        2.0**64, -(2.0**32), 2.0**32 + 1, np.nextafter(one, dtype(2)), np.nextafter(one, dtype(0)),
        np.nextafter(dtype(0), one), np.nextafter(dtype(0), -one), np.nextafter(dtype(255), one),
        np.nextafter(dtype(255), dtype(256)),
    ]  # fmt: skip
    with np.errstate(over="ignore"):
        bad = np.array(values, dtype=dtype)
    assert cast_to_labels(bad, np.zeros(len(bad), np.uint8)) == len(bad)
    assert_cast_as_the_oracle_does(np.append(bad, np.array([0.0, -0.0, 1.0, 255.0], dtype=dtype)))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_that_would_wrap_around_to_a_label_are_no_labels(dtype: type) -> None:
    info = np.iinfo(dtype)
    wrapping = [-1, -255, -256, 256, 257, 511, 512, 65536, 2**32, 2**32 + 1, 2**63, 2**64 - 1]
    bad = [n for n in wrapping if info.min <= n <= info.max]
    values = np.array(bad, dtype=dtype)
    assert cast_to_labels(values, np.zeros(len(values), np.uint8)) == len(values)


@pytest.mark.parametrize("dtype", RAW_DTYPES)
def test_big_endian_and_strided_labels_are_right_or_refused(dtype: type) -> None:
    labels = np.array([0, 1, 16, 100, 127, 3], dtype=dtype)
    for odd in (labels.astype(labels.dtype.newbyteorder(">")), np.repeat(labels, 2)[::2]):
        out = np.zeros(6, dtype=np.uint8)
        try:
            n_bad = cast_to_labels(odd, out)
        except (TypeError, ValueError, NotImplementedError):
            continue
        assert n_bad == 0
        assert out.tolist() == [0, 1, 16, 100, 127, 3]


def test_read_only_labels_are_cast_into_part_of_a_buffer() -> None:
    labels = np.array([3.0, 4.0, 5.0])
    labels.flags.writeable = False
    buffer = np.full(7, 99, dtype=np.uint8)
    assert cast_to_labels(labels, buffer[2:5]) == 0
    assert buffer.tolist() == [99, 99, 3, 4, 5, 99, 99]


@pytest.mark.parametrize("n_out", [0, 4, 6])
def test_casting_into_another_length_is_refused(n_out: int) -> None:
    with pytest.raises((TypeError, ValueError)):
        cast_to_labels(np.zeros(5, np.int16), np.zeros(n_out, np.uint8))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.float64])
def test_casting_into_another_dtype_is_refused(dtype: type) -> None:
    with pytest.raises((TypeError, ValueError)):
        cast_to_labels(np.zeros(5, np.int16), np.zeros(5, dtype=dtype))
