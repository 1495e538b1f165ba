"""Statistics of pooled voxels, exact, from how often each value occurs; and of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Percentages of the percentiles in the data card of AMOS22.
LOW, HIGH = 0.5, 99.5
_PART = 1 << 26


@dataclass(frozen=True, slots=True)
class Intensities:
    """Statistics of the values of pooled voxels, in the units of the volumes (HU for CT).

    Parameters
    ----------
    n_voxels : int
        Finite ones.
    minimum, low, median, mean, std, high, maximum : float
        ``low`` and ``high`` are the 0.5 and 99.5 percentiles by linear interpolation, ``std`` is
        that of the population (ddof 0).
    """

    n_voxels: int
    minimum: float
    low: float
    median: float
    mean: float
    std: float
    high: float
    maximum: float


def describe_values(values: NDArray[np.float32], counts: NDArray[np.int64]) -> Intensities | None:
    """Return the statistics of voxels, given how often each value occurs; None without voxels.

    Minimum, maximum, median and percentiles are exactly those that numpy gives for the voxels
    themselves as float64 (``np.median``, ``np.percentile`` with its default method).

    Parameters
    ----------
    values : (n,) float32
        Ascending, each once.
    counts : (n,) int64
        At least one.
    """
    total = int(counts.sum())
    if not total:
        return None
    wide = values.astype(np.float64)
    ends = np.cumsum(counts)
    mean = _mean(wide, counts, total)
    middle = [_at(wide, ends, rank) for rank in ((total - 1) // 2, total // 2)]
    variance = math.fsum((counts * (wide - mean) ** 2).tolist()) / total
    return Intensities(
        n_voxels=total,
        minimum=float(wide[0]),
        low=_percentile(wide, ends, LOW),
        median=(middle[0] + middle[1]) / 2.0,
        mean=mean,
        std=math.sqrt(variance),
        high=_percentile(wide, ends, HIGH),
        maximum=float(wide[-1]),
    )


def _mean(values: NDArray[np.float64], counts: NDArray[np.int64], total: int) -> float:
    # A float32 times at most 26 bits is exact in float64, and fsum rounds once.
    high, low = np.divmod(counts, _PART)
    terms = [*(values * low).tolist(), *(values * high * _PART).tolist()]
    return math.fsum(terms) / total


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


@dataclass(frozen=True, slots=True)
class Spread:
    """Minimum, median, mean and maximum over samples."""

    minimum: float
    median: float
    mean: float
    maximum: float


def describe_samples(numbers: Sequence[float]) -> Spread | None:
    """Return the spread of one number a sample; None without samples."""
    if not numbers:
        return None
    found = np.array(numbers, np.float64)
    mean = math.fsum(numbers) / len(numbers)
    return Spread(float(found.min()), float(np.median(found)), mean, float(found.max()))
