"""The table of provisional components, and how those found to be one are added up."""

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit
from amos_dask.kernels.union_find import IntArray

# Columns. A row is less than a cache line, so adding to a component costs one access.
N_VOXELS, SUM_X, SUM_Y, SUM_Z, FIRST_VOXEL, LABEL, N_COLUMNS = 0, 1, 2, 3, 4, 5, 6


def new_table(n: int) -> tuple[NDArray[np.int64], IntArray]:
    """Return room for ``n`` provisional components and their parents; unused pages cost nothing."""
    return np.empty((n, N_COLUMNS), np.int64), np.empty(n, np.int64)


@njit
def start_component(table: NDArray[np.int64], n: int, label: int, first_voxel: int) -> None:
    """Make row ``n`` a component without voxels, apart from where it will begin."""
    for column in range(FIRST_VOXEL):
        table[n, column] = 0
    table[n, FIRST_VOXEL] = first_voxel
    table[n, LABEL] = label


@njit
def merge_table(table: NDArray[np.int64], parent: IntArray, n: int) -> int:
    """Add every provisional component to its root, move roots to the front, return their number.

    Roots stay in order. On return ``parent`` holds the row of each provisional component's root.
    """
    n_roots = 0
    for i in range(n):  # a parent has the smaller number, so its own root's row is known by now
        if parent[i] == i:
            for column in range(N_COLUMNS):
                table[n_roots, column] = table[i, column]
            parent[i] = n_roots
            n_roots += 1
        else:
            row = parent[parent[i]]
            for column in range(FIRST_VOXEL):
                table[row, column] += table[i, column]
            table[row, FIRST_VOXEL] = min(table[row, FIRST_VOXEL], table[i, FIRST_VOXEL])
            parent[i] = row
    return n_roots
