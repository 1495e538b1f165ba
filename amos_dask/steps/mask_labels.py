"""Labels of a mask: which occur, and prostate told from uterus by the patient's sex."""

from __future__ import annotations

from functools import partial

import numpy as np

from amos_dask.issues import Issue, make_issue
from amos_dask.kernels.voxelwise import count_labels, remap_labels
from amos_dask.labels import PROSTATE, UTERUS, LabelMap
from amos_dask.metadata_forms import find_sex
from amos_dask.nifti import Mask

# Raised when what a step makes changes: samples made with an older one are made again.
SPLIT_VERSION = 1
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
