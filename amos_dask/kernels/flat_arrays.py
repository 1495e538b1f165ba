"""Arrays as the kernels take them, flat, contiguous and read-only, and the names of their types."""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]

_Scalar = TypeVar("_Scalar", bound=np.generic)


def require_mask(mask: NDArray[Any]) -> None:
    """Refuse what is no uint8 (x, y, z) mask.

    Parameters
    ----------
    mask : array
        Anything.

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    if mask.ndim != 3 or mask.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (x, y, z) mask, got {mask.dtype} {mask.shape}")


def flat_fortran(mask: Bytes) -> Bytes:
    """Return a mask's voxels, x fastest, as a read-only flat array.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Copied unless it is in Fortran order.

    Returns
    -------
    uint8 (x * y * z,)

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.

    Examples
    --------
    >>> flat_fortran(np.array([[[1], [2]], [[3], [4]]], np.uint8)).tolist()
    [1, 3, 2, 4]
    """
    require_mask(mask)
    return read_only(mask.reshape(-1, order="F"))


def flat_any_order(mask: Bytes) -> Bytes:
    """Return a mask's voxels as they lie in memory, as a read-only flat array.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Copied only when it is neither in Fortran nor in C order.

    Returns
    -------
    uint8 (x * y * z,)

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    require_mask(mask)
    return read_only(mask.reshape(-1, order="C" if mask.flags.c_contiguous else "F"))


def read_only(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return a contiguous read-only array of the same values, a view where possible.

    numba compiles a kernel once for arrays that may be written to and once more for those that
    may not; kernels never write to their input, so all input is made to be of the second kind.

    Parameters
    ----------
    values : array
        Of any type and shape; not changed.

    Returns
    -------
    array
        In C order.
    """
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view
