"""Runs of equal label along x, the unit of work of the component kernels.

A plane is one slice as a flat array, x fastest. Each row is cut into runs that tile it, so two
rows are compared by walking both lists at once, whatever the labels are.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit_inline
from amos_dask.kernels.union_find import find_root, join_roots

UNSEEN = -1  # the component_id of a run that no neighbour has reached yet


class Runs(NamedTuple):
    """The runs of one plane, row after row; a row's last entry is a sentinel starting at nx.

    Run ``i`` covers x from ``start[i]`` to ``start[i + 1] - 1``. The runs of row y are
    ``row_begin[y]`` to ``row_begin[y + 1] - 2``.
    """

    start: NDArray[np.int32]
    label: NDArray[np.uint8]
    component_id: NDArray[np.int64]
    row_begin: NDArray[np.int64]
    changes: NDArray[np.uint64]  # scratch: a byte per pixel of a row


def new_runs(nx: int, ny: int) -> Runs:
    """Return room for the runs of any plane of ``nx`` by ``ny`` pixels."""
    n = (nx + 1) * ny + 1  # one more: the boundary scan writes ahead of itself
    return Runs(
        np.empty(n, np.int32),
        np.empty(n, np.uint8),
        np.empty(n, np.int64),
        np.zeros(ny + 1, np.int64),
        np.zeros((nx + 7) // 8, np.uint64),
    )


@njit_inline
def find_runs(plane: NDArray[np.uint8], nx: int, ny: int, runs: Runs) -> int:
    """Cut every row of ``plane`` into runs, no component yet; return the number of entries."""
    start, label, component_id, row_begin, changes = runs
    n = 0
    for y in range(ny):
        row = plane[y * nx : (y + 1) * nx]
        row_begin[y] = n
        start[n] = 0
        n_next = n + 1
        if _find_changes(row, changes.view(np.uint8)):
            n_next = _find_row_runs(changes, changes.view(np.uint8), start, n_next)
        for i in range(n, n_next):
            label[i] = row[start[i]]
            component_id[i] = UNSEEN
        start[n_next] = nx
        label[n_next] = label[n_next - 1]
        n = n_next + 1
    row_begin[ny] = n
    return n


@njit_inline
def _find_changes(row: NDArray[np.uint8], changes: NDArray[np.uint8]) -> bool:
    """Set ``changes[x]`` where ``row[x]`` differs from ``row[x - 1]``; tell whether any is set."""
    here = row[1:]
    before = row[:-1]
    target = changes[1 : row.size]
    any_change = np.uint8(0)
    for i in range(here.size):  # uint8 throughout, no early exit: becomes vector instructions
        change = np.uint8(here[i] ^ before[i])
        target[i] = change
        any_change = np.uint8(any_change | change)
    return bool(any_change != 0)


@njit_inline
def _find_row_runs(
    words: NDArray[np.uint64], changes: NDArray[np.uint8], start: NDArray[np.int32], n: int
) -> int:
    """Append the positions of the changes, eight at a time where there are none."""
    for i in range(words.size):
        if words[i] != 0:
            for x in range(8 * i, 8 * i + 8):  # without a branch: write, then maybe keep
                start[n] = x
                n += changes[x] != 0
    return n


@njit_inline
def link_rows(runs: Runs, i: int, others: Runs, j: int, nx: int, parent: NDArray[np.int64]) -> None:
    """Link the row whose first run is ``i`` to a row with component ids whose first run is ``j``.

    Runs of equal label that touch, also diagonally, come to be of one component. Both rows are
    tiled by their runs, so a diagonal touch that is no overlap exists only where two runs end
    at the same x.
    """
    start, label, component_id, _, _ = runs
    other_start, other_label, other_id, _, _ = others
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


@njit_inline
def _link(component_id: NDArray[np.int64], i: int, other: int, parent: NDArray[np.int64]) -> None:
    own = component_id[i]
    if own == other:
        return
    root = find_root(parent, other)
    if own != UNSEEN and own != root:
        root = join_roots(parent, find_root(parent, own), root)
    component_id[i] = root
