"""Connected components of a multi-label volume, all labels in one pass."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit, njit_inline
from amos_dask.kernels.layout import flat_fortran
from amos_dask.kernels.runs import UNSEEN, Runs, find_runs, link_rows, new_runs
from amos_dask.kernels.union_find import find_root

# Columns of the component table. A row is less than a cache line, so a run costs one access.
N_VOXELS, SUM_X, SUM_Y, SUM_Z, FIRST_VOXEL, LABEL, N_COLUMNS = 0, 1, 2, 3, 4, 5, 6


class Components(NamedTuple):
    """One entry per component, in order of ``first_voxel``.

    Attributes
    ----------
    label : uint8 (n,)
        The label that all voxels of the component have.
    n_voxels : int64 (n,)
        Its size in voxels.
    coordinate_sums : int64 (n, 3)
        Sums of the voxel indices x, y and z; divided by ``n_voxels`` they give the centroid.
    first_voxel : int64 (n,)
        The smallest C-order flat index ``(x * ny + y) * nz + z`` among its voxels.
    """

    label: NDArray[np.uint8]
    n_voxels: NDArray[np.int64]
    coordinate_sums: NDArray[np.int64]
    first_voxel: NDArray[np.int64]


def label_components(mask: NDArray[np.uint8]) -> Components:
    """Find the 26-connected components of equal label, background included.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label volume, in Fortran order as NIfTI stores it; any other order is copied.

    Returns
    -------
    Components
        Sorted by ``first_voxel``; empty arrays when an axis has length zero.

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    flat = flat_fortran(mask)
    if flat.size == 0:
        table = np.empty((0, N_COLUMNS), np.int64)
    else:
        table = _scan_volume(flat, *mask.shape)
    order = np.argsort(table[:, FIRST_VOXEL])
    return Components(
        label=table[order, LABEL].astype(np.uint8),
        n_voxels=table[order, N_VOXELS],
        coordinate_sums=table[order, SUM_X : SUM_Z + 1],
        first_voxel=table[order, FIRST_VOXEL],
    )


@njit
def _scan_volume(flat: NDArray[np.uint8], nx: int, ny: int, nz: int) -> NDArray[np.int64]:
    """Return the component table; only the runs of two slices exist at a time."""
    previous = new_runs(nx, ny)
    current = new_runs(nx, ny)
    table = np.zeros((nx, N_COLUMNS), np.int64)
    parent = np.empty(nx, np.int64)
    n = 0
    for z in range(nz):
        find_runs(flat[z * nx * ny : (z + 1) * nx * ny], nx, ny, current)
        for y in range(ny):
            if n + nx > parent.size:  # a row adds at most nx components
                table = _grown_table(table, nx)
                parent = _grown_parent(parent, nx)
            _link_row(current, previous, y, z, nx, ny, parent)
            n = _add_row(current, y, z, nx, ny, nz, table, parent, n)
        previous, current = current, previous
    return _merge(table, parent, n)


@njit
def _grown_table(table: NDArray[np.int64], nx: int) -> NDArray[np.int64]:
    grown = np.zeros((2 * len(table) + nx, N_COLUMNS), np.int64)
    grown[: len(table)] = table
    return grown


@njit
def _grown_parent(parent: NDArray[np.int64], nx: int) -> NDArray[np.int64]:
    grown = np.empty(2 * parent.size + nx, np.int64)
    grown[: parent.size] = parent
    return grown


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
    nx: int,
    ny: int,
    nz: int,
    table: NDArray[np.int64],
    parent: NDArray[np.int64],
    n: int,
) -> int:
    """Add the runs of row y to the table, as new components where unlinked; return its length."""
    start, label, component_ids, row_begin, _ = runs
    for i in range(row_begin[y], row_begin[y + 1] - 1):
        begin = np.int64(start[i])
        end = np.int64(start[i + 1])
        first_voxel = (begin * ny + y) * nz + z
        component_id = component_ids[i]
        if component_id == UNSEEN:
            component_id = n
            n += 1
            component_ids[i] = component_id
            parent[component_id] = component_id
            table[component_id, LABEL] = label[i]
            table[component_id, FIRST_VOXEL] = first_voxel
        table[component_id, N_VOXELS] += end - begin
        table[component_id, SUM_X] += (begin + end - 1) * (end - begin) // 2
        table[component_id, SUM_Y] += y * (end - begin)
        table[component_id, SUM_Z] += z * (end - begin)
        if first_voxel < table[component_id, FIRST_VOXEL]:
            table[component_id, FIRST_VOXEL] = first_voxel
    return n


@njit
def _merge(table: NDArray[np.int64], parent: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Add every provisional component to its root; return the rows of the roots."""
    for i in range(n - 1, -1, -1):  # a parent has the smaller number, so its turn comes later
        root = find_root(parent, i)
        if root != i:
            table[root, :FIRST_VOXEL] += table[i, :FIRST_VOXEL]
            table[root, FIRST_VOXEL] = min(table[root, FIRST_VOXEL], table[i, FIRST_VOXEL])
    n_roots = 0
    for i in range(n):
        if parent[i] == i:
            table[n_roots] = table[i]
            n_roots += 1
    return table[:n_roots]
