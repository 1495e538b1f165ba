"""Single steps on one organised sample folder: relabel, binary masks, small regions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amos_dask.difference import find_difference
from amos_dask.issues import Issue
from amos_dask.nifti import Mask, write_mask
from amos_dask.records import SampleRegions, StepResult
from amos_dask.root.restore import RestoreData
from amos_dask.root.staging import Staging
from amos_dask.sample.source import (
    FolderTask,
    bad_info_file,
    check_mask_labels,
    open_mask,
    read_info_file,
    remove_other_binary_masks,
    stage_binary_masks,
)
from amos_dask.steps.denoise import is_denoised
from amos_dask.steps.relabel import check_sex, labels_present, split_prostate_uterus
from amos_dask.steps.small_regions import find_small_regions


def split_sample(task: FolderTask) -> StepResult[bool]:
    """Give label 15 its place by the patient's sex (tutorial routine 03).

    Binary masks that are there, and what is kept to undo denoising, change with the mask.

    Returns
    -------
    StepResult of bool
        Whether the mask was changed.
    """
    opened = open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    try:
        _, _, metadata = read_info_file(task.folder)
    except ValueError as error:
        return StepResult(task.name, None, (bad_info_file(task, error),))
    present = labels_present(mask)
    issues = check_sex(present, metadata.sex, task.name, task.shown(task.folder.mask))
    split = split_prostate_uterus(mask, metadata.sex, present)
    if split is mask:
        return StepResult(task.name, False, tuple(issues))
    present = labels_present(split)
    with Staging() as staging:
        staged = staging.path_for(task.folder.mask)
        write_mask(staged, info, split, info.description)
        if task.folder.binary_masks() and not task.label_map.unknown(present):
            stage_binary_masks(task, task.folder, split, info, staging)
        if is_denoised(info.description):
            _restage_restore_data(task, staging, staged, mask, split, metadata.sex)
        staging.publish(last=task.folder.mask)
    return StepResult(task.name, True, tuple(issues))


def _restage_restore_data(
    task: FolderTask, staging: Staging, staged: Path, mask: Mask, split: Mask, sex: str
) -> None:
    """Keep what undoes denoising, for the mask under its new labels."""
    restore = RestoreData(task.layout.restore)
    undenoised = restore.restore(task.name, task.folder.mask, mask)
    if undenoised is not None:
        before = split_prostate_uterus(undenoised, sex, labels_present(undenoised))
        restore.stage(staging, task.name, staged, find_difference(before, split))


def extract_binary_masks(task: FolderTask) -> StepResult[int]:
    """Write a binary mask for each label of the map (tutorial routine 04).

    Returns
    -------
    StepResult of int
        Number of files written.
    """
    opened = open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    present = labels_present(mask)
    written: list[Path] = []
    with Staging() as staging:
        if not task.label_map.unknown(present):
            written = stage_binary_masks(task, task.folder, mask, info, staging)
        staging.publish()
    remove_other_binary_masks(task, written)
    return StepResult(task.name, len(written), check_mask_labels(task, present))


@dataclass(frozen=True, slots=True)
class RegionsTask(FolderTask):
    """An organised sample whose small regions are wanted.

    Parameters
    ----------
    threshold_mm3 : float
        Regions strictly below this volume are small.
    """

    threshold_mm3: float


def find_sample_regions(task: RegionsTask) -> StepResult[SampleRegions]:
    """Find the small regions of a sample's mask."""
    opened = open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    thresholds = (task.threshold_mm3,)
    found = find_small_regions(mask, info.spacing_mm, thresholds, task.label_map, task.name)
    return StepResult(task.name, found[0][1], check_mask_labels(task, labels_present(mask)))
