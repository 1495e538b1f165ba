"""The receipt of a sample after single steps have changed its masks in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from amos_dask.exclusions import EVERY_LABEL
from amos_dask.records import SampleFiles, SampleRecord, Step
from amos_dask.root.kept import KeptFiles
from amos_dask.root.layout import SampleFolder
from amos_dask.root.receipts import Origin, Output, Receipt, Receipts
from amos_dask.sample.describe import describe_folder
from amos_dask.sample.masks import MadeMasks
from amos_dask.sample.source import FolderSource
from amos_dask.sample.task import SampleTask
from amos_dask.sample.todo import denoised_otherwise


def find_intact(folder: SampleFolder, receipts: Receipts) -> Receipt | None:
    """Return the receipt that speaks for the masks in a folder as they are, if any does."""
    receipt = receipts.read_for(folder)
    if receipt is None or Output.MASKS in receipts.find_altered(receipt):
        return None
    return receipt


def amend_receipt(
    task: SampleTask, masks: MadeMasks, kept: Path | None, intact: Receipt | None
) -> Receipt | None:
    """Return the receipt of a sample whose masks were changed in its folder.

    After denoising, or undoing it, of masks that were as `run` had made them, it is the one that
    `run` writes with these parameters. After other steps it says that `run` has to make the masks
    anew. In both cases it lists the files that are ours.

    Parameters
    ----------
    task : SampleTask
        What was done.
    masks : MadeMasks
        What became of the masks.
    kept : Path or None
        What is kept beside the receipt.
    intact : Receipt or None
        That of the masks as they were before, if they were as it says.

    Returns
    -------
    Receipt or None
        None when there is nothing new to keep.
    """
    source = task.source
    wrote = masks.wrote_mask or masks.binary_labels is not None
    if not isinstance(source, FolderSource) or task.target != source.folder or not wrote:
        return None
    receipts = Receipts(task.layout)
    earlier = receipts.read_for(source.folder)
    known = {} if earlier is None else earlier.outputs.get(Output.MASKS, {})
    files = receipts.identities(*_list_masks(task, masks, kept, known))
    if earlier is not None and files == known:
        return None
    row = _describe(source, masks, earlier)
    if row is not None and task.target.path.parents[1].name != row.subset:
        return None  # somebody's copy, in a folder of another name
    issues = () if earlier is None else earlier.record.issues
    record, made_by = SampleRecord(task.name, row, issues=issues), None
    if intact is not None and task.steps & {Step.DENOISE, Step.RESTORE}:
        params = task.params
        if Step.RESTORE in task.steps:
            params = replace(params, excluded=EVERY_LABEL)
        made_by = denoised_otherwise(intact, params)
        after = intact.record.before if Step.RESTORE in task.steps else masks.after
        record = replace(intact.record, files=row, after=after, changes=masks.changes)
        others = (found for found in record.issues if found.step != Step.DENOISE)
        record = replace(record, issues=(*others, *masks.issues_of(Step.DENOISE)))
    if earlier is None:
        outputs = {Output.VOLUME: dict[str, str](), Output.MASKS: files}
        made_with = {Output.VOLUME: None, Output.MASKS: None}
        return Receipt(Origin((), dict.fromkeys(Output)), made_with, outputs, record)
    return replace(
        earlier,
        made_with={**earlier.made_with, Output.MASKS: made_by},
        outputs={**earlier.outputs, Output.MASKS: files},
        record=record,
    )


def _list_masks(
    task: SampleTask, masks: MadeMasks, kept: Path | None, known: Mapping[str, str]
) -> list[Path]:
    """Return the masks that are ours: those listed before, and those written now."""
    root, folder = task.layout.root, task.target
    listed = [root / name for name in known]
    files = {folder.mask} if masks.wrote_mask else {folder.mask} & set(listed)
    if masks.binary_labels is None:
        files |= set(listed) & set(folder.binary_masks())
    else:
        paths = folder.binary_mask_paths(task.params.label_map)
        files |= {paths[label] for label in masks.binary_labels}
    beside = kept or KeptFiles(task.layout.restore).path_for(task.name, folder.mask)
    return sorted(path for path in (*files, beside) if path.exists())


def _describe(
    source: FolderSource, masks: MadeMasks, earlier: Receipt | None
) -> SampleFiles | None:
    """Return the sample's row of the dataset manifest, as far as its files tell it."""
    if earlier is not None and earlier.record.files is not None:
        row = earlier.record.files
        binary = row.binary_labels if masks.binary_labels is None else masks.binary_labels
        return replace(row, labels_present=masks.present, mask_dtype="uint8", binary_labels=binary)
    if not source.folder.path.is_relative_to(source.layout.grouped):
        return None
    found = describe_folder(source, source.layout.grouped)
    return None if found.value is None else found.value.record.files
