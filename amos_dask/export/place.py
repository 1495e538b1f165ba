"""One sample put in its place: checked, its mask given the export's labels, its files placed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from amos_dask.export.files import Placing
from amos_dask.export.wanted import ExportTask
from amos_dask.issues import Issue
from amos_dask.kernels import remap_labels
from amos_dask.nifti import ImageInfo, write_mask
from amos_dask.records import StepResult
from amos_dask.sample.source import CANNOT_BE_READ
from amos_dask.steps.header_check import require_same_grid
from amos_dask.steps.mask import FittedMask, fit_to_volume
from amos_dask.steps.mask_labels import check_labels, labels_present

_LEFT_OUT = "left out of the export"


class _LeftOutError(Exception):
    """A sample that cannot be used, with the issues that say why."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__(*issues)
        self.issues = issues


_Exported = tuple[tuple[Path, ...], Path | None, Placing]


def export_sample(task: ExportTask) -> StepResult[_Exported]:
    """Place one sample's volume and mask, on a worker.

    Returns
    -------
    StepResult of (tuple of Path, Path or None, Placing)
        Where the volume's channels and the mask are now, and the export's files of the sample.
        Without a value when it cannot be used, which the issues explain.
    """
    if task.export is None:
        raise ValueError(f"{task.name}: the export is not known")
    try:
        volume = _check_volume(task)
        has_mask = task.subset != "test" or task.folder.mask.exists()  # test scans may have none
        mask = _read_mask(task, volume) if has_mask else None
    except _LeftOutError as error:
        return StepResult(task.name, None, error.issues)
    placing = Placing(task.export, task.name)
    label = None if mask is None else _place_mask(task, mask, volume, placing)
    if task.images:
        for source, image in zip(task.folder.volumes, task.images, strict=True):
            placing.place(source, image)
    return StepResult(task.name, (task.images or task.folder.volumes, label, placing))


def _check_volume(task: ExportTask) -> ImageInfo:
    """Return the header of the first channel, on whose grid the others have to lie."""
    headers = list[ImageInfo]()
    for path in task.folder.volumes:
        try:
            headers.append(task.read_header(path))
            require_same_grid(headers[0], headers[-1])
        except CANNOT_BE_READ as error:
            raise _LeftOutError(task.unreadable(path, "volume", error)) from error
    if task.has_non_finite_voxels:  # nnU-Net refuses NaN, and neither can be trained on
        message = "the scan holds NaN or infinite voxels"
        issue = task.issue("non_finite_voxels", message, task.folder.volume, _LEFT_OUT)
        raise _LeftOutError(replace(issue, severity="error"))
    return headers[0]


def _read_mask(task: ExportTask, volume: ImageInfo) -> FittedMask:
    """Return the mask on its volume's grid, as it may have been edited since the last run."""
    path = task.folder.mask
    if not path.exists():
        message = "there is no mask to train on"
        raise _LeftOutError(task.issue("missing_mask", message, path, _LEFT_OUT))
    opened, issues = task.open_mask()
    if opened is None:
        raise _LeftOutError(*issues)
    mask, info = opened.labels, opened.info
    fitted = fit_to_volume(mask, info, volume)
    if fitted is None:
        message = "the mask lies on another grid than its scan"
        if info.shape != volume.shape:
            message = f"the mask has the shape {info.shape}, its scan {volume.shape}"
        raise _LeftOutError(task.issue("inconsistent", message, path, _LEFT_OUT))
    shown = task.layout.shown(path)
    unknown = check_labels(labels_present(mask), task.label_map, task.name, shown)
    if unknown:
        raise _LeftOutError(*unknown)
    return fitted


def _place_mask(task: ExportTask, fitted: FittedMask, volume: ImageInfo, placing: Placing) -> Path:
    """Place a mask under the export's labels; one that keeps its values may stay where it is."""
    source, mask = task.folder.mask, fitted.labels
    if task.label is None:
        return source
    if fitted.is_as_written and all(task.values[label] == label for label in labels_present(mask)):
        if not task.images:
            return source
        placing.place(source, task.label)
        return task.label
    lookup = np.zeros(256, np.uint8)
    lookup[list(task.values)] = list(task.values.values())
    changed = remap_labels(mask, lookup)
    placing.write(task.label, lambda path: write_mask(path, volume, changed), source)
    return task.label
