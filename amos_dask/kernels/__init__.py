"""The kernels: numba and numpy on plain arrays, one family a file.

Masks are uint8 (x, y, z) arrays, best in Fortran order as NIfTI stores them; nothing here knows
files, labels' names or Dask.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from amos_dask.kernels.accelerate import are_compiled, noticing_compiling
from amos_dask.kernels.components import Components, label_components
from amos_dask.kernels.label_sets import LabelSets
from amos_dask.kernels.slice_denoise import denoise_slices
from amos_dask.kernels.voxelwise import (
    LOWEST_VALUE,
    N_VALUES,
    cast_to_labels,
    count_labels,
    count_values,
    remap_labels,
    scale_to_float32,
)

__all__ = [
    "LOWEST_VALUE",
    "N_VALUES",
    "Components",
    "LabelSets",
    "are_compiled",
    "cast_to_labels",
    "count_labels",
    "count_values",
    "denoise_slices",
    "label_components",
    "remap_labels",
    "scale_to_float32",
    "warm_up",
]


def warm_up(tell_compiling: Callable[[], None] = lambda: None) -> None:
    """Run every kernel once on tiny arrays of the usual types.

    Afterwards numba's cache on this machine holds the machine code, and no later process has to
    compile it. Harmless to repeat.

    Parameters
    ----------
    tell_compiling : callable
        Is called whenever numba begins to compile, which it does not for what its cache holds.
    """
    with noticing_compiling(tell_compiling):
        _run_every_kernel()


def _run_every_kernel() -> None:
    mask = np.zeros((32, 8, 2), np.uint8, order="F")
    mask[2, 2, 0] = 1
    label_components(mask)
    denoise_slices(mask, (1.0, 1.0), 10.0, (3, 3), 1)
    remap_labels(mask, np.arange(256, dtype=np.uint8))
    count_labels(mask)
    sets = LabelSets(mask.size)
    sets.begin(1)
    sets.cover(0, mask.ravel(order="F"))
    sets.resolve([1])
    rows, table = np.zeros(256, np.int64), np.zeros((1, N_VALUES), np.int64)
    count_values(np.full(1, 0.5, np.float32), np.zeros(1, np.uint8), rows, table)
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64):
        scale_to_float32(np.zeros(1, dtype), 1.0, 0.0, np.empty(1, np.float32))
