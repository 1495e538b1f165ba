"""Masks voxel by voxel: other labels, counts, one label alone."""

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit, njit_inline
from amos_dask.kernels.layout import check_mask, flat_any_order, flat_fortran, read_only

BLOCK = 512  # voxels; long enough to be counted at once fast, short enough to be of one label


def remap_labels(mask: NDArray[np.uint8], lookup: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask in which each label is replaced by its entry in a table.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label mask; not changed.
    lookup : uint8 (256,)
        New label of each label.

    Returns
    -------
    uint8 (x, y, z)
        A new mask in Fortran order.

    Raises
    ------
    ValueError
        When ``mask`` is not a three-dimensional uint8 array, or ``lookup`` not a table as above.
    """
    if lookup.shape != (256,) or lookup.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (256,) table, got {lookup.dtype} {lookup.shape}")
    source = flat_fortran(mask)
    target = np.empty(source.size, np.uint8)
    _remap(source, read_only(lookup), target)
    return target.reshape(mask.shape, order="F")


@njit
def _remap(source: NDArray[np.uint8], lookup: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    for i in range(source.size):
        target[i] = lookup[source[i]]


def count_labels(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the voxels of every label.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label mask in any memory order.

    Returns
    -------
    int64 (256,)
        Number of voxels of each label.

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    counts = np.zeros((4, 256), np.int64)
    _count(flat_any_order(mask), counts)
    return np.asarray(counts.sum(axis=0))


@njit
def _count(flat: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    for begin in range(0, flat.size, BLOCK):
        block = flat[begin : begin + BLOCK]
        differences = np.uint8(0)
        for i in range(block.size):  # uint8 throughout, no early exit: becomes vector instructions
            differences = np.uint8(differences | (block[i] ^ block[0]))
        if differences == 0:
            counts[0, block[0]] += block.size
        else:
            _count_one_by_one(block, counts)


@njit_inline
def _count_one_by_one(block: NDArray[np.uint8], counts: NDArray[np.int64]) -> None:
    # Four tables: neighbours mostly have one label, and adding to the same entry again would
    # have to wait for the last addition.
    n = block.size // 4 * 4
    for i in range(0, n, 4):
        counts[0, block[i]] += 1
        counts[1, block[i + 1]] += 1
        counts[2, block[i + 2]] += 1
        counts[3, block[i + 3]] += 1
    for i in range(n, block.size):
        counts[0, block[i]] += 1


def select_label(
    mask: NDArray[np.uint8], label: int, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the binary mask of one label.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label mask; not changed.
    label : int
        The label, 0 to 255.
    out : uint8 (x, y, z), optional
        Array to fill, of the mask's shape.

    Returns
    -------
    uint8 (x, y, z)
        1 where ``mask`` is ``label``, else 0; ``out`` if given, else new in the mask's memory
        order.

    Raises
    ------
    ValueError
        When ``mask`` is not a three-dimensional uint8 array, ``label`` not a whole number from
        0 to 255, or ``out`` of another shape or type.
    """
    check_mask(mask)
    if label not in range(256):
        raise ValueError(f"a label is a whole number from 0 to 255, got {label}")
    if out is None:
        out = np.empty_like(mask)
    elif out.shape != mask.shape or out.dtype != np.uint8:
        raise ValueError(
            f"expected a uint8 {mask.shape} array to fill, got {out.dtype} {out.shape}"
        )
    np.equal(mask, np.uint8(label), out=out.view(np.bool_))
    return out
