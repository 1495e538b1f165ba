"""Reading a mask's stored values of any type as labels, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels import cast_to_labels
from amos_dask.nifti.header import ImageInfo
from amos_dask.nifti.read import ImageReader
from amos_dask.nifti.write import Mask

# How far from a whole number a value may be that is rounded to it; 255.05 in float32 is.
_NEAR = 0.05 + 1e-5
_N_SHOWN = 5


class LabelReader:
    """Reads labels, and remembers values that were near one or stand for none.

    Parameters
    ----------
    label_values : mapping of int to int, optional
        Value in the file -> label. A value that is not listed stands for itself, unless a listed
        one stands for that label; 0 stands for itself all the same.

    Attributes
    ----------
    n_rounded : int
        How many values were no whole numbers, but within 0.05 of one.
    deviation : float
        How far from one they were at most.
    n_bad : int
        How many values stand for no label.
    """

    def __init__(self, label_values: Mapping[int, int] | None = None) -> None:
        self.n_rounded = self.n_bad = 0
        self.deviation = 0.0
        self._bad = np.empty(0)  # some of them
        self._is_plain = not label_values
        self._values, self._labels = _what_stands_for(tuple((label_values or {}).items()))

    def chunks(self, image: ImageReader) -> Iterator[Mask]:
        """Yield all labels in file order: 1-D arrays, 0 where a value stands for no label.

        Raises
        ------
        UnreadableImageError
            When the file is damaged.
        """
        info = image.info
        if self._is_plain and not info.is_scaled and info.stored_dtype == np.uint8:
            yield from image.chunks()
            return
        for chunk in image.chunks():
            values = _scale(chunk, info)
            labels = np.empty(values.size, np.uint8)
            if not self._is_plain or cast_to_labels(values, labels):
                self._find_labels(values, labels)
            yield labels

    def refuse(self, values: NDArray[Any]) -> None:
        """Count values as bad."""
        self.n_bad += values.size
        self._bad = np.unique(np.concatenate([self._bad, values]))[:_N_SHOWN]

    @property
    def shown(self) -> str:
        """Up to five of the bad values, for people."""
        return ", ".join(f"{value:.7g}" for value in self._bad)

    def _find_labels(self, values: NDArray[Any], labels: Mask) -> None:
        """Fill in the labels that values stand for; 0 where they stand for none."""
        labels[:] = self._labels[np.searchsorted(self._values, 0.0)]
        at = np.flatnonzero(values)  # most are background
        with np.errstate(all="ignore"):
            values = values[at].astype(np.float64)
            nearest = np.rint(values)
            deviation = np.abs(values - nearest)
            place = np.searchsorted(self._values, nearest).clip(max=self._values.size - 1)
            is_label = (deviation <= _NEAR) & (self._values[place] == nearest)
        labels[at] = np.where(is_label, self._labels[place], 0)
        near = deviation[is_label]
        self.n_rounded += int(np.count_nonzero(near))
        self.deviation = max(self.deviation, float(near.max(initial=0.0)))
        self.refuse(values[~is_label])


@cache
def _what_stands_for(listed: tuple[tuple[int, int], ...]) -> tuple[NDArray[np.float64], Mask]:
    """Return all values that stand for labels, ascending, and the labels."""
    targets = {label for _, label in listed if label}
    stands_for = {i: i for i in range(256) if i not in targets} | dict(listed)
    values, labels = zip(*sorted(stands_for.items()), strict=True)
    return np.array(values, np.float64), np.array(labels, np.uint8)


def _scale(chunk: NDArray[Any], info: ImageInfo) -> NDArray[Any]:
    """Return the values that stored ones stand for, in float64 as nibabel does."""
    if not info.is_scaled:  # masks rarely are
        return chunk
    with np.errstate(all="ignore"):  # what overflows is no label and is counted as such
        return chunk.astype(np.float64) * info.slope + info.inter
