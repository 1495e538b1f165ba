"""Labels of a mask: which occur, prostate told from uterus, binary masks merged into one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from amos_dask.errors import BadMaskError, number_are, number_of
from amos_dask.handwritten import find_sex
from amos_dask.issues import Issue, make_issue
from amos_dask.kernels.label_sets import LabelSets
from amos_dask.kernels.voxelwise import count_labels, remap_labels
from amos_dask.labels import PROSTATE, UTERUS, LabelMap
from amos_dask.nifti import ImageReader, LabelReader, Mask
from amos_dask.records import Overlap

# Raised when what a step makes changes: samples made with an older one are made again.
SPLIT_VERSION = 1
MERGE_VERSION = 1
BINARY_MASKS_VERSION = 1  # of `amos_dask.nifti.write_labels`, as `amos_dask.sample.masks` calls it


def labels_present(mask: Mask) -> tuple[int, ...]:
    """Return the labels that occur in an (x, y, z) uint8 mask, ascending."""
    return tuple(int(label) for label in np.flatnonzero(count_labels(mask)))


def check_labels(
    present: tuple[int, ...], label_map: LabelMap, sample_id: str, file: str
) -> list[Issue]:
    """Return ``unknown_label`` when a mask holds labels that the map lacks, and ``empty_mask``."""
    of, issues = partial(make_issue, sample=sample_id, file=file), []
    unknown = label_map.unknown(present)
    if unknown:
        names = ", ".join(map(str, unknown))
        told = f"label {names} is" if len(unknown) == 1 else f"labels {names} are"
        message = f"{told} not in the label map"
        action = "mask left as it is; no binary masks, no denoising"
        issues.append(of("unknown_label", message, action=action))
    if present == (0,):
        issues.append(of("empty_mask", "the mask holds background only"))
    return issues


def split_prostate_uterus(mask: Mask, sex: str, present: tuple[int, ...]) -> Mask:
    """Return the mask with label 15 as 16 when the sex is female, else the mask itself.

    Parameters
    ----------
    mask : (x, y, z) uint8
        Multi-label mask; not changed.
    sex : str
        ``F``, ``M``, a word for either, or anything else (unknown).
    present : tuple of int
        Labels that occur in the mask.
    """
    if find_sex(sex) != "F" or PROSTATE not in present:
        return mask
    lookup = np.arange(256, dtype=np.uint8)
    lookup[PROSTATE] = UTERUS
    return remap_labels(mask, lookup)


def check_sex(present: tuple[int, ...], sex: str, sample_id: str, file: str) -> list[Issue]:
    """Return ``unknown_sex`` when label 15 is there and the sex does not say what it is."""
    if find_sex(sex) or PROSTATE not in present:
        return []
    message = f"label {PROSTATE} is there and the patient's sex is {sex!r}"
    action = f"label {PROSTATE} left as it is"
    return [make_issue("unknown_sex", message, sample=sample_id, file=file, action=action)]


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
