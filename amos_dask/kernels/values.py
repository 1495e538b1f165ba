"""How often each value occurs under each label."""

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit

# Values that are counted in a table: whole numbers of 16 bits, signed or not, and some more, as
# scans have them. All others are set aside.
LOWEST, HIGHEST = -(1 << 15), (1 << 16) - 1
WIDTH = HIGHEST - LOWEST + 1


def count_values(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    table: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Add the whole-numbered values under each label to a table.

    Parameters
    ----------
    values : float32 (n,)
        Values of a volume's voxels.
    labels : uint8 (n,)
        Their labels.
    rows : int64 (256,)
        Row of the table for each label; negative for labels that are not counted.
    table : int64 (rows, WIDTH)
        Counts, changed in place; column 0 is the value `LOWEST`.

    Returns
    -------
    values : float32 (m,)
        Values that the table has no column for, in order.
    labels : uint8 (m,)
        Their labels.

    Raises
    ------
    ValueError
        When the arrays are not as above.
    """
    if values.dtype != np.float32 or labels.dtype != np.uint8 or values.shape != labels.shape:
        raise ValueError("expected float32 values and as many uint8 labels")
    if rows.shape != (256,) or table.shape != (rows.max(initial=-1) + 1, WIDTH):
        raise ValueError("expected a row for each of 256 labels and a table with these rows")
    n_others = _count(values, labels, rows, table)
    if not n_others:
        return values[:0], labels[:0]
    places = np.empty(n_others, np.int64)
    _find_others(values, labels, rows, places)
    return values[places], labels[places]


@njit
def _count(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    table: NDArray[np.int64],
) -> int:
    n_others = 0
    for i in range(values.size):
        row = rows[labels[i]]
        if row >= 0:
            value = values[i]
            if LOWEST <= value <= HIGHEST and value == np.floor(value):
                table[row, np.int64(value) - LOWEST] += 1
            else:
                n_others += 1
    return n_others


@njit
def _find_others(
    values: NDArray[np.float32],
    labels: NDArray[np.uint8],
    rows: NDArray[np.int64],
    places: NDArray[np.int64],
) -> None:
    n = 0
    for i in range(values.size):
        if rows[labels[i]] >= 0:
            value = values[i]
            if not (LOWEST <= value <= HIGHEST and value == np.floor(value)):
                places[n] = i
                n += 1
