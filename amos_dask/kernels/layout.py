"""Arrays as the kernels take them: flat, contiguous, native, read-only."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)


def check_mask(mask: NDArray[Any]) -> None:
    """Refuse what is no uint8 (x, y, z) mask.

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    if mask.ndim != 3 or mask.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (x, y, z) mask, got {mask.dtype} {mask.shape}")


def flat_fortran(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask's voxels, x fastest, as a read-only flat array.

    A Fortran-ordered mask is not copied.

    Parameters
    ----------
    mask : uint8 (x, y, z)

    Returns
    -------
    uint8 (x * y * z,)

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    check_mask(mask)
    return read_only(mask.reshape(-1, order="F"))


def flat_c(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask's voxels, z fastest, as a read-only flat array.

    A C-ordered mask is not copied. Raises as `flat_fortran`.
    """
    check_mask(mask)
    if not mask.flags.c_contiguous:
        ordered = np.empty(mask.shape, np.uint8)
        for y in range(mask.shape[1]):  # as a whole it takes seven times as long: cache misses
            ordered[:, y] = mask[:, y]
        mask = ordered
    return read_only(mask.reshape(-1))


def flat_any_order(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask's voxels in whatever order they lie, as a read-only flat array.

    Copied only when the mask is neither Fortran- nor C-ordered. Raises as `flat_fortran`.
    """
    check_mask(mask)
    return read_only(mask.reshape(-1, order="C" if mask.flags.c_contiguous else "F"))


def read_only(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return a contiguous read-only array of the same values, a view where possible.

    numba compiles a kernel once for arrays that may be written to and once more for those that
    may not; kernels never write to their input, so all input is made to be of the second kind.
    """
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view
