"""Looking at each voxel of a mask once: other labels, counts, one label alone."""

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit
from amos_dask.kernels.layout import flat_fortran


def remap_labels(mask: NDArray[np.uint8], lookup: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask in which each label is replaced by its entry in a lookup table.

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
        When the mask is not three-dimensional or not uint8, or the table has another shape or type.
    """
    if lookup.shape != (256,) or lookup.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (256,) table, got {lookup.dtype} {lookup.shape}")
    return np.asarray(lookup[flat_fortran(mask)]).reshape(mask.shape, order="F")


def count_labels(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many voxels of a uint8 (x, y, z) mask have each label, as int64 (256,).

    Raises
    ------
    ValueError
        When the mask is not three-dimensional or not uint8.
    """
    return _histogram(flat_fortran(mask))


@njit
def _histogram(flat: NDArray[np.uint8]) -> NDArray[np.int64]:
    # Four tables: neighbouring voxels mostly have the same label, and adding to the same entry
    # again has to wait for the last addition.
    counts = np.zeros((4, 256), np.int64)
    n = flat.size // 4 * 4
    for i in range(0, n, 4):
        counts[0, flat[i]] += 1
        counts[1, flat[i + 1]] += 1
        counts[2, flat[i + 2]] += 1
        counts[3, flat[i + 3]] += 1
    for i in range(n, flat.size):
        counts[0, flat[i]] += 1
    return counts.sum(axis=0)


def select_label(
    mask: NDArray[np.uint8], label: int, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Return the binary mask of one label, zeros and ones in the mask's memory order.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label mask; not changed.
    label : int
        The label, 0..255.
    out : uint8 (x, y, z), optional
        Where to put the result.

    Raises
    ------
    ValueError
        When the mask is not three-dimensional or not uint8, or the label is not in 0..255.
    """
    if mask.ndim != 3 or mask.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (x, y, z) mask, got {mask.dtype} {mask.shape}")
    if not 0 <= label <= 255:
        raise ValueError(f"label {label} is not in 0..255")
    if out is None:
        out = np.empty_like(mask)
    np.equal(mask, np.uint8(label), out=out.view(np.bool_))
    return out
