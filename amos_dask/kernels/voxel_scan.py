"""Components of noise: voxel by voxel, in the order in which components are promised.

Comparing and joining are kept apart. The 13 neighbours that come before a voxel are compared with
it by vector instructions, a plane at a time. The 13 bits that come of this choose from a table
which neighbours to join: seldom more than one, for most touch each other and are joined already.
Planes are of constant x, in them z is fastest, so components begin in order of first voxels.
"""

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import ZERO, njit, njit_inline
from amos_dask.kernels.component_table import (
    N_VOXELS,
    SUM_X,
    SUM_Y,
    SUM_Z,
    merge_table,
    new_table,
    start_component,
)
from amos_dask.kernels.layout import flat_c
from amos_dask.kernels.union_find import IntArray, find_root, join_roots

# Offsets (dx, dy, dz) to the voxel itself and the neighbours before it; first of these the ones
# that touch most of the others.
_OFFSETS = sorted(list(product((-1, 0, 1), repeat=3))[:14], key=np.count_nonzero)
_N_NEIGHBOURS = 13


class _Neighbours(NamedTuple):
    """The neighbours that come before a voxel, in a volume of some shape.

    ``steps[k]`` leads from a voxel to its neighbour k, from 1 on, in the flat volume;
    ``steps[0]`` is 0. In sets of neighbours, bit k - 1 stands for neighbour k. ``inside`` are the
    sets of neighbours that the voxels of a plane have, if it is not the first. ``choices`` are
    those of `_choices`.
    """

    steps: IntArray
    inside: NDArray[np.uint16]
    choices: NDArray[np.uint16]


def scan_voxels(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the component table of a mask that is not empty; quick however noisy it is.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        In any order; copied if it is not C order.

    Returns
    -------
    int64 (n, N_COLUMNS)
        In order of FIRST_VOXEL.
    """
    flat = flat_c(mask)
    _, ny, nz = mask.shape
    neighbours = _neighbours(ny, nz)
    matches = np.empty(ny * nz, np.uint16)
    table, parent = new_table(_count_new(flat, neighbours, matches) + 1)
    component_id = np.empty(2 * ny * nz, np.int64)
    n = _scan(flat, nz, neighbours, matches, component_id, table, parent)
    return table[: merge_table(table, parent, n)]


def _neighbours(ny: int, nz: int) -> _Neighbours:
    """Return the neighbours in a volume with planes of ``ny`` by ``nz`` voxels."""
    steps = np.array([(dx * ny + dy) * nz + dz for dx, dy, dz in _OFFSETS], np.int64)
    inside = np.zeros((ny, nz), np.uint16)
    for k, (_, dy, dz) in enumerate(_OFFSETS[1:]):
        inside[max(-dy, 0) : ny - max(dy, 0), max(-dz, 0) : nz - max(dz, 0)] |= 1 << k
    return _Neighbours(steps, inside.reshape(-1), _choices())


@cache
def _choices() -> NDArray[np.uint16]:
    """Return which neighbours to join, for each set of neighbours of the voxel's label.

    It is one of each group that touches, directly or through others of the set; the rest of the
    group has been joined with it before. Four bits each, from the lowest, and 0 after the last.
    """
    sets = np.arange(1 << _N_NEIGHBOURS)
    reached, choices, n_chosen = (np.zeros_like(sets) for _ in range(3))
    for k in range(_N_NEIGHBOURS):
        chosen = (sets & ~reached) >> k & 1
        choices |= chosen * (k + 1) << 4 * n_chosen
        n_chosen += chosen
        reached = _spread(reached | chosen << k, sets)
    return choices.astype(np.uint16)


def _spread(reached: IntArray, sets: IntArray) -> IntArray:
    """Add to each set of reached neighbours those of ``sets`` that touch them, and so on."""
    neighbours = np.array(_OFFSETS[1:])
    distances = np.abs(neighbours[:, None] - neighbours).max(axis=2)
    touched = np.sum((distances <= 1) << np.arange(_N_NEIGHBOURS), axis=1)
    while True:
        before = reached
        for k in range(_N_NEIGHBOURS):
            reached = reached | (reached >> k & 1) * (sets & touched[k])
        if np.array_equal(reached, before):
            return reached


@njit
def _count_new(
    flat: NDArray[np.uint8], neighbours: _Neighbours, matches: NDArray[np.uint16]
) -> int:
    """Count the voxels with no neighbour of their label: each begins a provisional component."""
    n = ZERO
    for begin in range(0, flat.size, matches.size):
        _match_plane(flat, begin, neighbours, matches)
        for i in range(matches.size):
            n += matches[i] == 0
    return n


@njit_inline
def _match_plane(
    flat: NDArray[np.uint8], begin: int, neighbours: _Neighbours, matches: NDArray[np.uint16]
) -> None:
    """Find the set of neighbours of its label for each voxel of the plane from ``begin`` on."""
    steps, inside, _ = neighbours
    end = begin + matches.size
    for i in range(matches.size):
        matches[i] = 0
    for k in range(1, _N_NEIGHBOURS + 1):
        first = max(begin, -steps[k])
        if steps[k] < 0 and first < end:  # else no voxel of the plane has neighbour k
            here = flat[first:end]
            there = flat[first + steps[k] : end + steps[k]]
            target = matches[first - begin :]
            bit = np.uint16(1 << (k - 1))
            for i in range(here.size):  # becomes vector instructions
                target[i] |= np.uint16(bit if here[i] == there[i] else 0)
    for i in range(matches.size):  # a step may have led to the other end of a row or a plane
        matches[i] &= inside[i]


@njit
def _scan(
    flat: NDArray[np.uint8],
    nz: int,
    neighbours: _Neighbours,
    matches: NDArray[np.uint16],
    component_id: IntArray,
    table: NDArray[np.int64],
    parent: IntArray,
) -> int:
    """Fill the table; return the number of provisional components.

    ``component_id`` has room for two planes, the one before and the current one.
    """
    size = matches.size
    n = ZERO
    for begin in range(0, flat.size, size):
        _match_plane(flat, begin, neighbours, matches)
        n = _scan_plane(flat, begin, nz, neighbours, matches, component_id, table, parent, n)
        for i in range(size):
            component_id[i] = component_id[size + i]
    return n


@njit_inline
def _scan_plane(
    flat: NDArray[np.uint8],
    begin: int,
    nz: int,
    neighbours: _Neighbours,
    matches: NDArray[np.uint16],
    component_id: IntArray,
    table: NDArray[np.int64],
    parent: IntArray,
    n: int,
) -> int:
    steps, _, choices = neighbours
    size = matches.size
    x = begin // size
    for y in range(size // nz):
        for z in range(nz):
            i = y * nz + z
            choice = int(choices[matches[i]])
            # Without a branch: begin a component at every voxel, then maybe keep it.
            component_id[size + i] = n
            parent[n] = n
            start_component(table, n, flat[begin + i], begin + i)
            n += choice == 0
            own = _join(choice, steps, component_id, size + i, parent)
            table[own, N_VOXELS] += 1
            table[own, SUM_X] += x
            table[own, SUM_Y] += y
            table[own, SUM_Z] += z
    return n


@njit_inline
def _join(choice: int, steps: IntArray, component_id: IntArray, at: int, parent: IntArray) -> int:
    """Join the voxel at ``at`` with the chosen neighbours; return its component."""
    own = int(component_id[at + steps[choice & 15]])  # its own already where there is no neighbour
    component_id[at] = own
    choice >>= 4
    while choice != 0:
        other = component_id[at + steps[choice & 15]]
        if other != own:
            own = join_roots(parent, find_root(parent, own), find_root(parent, other))
        choice >>= 4
    return own
