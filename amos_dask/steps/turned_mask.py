"""A mask whose grid is its scan's turned over: whether its affine or its voxels' order is right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.datasets import MaskGeometry
from amos_dask.kernels import scale_to_float32
from amos_dask.nifti import ImageReader, Mask

# What one order must be better by than the other, to be taken for the scan's values alone.
_LESS, _MORE = 0.95, 1.05


class Fit(NamedTuple):
    """How a mask lies on its scan.

    Parameters
    ----------
    variation : float
        Sum of squares of the scan's values about the mean of their label.
    step : float
        Mean absolute difference of the values of neighbours with different labels; NaN where
        there are none.
    """

    variation: float
    step: float

    def is_better_than(self, other: Fit) -> bool:
        """Return whether this is the right order beyond doubt."""
        varies_less = self.variation <= _LESS * other.variation and self.variation < other.variation
        return varies_less and self.step >= _MORE * other.step


def choose_order(fits: tuple[Fit, Fit] | None, preferred: MaskGeometry) -> tuple[MaskGeometry, str]:
    """Choose the order in which a mask's voxels are taken.

    Parameters
    ----------
    fits : (Fit, Fit) or None
        Of the voxels as they are stored, and turned as the affine says; None where the scan
        cannot be read.
    preferred : {"stored", "world"}
        What the dataset's definition says, for where the scan does not tell.

    Returns
    -------
    order : {"stored", "world"}
        Whether to keep the voxels' order or to turn them.
    why : str
        The figures, to be added to a message.
    """
    rule = f"the dataset's mask_geometry is {preferred}"
    if fits is None:
        return preferred, f"; {rule}"
    stored, world = fits
    figures = (
        f"; turned, the scan's values vary {_compare(world.variation, stored.variation)} within "
        f"labels and step {_compare(world.step, stored.step)} between them"
    )
    if stored.is_better_than(world):
        return "stored", figures
    if world.is_better_than(stored):
        return "world", figures
    return preferred, f"{figures}, which does not decide; {rule}"


def _compare(one: float, other: float) -> str:
    if not (np.isfinite(one) and np.isfinite(other) and other > 0):
        return f"by {one:.3g} instead of {other:.3g}"
    change = one / other - 1
    return f"{abs(change):.1%} {'less' if change < 0 else 'more'}"


def measure_fits(volume: ImageReader, stored: Mask, world: Mask) -> tuple[Fit, Fit]:
    """Measure how a mask lies on its scan in two orders, slice by slice.

    Parameters
    ----------
    volume : ImageReader
        The scan, opened; it is read to its end.
    stored, world : (x, y, z) uint8
        The mask's voxels in the order stored, and turned; both of the scan's shape.

    Returns
    -------
    (Fit, Fit)
        Of the order stored, and of the turned one. Values that are not finite are left out.

    Raises
    ------
    UnreadableImageError
        When the scan is damaged.
    """
    sums = _Sums(stored), _Sums(world)
    before = None
    for z, values in enumerate(_slices(volume)):
        steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1)]
        across = None if before is None else np.abs(values - before)
        for each in sums:
            each.add(z, values, steps, across)
        before = values
    return sums[0].fit(), sums[1].fit()


def _slices(volume: ImageReader) -> Iterator[NDArray[np.float64]]:
    """Yield the scan's values slice by slice, (x, y) each; NaN where not finite."""
    info = volume.info
    n_pixels, n_filled = info.shape[0] * info.shape[1], 0
    pixels = np.empty(n_pixels, np.float32)
    for chunk in volume.chunks():
        while chunk.size:
            part = chunk[: n_pixels - n_filled]
            target = pixels[n_filled : n_filled + part.size]
            scale_to_float32(part, info.slope, info.inter, target)
            chunk, n_filled = chunk[part.size :], n_filled + part.size
            if n_filled == n_pixels:
                values = np.where(np.isfinite(pixels), pixels, np.nan).astype(np.float64)
                yield values.reshape(info.shape[:2], order="F")
                n_filled = 0


class _Sums:
    """What the fit of a mask is made of, summed up slice by slice.

    Parameters
    ----------
    labels : (x, y, z) uint8
        The mask.
    """

    def __init__(self, labels: Mask) -> None:
        self._labels = labels
        self._n, self._sum, self._squares = np.zeros((3, 256))
        self._n_steps, self._steps = 0, 0.0

    def add(
        self,
        z: int,
        values: NDArray[np.float64],
        steps: list[NDArray[np.float64]],
        across: NDArray[np.float64] | None,
    ) -> None:
        """Add a slice: its values, their steps along x and y, and those from the slice before."""
        labels = self._labels[:, :, z]
        is_finite = ~np.isnan(values)
        here, known = labels[is_finite], values[is_finite]
        self._n += np.bincount(here, minlength=256)
        self._sum += np.bincount(here, known, 256)
        self._squares += np.bincount(here, known * known, 256)
        for axis, along in enumerate(steps):
            self._add_steps(along, np.diff(labels, axis=axis) != 0)
        if across is not None:
            self._add_steps(across, labels != self._labels[:, :, z - 1])

    def _add_steps(self, steps: NDArray[np.float64], is_border: NDArray[np.bool_]) -> None:
        found = steps[is_border]
        found = found[~np.isnan(found)]
        self._n_steps += found.size
        self._steps += float(found.sum())

    def fit(self) -> Fit:
        """Return the fit of all slices."""
        there = self._n > 0
        within = self._squares[there] - self._sum[there] ** 2 / self._n[there]
        step = self._steps / self._n_steps if self._n_steps else float("nan")
        return Fit(max(0.0, float(within.sum())), step)
