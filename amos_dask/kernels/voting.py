"""The label of each pixel from the processed masks of all labels of a slice."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import ZERO, njit, njit_inline
from amos_dask.kernels.slices import Labels, SmallComponents

IntArray = NDArray[np.int64]

NONE = -1  # the pixel is in no processed mask
SEVERAL = -2  # it is in more than one


class Ballot(NamedTuple):
    """Which processed masks hold each pixel of the small components of a plane.

    The k-th pixel is in that of label index i where ``chosen[k * n_labels + i]`` is 1; then
    ``single[k]`` is the only such index, or NONE, or SEVERAL. ``counts`` are votes per label.
    A pixel of a big component is in the processed mask of its own label only.
    """

    chosen: NDArray[np.uint8]
    single: IntArray
    counts: IntArray


def new_ballot(n: int) -> Ballot:
    """Return room for ``n`` pixels and any number of labels; unused pages cost nothing."""
    return Ballot(np.empty(256 * n, np.uint8), np.empty(n, np.int64), np.empty(256, np.int64))


@njit
def clear_ballot(ballot: Ballot, n_pixels: int, n_labels: int) -> None:
    """Take every pixel out of every processed mask."""
    for i in range(n_pixels * n_labels):
        ballot.chosen[i] = 0


@njit
def vote(
    plane: NDArray[np.uint8],
    target: NDArray[np.uint8],
    nx: int,
    ny: int,
    halfedge: int,
    labels: Labels,
    n_labels: int,
    small: SmallComponents,
    n_pixels: int,
    ballot: Ballot,
) -> None:
    """Write the labels of the ``n_pixels`` pixels of small components to ``target``."""
    _find_single(ballot, n_pixels, n_labels)
    x_counted, y_counted = 0, -1
    for k in range(n_pixels):  # in raster order, so that the box slides along a row
        p = small.pixel[k]
        winner = ballot.single[k]
        if winner < 0:
            y = p // nx
            x = p - y * nx
            if y != y_counted:
                x_counted = -2 * halfedge - 1  # a box that has nothing in common with this one
            _move_box(x_counted, x, y, plane, nx, ny, halfedge, labels, n_labels, small, ballot)
            x_counted, y_counted = x, y
            winner = _find_winner(ballot, k, n_labels)
        target[p] = 0 if winner < 0 else labels.value[winner]


@njit_inline
def _find_single(ballot: Ballot, n_pixels: int, n_labels: int) -> None:
    for k in range(n_pixels):
        ballot.single[k] = NONE
        for i in range(n_labels):
            if ballot.chosen[k * n_labels + i] != 0:
                ballot.single[k] = i if ballot.single[k] == NONE else SEVERAL


@njit
def _move_box(
    x_from: int,
    x_to: int,
    y: int,
    plane: NDArray[np.uint8],
    nx: int,
    ny: int,
    halfedge: int,
    labels: Labels,
    n_labels: int,
    small: SmallComponents,
    ballot: Ballot,
) -> None:
    """Turn the counts of the box around ``x_from`` into those of the box around ``x_to``."""
    gone_begin = max(x_from - halfedge, 0)
    gone_end = max(x_to - halfedge, 0)
    new_begin = min(x_from + halfedge + 1, nx)
    new_end = min(x_to + halfedge + 1, nx)
    if new_begin <= gone_end:  # nothing in common
        for i in range(n_labels):
            ballot.counts[i] = 0
        gone_begin = gone_end
        new_begin = gone_end
    for v in range(max(y - halfedge, 0), min(y + halfedge + 1, ny)):
        for q in range(v * nx + gone_begin, v * nx + gone_end):
            _count(ZERO - 1, q, plane, labels, n_labels, small, ballot)
        for q in range(v * nx + new_begin, v * nx + new_end):
            _count(ZERO + 1, q, plane, labels, n_labels, small, ballot)


@njit_inline
def _count(
    sign: int,
    q: int,
    plane: NDArray[np.uint8],
    labels: Labels,
    n_labels: int,
    small: SmallComponents,
    ballot: Ballot,
) -> None:
    """Add the votes of pixel q to the counts, or take them away."""
    k = small.place[q]
    if k < 0:
        ballot.counts[labels.index_of[plane[q]]] += sign
    elif ballot.single[k] >= 0:
        ballot.counts[ballot.single[k]] += sign
    elif ballot.single[k] == SEVERAL:
        for i in range(n_labels):
            ballot.counts[i] += sign * np.int64(ballot.chosen[k * n_labels + i])


@njit_inline
def _find_winner(ballot: Ballot, k: int, n_labels: int) -> int:
    """Return the lowest index of most votes, among the chosen ones if any; -1 without votes."""
    any_label = ballot.single[k] == NONE
    best = -1
    most = 0
    for i in range(n_labels):
        may_win = any_label or ballot.chosen[k * n_labels + i] != 0
        if may_win and ballot.counts[i] > most:
            best = i
            most = ballot.counts[i]
    return best
