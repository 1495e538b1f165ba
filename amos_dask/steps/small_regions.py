"""Regions: small connected regions of each label, the suspects for labelling errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.components import label_components
from amos_dask.labels import LabelMap
from amos_dask.nifti import Mask
from amos_dask.records import Region, Regions

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1


def find_small_regions(
    mask: Mask,
    spacing_mm: tuple[float, float, float],
    thresholds_mm3: Sequence[float],
    label_map: LabelMap,
) -> Regions:
    """Find the regions strictly below each volume threshold, all in one pass over the mask.

    Parameters
    ----------
    mask : (x, y, z) uint8
        Multi-label mask. Regions are 26-connected, of every label of the map, background too.
    spacing_mm : (float, float, float)
        Voxel size along x, y, z in mm.
    thresholds_mm3 : sequence of float
        Volume thresholds in mm3.
    label_map : LabelMap
        Labels outside it are left aside.

    Returns
    -------
    Regions
        For each threshold its regions by label, then by first voxel in C order.
    """
    components = label_components(mask)
    sx, sy, sz = spacing_mm
    volume_mm3 = components.n_voxels * sx * sy * sz
    known = np.isin(components.label, list(label_map))
    by_label = np.argsort(components.label, kind="stable")
    found = []
    for threshold in thresholds_mm3:
        small = by_label[(known & (volume_mm3 < threshold))[by_label]]
        centroids = round_half_even(components.coordinate_sums[small], components.n_voxels[small])
        sizes = components.n_voxels[small], volume_mm3[small]
        columns = (components.label[small], *centroids.T, *sizes)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        found.append((float(threshold), tuple(Region(*row) for row in rows)))
    return tuple(found)


def round_half_even(sums: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n, 3) ``sums`` of at least 0 by (n,) ``counts``, exactly rounded half to even."""
    # A mean that is no half is further from one than float64 rounds sums below 2 ** 52.
    return np.rint(sums / counts[:, None]).astype(np.int64)
