"""Small components of a label's complement: groups of small components of other labels.

A component of the complement of a label is a union of components of other labels. It is small
only if all of them are small, so it is found by a flood over the contacts of small components,
from those that touch the label; no complement is ever labelled.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import ZERO, njit, njit_inline
from amos_dask.kernels.slices import NO_BIG, Contacts, SmallComponents, group_by

IntArray = NDArray[np.int64]


class Groups(NamedTuple):
    """Groups of small components: group g is ``member[begin[g] : begin[g + 1]]``."""

    member: IntArray
    begin: IntArray


class Search(NamedTuple):
    """The state of the search for holes, begun once a plane and used for all its labels.

    ``by_label[label_begin[i] : label_begin[i + 1]]`` are the small components of label index i,
    ``by_big_label`` likewise those that touch big components of that label only. ``seen_for``
    and ``seen_in`` say for which label and in which flood a component was seen last.
    """

    label_begin: IntArray
    by_label: IntArray
    big_label_begin: IntArray
    by_big_label: IntArray
    seen_for: IntArray
    seen_in: IntArray


def new_groups(n: int) -> Groups:
    """Return room for any groups of ``n`` components."""
    groups = Groups(np.empty(n, np.int64), np.empty(n + 1, np.int64))
    groups.begin[0] = 0
    return groups


def new_search(n: int) -> Search:
    """Return room for the search among ``n`` components."""
    return Search(
        label_begin=np.empty(256 + 2, np.int64),
        by_label=np.empty(n, np.int64),
        big_label_begin=np.empty(257 + 2, np.int64),
        by_big_label=np.empty(n, np.int64),
        seen_for=np.empty(n, np.int64),
        seen_in=np.empty(n, np.int64),
    )


@njit
def begin_search(
    small: SmallComponents, n_small: int, contacts: Contacts, n_labels: int, search: Search
) -> None:
    """Prepare the search for the holes of all the labels of a plane."""
    group_by(small.label_index, n_small, n_labels, search.label_begin, search.by_label)
    key = search.seen_in  # free until the first flood
    for c in range(n_small):
        big = contacts.big_label_index[c]
        key[c] = n_labels if big < 0 else big
    group_by(key, n_small, n_labels + 1, search.big_label_begin, search.by_big_label)
    for c in range(n_small):
        search.seen_for[c] = -1


@njit
def find_holes(
    label_index: int,
    max_pixels: int,
    small: SmallComponents,
    contacts: Contacts,
    search: Search,
    groups: Groups,
) -> int:
    """Find the complement's components of at most ``max_pixels`` pixels; return their number.

    Every component of the complement of a label that is present touches that label, so the
    floods begin at what touches it.
    """
    n_floods = ZERO
    n_groups = ZERO
    for k in range(search.label_begin[label_index], search.label_begin[label_index + 1]):
        c = search.by_label[k]
        for j in range(contacts.begin[c], contacts.begin[c + 1]):
            seed = contacts.neighbour[j]
            n_groups += _flood(
                seed, label_index, n_floods, max_pixels, small, contacts, search, groups, n_groups
            )
            n_floods += 1
    for k in range(search.big_label_begin[label_index], search.big_label_begin[label_index + 1]):
        seed = search.by_big_label[k]
        n_groups += _flood(
            seed, label_index, n_floods, max_pixels, small, contacts, search, groups, n_groups
        )
        n_floods += 1
    return n_groups


@njit
def _flood(
    seed: int,
    label_index: int,
    flood: int,
    max_pixels: int,
    small: SmallComponents,
    contacts: Contacts,
    search: Search,
    groups: Groups,
    n_groups: int,
) -> int:
    """Gather a new group around ``seed``; return 1 if it is small, 0 once it proves not to be.

    A flood that fails leaves its marks: a later one that meets them is in the same component
    of the complement and fails at once, so that all the floods of a label together see every
    contact at most once.
    """
    if search.seen_for[seed] == label_index:
        return 0
    begin = groups.begin[n_groups]
    end = _join_group(seed, label_index, flood, search, groups, begin)
    n_pixels = 0
    i = begin
    while i < end:
        c = groups.member[i]
        i += 1
        n_pixels += small.n_pixels[c]
        big = contacts.big_label_index[c]
        if n_pixels > max_pixels or (big != NO_BIG and big != label_index):
            return 0
        for j in range(contacts.begin[c], contacts.begin[c + 1]):
            other = contacts.neighbour[j]
            if small.label_index[other] == label_index:
                continue
            if search.seen_for[other] != label_index:
                end = _join_group(other, label_index, flood, search, groups, end)
            elif search.seen_in[other] != flood:
                return 0
    groups.begin[n_groups + 1] = end
    return 1


@njit_inline
def _join_group(
    c: int, label_index: int, flood: int, search: Search, groups: Groups, end: int
) -> int:
    search.seen_for[c] = label_index
    search.seen_in[c] = flood
    groups.member[end] = c
    return end + 1
