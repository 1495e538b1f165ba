"""Which labels cover each voxel, found label by label: numbers of sets, and a tree of the sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import Bytes, Ints, njit, njit_inline
from amos_dask.kernels.voxelwise import read_only

# Voxels looked at together, and again where any is not 0: most are, as organs are small.
_BLOCK, _PIECE = 2048, 128
_N_NARROW = 1 << 16  # sets that uint16 can number


class LabelSets:
    """The set of labels that cover each voxel.

    Sets are numbered as they are met. Number 0 is the empty one; each other is an earlier set and
    one more label, so that a voxel needs a number only and the sets form a tree.

    Parameters
    ----------
    n_voxels : int
        Voxels of an image. Each takes two bytes, or four when there are very many sets.

    Examples
    --------
    >>> sets = LabelSets(4)
    >>> for label, values in ((1, [1, 1, 0, 0]), (2, [0, 1, 1, 0])):
    ...     sets.begin(label)
    ...     _ = sets.cover(0, np.array(values, np.uint8))
    >>> [found.tolist() for found in sets.resolve([2, 1])]
    [[1, 1, 2, 0], [[1, 2, 1]]]
    """

    def __init__(self, n_voxels: int) -> None:
        self._sets: NDArray[Any] = np.zeros(n_voxels, np.uint16)
        # Of each set but those that the present label made.
        self._parents = self._added = np.zeros(1, np.int64)
        # The present label, and for each of those sets the one that has this label too, or 0.
        self._label, self._n_sets = 0, 1
        self._grown = np.zeros(1, np.int64)

    def begin(self, label: int) -> None:
        """Begin with the voxels of another label.

        Parameters
        ----------
        label : int
            In 1..255; each comes once.

        Raises
        ------
        ValueError
            When it is no label, or has covered voxels before.
        """
        self._settle()
        if not 0 < label < 256 or label in self._added:
            raise ValueError(f"{label} is no label in 1..255 that is new")
        n_sets = self._parents.size  # at most twice as many when the label is done
        if 2 * n_sets > _N_NARROW:
            self._sets = self._sets.astype(np.uint32, copy=False)
        self._label, self._grown = label, np.zeros(n_sets, np.int64)

    def cover(self, start: int, values: Bytes) -> int:
        """Add the present label to the sets of voxels where a value is 1.

        Parameters
        ----------
        start : int
            The first of the voxels.
        values : uint8 (n,)
            Of voxels that the present label has not been asked about yet.

        Returns
        -------
        int
            How many values are above 1; they do not count.

        Raises
        ------
        ValueError
            When ``values`` are not flat uint8, or of more voxels than there are.
        """
        target = self._sets[start : start + values.size]
        if values.dtype != np.uint8 or values.shape != target.shape:
            raise ValueError(f"{values.dtype} {values.shape} from voxel {start} do not fit")
        self._n_sets, n_bad = _cover(read_only(values), target, self._grown, self._n_sets)
        return int(n_bad)

    def resolve(self, order: Sequence[int]) -> tuple[Bytes, Ints]:
        """Choose a label for each voxel, and count the voxels that pairs of labels share.

        Parameters
        ----------
        order : sequence of int
            All labels that were added; of those that cover a voxel the last one is taken.

        Returns
        -------
        labels : uint8 (n_voxels,)
            0 where no label covers the voxel.
        shared : int64 (pairs, 3)
            Two labels, the lower one first, and how many voxels both cover: all pairs that share
            any, in ascending order.

        Raises
        ------
        ValueError
            When ``order`` lacks a label that covers voxels.
        """
        self._settle()
        rank = np.full(256, -1, np.int64)
        rank[list(order)] = np.arange(len(order))
        if np.any(rank[self._added[1:]] < 0):
            raise ValueError("the order lacks a label that covers voxels")
        n_sets = self._parents.size
        chosen, n_voxels = np.zeros(n_sets, np.uint8), np.zeros(n_sets, np.int64)
        _choose(self._parents, self._added, rank, chosen)
        labels = np.empty(self._sets.size, np.uint8)
        _look_up(self._sets, chosen, labels, n_voxels)
        n_shared = np.zeros((256, 256), np.int64)
        _count_pairs(self._parents, self._added, n_voxels, n_shared)
        n_shared = np.triu(n_shared + n_shared.T)
        lower, higher = np.nonzero(n_shared)
        return labels, np.stack((lower, higher, n_shared[lower, higher]), axis=1)

    def _settle(self) -> None:
        """File the sets that the present label made."""
        numbers = self._grown.nonzero()[0]
        parents = numbers[self._grown[numbers].argsort()]
        self._parents = np.concatenate((self._parents, parents))
        self._added = np.concatenate((self._added, np.full(parents.size, self._label)))
        self._grown = self._grown[:0]


@njit_inline
def _is_filled(values: NDArray[Any], value: Any) -> bool:
    """Return whether all of some values are one value, which has their type."""
    differences = value ^ value
    for i in range(values.size):  # one type throughout, no early exit: vector instructions
        differences = values.dtype.type(differences | (values[i] ^ value))
    return bool(differences == 0)


@njit
def _cover(values: Bytes, sets: NDArray[Any], grown: Ints, n_sets: int) -> tuple[int, int]:
    """Return how many sets there are now, and how many values are above 1."""
    n_bad = 0
    for begin in range(0, values.size, _BLOCK):
        block = values[begin : begin + _BLOCK]
        if _is_filled(block, np.uint8(0)):
            continue
        for at in range(0, block.size, _PIECE):
            piece, target = block[at : at + _PIECE], sets[begin + at : begin + at + _PIECE]
            if _is_filled(piece, np.uint8(0)):
                continue
            number = target[0]
            if _is_filled(target, number):
                if grown[number] == 0:
                    grown[number], n_sets = n_sets, n_sets + 1
                with_label = sets.dtype.type(grown[number])
                for i in range(piece.size):  # no branches, so that these are vector instructions
                    target[i] = with_label if piece[i] == 1 else number
                    n_bad += piece[i] > 1
                continue
            for i in range(piece.size):
                if piece[i] == 1:
                    number = target[i]
                    if grown[number] == 0:
                        grown[number], n_sets = n_sets, n_sets + 1
                    target[i] = grown[number]
                elif piece[i] > 1:
                    n_bad += 1
    return n_sets, n_bad


@njit
def _choose(parents: Ints, added: Ints, rank: Ints, chosen: Bytes) -> None:
    """Fill in the label of the highest rank of each set."""
    for number in range(1, parents.size):  # a parent comes before its children
        above, own = chosen[parents[number]], added[number]
        chosen[number] = own if above == 0 or rank[own] > rank[above] else above


@njit
def _look_up(sets: NDArray[Any], chosen: Bytes, labels: Bytes, n_voxels: Ints) -> None:
    """Fill in each voxel's label, and count the voxels of each set."""
    for begin in range(0, sets.size, _PIECE):
        piece, target = sets[begin : begin + _PIECE], labels[begin : begin + _PIECE]
        if _is_filled(piece, piece[0]):
            n_voxels[piece[0]] += piece.size
            target[:] = chosen[piece[0]]
            continue
        for i in range(piece.size):
            n_voxels[piece[i]] += 1
            target[i] = chosen[piece[i]]


@njit
def _count_pairs(parents: Ints, added: Ints, n_voxels: Ints, n_shared: Ints) -> None:
    """Count the voxels of each label and another that was added before."""
    for number in range(parents.size - 1, 0, -1):
        # Whatever was added later: its children have handed over their voxels.
        above = parents[number]
        n_voxels[above] += n_voxels[number]
        while above > 0:
            n_shared[added[number], added[above]] += n_voxels[number]
            above = parents[above]
