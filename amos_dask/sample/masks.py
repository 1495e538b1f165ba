"""The masks of one sample on their way through `run`: read, relabelled, denoised, staged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amos_dask.difference import find_difference
from amos_dask.issues import Issue
from amos_dask.labels import PROSTATE, UTERUS
from amos_dask.nifti import ImageInfo, Mask, write_mask
from amos_dask.records import LabelChange, SampleRecord, SampleRegions, Step, StepIssue
from amos_dask.root.layout import SampleFolder
from amos_dask.root.restore import RestoreData
from amos_dask.root.staging import Staging
from amos_dask.root.times import StageTimes
from amos_dask.sample.pairs import read_paired_mask
from amos_dask.sample.todo import RunTask
from amos_dask.statistics.intensities import ValueCounter
from amos_dask.steps.binary_masks import check_labels, write_binary_masks
from amos_dask.steps.denoise import denoise_mask, describe_step
from amos_dask.steps.pictures import PictureTaker
from amos_dask.steps.relabel import check_sex, labels_present, split_prostate_uterus
from amos_dask.steps.small_regions import find_small_regions
from amos_dask.steps.volume import Watcher, written_info

Regions = tuple[tuple[float, SampleRegions], ...]


@dataclass
class MaskResult:
    """What became of a sample's mask.

    Parameters
    ----------
    present : tuple of int or None
        Its labels; None without a mask.
    binary_labels : tuple of int
        Labels that have a binary mask.
    before, after : tuple of (float, SampleRegions)
        Small regions by threshold.
    changes : tuple of LabelChange
        What denoising changed.
    restore_data : Path or None
        What undoes it.
    issues : list of StepIssue
        What was found.
    counter : ValueCounter or None
        Wants to see the volume's values, for statistics.
    taker : PictureTaker or None
        Wants to see them for the pictures of the report.
    """

    present: tuple[int, ...] | None = None
    binary_labels: tuple[int, ...] = ()
    before: Regions = ()
    after: Regions = ()
    changes: tuple[LabelChange, ...] = ()
    restore_data: Path | None = None
    issues: list[StepIssue] = field(default_factory=list)
    counter: ValueCounter | None = None
    taker: PictureTaker | None = None

    def watcher(self) -> Watcher | None:
        """Return who is to be shown the volume's values, if anybody."""
        watchers = [watcher.add for watcher in (self.counter, self.taker) if watcher is not None]
        if not watchers:
            return None

        def show(values: NDArray[np.float32]) -> None:
            for see in watchers:
                see(values)

        return show

    def written(self, task: RunTask, folder: SampleFolder) -> tuple[Path, ...]:
        """Return the mask and its binary masks, as far as there are any."""
        if self.present is None:
            return ()
        columns = task.params.label_map.columns()
        binary = (folder.binary_mask(columns[label]) for label in self.binary_labels)
        return (folder.mask, *binary)


def known_masks(record: SampleRecord, volume_path: str | None) -> MaskResult:
    """Return what an earlier run found out about masks that are complete.

    Parameters
    ----------
    record : SampleRecord
        Of that run.
    volume_path : str or None
        The archive's volume, whose issues are not the masks'.
    """
    files = record.files
    return MaskResult(
        present=None if files is None else files.labels_present,
        binary_labels=() if files is None else files.binary_labels,
        before=record.before,
        after=record.after,
        changes=record.changes,
        issues=[found for found in record.issues if found.issue.file != volume_path],
    )


def stage_masks(
    task: RunTask, folder: SampleFolder, scan: ImageInfo, staging: Staging, times: StageTimes
) -> MaskResult:
    """Read a sample's mask for the scan with this header, and stage what is made of it."""
    with times.of("read mask"):
        mask, found = read_paired_mask(
            task.sample, scan, has_earlier_output=task.has_earlier_output
        )
    result, volume, denoised = MaskResult(), written_info(scan), None
    if mask is not None:
        result, denoised = _make_masks(task, folder, volume, mask, staging, times)
    del mask  # the largest thing there is: not kept beside the denoised one
    if denoised is not None:
        with times.of("small regions"):
            result.after = _find_regions(task, volume, denoised)
    result.issues[:0] = issues_of(Step.CONFIRM_PAIRS, found)
    return result


def issues_of(step: Step, issues: list[Issue]) -> list[StepIssue]:
    """Return issues with the step that found them."""
    return [StepIssue(step, issue) for issue in issues]


def _make_masks(
    task: RunTask,
    folder: SampleFolder,
    volume: ImageInfo,
    mask: Mask,
    staging: Staging,
    times: StageTimes,
) -> tuple[MaskResult, Mask | None]:
    """Return what became of a mask but for its regions after denoising, and the denoised mask."""
    params = task.params
    with times.of("relabel"):
        split, present, issues = _relabel(task, folder, mask)
    with times.of("small regions"):
        before = _find_regions(task, volume, split)
    staged = staging.path_for(folder.mask)
    if params.label_map.unknown(present):
        with times.of("write masks"):
            write_mask(staged, volume, split)
        return MaskResult(present, (), before, before, issues=issues), None
    with times.of("denoise"):
        final = denoise_mask(split, volume.spacing_mm, params.denoise, params.excluded)
    mark = describe_step(params.denoise, params.excluded)
    columns = params.label_map.columns()
    with times.of("write masks"):
        write_mask(staged, volume, final, mark)
        paths = {label: staging.path_for(folder.binary_mask(columns[label])) for label in columns}
        present = write_binary_masks(paths, final, volume)
    result = MaskResult(present, tuple(columns), before, before, issues=issues)
    result.counter = ValueCounter(final, present) if task.count_values else None
    if not mark:  # all of the sample is excluded from denoising
        return result, None
    with times.of("compare"):
        difference = find_difference(split, final)
        result.changes = difference.changes
        restore = RestoreData(task.layout.restore)
        result.restore_data = restore.stage(staging, task.name, staged, difference)
        if task.take_pictures and difference.voxels.size:
            modality = task.sample.modality
            result.taker = PictureTaker(final, difference, volume.affine, modality)
    return result, final


def _find_regions(task: RunTask, volume: ImageInfo, mask: Mask) -> Regions:
    params = task.params
    thresholds = params.region_volume_thresh
    return find_small_regions(mask, volume.spacing_mm, thresholds, params.label_map, task.name)


def _relabel(
    task: RunTask, folder: SampleFolder, mask: Mask
) -> tuple[Mask, tuple[int, ...], list[StepIssue]]:
    """Return the mask with prostate and uterus told apart, its labels, and what was found."""
    file, sex = folder.mask.relative_to(task.layout.root).as_posix(), task.sample.metadata.sex
    present = labels_present(mask)
    issues, split = list[StepIssue](), mask
    if task.params.splits_prostate_uterus:
        found = check_sex(present, sex, task.name, file)
        issues += issues_of(Step.SPLIT_PROSTATE_UTERUS, found)
        split = split_prostate_uterus(mask, sex, present)
    if split is not mask:  # known without counting a second time
        present = tuple(sorted({*present, UTERUS} - {PROSTATE}))
    found = check_labels(present, task.params.label_map, task.name, file)
    return split, present, [*issues, *issues_of(Step.BINARY_MASKS, found)]
