"""Volumes as the flat arrays that the kernels take."""

import numpy as np
from numpy.typing import NDArray


def flat_fortran(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask's voxels, x fastest, as a read-only flat array.

    A Fortran-ordered mask is not copied. The result is marked read-only whether or not the mask
    is: numba compiles a kernel once more for the other kind, and no kernel writes to its input.

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
    if mask.ndim != 3 or mask.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (x, y, z) mask, got {mask.dtype} {mask.shape}")
    return read_only(mask.reshape(-1, order="F"))


def read_only(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a read-only view of ``values``."""
    view = values.view()
    view.flags.writeable = False
    return view
