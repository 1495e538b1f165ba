"""Labels of a mask: which occur, prostate told from uterus by the sex, a binary mask of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from amos_dask.issues import Issue, make_issue
from amos_dask.kernels import count_labels, remap_labels
from amos_dask.labels import PROSTATE, UTERUS, LabelMap
from amos_dask.metadata_forms import find_sex
from amos_dask.nifti import ImageInfo, Mask, mask_header, write_labels

# Raised when what a step makes changes: samples made with an older one are made again.
SPLIT_VERSION = 1
BINARY_MASKS_VERSION = 1


def labels_present(mask: Mask) -> tuple[int, ...]:
    """Return the labels that occur in an (x, y, z) uint8 mask, ascending."""
    return tuple(int(label) for label in np.flatnonzero(count_labels(mask)))


def check_labels(
    present: tuple[int, ...], label_map: LabelMap, sample_id: str, file: str
) -> list[Issue]:
    """Return ``unknown_label`` when a mask holds labels that the map lacks, and ``empty_mask``."""
    issues = []
    unknown = label_map.unknown(present)
    if unknown:
        message = f"labels {', '.join(map(str, unknown))} are not in the label map"
        action = "mask left as it is; no binary masks, no denoising"
        issues.append(
            make_issue("unknown_label", message, sample=sample_id, file=file, action=action)
        )
    if present == (0,):
        message = "the mask holds background only"
        issues.append(make_issue("empty_mask", message, sample=sample_id, file=file))
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


def write_binary_masks(paths: Mapping[int, Path], mask: Mask, volume: ImageInfo) -> tuple[int, ...]:
    """Write one uint8 mask of zeros and ones for each label.

    Parameters
    ----------
    paths : mapping of int to Path
        Label -> where to write (temporary names).
    mask : (x, y, z) uint8
        Multi-label mask.
    volume : ImageInfo
        Geometry of the written files.

    Returns
    -------
    tuple of int
        Labels that occur in the mask, ascending; all others have the same empty file.
    """
    return write_labels(paths, mask_header(volume), mask)
