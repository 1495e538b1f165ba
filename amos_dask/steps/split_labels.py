"""Relabel: label 15 stands for prostate or uterus; by the patient's sex it becomes 15 or 16."""

from __future__ import annotations

import numpy as np

from amos_dask.issues import Issue, make_issue
from amos_dask.kernels import count_labels, remap_labels
from amos_dask.labels import PROSTATE, UTERUS
from amos_dask.metadata_forms import find_sex
from amos_dask.nifti import Mask

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1


def labels_present(mask: Mask) -> tuple[int, ...]:
    """Return the labels that occur in an (x, y, z) uint8 mask, ascending."""
    return tuple(int(label) for label in np.flatnonzero(count_labels(mask)))


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
    return [
        make_issue(
            "unknown_sex",
            f"label {PROSTATE} is there and the patient's sex is {sex!r}",
            sample=sample_id,
            file=file,
            action=f"label {PROSTATE} left as it is",
        )
    ]
