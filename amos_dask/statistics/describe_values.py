"""The numbers: of pooled voxels, exactly, from how often each value occurs; and of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Percentages of the percentiles in the data card of AMOS22.
LOW, HIGH = 0.5, 99.5
_26_BITS = (1 << 26) - 1


def describe_values(values: NDArray[np.float32], counts: NDArray[np.int64]) -> dict[str, float]:
    """Return the statistics of voxels, given how often each value occurs.

    Minimum, maximum, median and percentiles are exactly those that numpy gives for the voxels
    themselves as float64 (``np.median``, ``np.percentile`` with its default method).

    Parameters
    ----------
    values : (n,) float32
        Ascending, each once, in the units of the volumes (HU for CT).
    counts : (n,) int64
        At least one.

    Returns
    -------
    dict of str to float
        ``n_voxels``, ``min``, ``p0.5``, ``median``, ``mean``, ``std`` (of the population, ddof 0),
        ``p99.5`` and ``max``; empty without voxels.

    Examples
    --------
    >>> describe_values(np.array([1, 4], np.float32), np.array([2, 1]))["mean"]
    2.0
    """
    if not values.size:
        return {}
    wide, ends = values.astype(np.float64), np.cumsum(counts)
    total = int(ends[-1])
    # A float32 times at most 26 bits is exact in float64, and fsum rounds once.
    parts = (wide * (counts & _26_BITS), wide * (counts & ~_26_BITS))
    mean = math.fsum(np.concatenate(parts).tolist()) / total
    variance = math.fsum((counts * (wide - mean) ** 2).tolist()) / total
    middle = [_at(wide, ends, rank) for rank in ((total - 1) // 2, total // 2)]
    return {
        "n_voxels": total,
        "min": float(wide[0]),
        "p0.5": _percentile(wide, ends, LOW),
        "median": sum(middle) / 2.0,
        "mean": mean,
        "std": math.sqrt(variance),
        "p99.5": _percentile(wide, ends, HIGH),
        "max": float(wide[-1]),
    }


def _at(values: NDArray[np.float64], ends: NDArray[np.int64], rank: int) -> float:
    """Return the voxel of a rank, from 0, when all are sorted."""
    return float(values[np.searchsorted(ends, rank, side="right")])


def _percentile(values: NDArray[np.float64], ends: NDArray[np.int64], percent: float) -> float:
    """Interpolate between neighbouring ranks as numpy's default method does, to the last bit."""
    place = (int(ends[-1]) - 1) * (percent / 100)
    below = math.floor(place)
    share = place - below
    left = _at(values, ends, below)
    right = _at(values, ends, min(below + 1, int(ends[-1]) - 1))
    step = right - left
    return right - step * (1 - share) if share >= 0.5 else left + step * share


def describe_samples(numbers: Sequence[float]) -> dict[str, float]:
    """Return ``min``, ``median``, ``mean`` and ``max`` of one number a sample, at least one."""
    mean = math.fsum(numbers) / len(numbers)
    median = float(np.median(np.array(numbers, np.float64)))
    return {"min": min(numbers), "median": median, "mean": mean, "max": max(numbers)}
