"""Binary masks: one file of zeros and ones for each label of the map."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from amos_dask.issues import Issue, make_issue
from amos_dask.kernels import select_label
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, Mask, write_mask


def check_labels(
    present: tuple[int, ...], label_map: LabelMap, sample_id: str, file: str
) -> list[Issue]:
    """Return ``unknown_label`` when a mask holds labels that the map lacks, and ``empty_mask``."""
    issues = []
    unknown = label_map.unknown(present)
    if unknown:
        issues.append(
            make_issue(
                "unknown_label",
                f"labels {', '.join(map(str, unknown))} are not in the label map",
                sample=sample_id,
                file=file,
                action="mask left as it is; no binary masks, no denoising",
            )
        )
    if present == (0,):
        issues.append(
            make_issue("empty_mask", "the mask holds background only", sample=sample_id, file=file)
        )
    return issues


def write_binary_masks(
    paths: Mapping[int, Path], mask: Mask, present: tuple[int, ...], volume: ImageInfo
) -> None:
    """Write one uint8 mask of zeros and ones for each label.

    Parameters
    ----------
    paths : mapping of int to Path
        Label -> where to write (temporary names).
    mask : (x, y, z) uint8
        Multi-label mask.
    present : tuple of int
        Labels that occur in the mask; all others have the same empty file.
    volume : ImageInfo
        Geometry of the written files.
    """
    buffer = np.empty(mask.shape, np.uint8, order="F")
    empty: Path | None = None
    for label, path in paths.items():
        if label in present:
            write_mask(path, volume, select_label(mask, label, buffer))
        elif empty is None:
            write_mask(path, volume, np.zeros(mask.shape, np.uint8, order="F"))
            empty = path
        else:
            shutil.copyfile(empty, path)
