"""Remap, histogram, scaling and casting against the best of numpy."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.voxelwise import cast_to_labels, count_labels, remap_labels, scale_to_float32
from benchmarks.harness import (
    Comparison,
    Report,
    Side,
    Table,
    benchmark,
    compare,
    timing_rows,
)
from benchmarks.scans import Mask, ct_scan
from benchmarks.settings import Settings


@benchmark("voxelwise")
def bench_voxelwise(settings: Settings) -> Report:
    """Time what is done voxel by voxel on a CT."""
    scan = ct_scan(settings)
    mask, n = scan.mask, settings.repeats
    comparisons = {
        "remap 15 to 16": _compare_remap(mask, n),
        "histogram of labels": _compare_histogram(mask, n),
        "int16 to float32, scaled": _compare_scaling(scan.volume.ravel(order="F"), n),
        "int16 to labels, checked": _compare_casting(mask.ravel(order="F").astype(np.int16), n),
    }
    rows = [row for case, found in comparisons.items() for row in timing_rows(case, found)]
    note = (
        "Flat views in file order, so that numpy transposes nothing; results are checked to be "
        "equal. New arrays are part of the time on both sides where the operation makes them."
    )
    return Report([Table("Voxel by voxel, CT", rows, note)])


def _compare_remap(mask: Mask, repeats: int) -> Comparison:
    lookup = np.arange(256, dtype=np.uint8)
    lookup[15] = 16

    def numpy_where() -> Mask:
        result = mask.copy(order="F")
        result[mask == 15] = 16
        return result

    def numpy_take() -> Mask:
        return lookup.take(mask.ravel(order="F")).reshape(mask.shape, order="F")

    sides = {
        "ours": Side(partial(remap_labels, mask, lookup)),
        "numpy copy and where": Side(numpy_where),
        "numpy take": Side(numpy_take),
    }
    return compare(sides, repeats, np.array_equal)


def _compare_histogram(mask: Mask, repeats: int) -> Comparison:
    flat = mask.ravel(order="F")
    sides = {
        "ours": Side(partial(count_labels, mask)),
        "numpy bincount": Side(partial(np.bincount, flat, minlength=256)),
        "numpy unique": Side(lambda: _filled(*np.unique(flat, return_counts=True)), max_runs=3),
    }
    return compare(sides, repeats, np.array_equal)


def _filled(values: NDArray[np.uint8], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    result = np.zeros(256, np.int64)
    result[values] = counts
    return result


def _compare_scaling(raw: NDArray[np.int16], repeats: int) -> Comparison:
    out = np.empty(raw.size, np.float32)

    def ours() -> NDArray[np.float32]:
        scale_to_float32(raw, 2.5, -1024.0, out)
        return out

    def numpy_scale() -> NDArray[np.float32]:
        return (raw.astype(np.float64) * 2.5 + -1024.0).astype(np.float32)

    sides = {"ours": Side(ours), "numpy": Side(numpy_scale)}
    return compare(sides, repeats, np.array_equal)


def _compare_casting(raw: NDArray[np.int16], repeats: int) -> Comparison:
    out = np.empty(raw.size, np.uint8)

    def ours() -> Any:
        return cast_to_labels(raw, out), out

    def numpy_cast() -> Any:
        n_bad = int(np.count_nonzero((raw < 0) | (raw > 255)))
        return n_bad, raw.astype(np.uint8)

    return compare({"ours": Side(ours), "numpy": Side(numpy_cast)}, repeats, _same_casting)


def _same_casting(ours: Any, theirs: Any) -> bool:
    return ours[0] == theirs[0] and np.array_equal(ours[1], theirs[1])
