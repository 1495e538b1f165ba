"""Which labels cover each voxel, found label by label: numbers of sets, and a tree of the sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels import Bytes, Ints, njit, njit_inline
from amos_dask.kernels.voxelwise import is_uniform, read_only

# Voxels looked at together, and again where any is not 0: most are, as organs are small. So many
# are looked at together in the end, when most belong to some set.
_BLOCK, _PIECE, _SHORT = 2048, 128, 32
_N_NARROW = 1 << 16  # sets that uint16 can number

# Columns of the tree, a row a set: the set it grew from, by which label, and the last set that grew
# from it.
_PARENT, _ADDED, _LAST, _N_COLUMNS = 0, 1, 2, 3


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
        self._tree = np.zeros((256, _N_COLUMNS), np.int64)
        self._n_sets, self._n_before, self._label = 1, 1, 0  # before the present label

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
        n_sets = self._n_sets
        if not 0 < label < 256 or label in self._tree[:n_sets, _ADDED]:
            raise ValueError(f"{label} is no label in 1..255 that is new")
        self._label, self._n_before = label, n_sets
        # At most twice as many when the label is done.
        if 2 * n_sets > len(self._tree):
            self._tree = np.concatenate((self._tree, np.zeros_like(self._tree)))
        if 2 * n_sets > _N_NARROW:
            self._sets = self._sets.astype(np.uint32, copy=False)

    def cover(self, start: int, values: Bytes) -> bool:
        """Add the present label to the sets of voxels where a value is 1.

        Parameters
        ----------
        start : int
            The first of the voxels.
        values : uint8 (n,)
            Of voxels that the present label has not been asked about yet.

        Returns
        -------
        bool
            Whether values are above 1; they do not count.

        Raises
        ------
        ValueError
            When ``values`` are not flat uint8, or of more voxels than there are.
        """
        target = self._sets[start : start + values.size]
        if values.dtype != np.uint8 or values.shape != target.shape:
            raise ValueError(f"{values.dtype} {values.shape} from voxel {start} do not fit")
        known = self._tree, self._n_before, self._n_sets, self._label
        self._n_sets, bits = _cover(read_only(values), target, *known)
        return bits > 1

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
        rank = np.full(256, -1, np.int64)
        rank[list(order)] = np.arange(len(order))
        tree = self._tree[: self._n_sets]
        if np.any(rank[tree[1:, _ADDED]] < 0):
            raise ValueError("the order lacks a label that covers voxels")
        chosen, n_voxels = np.zeros(len(tree), np.uint8), np.zeros(len(tree), np.int64)
        _choose(tree, rank, chosen)
        labels = np.empty(self._sets.size, np.uint8)
        _look_up(self._sets, chosen, labels, n_voxels)
        n_shared = np.zeros((256, 256), np.int64)
        _count_pairs(tree, n_voxels, n_shared)
        n_shared = np.triu(n_shared + n_shared.T)
        lower, higher = np.nonzero(n_shared)
        return labels, np.stack((lower, higher, n_shared[lower, higher]), axis=1)


@njit_inline
def _unite(values: Bytes) -> np.uint8:
    """Return all bits that are set in any of some values."""
    bits = np.uint8(0)
    for i in range(values.size):  # one type throughout, no early exit: vector instructions
        bits = np.uint8(bits | values[i])
    return bits


@njit
def _cover(
    values: Bytes, sets: NDArray[Any], tree: Ints, n_before: int, n_sets: int, label: int
) -> tuple[int, int]:
    """Return how many sets there are now, ``n_before`` without the label, and all values' bits."""
    bits = np.uint8(0)
    for begin in range(0, values.size, _BLOCK):
        block = values[begin : begin + _BLOCK]
        if _unite(block) == 0:
            continue
        for at in range(0, block.size, _PIECE):
            piece, target = block[at : at + _PIECE], sets[begin + at : begin + at + _PIECE]
            found = _unite(piece)
            bits |= found
            while found != 0:  # once for each set that is met here; mostly there is one
                number = _find_lowest(piece, target, sets.dtype.type(n_before))
                if number == n_before:
                    break
                if tree[number, _LAST] < n_before:
                    tree[n_sets, _PARENT], tree[n_sets, _ADDED] = number, label
                    tree[number, _LAST], n_sets = n_sets, n_sets + 1
                with_label = sets.dtype.type(tree[number, _LAST])
                for i in range(piece.size):  # no branches: vector instructions
                    is_grown = (piece[i] == 1) & (target[i] == number)
                    target[i] = with_label if is_grown else target[i]
    return n_sets, int(bits)


@njit_inline
def _find_lowest(piece: Bytes, target: NDArray[Any], limit: Any) -> Any:
    """Return the lowest number of a set below a limit where a value is 1; the limit if none is."""
    lowest = limit
    for i in range(piece.size):  # no branches: vector instructions
        number = target[i] if piece[i] == 1 else limit
        lowest = number if number < lowest else lowest
    return lowest


@njit
def _choose(tree: Ints, rank: Ints, chosen: Bytes) -> None:
    """Fill in the label of the highest rank of each set."""
    for number in range(1, len(tree)):  # a parent comes before its children
        above, own = chosen[tree[number, _PARENT]], tree[number, _ADDED]
        chosen[number] = own if above == 0 or rank[own] > rank[above] else above


@njit
def _look_up(sets: NDArray[Any], chosen: Bytes, labels: Bytes, n_voxels: Ints) -> None:
    """Fill in each voxel's label, and count the voxels of each set."""
    for begin in range(0, sets.size, _SHORT):
        piece, target = sets[begin : begin + _SHORT], labels[begin : begin + _SHORT]
        if is_uniform(piece):
            n_voxels[piece[0]] += piece.size
            target[:] = chosen[piece[0]]
            continue
        for i in range(piece.size):
            n_voxels[piece[i]] += 1
            target[i] = chosen[piece[i]]


@njit
def _count_pairs(tree: Ints, n_voxels: Ints, n_shared: Ints) -> None:
    """Count the voxels of each label and another that was added before."""
    for number in range(len(tree) - 1, 0, -1):
        # Whatever was added later: its children have handed over their voxels.
        above = tree[number, _PARENT]
        n_voxels[above] += n_voxels[number]
        while above > 0:
            n_shared[tree[number, _ADDED], tree[above, _ADDED]] += n_voxels[number]
            above = tree[above, _PARENT]
