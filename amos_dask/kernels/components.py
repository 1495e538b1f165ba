"""Connected components of a multi-label volume, all labels in one pass."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.component_table import (
    FIRST_VOXEL,
    LABEL,
    N_COLUMNS,
    N_VOXELS,
    SUM_X,
    SUM_Z,
)
from amos_dask.kernels.layout import check_mask
from amos_dask.kernels.run_scan import scan_runs
from amos_dask.kernels.voxel_scan import scan_voxels

# With runs shorter than this on average, going voxel by voxel is faster, whatever the labels are.
_NOISE_RUN_LENGTH = 10


class Components(NamedTuple):
    """One entry per component, in order of ``first_voxel``.

    Attributes
    ----------
    label : uint8 (n,)
        The label that all voxels of the component have.
    n_voxels : int64 (n,)
        Its size in voxels.
    coordinate_sums : int64 (n, 3)
        Sums of the voxel indices x, y and z; divided by ``n_voxels`` they give the centroid.
    first_voxel : int64 (n,)
        The smallest C-order flat index ``(x * ny + y) * nz + z`` among its voxels.
    """

    label: NDArray[np.uint8]
    n_voxels: NDArray[np.int64]
    coordinate_sums: NDArray[np.int64]
    first_voxel: NDArray[np.int64]


def label_components(mask: NDArray[np.uint8]) -> Components:
    """Find the 26-connected components of equal label, background included.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Multi-label volume, best in Fortran order as NIfTI stores it.

    Returns
    -------
    Components
        Sorted by ``first_voxel``; empty arrays when an axis has length zero.

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    check_mask(mask)
    if mask.size == 0:
        table = np.empty((0, N_COLUMNS), np.int64)
    elif _is_noise(mask):
        table = scan_voxels(mask)
    else:
        table = scan_runs(mask)
    return Components(
        label=table[:, LABEL].astype(np.uint8),
        n_voxels=table[:, N_VOXELS],
        coordinate_sums=table[:, SUM_X : SUM_Z + 1],
        first_voxel=table[:, FIRST_VOXEL],
    )


def _is_noise(mask: NDArray[np.uint8]) -> bool:
    """Tell whether runs along x are short, going by every 289th row."""
    rows = mask[:, ::17, ::17]
    n_runs = rows[0].size + np.count_nonzero(rows[1:] != rows[:-1])
    return bool(n_runs * _NOISE_RUN_LENGTH > rows.size)
