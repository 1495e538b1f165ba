"""Samples put in their places: checked, masks given the export's labels, files copied or linked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from amos_dask.export.files import ExportFolder, Placing
from amos_dask.issues import Issue, Severity, make_issue
from amos_dask.kernels import remap_labels
from amos_dask.nifti import ImageInfo, write_mask
from amos_dask.records import StepResult
from amos_dask.root.export_mark import OwnFile
from amos_dask.root.layout import Layout
from amos_dask.root.staging import Journal, Staging
from amos_dask.sample.source import CANNOT_BE_READ, FolderSource
from amos_dask.steps.mask import FittedMask, fit_to_volume
from amos_dask.steps.mask_labels import check_labels, labels_present

# Version of how files are made from those of ROOT_DIR: where it is another, they are outdated.
RESULT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ExportTask(FolderSource):
    """An organised sample to export.

    Parameters
    ----------
    subset : {"train", "val", "test"}
        Official subset.
    modality : {"ct", "mri", "und"}
        Of its group's folder, else of its number.
    values : mapping of int to int
        Label of the mask -> value in the export.
    has_non_finite_voxels : bool
        Whether the volume is known to hold NaN or infinite voxels.
    image : Path or None
        Where to place the volume; None: volume and mask stay where they are, and only a mask whose
        values change is written.
    label : Path or None
        Where to place the mask.
    export : ExportFolder or None
        What of the export is ours.
    """

    subset: str
    modality: str
    values: Mapping[int, int]
    has_non_finite_voxels: bool
    image: Path | None = None
    label: Path | None = None
    export: ExportFolder | None = None

    @property
    def places(self) -> list[Path]:
        """Where files of the export may be."""
        return [path for path in (self.image, self.label) if path is not None]

    @property
    def changes_labels(self) -> bool:
        """Whether a label may become another one."""
        return any(label != value for label, value in self.values.items())

    def to_run(self, export: ExportFolder) -> ExportTask:
        """Return the task with what it has to know of the export."""
        return replace(self, export=export.of_files(self.places))


@dataclass(frozen=True, slots=True)
class Placed:
    """A sample that was exported.

    Parameters
    ----------
    image : Path
        Where its volume is.
    label : Path or None
        Where its mask is.
    files : mapping of str to OwnFile
        The export's files of it.
    n_bytes : tuple of int
        Of each file that was written.
    is_whole : bool
        Whether the sample is part of the export.
    """

    image: Path
    label: Path | None
    files: Mapping[str, OwnFile] = field(default_factory=dict)
    n_bytes: tuple[int, ...] = ()
    is_whole: bool = True


# ---------------------------------------------------------------- on a worker


class _LeftOutError(Exception):
    """A sample that cannot be used, with the issues that say why."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__(*issues)
        self.issues = issues


def export_sample(task: ExportTask) -> StepResult[Placed]:
    """Place one sample's volume and mask.

    Parameters
    ----------
    task : ExportTask
        With what of the export is ours.

    Returns
    -------
    StepResult of Placed
        Where they are now. Without a value when the sample cannot be used, which the issues
        explain.
    """
    if task.export is None:
        raise ValueError(f"{task.name}: the export is not known")
    try:
        volume = _check_volume(task)
        has_mask = task.subset != "test" or task.folder.mask.exists()  # test scans may have none
        mask = _read_mask(task, volume) if has_mask else None
    except _LeftOutError as error:
        return StepResult(task.name, None, error.issues)
    with Staging(Journal(Layout(task.export.base), task.name)) as staging:
        placing = Placing(task.export, staging, task.name)
        label = None if mask is None else _place_mask(task, mask, volume, placing)
        if task.image is not None:
            placing.place(task.folder.volume, task.image)
        placing.publish()
    placed = Placed(task.image or task.folder.volume, label, placing.files, tuple(placing.n_bytes))
    return StepResult(task.name, placed, tuple(placing.issues))


def _check_volume(task: ExportTask) -> ImageInfo:
    path = task.folder.volume
    try:
        info = task.read_header(path)
    except CANNOT_BE_READ as error:
        raise _LeftOutError(task.unreadable(path, "volume", error)) from error
    if task.has_non_finite_voxels:  # nnU-Net refuses NaN, and neither can be trained on
        message = "the scan holds NaN or infinite voxels"
        raise _leave_out(task, path, "non_finite_voxels", message, "error")
    return info


def _read_mask(task: ExportTask, volume: ImageInfo) -> FittedMask:
    """Return the mask on its volume's grid, as it may have been edited since the last run."""
    path = task.folder.mask
    if not path.exists():
        raise _leave_out(task, path, "missing_mask", "there is no mask to train on")
    opened, issues = task.open_mask()
    if opened is None:
        raise _LeftOutError(*issues)
    mask, info = opened
    if info.shape != volume.shape:
        message = f"the mask has the shape {info.shape}, its scan {volume.shape}"
        raise _leave_out(task, path, "inconsistent", message)
    fitted = fit_to_volume(mask, info, volume)
    if fitted is None:
        message = "the mask lies on another grid than its scan"
        raise _leave_out(task, path, "inconsistent", message)
    shown = task.layout.shown(path)
    unknown = check_labels(labels_present(mask), task.label_map, task.name, shown)
    if unknown:
        raise _LeftOutError(*unknown)
    return fitted


def _leave_out(
    task: ExportTask, path: Path, code: str, message: str, severity: Severity | None = None
) -> _LeftOutError:
    file, action = task.layout.shown(path), "left out of the export"
    return _LeftOutError(
        make_issue(code, message, sample=task.name, file=file, action=action, severity=severity)
    )


def _place_mask(task: ExportTask, fitted: FittedMask, volume: ImageInfo, placing: Placing) -> Path:
    """Place a mask under the export's labels; one that keeps its values may stay where it is."""
    source, mask = task.folder.mask, fitted.labels
    if task.label is None:
        return source
    if fitted.is_as_written and all(task.values[label] == label for label in labels_present(mask)):
        if task.image is None:
            return source
        placing.place(source, task.label)
        return task.label
    lookup = np.zeros(256, np.uint8)
    lookup[list(task.values)] = list(task.values.values())
    changed = remap_labels(mask, lookup)
    placing.write(task.label, lambda path: write_mask(path, volume, changed), source)
    return task.label
