"""Minimum, percentiles, mean and so on of all voxels of many samples; exact, as a tree of tasks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.errors import AmosDaskError
from amos_dask.records import StepResult
from amos_dask.root.kept import KeptFiles
from amos_dask.root.receipts import Receipts
from amos_dask.sample.source import FolderSource
from amos_dask.steps.count_values import (
    NO_COUNTS,
    ValueCounter,
    ValueCounts,
    add_counts,
    count_voxels,
    of_channel,
)
from amos_dask.steps.mask_labels import labels_present

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


# ---------------------------------------------------------------- what was counted, as a tree

# So many rows of counts are held before they are added to the sum, and so many of the sum: more
# than all usual whole numbers under each label of AMOS22.
_HELD_ROWS = 1 << 19
_MOST_ROWS = 1 << 21

Voxels = dict[int, int]  # label -> voxels


@dataclass(frozen=True, slots=True)
class Pool:
    """What was counted of some samples, added up."""

    sources: tuple[FolderSource, ...]  # the samples that are counted
    voxels: Mapping[str, Voxels | None]  # sample -> label -> voxels; None where not counted
    counts: tuple[ValueCounts | None, ...]  # of each channel; None where they are too many to hold


class _Sum:
    """A sum of counts, which is given up when it becomes too large to be held."""

    def __init__(self) -> None:
        self._held, self._n_rows, self._is_whole = [NO_COUNTS], 0, True

    def add(self, blocks: Iterable[ValueCounts] | None) -> None:
        """Add rows; None stands for too many."""
        self._is_whole &= blocks is not None
        for rows in blocks or ():
            if not self._is_whole:
                return
            self._held.append(rows)
            self._n_rows += rows.counts.size
            if self._n_rows > _HELD_ROWS:
                self._add_up()

    def _add_up(self) -> None:
        self._held, self._n_rows = [add_counts(self._held)], 0
        self._is_whole &= self._held[0].counts.size <= _MOST_ROWS

    def result(self) -> ValueCounts | None:
        """Return the sum; None where it was given up."""
        self._add_up()
        return self._held[0] if self._is_whole else None


def read_counts(source: FolderSource, channel: int = 0) -> Iterator[ValueCounts]:
    """Yield the rows of the counts of one of a sample's channels, a block at a time.

    Raises
    ------
    OSError
        When its files are gone.
    LookupError
        When its files, as they are now, have not been counted, or what is kept of it is damaged.
    """
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    names = of_channel(NO_COUNTS._asdict(), channel)
    rows = kept.rows_of_volume(source.name, folder.mask, folder.volumes, names)
    return (ValueCounts(*columns) for columns in rows)


def read_pool(sources: Sequence[FolderSource]) -> Pool:
    """Read what was counted of samples of one dataset, each once."""
    channels = range(len(sources[0].folder.volumes))
    sums, voxels = [_Sum() for _ in channels], dict[str, Voxels | None]()
    for source in sources:
        voxels[source.name] = None
        try:
            read = [_read_sample(source, channel) for channel in channels]
        except (OSError, LookupError):
            continue
        voxels[source.name] = read[0][0]
        for total, (_, blocks) in zip(sums, read, strict=True):
            total.add(blocks)
    counted = tuple(source for source in sources if voxels[source.name] is not None)
    return Pool(counted, voxels, tuple(total.result() for total in sums))


def _read_sample(source: FolderSource, channel: int) -> tuple[Voxels, list[ValueCounts] | None]:
    """Return the voxels of each label, and the rows where they can be held."""
    voxels, blocks, n_rows = Counter[int](), list[ValueCounts](), 0
    for rows in read_counts(source, channel):
        voxels.update(count_voxels([rows]))
        n_rows += rows.counts.size
        if n_rows <= _MOST_ROWS:
            blocks.append(rows)
    return dict(sorted(voxels.items())), blocks if n_rows <= _MOST_ROWS else None


def add_pools(pools: Sequence[Pool]) -> Pool:
    """Return several pools together."""
    sums, voxels = [_Sum() for _ in pools[0].counts], dict[str, Voxels | None]()
    for pool in pools:
        voxels.update(pool.voxels)
        for total, counts in zip(sums, pool.counts, strict=True):
            total.add(None if counts is None else [counts])
    sources = tuple(chain.from_iterable(pool.sources for pool in pools))
    return Pool(sources, voxels, tuple(total.result() for total in sums))


def describe_pool(
    pool: Pool,
) -> tuple[list[dict[int, dict[str, float]]], Mapping[str, Voxels | None]]:
    """Describe the values of all voxels of a pool, label by label.

    Returns
    -------
    of_channels : list of dict of int to dict
        Of each channel, label -> ``n_samples`` that have it, ``n_not_finite`` voxels, and as
        `describe_values`.
    voxels : dict of str to dict
        Sample -> label -> voxels; None where values of it are not counted.

    Raises
    ------
    AmosDaskError
        When what is kept of a sample that was counted cannot be read any more.
    """
    n_samples = Counter(chain.from_iterable(found or () for found in pool.voxels.values()))
    described = (_describe_channel(pool, channel) for channel in range(len(pool.counts)))
    of_channels = [
        {label: {"n_samples": n_samples[label], **told} for label, told in labels.items()}
        for labels in described
    ]
    return of_channels, pool.voxels


def _describe_channel(pool: Pool, channel: int) -> Mapping[int, Mapping[str, float]]:
    held = pool.counts[channel]
    if held is not None:
        return {
            label: {"n_not_finite": n_not_finite, **describe_values(values, times)}
            for label, (values, times, n_not_finite) in held.by_label().items()
            if values.size
        }
    try:
        return describe_blocks(
            lambda: chain.from_iterable(read_counts(source, channel) for source in pool.sources)
        )
    except (OSError, LookupError) as error:
        raise AmosDaskError(f"counted values cannot be read ({error}); run it again.") from error


def count_sample(source: FolderSource) -> StepResult[Voxels]:
    """Return the voxels of each label of a sample, and count its values if that is not done.

    Returns
    -------
    StepResult of dict
        Label -> voxels, the background left out; None when volume or mask cannot be read.
    """
    known = read_pool([source]).voxels[source.name]
    if known is not None:
        return StepResult(source.name, known)
    opened, issues = source.open_mask()
    if opened is None:
        return StepResult(source.name, None, tuple(issues))
    present, columns = labels_present(opened.labels), dict[str, Any]()
    for channel in range(len(source.folder.volumes)):
        counter = ValueCounter(opened.labels, present)
        issues = source.show_volume(opened.labels.shape, counter.add, channel)
        if issues:
            return StepResult(source.name, None, tuple(issues))
        counts = counter.result()
        columns |= of_channel(counts.columns(), channel)
    Receipts(source.layout).keep_of_volume(source.folder, columns)
    return StepResult(source.name, count_voxels(counts))
