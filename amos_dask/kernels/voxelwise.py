"""Voxel by voxel: labels replaced and counted, stored values scaled, cast and counted."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels import Bytes, Ints, njit, njit_inline

_Scalar = TypeVar("_Scalar", bound=np.generic)

# Values that are counted in a table: whole numbers of 16 bits, signed or not, and some more, as
# scans have them. All others are set aside.
LOWEST_VALUE, _HIGHEST_VALUE = -(1 << 15), (1 << 16) - 1
N_VALUES = _HIGHEST_VALUE - LOWEST_VALUE + 1

_BLOCK = 512  # voxels; long enough to be counted at once fast, short enough to be of one label

_KERNEL_CODES = "bBhHiIlLqQfd"  # dtypes that numba takes as they are


# ---------------------------------------------------------------- arrays as kernels take them


def flat_fortran(mask: Bytes) -> Bytes:
    """Return a mask's voxels, x fastest, flat and read-only; copied unless in Fortran order."""
    if mask.ndim != 3 or mask.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (x, y, z) mask, got {mask.dtype} {mask.shape}")
    return read_only(mask.reshape(-1, order="F"))


def read_only(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return a contiguous read-only array of the same values, a view where possible.

    numba compiles a kernel once for arrays that may be written to and once more for those that
    may not; kernels never write to their input, so all input is made to be of the second kind.
    """
    if values.flags.c_contiguous and not values.flags.writeable:
        return values
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


@njit_inline
def is_uniform(numbers: NDArray[Any]) -> bool:
    """Return whether some whole numbers, at least one, are all the same."""
    differences = numbers.dtype.type(0)
    for i in range(numbers.size):  # one type throughout, no early exit: vector instructions
        differences = numbers.dtype.type(differences | (numbers[i] ^ numbers[0]))
    return bool(differences == 0)


# ---------------------------------------------------------------- masks


def remap_labels(mask: Bytes, lookup: Bytes) -> Bytes:
    """Return a mask in which each label is replaced by its entry in a table.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label mask; not changed.
    lookup : uint8 (256,)
        New label of each label.

    Returns
    -------
    uint8 (x, y, z)
        A new mask in Fortran order.

    Raises
    ------
    ValueError
        When ``mask`` is not a three-dimensional uint8 array, or ``lookup`` not a table as above.

    Examples
    --------
    >>> lookup = np.arange(256, dtype=np.uint8)
    >>> lookup[15] = 16
    >>> remap_labels(np.array([[[0, 15, 2]]], np.uint8), lookup).ravel().tolist()
    [0, 16, 2]
    """
    if lookup.shape != (256,) or lookup.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (256,) table, got {lookup.dtype} {lookup.shape}")
    source = flat_fortran(mask)
    target = np.empty(source.size, np.uint8)
    _remap(source, read_only(lookup), target)
    return target.reshape(mask.shape, order="F")


@njit
def _remap(source: Bytes, lookup: Bytes, target: Bytes) -> None:
    for i in range(source.size):
        target[i] = lookup[source[i]]


def count_labels(labels: Bytes) -> Ints:
    """Count the voxels of every label.

    Parameters
    ----------
    labels : uint8
        Multi-label mask, or a part of one, in any shape and memory order.

    Returns
    -------
    int64 (256,)
        Number of voxels of each label; all 0 for a mask without voxels.

    Raises
    ------
    ValueError
        When ``labels`` are not uint8.

    Examples
    --------
    >>> count_labels(np.array([[[0, 2, 2]]], np.uint8))[:4].tolist()
    [1, 0, 2, 0]
    """
    if labels.dtype != np.uint8:
        raise ValueError(f"expected uint8 labels, got {labels.dtype}")
    counts = np.zeros(256, np.int64)
    _count_labels(read_only(labels.ravel(order="K")), counts)
    return counts


@njit
def _count_labels(flat: Bytes, counts: Ints) -> None:
    for begin in range(0, flat.size, _BLOCK):
        block = flat[begin : begin + _BLOCK]
        if is_uniform(block):
            counts[block[0]] += block.size
        else:
            for i in range(block.size):
                counts[block[i]] += 1


# ---------------------------------------------------------------- stored values


def scale_to_float32(
    raw: NDArray[Any], slope: float, inter: float, out: NDArray[np.float32]
) -> None:
    """Scale stored values: ``float32(float64(raw) * slope + inter)``, each step rounded by itself.

    As in nibabel (``apply_read_scaling``) there is no multiplication by a slope of 1 and no
    addition of an intercept of 0. Values beyond the range of float32 become infinite.

    Parameters
    ----------
    raw : (n,) of any integer or float dtype
        Values as stored in the file.
    slope, inter : float
        The file's scaling, 1 and 0 when it has none.
    out : float32 (n,)
        Array to fill.

    Raises
    ------
    ValueError
        When ``raw`` is not flat, or ``out`` of another shape or type.

    Examples
    --------
    >>> out = np.empty(3, np.float32)
    >>> scale_to_float32(np.array([0, 1, 1064], np.int16), 0.5, -32.0, out)
    >>> out.tolist()
    [-32.0, -31.5, 500.0]
    """
    _require_chunk(raw, out, np.float32)
    dtype = raw.dtype.newbyteorder("=") if raw.dtype.char in _KERNEL_CODES else np.float64
    # x * 1.0 is x; x + 0.0 is not when x is -0.0, but x + -0.0 always is.
    addend = float(inter) if inter != 0 else -0.0
    with np.errstate(all="ignore"):  # with the JIT off, numpy would warn of infinities
        _scale(read_only(raw.astype(dtype, copy=False)), float(slope), addend, out)


@njit
def _scale(raw: NDArray[Any], slope: float, inter: float, out: NDArray[np.float32]) -> None:
    for i in range(raw.size):
        out[i] = np.float32(np.float64(raw[i]) * slope + inter)


def cast_to_labels(values: NDArray[Any], out: Bytes) -> int:
    """Cast values to labels, and count those that are none.

    Parameters
    ----------
    values : (n,) of any integer or float dtype
        Values of a mask.
    out : uint8 (n,)
        Array to fill; 0 where a value is no label.

    Returns
    -------
    int
        How many values are not whole numbers from 0 to 255; NaN and infinities are not.

    Raises
    ------
    ValueError
        When ``values`` is not flat, or ``out`` of another shape or type.

    Examples
    --------
    >>> out = np.empty(4, np.uint8)
    >>> cast_to_labels(np.array([0.0, 15.0, 1.5, 256.0]), out)
    2
    >>> out.tolist()
    [0, 15, 0, 0]
    """
    _require_chunk(values, out, np.uint8)
    with np.errstate(invalid="ignore"):
        np.copyto(out, values, casting="unsafe")
    if values.dtype == np.uint8:
        return 0
    # Whatever the cast makes of a value that is no label, it is a label and so not that value.
    is_bad = out != values
    n_bad = int(np.count_nonzero(is_bad))
    if n_bad:
        out[is_bad] = 0
    return n_bad


def _require_chunk(values: NDArray[Any], out: NDArray[Any], dtype: type[np.generic]) -> None:
    if values.ndim != 1 or out.shape != values.shape or out.dtype != dtype:
        raise ValueError(
            f"expected flat values and as many {np.dtype(dtype)} to fill, "
            f"got {values.shape} and {out.dtype} {out.shape}"
        )


# ---------------------------------------------------------------- values under labels


def count_values(
    values: NDArray[np.float32], labels: Bytes, rows: Ints, table: Ints
) -> tuple[NDArray[np.float32], Bytes]:
    """Add the whole-numbered values under each label to a table.

    Parameters
    ----------
    values : float32 (n,)
        Values of a volume's voxels.
    labels : uint8 (n,)
        Their labels.
    rows : int64 (256,)
        Row of the table for each label; negative for labels that are not counted.
    table : int64 (rows, N_VALUES)
        Counts, changed in place; column 0 is the value `LOWEST_VALUE`.

    Returns
    -------
    values : float32 (m,)
        Values that the table has no column for, in order; NaN and infinities among them.
    labels : uint8 (m,)
        Their labels.

    Raises
    ------
    ValueError
        When the arrays are not as above.

    Examples
    --------
    >>> rows = np.full(256, -1)
    >>> rows[3] = 0
    >>> table = np.zeros((1, N_VALUES), np.int64)
    >>> values, labels = np.array([40, 40, 0.5], np.float32), np.array([3, 0, 3], np.uint8)
    >>> [array.tolist() for array in count_values(values, labels, rows, table)]
    [[0.5], [3]]
    >>> int(table[0, 40 - LOWEST_VALUE])
    1
    """
    if values.dtype != np.float32 or labels.dtype != np.uint8 or values.shape != labels.shape:
        raise ValueError("expected float32 values and as many uint8 labels")
    if rows.shape != (256,) or table.shape != (rows.max(initial=-1) + 1, N_VALUES):
        raise ValueError("expected a row for each of 256 labels and a table with these rows")
    if not _count_values(values, labels, rows, table):
        return values[:0], labels[:0]
    has_column = (
        (values >= LOWEST_VALUE) & (values <= _HIGHEST_VALUE) & (values == np.floor(values))
    )
    is_other = (rows >= 0)[labels] & ~has_column
    return values[is_other], labels[is_other]


@njit
def _count_values(values: NDArray[np.float32], labels: Bytes, rows: Ints, table: Ints) -> int:
    """Return how many values under labels that are counted have no column."""
    n_others = 0
    for i in range(values.size):
        row = rows[labels[i]]
        if row >= 0:
            value = values[i]
            if LOWEST_VALUE <= value <= _HIGHEST_VALUE and value == np.floor(value):
                table[row, np.int64(value) - LOWEST_VALUE] += 1
            else:
                n_others += 1
    return n_others
