"""Undoing the denoising of one organised sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from amos_dask.issues import Issue
from amos_dask.nifti import write_mask
from amos_dask.records import Params, StepResult
from amos_dask.root.receipts import Part, Receipt, Receipts
from amos_dask.root.restore import RestoreData
from amos_dask.root.staging import Staging, remove_leftovers
from amos_dask.sample.source import (
    FolderTask,
    check_mask_labels,
    not_restorable,
    open_mask,
    remove_other_binary_masks,
    stage_binary_masks,
)
from amos_dask.sample.todo import as_restored
from amos_dask.steps.denoise import is_denoised
from amos_dask.steps.relabel import labels_present


def restore_sample(task: FolderTask) -> StepResult[bool]:
    """Put a sample's mask and binary masks back as they were before denoising.

    The files are those that `run` writes for a sample that is excluded from denoising. Where the
    sample's receipt speaks for its masks, it says afterwards that the sample was excluded.

    Returns
    -------
    StepResult of bool
        Whether the mask was put back; None when it cannot be.
    """
    opened = open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    if not is_denoised(info.description):
        return StepResult(task.name, False)
    restore = RestoreData(task.layout.restore)
    undenoised = restore.restore(task.name, task.folder.mask, mask)
    if undenoised is None:
        return StepResult(task.name, None, (not_restorable(task),))
    receipt = _find_receipt(task)
    present = labels_present(undenoised)
    written: list[Path] = []
    remove_leftovers(task.folder.path)
    with Staging() as staging:
        write_mask(staging.path_for(task.folder.mask), info, undenoised)
        if not task.label_map.unknown(present):
            written = stage_binary_masks(task, task.folder, undenoised, info, staging)
        staging.publish(last=task.folder.mask)
    remove_other_binary_masks(task, written)
    restore.forget_others(task.name, None)
    if receipt is not None:
        _write_receipt(task, receipt, present, (task.folder.mask, *written))
    return StepResult(task.name, True, check_mask_labels(task, present))


def _find_receipt(task: FolderTask) -> Receipt | None:
    """Return the sample's receipt as of an undenoised mask, if it speaks for its masks now."""
    receipts = Receipts(task.layout)
    receipt = receipts.read(task.name)
    if receipt is None or receipt.record.files is None:
        return None
    is_here = task.layout.grouped / receipt.record.files.folder == task.folder.path
    if not is_here or Part.MASKS in receipts.find_altered(receipt):
        return None
    splits = task.layout.dataset.splits_prostate_uterus
    return as_restored(receipt, Params(task.label_map, splits_prostate_uterus=splits))


def _write_receipt(
    task: FolderTask, receipt: Receipt, present: tuple[int, ...], masks: tuple[Path, ...]
) -> None:
    receipts, files = Receipts(task.layout), receipt.record.files
    if files is not None:
        record = replace(receipt.record, files=replace(files, labels_present=present))
        outputs = {**receipt.outputs, Part.MASKS: receipts.identities(*masks)}
        receipts.write(replace(receipt, outputs=outputs, record=record))
