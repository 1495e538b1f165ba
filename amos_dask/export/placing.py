"""One sample of an export: checked, its mask given the export's labels, its files placed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from amos_dask.archive.listing import file_ref
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.export.files import stage_file
from amos_dask.export.labels_of_exports import Values
from amos_dask.issues import Issue, make_issue
from amos_dask.kernels import count_labels, remap_labels
from amos_dask.nifti import ImageInfo, Mask, read_info, write_mask
from amos_dask.records import StepResult
from amos_dask.root.staging import Staging
from amos_dask.sample.source import FolderSource
from amos_dask.steps.binary_masks import check_labels

_LEFT_OUT = "left out of the export"


@dataclass(frozen=True, slots=True)
class ExportTask(FolderSource):
    """An organised sample to export.

    Parameters
    ----------
    values : tuple of (int, int)
        Label of the mask -> value in the export.
    image : Path or None
        Where to place the volume; None: volume and mask stay where they are, and only a mask whose
        values change is written.
    label : Path or None
        Where to place the mask; None where the sample needs none.
    link : {"auto", "hard", "symbolic", "copy"}
        How to place them.
    has_non_finite_voxels : bool
        Whether the volume is known to hold NaN or infinite voxels.
    """

    values: Values
    image: Path | None
    label: Path | None
    link: str = "auto"
    has_non_finite_voxels: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """Where an exported sample's files are.

    Parameters
    ----------
    image : Path
        The volume.
    label : Path or None
        The mask; None without one.
    """

    image: Path
    label: Path | None


class _NotExportedError(Exception):
    """A sample that cannot be used, with the issues that say why."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__(*issues)
        self.issues = issues


def export_sample(task: ExportTask) -> StepResult[Exported]:
    """Place one sample's volume and mask.

    Returns
    -------
    StepResult of Exported
        Without a value when the sample cannot be used, which the issues explain.
    """
    try:
        volume = _check_volume(task)
        mask = None if task.label is None else _read_mask(task, volume)
        with Staging() as staging:
            label = None if mask is None else _place_label(task, mask, volume, staging)
            image = _place(task, task.folder.volume, task.image, staging)
            staging.publish()
    except _NotExportedError as error:
        return StepResult(task.name, None, error.issues)
    return StepResult(task.name, Exported(image, label))


def _check_volume(task: ExportTask) -> ImageInfo:
    path = task.folder.volume
    try:
        info = read_info(file_ref(path, task.layout.shown(path)))
    except (UnreadableImageError, InaccessibleFileError) as error:
        raise _NotExportedError(task.unreadable(path, "volume", error)) from error
    if task.has_non_finite_voxels:  # nnU-Net refuses NaN, and neither can be trained on
        raise _NotExportedError(
            make_issue(
                "non_finite_voxels",
                "the scan holds NaN or infinite voxels",
                sample=task.name,
                file=task.layout.shown(path),
                action=_LEFT_OUT,
                severity="error",
            )
        )
    return info


def _read_mask(task: ExportTask, volume: ImageInfo) -> Mask:
    shown = task.layout.shown(task.folder.mask)
    if not task.folder.mask.exists():
        message, action = "there is no mask to train on", _LEFT_OUT
        raise _NotExportedError(
            make_issue("missing_mask", message, sample=task.name, file=shown, action=action)
        )
    opened, issues = task.open_mask()
    if opened is None:
        raise _NotExportedError(*issues)
    mask, info = opened
    if info.shape != volume.shape:
        message = f"the mask has the shape {info.shape}, its scan {volume.shape}"
        raise _NotExportedError(
            make_issue("inconsistent", message, sample=task.name, file=shown, action=_LEFT_OUT)
        )
    unknown = check_labels(_labels(mask), task.label_map, task.name, shown)
    if unknown:
        raise _NotExportedError(*unknown)
    return mask


def _labels(mask: Mask) -> tuple[int, ...]:
    return tuple(int(label) for label in np.flatnonzero(count_labels(mask)))


def _place_label(task: ExportTask, mask: Mask, volume: ImageInfo, staging: Staging) -> Path:
    lookup = np.zeros(256, np.uint8)
    for label, value in task.values:
        lookup[label] = value
    labels = np.array(_labels(mask))
    if (lookup[labels] == labels).all() or task.label is None:
        target = None if task.image is None else task.label
        return _place(task, task.folder.mask, target, staging)
    write_mask(staging.path_for(task.label), volume, remap_labels(mask, lookup))
    return task.label


def _place(task: ExportTask, source: Path, target: Path | None, staging: Staging) -> Path:
    if target is None:
        return source
    stage_file(staging, source, target, task.link)
    return target
