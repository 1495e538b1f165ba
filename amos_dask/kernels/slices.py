"""Small 8-connected components of one slice, all labels at once, and what they touch.

A plane is one slice as a flat array, x fastest: pixel (x, y) is at ``y * nx + x``. The arrays
here have room for any plane and are used again for the next; how much of them holds is said by
counts. Pages of them that no plane needs are never touched and cost nothing.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import ZERO, njit, njit_inline
from amos_dask.kernels.runs import UNSEEN, Runs, find_runs, link_rows
from amos_dask.kernels.union_find import find_root

IntArray = NDArray[np.int64]

NO_BIG = -1  # touches no big component
SEVERAL_BIG = -2  # touches big components of several labels


class Labels(NamedTuple):
    """The labels present in a plane, ascending.

    ``index_of[label]`` is a label's place in ``value``, elsewhere called ``label_index``.
    """

    value: NDArray[np.uint8]
    index_of: IntArray


class SmallComponents(NamedTuple):
    """The small components of a plane, and their pixels in raster order.

    Of each component c: ``label_index``, ``n_pixels``, and ``box`` with its x begin, x end,
    y begin and y end. ``pixels_of[pixels_begin[c] : pixels_begin[c + 1]]`` are the places of
    its pixels in ``pixel`` and ``component_id``. ``place[p]`` is the place of pixel p in them,
    or -1 in a big component.
    """

    label_index: IntArray
    n_pixels: IntArray
    box: IntArray
    pixels_begin: IntArray
    pixels_of: IntArray
    pixel: IntArray
    component_id: IntArray
    place: NDArray[np.int32]


class Contacts(NamedTuple):
    """What each small component touches: small components, and the label of big ones.

    ``neighbour[begin[c] : begin[c + 1]]`` are the small components that touch c, each once.
    ``big_label_index[c]`` is the index of the only label of the big components that touch it,
    or NO_BIG, or SEVERAL_BIG.
    """

    begin: IntArray
    neighbour: IntArray
    big_label_index: IntArray
    last_seen_by: IntArray


def new_labels() -> Labels:
    """Return room for the labels of a plane."""
    return Labels(np.empty(256, np.uint8), np.empty(256, np.int64))


def new_small_components(n: int) -> SmallComponents:
    """Return room for any small components of ``n`` pixels; none yet."""
    return SmallComponents(
        label_index=np.empty(n, np.int64),
        n_pixels=np.empty(n, np.int64),
        box=np.empty((n, 4), np.int64),
        pixels_begin=np.empty(n + 2, np.int64),
        pixels_of=np.empty(n, np.int64),
        pixel=np.empty(n, np.int64),
        component_id=np.empty(n, np.int64),
        place=np.full(n, -1, np.int32),
    )


def new_contacts(n: int) -> Contacts:
    """Return room for any contacts of the components of ``n`` pixels."""
    return Contacts(
        begin=np.empty(n + 1, np.int64),
        neighbour=np.empty(8 * n, np.int64),
        big_label_index=np.empty(n, np.int64),
        last_seen_by=np.empty(n, np.int64),
    )


@njit_inline
def label_plane(
    plane: NDArray[np.uint8], nx: int, ny: int, runs: Runs, parent: IntArray, n_pixels: IntArray
) -> int:
    """Find the components of a plane; return how many provisional numbers were given.

    Sets ``runs.component_id``, and ``n_pixels`` of every root of ``parent``.
    """
    find_runs(plane, nx, ny, runs)
    start, _, component_id, row_begin, _ = runs
    n = ZERO
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
    n_found = 0
    for i in range(n):
        n_found += parent[i] == i and n_pixels[i] <= max_pixels
    return n_found > 0


@njit
def find_labels(runs: Runs, ny: int, labels: Labels) -> int:
    """List the labels present in a plane; return their number."""
    for label in range(256):
        labels.index_of[label] = -1
    for i in range(runs.row_begin[ny]):
        labels.index_of[runs.label[i]] = 0
    n_labels = 0
    for label in range(256):
        if labels.index_of[label] == 0:
            labels.index_of[label] = n_labels
            labels.value[n_labels] = label
            n_labels += 1
    return n_labels


@njit
def group_by(key: IntArray, n: int, n_keys: int, begin: IntArray, place: IntArray) -> None:
    """Sort the places of the first n keys by key, stably; ``begin`` says where each key begins.

    Keys are 0 to ``n_keys - 1``. ``begin`` has ``n_keys + 2`` elements.
    """
    for k in range(n_keys + 2):
        begin[k] = 0
    for i in range(n):
        begin[key[i] + 2] += 1
    for k in range(n_keys):
        begin[k + 2] += begin[k + 1]
    for i in range(n):  # begin[k + 1] moves on from the begin of key k to its end
        place[begin[key[i] + 1]] = i
        begin[key[i] + 1] += 1


@njit
def collect_small(
    runs: Runs,
    ny: int,
    parent: IntArray,
    n_pixels: IntArray,
    n: int,
    max_pixels: int,
    labels: Labels,
    small: SmallComponents,
) -> int:
    """Gather the components of at most ``max_pixels`` pixels; return their number.

    On return ``n_pixels`` no longer holds sizes, but the number of each small component, or -1.
    """
    n_small = ZERO
    for i in range(n):
        if parent[i] == i and n_pixels[i] <= max_pixels:
            small.n_pixels[n_small] = n_pixels[i]
            small.box[n_small, 0] = runs.start.size  # more than any coordinate
            small.box[n_small, 1] = 0
            small.box[n_small, 2] = runs.start.size
            n_pixels[i] = n_small
            n_small += 1
        else:
            n_pixels[i] = -1
    n_small_pixels = _collect_pixels(runs, ny, parent, n_pixels, labels, small)
    group_by(small.component_id, n_small_pixels, n_small, small.pixels_begin, small.pixels_of)
    return n_small


@njit_inline
def _collect_pixels(
    runs: Runs,
    ny: int,
    parent: IntArray,
    number: IntArray,
    labels: Labels,
    small: SmallComponents,
) -> int:
    start, label, provisional_id, row_begin, _ = runs
    n = 0
    for y in range(ny):
        nx = int(start[row_begin[y + 1] - 1])
        for i in range(row_begin[y], row_begin[y + 1] - 1):
            c = number[find_root(parent, provisional_id[i])]
            if c < 0:
                continue
            small.label_index[c] = labels.index_of[label[i]]
            small.box[c, 0] = min(small.box[c, 0], start[i])
            small.box[c, 1] = max(small.box[c, 1], start[i + 1])
            small.box[c, 2] = min(small.box[c, 2], y)
            small.box[c, 3] = y + 1
            for p in range(y * nx + start[i], y * nx + start[i + 1]):
                small.pixel[n] = p
                small.component_id[n] = c
                small.place[p] = n
                n += 1
    return n


@njit
def forget_small(small: SmallComponents, n_small: int) -> None:
    """Set ``place`` back to -1 everywhere, for the next plane."""
    for k in range(small.pixels_begin[n_small]):
        small.place[small.pixel[k]] = -1


@njit
def find_contacts(
    plane: NDArray[np.uint8],
    nx: int,
    ny: int,
    labels: Labels,
    small: SmallComponents,
    n_small: int,
    contacts: Contacts,
) -> None:
    """List what touches each small component, diagonally too."""
    contacts.begin[0] = 0
    for c in range(n_small):
        contacts.big_label_index[c] = NO_BIG
        contacts.last_seen_by[c] = -1
    for c in range(n_small):
        contacts.begin[c + 1] = contacts.begin[c]
        contacts.last_seen_by[c] = c
        for k in range(small.pixels_begin[c], small.pixels_begin[c + 1]):
            p = small.pixel[small.pixels_of[k]]
            y = p // nx
            x = p - y * nx
            for v in range(max(y - 1, 0), min(y + 2, ny)):
                for q in range(v * nx + max(x - 1, 0), v * nx + min(x + 2, nx)):
                    if small.place[q] < 0:
                        _note_big(c, labels.index_of[plane[q]], contacts)
                    else:
                        _note_small(c, small.component_id[small.place[q]], contacts)


@njit_inline
def _note_big(c: int, label_index: int, contacts: Contacts) -> None:
    if contacts.big_label_index[c] == NO_BIG:
        contacts.big_label_index[c] = label_index
    elif contacts.big_label_index[c] != label_index:
        contacts.big_label_index[c] = SEVERAL_BIG


@njit_inline
def _note_small(c: int, other: int, contacts: Contacts) -> None:
    if contacts.last_seen_by[other] != c:
        contacts.last_seen_by[other] = c
        contacts.neighbour[contacts.begin[c + 1]] = other
        contacts.begin[c + 1] += 1
