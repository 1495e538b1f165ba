"""Binary masks: one file of zeros and ones for each label of the map."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from amos_dask.issues import Issue, make_issue
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, Mask, mask_header, write_labels

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1


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
