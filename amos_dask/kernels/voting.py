"""The label of each pixel from the processed masks of all labels of a slice."""

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit, njit_inline
from amos_dask.kernels.slices import Labels, SmallComponents

IntArray = NDArray[np.int64]

NONE = -1  # the pixel is in no processed mask
SEVERAL = -2  # it is in more than one


@njit
def vote(
    plane: NDArray[np.uint8],
    target: NDArray[np.uint8],
    nx: int,
    ny: int,
    halfedge: int,
    small: SmallComponents,
    place: NDArray[np.int32],
    labels: Labels,
    chosen: NDArray[np.uint8],
) -> None:
    """Write the labels of the pixels of small components to ``target``.

    ``chosen[k, i]`` is 1 where the processed mask of the i-th label holds the k-th pixel of
    ``small``; a pixel of a big component is in the processed mask of its own label only.
    ``place[p]`` is the place of pixel p in ``small.pixel``, or -1 in a big component.
    """
    single = _find_single(chosen)
    counts = np.zeros(labels.value.size, np.int64)
    y_counted = -1
    x_counted = -1
    for k in range(small.pixel.size):  # in raster order, so that the box slides along a row
        p = small.pixel[k]
        if single[k] >= 0:
            target[p] = labels.value[single[k]]
            continue
        y = p // nx
        x = p - y * nx
        begin = max(x - halfedge, 0)
        counted_end = min(x_counted + halfedge + 1, nx)
        if y == y_counted and begin < counted_end:
            _count(
                -1, max(x_counted - halfedge, 0), begin, y, plane, nx, ny, halfedge, place,
                labels, single, chosen, counts,
            )  # fmt: skip
            begin = counted_end
        else:
            counts[:] = 0
        _count(
            1, begin, min(x + halfedge + 1, nx), y, plane, nx, ny, halfedge, place, labels,
            single, chosen, counts,
        )  # fmt: skip
        y_counted = y
        x_counted = x
        i = _find_winner(counts, chosen, k, single[k])
        target[p] = 0 if i < 0 else labels.value[i]


@njit
def _find_single(chosen: NDArray[np.uint8]) -> IntArray:
    """Return each pixel's only label index, or NONE, or SEVERAL."""
    single = np.full(len(chosen), NONE, np.int64)
    for k in range(len(chosen)):
        for i in range(chosen.shape[1]):
            if chosen[k, i] != 0:
                single[k] = i if single[k] == NONE else SEVERAL
    return single


@njit_inline
def _count(
    sign: int,
    x_begin: int,
    x_end: int,
    y: int,
    plane: NDArray[np.uint8],
    nx: int,
    ny: int,
    halfedge: int,
    place: NDArray[np.int32],
    labels: Labels,
    single: IntArray,
    chosen: NDArray[np.uint8],
    counts: IntArray,
) -> None:
    """Add the box's columns from ``x_begin`` to ``x_end`` to the counts, or take them away."""
    for v in range(max(y - halfedge, 0), min(y + halfedge + 1, ny)):
        for q in range(v * nx + x_begin, v * nx + x_end):
            k = place[q]
            if k < 0:
                counts[labels.index[plane[q]]] += sign
            elif single[k] >= 0:
                counts[single[k]] += sign
            elif single[k] == SEVERAL:
                for i in range(counts.size):
                    counts[i] += sign * np.int64(chosen[k, i])


@njit_inline
def _find_winner(counts: IntArray, chosen: NDArray[np.uint8], k: int, single: int) -> int:
    """Return the lowest index of most votes, among the chosen ones if any; -1 without votes."""
    best = -1
    most = 0
    for i in range(counts.size):
        if counts[i] > most and (single == NONE or chosen[k, i] != 0):
            best = i
            most = counts[i]
    return best
