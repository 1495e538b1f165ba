"""Components of an ordinary mask: runs of equal label, row after row, as they lie in memory."""

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit, njit_inline
from amos_dask.kernels.component_table import (
    FIRST_VOXEL,
    N_VOXELS,
    SUM_X,
    SUM_Y,
    SUM_Z,
    merge_table,
    new_table,
    start_component,
)
from amos_dask.kernels.layout import flat_fortran
from amos_dask.kernels.runs import UNSEEN, Runs, find_runs, link_rows, new_runs


def scan_runs(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the component table of a mask, which is not empty; quick where labels seldom change.

    Only the runs of two slices exist at a time.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        In any order; copied if it is not Fortran order.

    Returns
    -------
    int64 (n, N_COLUMNS)
        In order of FIRST_VOXEL.
    """
    flat = flat_fortran(mask)
    nx, ny, nz = mask.shape
    even, odd = new_runs(nx, ny), new_runs(nx, ny)
    table, parent = new_table(4 * nx * ny)
    z, n = 0, 0
    while True:
        z, n = _scan_slices(flat, nx, ny, nz, z, even, odd, table, parent, n)
        if z == nz:
            table = table[: merge_table(table, parent, n)]
            return table.take(np.argsort(table[:, FIRST_VOXEL]), axis=0)
        larger_table, larger_parent = new_table(2 * parent.size)
        larger_table[:n] = table[:n]
        larger_parent[:n] = parent[:n]
        table, parent = larger_table, larger_parent


@njit
def _scan_slices(
    flat: NDArray[np.uint8],
    nx: int,
    ny: int,
    nz: int,
    z: int,
    even: Runs,
    odd: Runs,
    table: NDArray[np.int64],
    parent: NDArray[np.int64],
    n: int,
) -> tuple[int, int]:
    """Scan slices from z on as long as the table has room for one that is all components.

    Returns the next z and the number of provisional components.
    """
    while z < nz and n + nx * ny <= parent.size:
        plane = flat[z * nx * ny : (z + 1) * nx * ny]
        if z % 2:
            n = _scan_slice(plane, z, nx, ny, nz, odd, even, table, parent, n)
        else:
            n = _scan_slice(plane, z, nx, ny, nz, even, odd, table, parent, n)
        z += 1
    return z, n


@njit
def _scan_slice(
    plane: NDArray[np.uint8],
    z: int,
    nx: int,
    ny: int,
    nz: int,
    current: Runs,
    previous: Runs,
    table: NDArray[np.int64],
    parent: NDArray[np.int64],
    n: int,
) -> int:
    find_runs(plane, nx, ny, current)
    for y in range(ny):
        _link_row(current, previous, y, z, nx, ny, parent)
        n = _add_row(current, y, z, ny, nz, table, parent, n)
    return n


@njit_inline
def _link_row(
    current: Runs, previous: Runs, y: int, z: int, nx: int, ny: int, parent: NDArray[np.int64]
) -> None:
    """Link row y to the four rows around it that came before."""
    i = current.row_begin[y]
    if z > 0:
        for v in range(max(y - 1, 0), min(y + 2, ny)):
            link_rows(current, i, previous, previous.row_begin[v], nx, parent)
    if y > 0:
        link_rows(current, i, current, current.row_begin[y - 1], nx, parent)


@njit_inline
def _add_row(
    runs: Runs,
    y: int,
    z: int,
    ny: int,
    nz: int,
    table: NDArray[np.int64],
    parent: NDArray[np.int64],
    n: int,
) -> int:
    """Add the runs of row y to the table, as new components where unlinked; return its length."""
    start, label, component_ids, row_begin, _ = runs
    for i in range(row_begin[y], row_begin[y + 1] - 1):
        begin = int(start[i])
        end = int(start[i + 1])
        first_voxel = (begin * ny + y) * nz + z
        component_id = component_ids[i]
        if component_id == UNSEEN:
            component_id = n
            n += 1
            component_ids[i] = component_id
            parent[component_id] = component_id
            start_component(table, component_id, label[i], first_voxel)
        table[component_id, N_VOXELS] += end - begin
        table[component_id, SUM_X] += (begin + end - 1) * (end - begin) // 2
        table[component_id, SUM_Y] += y * (end - begin)
        table[component_id, SUM_Z] += z * (end - begin)
        if first_voxel < table[component_id, FIRST_VOXEL]:
            table[component_id, FIRST_VOXEL] = first_voxel
    return n
