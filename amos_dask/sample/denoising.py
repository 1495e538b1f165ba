"""Denoising one organised sample from its files: once, the same way again, or another way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amos_dask.difference import find_difference
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue
from amos_dask.nifti import write_mask
from amos_dask.records import DenoiseParams, StepResult
from amos_dask.root.layout import SampleFolder
from amos_dask.root.restore import RestoreData
from amos_dask.root.staging import Staging, remove_leftovers
from amos_dask.sample.changes import read_changes
from amos_dask.sample.source import (
    FolderTask,
    check_mask_labels,
    expected_binary_masks,
    not_restorable,
    open_mask,
    read_header,
    remove_other_binary_masks,
    stage_binary_masks,
)
from amos_dask.steps.denoise import denoise_mask, describe_step, is_denoised
from amos_dask.steps.relabel import labels_present

# Result of denoising a mask that was denoised with the same parameters before.
ALREADY_DONE = -1


@dataclass(frozen=True, slots=True)
class DenoiseTask(FolderTask):
    """An organised sample to denoise.

    Parameters
    ----------
    params : DenoiseParams
        How.
    excluded : frozenset of int
        Labels left as they were before denoising.
    output : SampleFolder
        Where the mask and its binary masks go; the sample's own folder to work in place.
    """

    params: DenoiseParams
    excluded: frozenset[int]
    output: SampleFolder

    @property
    def mark(self) -> str:
        """The description of the mask; empty where all of the sample is excluded."""
        return describe_step(self.params, self.excluded)

    def is_done(self, description: str) -> bool:
        """Return whether a mask with this description is as it is to be."""
        return description == self.mark or not (self.mark or is_denoised(description))


def denoise_sample(task: DenoiseTask) -> StepResult[int]:
    """Denoise a sample's mask and write it with its binary masks.

    A mask that was denoised with the same parameters and exclusions is not denoised again; with
    others, the undenoised mask is restored first.

    Returns
    -------
    StepResult of int
        Number of voxels that changed, or `ALREADY_DONE`; None when it could not be done.
    """
    opened = open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    present = labels_present(mask)
    issues = check_mask_labels(task, present)
    in_place = task.output.path == task.folder.path
    if task.label_map.unknown(present):
        if in_place:
            remove_other_binary_masks(task, ())
        return StepResult(task.name, None, issues)
    done = task.is_done(info.description)
    if done and in_place and _has_its_binary_masks(task):
        return StepResult(task.name, ALREADY_DONE, (*issues, *read_changes(task).issues))
    restore = RestoreData(task.layout.restore)
    if is_denoised(info.description) and not done:
        restored = restore.restore(task.name, task.folder.mask, mask)
        if restored is None:
            return StepResult(task.name, None, (*issues, not_restorable(task)))
        mask = restored
    final = mask if done else denoise_mask(mask, info.spacing_mm, task.params, task.excluded)
    remove_leftovers(task.output.path)
    kept: Path | None = None
    n_changed = ALREADY_DONE if done else 0
    with Staging() as staging:
        staged = staging.path_for(task.output.mask)
        write_mask(staged, info, final, task.mark)
        if task.mark and not done:
            difference = find_difference(mask, final)
            kept = restore.stage(staging, task.name, staged, difference)
            n_changed = difference.voxels.size
        written = stage_binary_masks(task, task.output, final, info, staging)
        staging.publish(last=task.output.mask)
    if in_place:
        remove_other_binary_masks(task, written)
    if in_place and not done:
        restore.forget_others(task.name, kept)
    return StepResult(task.name, n_changed, issues)


def _has_its_binary_masks(task: DenoiseTask) -> bool:
    expected = expected_binary_masks(task.label_map, task.folder).values()
    return sorted(expected) == task.folder.binary_masks()


def is_restorable(task: DenoiseTask) -> bool:
    """Return whether a mask can be made: it was not denoised, or the same way, or can be had back.

    Reads the header only.
    """
    try:
        description = read_header(task.folder.mask).description
    except (UnreadableImageError, InaccessibleFileError):
        return True  # the task itself says what is wrong with it
    if not is_denoised(description) or task.is_done(description):
        return True
    restore = RestoreData(task.layout.restore)
    return restore.path_for(task.name, task.folder.mask).exists()
