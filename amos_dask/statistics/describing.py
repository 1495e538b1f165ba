"""Minimum, percentiles, mean and so on of voxels, given how often each value occurs; exact."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from amos_dask.steps.count_values import ValueCounts

# Percentages of the percentiles in the data card of AMOS22.
LOW, HIGH = 0.5, 99.5
_26_BITS = (1 << 26) - 1
# A float32 is a whole number of 24 bits times a power of two from 2^-172 (frexp gives the smallest
# the exponent -148) to 2^104.
_MANTISSA_BITS, _LEAST_EXPONENT, _N_EXPONENTS = 24, -148, 277
_HALF_BITS = 16
_N_HALVES = 1 << _HALF_BITS
_SIGN = np.uint32(1 << 31)


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
    variance = _sum_of_squares(values, counts, mean) / total
    return _in_order(
        total, mean, variance, lambda rank: float(wide[np.searchsorted(ends, rank, side="right")])
    )


def describe_blocks(
    blocks: Callable[[], Iterable[ValueCounts]],
) -> dict[int, Mapping[str, float]]:
    """Return the statistics of more values than can be held, by label, in two passes over them.

    As `describe_values`, but for the last bit of ``std``. It takes some four MB a label.

    Parameters
    ----------
    blocks : callable
        Gives the rows of all samples, a value of a label in any number of them; asked twice, it
        gives the same.

    Returns
    -------
    dict of int to dict
        Label -> ``n_not_finite`` and as `describe_values`, of labels with finite voxels.
    """
    found: dict[int, _Label] = {}
    for label, values, counts, n_not_finite in _by_label(blocks()):
        found.setdefault(label, _Label()).add(values, counts, n_not_finite)
    found = {label: of_label for label, of_label in sorted(found.items()) if of_label.total}
    for of_label in found.values():
        of_label.choose()
    for label, values, counts, _ in _by_label(blocks()):
        if label in found:
            found[label].look_closer(values, counts)
    return {label: of_label.describe() for label, of_label in found.items()}


def _by_label(
    blocks: Iterable[ValueCounts],
) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.int64], int]]:
    for rows in blocks:
        for label, (values, counts, n_not_finite) in rows.by_label().items():
            yield label, values, counts, n_not_finite


@dataclass
class _Label:
    """What is known of the values under a label: how many there are by the halves of their bits."""

    n_not_finite: int = 0
    # Finite voxels by the upper half of the value's key; for some of those, by the lower one.
    upper: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_N_HALVES, np.int64))
    lower: dict[int, NDArray[np.int64]] = field(default_factory=dict)
    # Of the mantissas of each exponent, as whole numbers; no overflow below 2^39 voxels.
    sums: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_N_EXPONENTS, np.int64))
    squares: list[float] = field(default_factory=list)  # of deviations from the mean, summed

    @property
    def total(self) -> int:
        """Finite voxels."""
        return int(self.upper.sum())

    @property
    def mean(self) -> float:
        """Of all finite voxels; rounded as `describe_values` does."""
        exact = sum(int(part) << i for i, part in enumerate(self.sums))
        return exact / (1 << (_MANTISSA_BITS - _LEAST_EXPONENT)) / self.total

    def add(
        self, values: NDArray[np.float32], counts: NDArray[np.int64], n_not_finite: int
    ) -> None:
        """Count rows in the first pass."""
        self.n_not_finite += n_not_finite
        np.add.at(self.upper, _keys(values) >> _HALF_BITS, counts)
        mantissas, exponents = np.frexp(values.astype(np.float64))
        whole = np.ldexp(mantissas, _MANTISSA_BITS).astype(np.int64)
        np.add.at(self.sums, exponents - _LEAST_EXPONENT, whole * counts)

    def choose(self) -> None:
        """Choose what the second pass has to look closer at: where the ranks are."""
        ends = np.cumsum(self.upper)

        def note(rank: int) -> float:
            upper = int(np.searchsorted(ends, rank, side="right"))
            self.lower[upper] = np.zeros(_N_HALVES, np.int64)
            return 0.0

        _in_order(self.total, 0.0, 0.0, note)

    def look_closer(self, values: NDArray[np.float32], counts: NDArray[np.int64]) -> None:
        """Count rows in the second pass."""
        self.squares.append(_sum_of_squares(values, counts, self.mean))
        keys = _keys(values)
        for upper, lower in self.lower.items():
            is_here = keys >> _HALF_BITS == upper
            np.add.at(lower, keys[is_here] & (_N_HALVES - 1), counts[is_here])

    def describe(self) -> dict[str, float]:
        """Return the statistics after the second pass."""
        ends, variance = np.cumsum(self.upper), math.fsum(self.squares) / self.total

        def at(rank: int) -> float:
            upper = int(np.searchsorted(ends, rank, side="right"))
            n_below = ends[upper] - self.upper[upper]
            within = np.cumsum(self.lower[upper])
            lower = int(np.searchsorted(within, rank - n_below, side="right"))
            return _value(upper << _HALF_BITS | lower)

        found = _in_order(self.total, self.mean, variance, at)
        return {"n_not_finite": self.n_not_finite, **found}


def _keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Return whole numbers that are in the same order as the values, and as many."""
    bits = values.view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(key: int) -> float:
    """Return the value of a key."""
    bits = key ^ int(_SIGN) if key & int(_SIGN) else ~key & 0xFFFFFFFF
    return float(np.uint32(bits).view(np.float32))


def _sum_of_squares(values: NDArray[np.float32], counts: NDArray[np.int64], mean: float) -> float:
    wide = values.astype(np.float64)
    return math.fsum((counts * (wide - mean) ** 2).tolist())


def _in_order(
    total: int, mean: float, variance: float, at: Callable[[int], float]
) -> dict[str, float]:
    """Return the statistics in the worksheet's order; ``at`` gives the voxel of a rank, from 0."""
    middle = [at(rank) for rank in ((total - 1) // 2, total // 2)]
    return {
        "n_voxels": total,
        "min": at(0),
        "p0.5": _percentile(at, total, LOW),
        "median": sum(middle) / 2.0,
        "mean": mean,
        "std": math.sqrt(variance),
        "p99.5": _percentile(at, total, HIGH),
        "max": at(total - 1),
    }


def _percentile(at: Callable[[int], float], total: int, percent: float) -> float:
    """Interpolate between neighbouring ranks as numpy's default method does, to the last bit."""
    place = (total - 1) * (percent / 100)
    below = math.floor(place)
    share = place - below
    left, right = at(below), at(min(below + 1, total - 1))
    step = right - left
    return right - step * (1 - share) if share >= 0.5 else left + step * share
