"""Connected components: of a volume, all labels in one pass, and the scan of one slice.

Each row along x is cut into runs of equal label that tile it. Runs that touch runs of their label
in the rows before come to be of one component (union-find); a row of a table for each component
takes their sizes and sums. Only the runs of two slices exist at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels import Bytes, Ints, Shape, njit, njit_inline
from amos_dask.kernels.voxelwise import flat_fortran, is_uniform

# Columns of a table. A row is less than a cache line: adding to a component costs one access.
_N_VOXELS, _SUM_X, _SUM_Y, _SUM_Z, _FIRST_VOXEL, _LABEL, _N_COLUMNS = 0, 1, 2, 3, 4, 5, 6

_UNSEEN = -1  # the component_id of a run that no neighbour has reached yet


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

    label: Bytes
    n_voxels: Ints
    coordinate_sums: Ints
    first_voxel: Ints


def label_components(mask: Bytes) -> Components:
    """Find the 26-connected components of equal label, background included.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label volume, not changed; copied unless it is in Fortran order, as NIfTI stores it.

    Returns
    -------
    Components
        Sorted by ``first_voxel``; empty arrays when an axis has length zero.

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.

    Examples
    --------
    >>> mask = np.zeros((4, 3, 1), np.uint8)
    >>> mask[0, 0], mask[1, 1], mask[3, 1] = 2, 2, 2  # the first two touch at a corner
    >>> found = label_components(mask)
    >>> found.label.tolist(), found.n_voxels.tolist(), found.first_voxel.tolist()
    ([2, 0, 2], [2, 9, 1], [0, 1, 10])
    >>> (found.coordinate_sums[0] / found.n_voxels[0]).tolist()
    [0.5, 0.5, 0.0]
    """
    flat = flat_fortran(mask)
    shape = mask.shape if mask.size else (0, 0, 0)
    even, odd = _new_runs(*shape[:2]), _new_runs(*shape[:2])
    table = _new_table(4 * shape[0] * shape[1])
    z, n = 0, 0
    while z < shape[2]:
        z, n = _scan_slices(flat, shape, z, even, odd, table, n)
        if z < shape[2]:
            table = _enlarge(table, n)
    rows = table.rows[: _merge_table(table, n)]
    rows = rows.take(np.argsort(rows[:, _FIRST_VOXEL]), axis=0)
    return Components(
        label=rows[:, _LABEL].astype(np.uint8),
        n_voxels=rows[:, _N_VOXELS],
        coordinate_sums=rows[:, _SUM_X : _SUM_Z + 1],
        first_voxel=rows[:, _FIRST_VOXEL],
    )


@njit
def _scan_slices(
    flat: Bytes, shape: Shape, z: int, even: Runs, odd: Runs, table: Table, n: int
) -> tuple[int, int]:
    """Scan slices from z on as long as the table has room for one that is all components.

    Returns the next z and the number of provisional components.
    """
    n_pixels = shape[0] * shape[1]
    while z < shape[2] and n + n_pixels <= table.parent.size:
        current, previous = (odd, even) if z % 2 else (even, odd)
        plane = flat[z * n_pixels : (z + 1) * n_pixels]
        n = _scan_slice(plane, z, shape, current, previous, table, n)
        z += 1
    return z, n


@njit
def _scan_slice(
    plane: Bytes, z: int, shape: Shape, current: Runs, previous: Runs, table: Table, n: int
) -> int:
    """Add slice z to the table, linked to the one before it; return how long the table is now."""
    nx, ny, _ = shape
    _find_runs(plane, nx, ny, current)
    for y in range(ny):
        i = current.row_begin[y]
        if z > 0:
            for v in range(max(y - 1, 0), min(y + 2, ny)):
                _link_rows(current, i, previous, previous.row_begin[v], nx, table.parent)
        if y > 0:
            _link_rows(current, i, current, current.row_begin[y - 1], nx, table.parent)
        n = _add_row(current, y, z, shape, table, n)
    return n


# ---------------------------------------------------------------- runs


class Runs(NamedTuple):
    """The runs of one slice, row after row; a row's last entry is a sentinel starting at nx.

    Run ``i`` covers x from ``start[i]`` to ``start[i + 1] - 1``. The runs of row y are
    ``row_begin[y]`` to ``row_begin[y + 1] - 2``.
    """

    start: NDArray[np.int32]
    label: Bytes
    component_id: Ints
    row_begin: Ints


def _new_runs(nx: int, ny: int) -> Runs:
    """Return room for the runs of any slice of a size."""
    n = (nx + 1) * ny
    return Runs(
        np.empty(n, np.int32),
        np.empty(n, np.uint8),
        np.empty(n, np.int64),
        np.zeros(ny + 1, np.int64),
    )


@njit_inline
def _find_runs(plane: Bytes, nx: int, ny: int, runs: Runs) -> None:
    """Cut every row of a slice into runs, no component yet."""
    row_begin, n = runs.row_begin, 0
    for y in range(ny):
        row = plane[y * nx : (y + 1) * nx]
        row_begin[y] = n
        n = _start_run(runs, n, 0, row[0])
        if not is_uniform(row):
            for x in range(1, nx):
                if row[x] != row[x - 1]:
                    n = _start_run(runs, n, x, row[x])
        n = _start_run(runs, n, nx, row[nx - 1])
    row_begin[ny] = n


@njit_inline
def _start_run(runs: Runs, n: int, x: int, label: int) -> int:
    runs.start[n] = x
    runs.label[n] = label
    runs.component_id[n] = _UNSEEN
    return n + 1


@njit_inline
def _link_rows(runs: Runs, i: int, others: Runs, j: int, nx: int, parent: Ints) -> None:
    """Link the row whose first run is ``i`` to a row with component ids whose first run is ``j``.

    Runs of equal label that touch, also diagonally, come to be of one component. Both rows are
    tiled by their runs, so a diagonal touch that is no overlap exists only where two runs end
    at the same x.
    """
    start, label, component_id, _ = runs
    other_start, other_label, other_id, _ = others
    while True:
        if label[i] == other_label[j]:
            _link(component_id, i, other_id[j], parent)
        end = start[i + 1]
        other_end = other_start[j + 1]
        if end < other_end:
            i += 1
        elif end > other_end:
            j += 1
        elif end == nx:
            return
        else:
            if label[i] == other_label[j + 1]:
                _link(component_id, i, other_id[j + 1], parent)
            if label[i + 1] == other_label[j]:
                _link(component_id, i + 1, other_id[j], parent)
            i += 1
            j += 1


# ---------------------------------------------------------------- union-find


@njit_inline
def _link(component_id: Ints, i: int, other: int, parent: Ints) -> None:
    """Make run i a part of the component ``other``, and its own component too if it has one."""
    own = component_id[i]
    if own == other:
        return
    root = _find_root(parent, other)
    if own != _UNSEEN and own != root:
        own = _find_root(parent, own)
        # The smaller number becomes the root, so that a parent never has the larger one.
        root, child = min(own, root), max(own, root)
        parent[child] = root
    component_id[i] = root


@njit_inline
def _find_root(parent: Ints, node: int) -> int:
    """Return the root of ``node``, which is its own parent; halve the path on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


# ---------------------------------------------------------------- the table of components


class Table(NamedTuple):
    """Provisional components: int64 (n, columns) of sums, and the component each is a part of."""

    rows: Ints
    parent: Ints


def _new_table(n: int) -> Table:
    """Return room for provisional components; pages that are not used cost no memory."""
    return Table(np.empty((n, _N_COLUMNS), np.int64), np.empty(n, np.int64))


def _enlarge(table: Table, n: int) -> Table:
    larger = _new_table(2 * table.parent.size)
    for target, source in zip(larger, table, strict=True):
        target[:n] = source[:n]
    return larger


@njit_inline
def _add_row(runs: Runs, y: int, z: int, shape: Shape, table: Table, n: int) -> int:
    """Add the runs of row y to the table, as new components where unlinked; return its length."""
    start, label, component_ids, row_begin = runs
    rows = table.rows
    for i in range(row_begin[y], row_begin[y + 1] - 1):
        begin = int(start[i])
        end = int(start[i + 1])
        first_voxel = (begin * shape[1] + y) * shape[2] + z
        component_id = component_ids[i]
        if component_id == _UNSEEN:
            component_id = component_ids[i] = n
            table.parent[n] = n
            for column in range(_FIRST_VOXEL):
                rows[n, column] = 0
            rows[n, _FIRST_VOXEL], rows[n, _LABEL] = first_voxel, label[i]
            n += 1
        rows[component_id, _N_VOXELS] += end - begin
        rows[component_id, _SUM_X] += (begin + end - 1) * (end - begin) // 2
        rows[component_id, _SUM_Y] += y * (end - begin)
        rows[component_id, _SUM_Z] += z * (end - begin)
        if first_voxel < rows[component_id, _FIRST_VOXEL]:
            rows[component_id, _FIRST_VOXEL] = first_voxel
    return n


@njit
def _merge_table(table: Table, n: int) -> int:
    """Add provisional components to their roots, which move to the front and stay in order.

    Then ``parent`` holds the row of each one's root. Returns how many roots there are.
    """
    rows, parent = table
    n_roots = 0
    for i in range(n):  # a parent has the smaller number, so its own root's row is known by now
        if parent[i] == i:
            for column in range(_N_COLUMNS):
                rows[n_roots, column] = rows[i, column]
            parent[i] = n_roots
            n_roots += 1
        else:
            root = parent[i] = parent[parent[i]]
            for column in range(_FIRST_VOXEL):
                rows[root, column] += rows[i, column]
            rows[root, _FIRST_VOXEL] = min(rows[root, _FIRST_VOXEL], rows[i, _FIRST_VOXEL])
    return n_roots
