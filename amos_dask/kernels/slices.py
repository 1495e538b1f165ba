"""Small 8-connected components of one slice, all labels at once, and what they touch.

A plane is one slice as a flat array, x fastest: pixel (x, y) is at ``y * nx + x``.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit, njit_inline
from amos_dask.kernels.runs import UNSEEN, Runs, find_runs, link_rows
from amos_dask.kernels.union_find import find_root

IntArray = NDArray[np.int64]

NO_BIG = -1  # touches no big component
SEVERAL_BIG = -2  # touches big components of several labels


class Labels(NamedTuple):
    """The labels present in a plane; ``index[label]`` is a label's place in ``value``."""

    value: NDArray[np.uint8]
    index: IntArray


class SmallComponents(NamedTuple):
    """The small components of a plane, and their pixels in raster order.

    ``pixels_of[pixels_begin[c] : pixels_begin[c + 1]]`` are the places in ``pixel`` of the
    pixels of component c. ``box`` holds x begin, x end, y begin, y end.
    """

    label_index: IntArray
    n_pixels: IntArray
    box: IntArray
    pixel: IntArray
    component_id: IntArray
    pixels_begin: IntArray
    pixels_of: IntArray


class Contacts(NamedTuple):
    """What each small component touches: small components, and the label of big ones.

    ``neighbour[begin[c] : begin[c + 1]]`` are the small components that touch c, each once.
    ``big_label_index[c]`` is the index of the only label of touching big components, or
    NO_BIG, or SEVERAL_BIG.
    """

    begin: IntArray
    neighbour: NDArray[np.int32]
    big_label_index: IntArray


@njit_inline
def label_plane(
    plane: NDArray[np.uint8], nx: int, ny: int, runs: Runs, parent: IntArray, n_pixels: IntArray
) -> int:
    """Number the components of a plane; return how many provisional numbers were given.

    Sets ``runs.component_id``, and ``n_pixels`` of every root of ``parent``.
    """
    find_runs(plane, nx, ny, runs)
    start, _, component_id, row_begin, _ = runs
    n = 0
    for y in range(ny):
        if y > 0:
            link_rows(runs, row_begin[y], runs, row_begin[y - 1], nx, parent)
        for i in range(row_begin[y], row_begin[y + 1] - 1):
            if component_id[i] == UNSEEN:
                component_id[i] = n
                parent[n] = n
                n_pixels[n] = 0
                n += 1
            n_pixels[component_id[i]] += start[i + 1] - start[i]
    for i in range(n - 1, -1, -1):  # a parent has the smaller number, so its turn comes later
        root = find_root(parent, i)
        if root != i:
            n_pixels[root] += n_pixels[i]
    return n


@njit_inline
def has_small(parent: IntArray, n_pixels: IntArray, n: int, max_pixels: int) -> bool:
    """Tell whether any of the components has at most ``max_pixels`` pixels."""
    for i in range(n):
        if parent[i] == i and n_pixels[i] <= max_pixels:
            return True
    return False


@njit
def find_labels(runs: Runs, ny: int) -> Labels:
    """Return the labels present in a plane, ascending."""
    _, label, _, row_begin, _ = runs
    index = np.full(256, -1, np.int64)
    for i in range(row_begin[ny]):
        index[label[i]] = 0
    value = np.flatnonzero(index == 0).astype(np.uint8)
    for i in range(value.size):
        index[value[i]] = i
    return Labels(value, index)


@njit
def group_by(key: IntArray, n_keys: int) -> tuple[IntArray, IntArray]:
    """Sort the places of ``key`` by key, stably; return where each key begins, and the places."""
    begin = np.zeros(n_keys + 1, np.int64)
    for i in range(key.size):
        begin[key[i] + 1] += 1
    for k in range(n_keys):
        begin[k + 1] += begin[k]
    place = np.empty(key.size, np.int64)
    n_placed = np.zeros(n_keys, np.int64)
    for i in range(key.size):
        place[begin[key[i]] + n_placed[key[i]]] = i
        n_placed[key[i]] += 1
    return begin, place


@njit
def collect_small(
    runs: Runs,
    ny: int,
    parent: IntArray,
    n_pixels: IntArray,
    n: int,
    max_pixels: int,
    labels: Labels,
) -> SmallComponents:
    """Gather the components of at most ``max_pixels`` pixels and their pixels."""
    number = np.full(n, -1, np.int64)
    n_small = 0
    n_small_pixels = 0
    for i in range(n):
        if parent[i] == i and n_pixels[i] <= max_pixels:
            number[i] = n_small
            n_small += 1
            n_small_pixels += n_pixels[i]
    label_index = np.empty(n_small, np.int64)
    box = np.empty((n_small, 4), np.int64)
    box[:, 0::2] = runs.start.size  # more than any coordinate
    box[:, 1::2] = 0
    pixel = np.empty(n_small_pixels, np.int64)
    component_id = np.empty(n_small_pixels, np.int64)
    _fill_small(runs, ny, parent, number, labels.index, label_index, box, pixel, component_id)
    begin, pixels_of = group_by(component_id, n_small)
    return SmallComponents(
        label_index, begin[1:] - begin[:-1], box, pixel, component_id, begin, pixels_of
    )


@njit_inline
def _fill_small(
    runs: Runs,
    ny: int,
    parent: IntArray,
    number: IntArray,
    index_of_label: IntArray,
    label_index: IntArray,
    box: IntArray,
    pixel: IntArray,
    component_id: IntArray,
) -> None:
    start, label, provisional_id, row_begin, _ = runs
    n = 0
    for y in range(ny):
        nx = np.int64(start[row_begin[y + 1] - 1])
        for i in range(row_begin[y], row_begin[y + 1] - 1):
            c = number[find_root(parent, provisional_id[i])]
            if c < 0:
                continue
            label_index[c] = index_of_label[label[i]]
            box[c, 0] = min(box[c, 0], start[i])
            box[c, 1] = max(box[c, 1], start[i + 1])
            box[c, 2] = min(box[c, 2], y)
            box[c, 3] = y + 1
            for x in range(start[i], start[i + 1]):
                pixel[n] = y * nx + x
                component_id[n] = c
                n += 1


@njit
def find_contacts(
    plane: NDArray[np.uint8],
    nx: int,
    ny: int,
    small: SmallComponents,
    place: NDArray[np.int32],
    labels: Labels,
) -> Contacts:
    """List what touches each small component, diagonally too.

    ``place[p]`` is the place of pixel p in ``small.pixel``, or -1 in a big component.
    """
    n = small.label_index.size
    begin = np.zeros(n + 1, np.int64)
    neighbour = np.empty(8 * small.pixel.size, np.int32)  # pages never written cost nothing
    big_label_index = np.full(n, NO_BIG, np.int64)
    last_seen_by = np.full(n, -1, np.int64)
    n_contacts = 0
    for c in range(n):
        n_contacts = _add_contacts(
            c, plane, nx, ny, small, place, labels, last_seen_by, neighbour, n_contacts,
            big_label_index,
        )  # fmt: skip
        begin[c + 1] = n_contacts
    return Contacts(begin, neighbour[:n_contacts], big_label_index)


@njit_inline
def _add_contacts(
    c: int,
    plane: NDArray[np.uint8],
    nx: int,
    ny: int,
    small: SmallComponents,
    place: NDArray[np.int32],
    labels: Labels,
    last_seen_by: IntArray,
    neighbour: NDArray[np.int32],
    n: int,
    big_label_index: IntArray,
) -> int:
    last_seen_by[c] = c
    for k in range(small.pixels_begin[c], small.pixels_begin[c + 1]):
        p = small.pixel[small.pixels_of[k]]
        y = p // nx
        x = p - y * nx
        for v in range(max(y - 1, 0), min(y + 2, ny)):
            for u in range(max(x - 1, 0), min(x + 2, nx)):
                q = v * nx + u
                if place[q] < 0:
                    _note_big(c, labels.index[plane[q]], big_label_index)
                elif last_seen_by[small.component_id[place[q]]] != c:
                    other = small.component_id[place[q]]
                    last_seen_by[other] = c
                    neighbour[n] = other
                    n += 1
    return n


@njit_inline
def _note_big(c: int, label_index: int, big_label_index: IntArray) -> None:
    if big_label_index[c] == NO_BIG:
        big_label_index[c] = label_index
    elif big_label_index[c] != label_index:
        big_label_index[c] = SEVERAL_BIG
