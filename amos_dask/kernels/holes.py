"""Small components of a label's complement: groups of small components of other labels.

A component of the complement of a label is a union of components of other labels. It is small
only if all of them are small, so it is found by a flood over the contacts of small components,
from those that touch the label; no complement is ever labelled.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit, njit_inline
from amos_dask.kernels.slices import NO_BIG, Contacts, SmallComponents, group_by

IntArray = NDArray[np.int64]


class Groups(NamedTuple):
    """Groups of small components: group g is ``member[begin[g] : begin[g + 1]]``."""

    member: IntArray
    begin: IntArray


class Search(NamedTuple):
    """The state of the search for holes, made once a slice and used for all its labels.

    ``by_label`` and ``by_big_label`` list the small components by their own label and by that
    of the big ones they touch. ``seen_for`` and ``seen_in`` say for which label and in which
    flood a component was seen last.
    """

    label_begin: IntArray
    by_label: IntArray
    big_label_begin: IntArray
    by_big_label: IntArray
    seen_for: IntArray
    seen_in: IntArray


@njit
def new_groups(n_small: int) -> Groups:
    """Return room for any groups of ``n_small`` components."""
    return Groups(np.empty(n_small, np.int64), np.zeros(n_small + 1, np.int64))


@njit
def new_search(small: SmallComponents, contacts: Contacts, n_labels: int) -> Search:
    """Prepare the search for holes of all the labels of a slice."""
    n_small = small.label_index.size
    label_begin, by_label = group_by(small.label_index, n_labels)
    big_key = np.where(contacts.big_label_index < 0, n_labels, contacts.big_label_index)
    big_label_begin, by_big_label = group_by(big_key, n_labels + 1)
    nowhere = np.full(n_small, -1, np.int64)
    return Search(label_begin, by_label, big_label_begin, by_big_label, nowhere, nowhere.copy())


@njit_inline
def find_holes(
    label_index: int,
    max_pixels: int,
    small: SmallComponents,
    contacts: Contacts,
    search: Search,
    groups: Groups,
) -> int:
    """Find the complement's components of at most ``max_pixels`` pixels; return their number.

    The one component that holds no neighbour of the label exists only where the label does not.
    """
    n_floods = 0
    n_groups = 0
    for k in range(search.label_begin[label_index], search.label_begin[label_index + 1]):
        c = search.by_label[k]
        for j in range(contacts.begin[c], contacts.begin[c + 1]):
            seed = np.int64(contacts.neighbour[j])
            if search.seen_for[seed] != label_index:
                n_floods += 1
                n_groups += _flood(
                    seed, label_index, n_floods, max_pixels, small, contacts, search, groups,
                    n_groups,
                )  # fmt: skip
    for k in range(search.big_label_begin[label_index], search.big_label_begin[label_index + 1]):
        seed = search.by_big_label[k]
        if search.seen_for[seed] != label_index:
            n_floods += 1
            n_groups += _flood(
                seed, label_index, n_floods, max_pixels, small, contacts, search, groups,
                n_groups,
            )  # fmt: skip
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
    """Gather the group around ``seed``; return 1 if it is small, 0 once it proves not to be.

    A flood that fails leaves its marks: a later one that meets them is in the same component
    of the complement and fails at once, so that all the floods of a label together see every
    contact at most once.
    """
    member = groups.member
    begin = groups.begin[n_groups]
    end = begin + 1
    member[begin] = seed
    search.seen_for[seed] = label_index
    search.seen_in[seed] = flood
    n_pixels = 0
    i = begin
    while i < end:
        c = member[i]
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
                search.seen_for[other] = label_index
                search.seen_in[other] = flood
                member[end] = other
                end += 1
            elif search.seen_in[other] != flood:
                return 0
    groups.begin[n_groups + 1] = end
    return 1
