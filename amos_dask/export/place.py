"""Samples put in their places: checked, masks given the export's labels, files linked or copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amos_dask.datasets import SUBSETS
from amos_dask.engine.events import Listener
from amos_dask.engine.session import Needs, open_session
from amos_dask.export.files import stage_file
from amos_dask.issues import Issue, Severity, make_issue
from amos_dask.kernels import remap_labels
from amos_dask.nifti import ImageInfo, Mask, write_mask
from amos_dask.outcomes import all_issues, step_results
from amos_dask.records import StepResult
from amos_dask.results import CommandResult
from amos_dask.root.staging import Staging
from amos_dask.sample.source import CANNOT_BE_READ, FolderSource
from amos_dask.steps.binary_masks import check_labels
from amos_dask.steps.split_labels import labels_present

_COLUMNS = ("ID", "subset", "modality", "image", "label")


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
    link : {"auto", "hard", "symbolic", "copy"}
        How to place them.
    """

    subset: str
    modality: str
    values: Mapping[int, int]
    has_non_finite_voxels: bool
    image: Path | None = None
    label: Path | None = None
    link: str = "auto"


@dataclass(frozen=True, slots=True)
class ExportedScans:
    """What was exported.

    Parameters
    ----------
    placed : tuple of ExportTask
        The samples that were, by number, with the places where their files are now.
    n_asked : int
        How many were to be.
    issues : tuple of Issue
        What was found, also of those that were not.
    """

    placed: tuple[ExportTask, ...]
    n_asked: int
    issues: tuple[Issue, ...]

    @property
    def files(self) -> set[Path]:
        """Volumes and masks of the export."""
        files = (path for task in self.placed for path in (task.image, task.label))
        return {path for path in files if path is not None}

    def ids(self, subset: str) -> list[str]:
        """Return the samples of a subset, by number."""
        return [task.name for task in self.placed if task.subset == subset]

    def result(self, output: Path) -> CommandResult:
        """Return the command's result, with a row a sample."""
        rows = [
            (task.name, task.subset, task.modality, str(task.image), task.label and str(task.label))
            for task in self.placed
        ]
        train, val, test = (len(self.ids(subset)) for subset in SUBSETS)
        summary = f"{train} training, {val} validation and {test} test scans"
        n_left_out = self.n_asked - len(self.placed)
        if n_left_out:
            summary += f"; {n_left_out} left out"
        frame = pd.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
        return CommandResult((output,), self.n_asked, summary, self.issues, frame)


def export_scans(
    tasks: Sequence[ExportTask],
    sign: Path,
    outputs: Sequence[Path],
    cluster: Any,
    progress: str | Listener,
) -> ExportedScans:
    """Put every scan in its place.

    Parameters
    ----------
    tasks : sequence of ExportTask
        At least one, all of one ROOT_DIR.
    sign : Path
        The file that says that an export is complete; removed before anything is changed.
    outputs : sequence of Path
        Folders that workers must be able to write to.
    cluster, progress
        As for `export_nnunet`.
    """
    to_read = str(tasks[0].layout.root)
    needs = Needs(to_read=(to_read,), to_write=tuple(map(str, outputs)))
    with open_session(cluster, progress, needs) as session:
        session.prepare_kernels()
        sign.unlink(missing_ok=True)
        results = step_results(session.map("export", export_sample, tasks))
    files = {result.sample_id: result.value for result in results if result.value is not None}
    placed = [(task, files[task.name]) for task in tasks if task.name in files]
    return ExportedScans(
        tuple(replace(task, image=image, label=label) for task, (image, label) in placed),
        len(results),
        tuple(all_issues(results)),
    )


# ---------------------------------------------------------------- on a worker


class _LeftOutError(Exception):
    """A sample that cannot be used, with the issues that say why."""

    def __init__(self, *issues: Issue) -> None:
        super().__init__(*issues)
        self.issues = issues


def export_sample(task: ExportTask) -> StepResult[tuple[Path, Path | None]]:
    """Place one sample's volume and mask.

    Returns
    -------
    StepResult of (Path, Path or None)
        Where they are now. Without a value when the sample cannot be used, which the issues
        explain.
    """
    try:
        volume = _check_volume(task)
        has_mask = task.subset != "test" or task.folder.mask.exists()  # test scans may have none
        mask = _read_mask(task, volume) if has_mask else None
        with Staging() as staging:
            label = None if mask is None else _place_mask(task, mask, volume, staging)
            image = _place(task, task.folder.volume, task.image, staging)
            staging.publish()
    except _LeftOutError as error:
        return StepResult(task.name, None, error.issues)
    return StepResult(task.name, (image, label))


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


def _read_mask(task: ExportTask, volume: ImageInfo) -> Mask:
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
    shown = task.layout.shown(path)
    unknown = check_labels(labels_present(mask), task.label_map, task.name, shown)
    if unknown:
        raise _LeftOutError(*unknown)
    return mask


def _leave_out(
    task: ExportTask, path: Path, code: str, message: str, severity: Severity | None = None
) -> _LeftOutError:
    file, action = task.layout.shown(path), "left out of the export"
    return _LeftOutError(
        make_issue(code, message, sample=task.name, file=file, action=action, severity=severity)
    )


def _place_mask(task: ExportTask, mask: Mask, volume: ImageInfo, staging: Staging) -> Path:
    if task.label is None or all(task.values[label] == label for label in labels_present(mask)):
        target = None if task.image is None else task.label
        return _place(task, task.folder.mask, target, staging)
    lookup = np.zeros(256, np.uint8)
    lookup[list(task.values)] = list(task.values.values())
    write_mask(staging.path_for(task.label), volume, remap_labels(mask, lookup))
    return task.label


def _place(task: ExportTask, source: Path, target: Path | None, staging: Staging) -> Path:
    if target is None:
        return source
    stage_file(staging, source, target, task.link)
    return target
