"""Merge masks: a binary mask a label becomes one mask, and what they share is counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from amos_dask.errors import BadMaskError, number_are, number_of
from amos_dask.issues import Issue, make_issue
from amos_dask.kernels.label_sets import LabelSets
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageReader, LabelReader, Mask
from amos_dask.records import Overlap

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1


class MergedMask(NamedTuple):
    """A mask that was merged."""

    labels: Mask  # Fortran-ordered
    n_rounded: int  # how many values in all files were neither 0 nor 1, but near
    deviation: float  # how far from one of them they were at most
    overlaps: tuple[Overlap, ...]  # every two labels that share voxels, in order


class MaskMerger:
    """Takes the binary masks of a scan one after the other, in any order.

    Parameters
    ----------
    shape : (int, int, int)
        Of the scan. Each voxel takes two bytes, and one more for the merged mask.
    label_values : mapping of int to int, optional
        Value in the files -> 0 or 1, as `read_mask` takes it.
    """

    def __init__(
        self, shape: tuple[int, int, int], label_values: Mapping[int, int] | None = None
    ) -> None:
        self._shape, self._label_values = shape, label_values
        self._sets = LabelSets(math.prod(shape))
        self._n_rounded, self._deviation = 0, 0.0

    def add(self, label: int, image: ImageReader) -> None:
        """Read the mask of a label to its end; whoever catches an error gives the merging up.

        Raises
        ------
        UnreadableImageError
            When the file is damaged.
        BadMaskError
            When values, after scaling, are further than 0.05 from 0 and 1.
        ValueError
            When the label or the number of voxels is none that can be.
        """
        reader = LabelReader(self._label_values)
        self._sets.begin(label)
        start = 0
        for values in reader.chunks(image):
            if self._sets.cover(start, values):
                reader.refuse(values[values > 1])
            start += values.size
        if reader.n_bad:
            what = f"{number_are(reader.n_bad, 'voxel')} neither 0 nor 1, such as {reader.shown}"
            raise BadMaskError("bad_mask_values", f"the file is no binary mask: {what}")
        self._n_rounded += reader.n_rounded
        self._deviation = max(self._deviation, reader.deviation)

    def merged(self, order: Sequence[int]) -> MergedMask:
        """Return the merged mask; each label of ``order`` overwrites those before it.

        Raises ValueError when a label is missing that was added.
        """
        labels, shared = self._sets.resolve(order)
        overlaps = tuple(Overlap(*map(int, row)) for row in shared)
        shaped = labels.reshape(self._shape, order="F")
        return MergedMask(shaped, self._n_rounded, self._deviation, overlaps)


def check_overlaps(
    overlaps: Sequence[Overlap],
    spacing_mm: tuple[float, float, float],
    label_map: LabelMap,
    precedence: str | Sequence[str],
    sample_id: str,
    file: str,
) -> list[Issue]:
    """Return ``labels_overlap`` where labels share voxels.

    ``precedence`` decided: ``later`` or ``earlier`` in the label map, or names of which a later
    one wins.
    """
    if not overlaps:
        return []
    largest = max(overlaps, key=lambda overlap: overlap.n_voxels)
    names, (sx, sy, sz) = label_map.names(), spacing_mm
    first, second = (f"{label} ({names.get(label, '?')})" for label in largest[:2])
    volume = f"{largest.n_voxels * sx * sy * sz:.2f} mm3"
    message = f"labels {first} and {second} share {volume}"
    if len(overlaps) > 1:
        pairs = f"{number_of(len(overlaps), 'pair')} of labels overlap"
        message = f"{pairs}; {message}, more than any other"
    taken = precedence if isinstance(precedence, str) else "later named"
    action = f"the {taken} label was taken; all pairs are in overlaps.xlsx"
    return [make_issue("labels_overlap", message, sample=sample_id, file=file, action=action)]
