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
    table = _scan_volume(flat, *mask.shape) if flat.size else np.empty((0, N_COLUMNS), np.int64)
    table = table.take(np.argsort(table[:, FIRST_VOXEL]), axis=0)
    return Components(
        label=table[:, LABEL].astype(np.uint8),
        n_voxels=table[:, N_VOXELS].copy(),
        coordinate_sums=table[:, SUM_X : SUM_Z + 1].copy(),
        first_voxel=table[:, FIRST_VOXEL].copy(),
    )


def _scan_volume(flat: NDArray[np.uint8], nx: int, ny: int, nz: int) -> NDArray[np.int64]:
    """Return the component table; only the runs of two slices exist at a time."""
    even, odd = new_runs(nx, ny), new_runs(nx, ny)
    table, parent = _new_table(4 * nx * ny)
    z, n = 0, 0
    while True:
        z, n = _scan_slices(flat, nx, ny, nz, z, even, odd, table, parent, n)
        if z == nz:
            return table[: _merge(table, parent, n)]
        larger_table, larger_parent = _new_table(2 * parent.size)
        larger_table[:n] = table[:n]
        larger_parent[:n] = parent[:n]
        table, parent = larger_table, larger_parent


def _new_table(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return room for ``n`` provisional components and their parents; unused pages cost nothing."""
    return np.zeros((n, N_COLUMNS), np.int64), np.empty(n, np.int64)


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
def _merge(table: NDArray[np.int64], parent: NDArray[np.int64], n: int) -> int:
    """Add every provisional component to its root, move roots to the front, return their number."""
    for i in range(n - 1, -1, -1):  # a parent has the smaller number, so its turn comes later
        root = find_root(parent, i)
        if root != i:
            for column in range(FIRST_VOXEL):
                table[root, column] += table[i, column]
            table[root, FIRST_VOXEL] = min(table[root, FIRST_VOXEL], table[i, FIRST_VOXEL])
    n_roots = 0
    for i in range(n):
        if parent[i] == i:
            for column in range(N_COLUMNS):
                table[n_roots, column] = table[i, column]
            n_roots += 1
    return n_roots
