"""The receipt of a sample: as it was made from the archive, or changed in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from amos_dask import geometry
from amos_dask.params import EVERY_LABEL
from amos_dask.records import Sample, SampleFiles, SampleRecord, Step
from amos_dask.root.kept import KeptFiles
from amos_dask.root.receipts import EVERY_OUTPUT, Edit, Origin, Output, Receipt, Receipts
from amos_dask.sample.describe import describe_sample
from amos_dask.sample.masks import Made
from amos_dask.sample.source import ArchiveSource, FolderSource
from amos_dask.sample.todo import EVERY_STEP, SampleTask, denoised_otherwise, made_with


def list_masks(task: SampleTask, made: Made) -> tuple[Path, ...]:
    """Return a sample's mask and its binary masks, as far as there are any."""
    if made.present is None:
        return ()
    paths = task.target.binary_mask_paths(task.params.label_map)
    return (task.target.mask, *(paths[label] for label in made.binary_labels or ()))


def make_receipt(
    task: SampleTask,
    source: ArchiveSource,
    made: Made,
    masks: tuple[Path, ...],
    origin: Origin,
    earlier: Receipt | None,
) -> Receipt:
    """Return the receipt of a sample that was made from the archive.

    Parameters
    ----------
    task, source : SampleTask, ArchiveSource
        What was done, with what.
    made : Made
        What became of the sample.
    masks : tuple of Path
        Its mask and binary masks.
    origin : Origin
        What it was made from.
    earlier : Receipt or None
        What was known of it before.
    """
    target, receipts = task.target, Receipts(task.layout)
    anew = task.outputs - {Output.MASKS} if made.stays else task.outputs
    beside = () if made.kept is None else (made.kept,)
    files = {
        Output.VOLUME: (target.info, *target.volumes),
        Output.MASKS: (*masks, *beside),
    }
    edited = set[Edit]() if earlier is None or task.discard_edits else set(earlier.edited)
    if not made.is_edited and Output.MASKS in anew:
        edited.discard(Edit.MASK)
    if not task.keeps_info:
        edited.discard(Edit.INFO)
    made_by = dict(made_with(task.params, edited))
    inputs, seconds = dict(origin.inputs), made.clock.seconds
    outputs = {
        output: receipts.identities(*paths)
        if earlier is None or output in anew
        else earlier.outputs[output]
        for output, paths in files.items()
    }
    if earlier is not None:
        is_gone = origin.inputs[Output.MASKS] is None
        if made.stays or (made.is_edited and source.check_masks_there(earlier.origin)):
            inputs[Output.MASKS] = earlier.origin.inputs[Output.MASKS]
        if made.stays and not is_gone:
            made_by[Output.MASKS] = earlier.made_with[Output.MASKS]
        if anew != EVERY_OUTPUT:
            seconds = dict(earlier.seconds)
    if task.steps != EVERY_STEP:  # which makes what there is of masks another thing
        made_by[Output.MASKS] = None
    row, regions = _describe(task, source.sample, made), (made.before, made.after)
    record = SampleRecord(task.name, row, *regions, made.changes, made.issues, made.overlaps)
    origin = replace(origin, inputs=inputs)
    headers = task.headers if task.planned == origin else None  # of what it is made from
    return Receipt(origin, made_by, outputs, record, headers, seconds, tuple(sorted(edited)))


def _describe(task: SampleTask, sample: Sample, made: Made) -> SampleFiles | None:
    volume = made.written
    if volume is None:
        return None
    return SampleFiles(
        sample_id=task.name,
        seq=sample.seq,
        subset=sample.subset,
        metadata=sample.metadata,
        folder=task.target.path.relative_to(task.layout.grouped).as_posix(),
        labels_present=made.present,
        binary_labels=made.binary_labels or (),
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        vol_dtype=volume.dtype,
        mask_dtype=None if made.present is None else "uint8",
        channels=task.target.channels,
        **geometry.describe(volume.affine),
    )


def amend_receipt(task: SampleTask, made: Made, intact: Receipt | None) -> Receipt | None:
    """Return the receipt of a sample whose masks were changed in its folder.

    After denoising, or undoing it, of masks that were as `run` had made them, as the ``intact``
    receipt says, it is the one that `run` writes with these parameters. After other steps it says
    that `run` has to make the masks anew. In both cases it lists the files that are ours. None when
    there is nothing new to keep.
    """
    source = task.source
    wrote = made.wrote_mask or made.binary_labels is not None
    if not isinstance(source, FolderSource) or task.target != source.folder or not wrote:
        return None
    receipts = Receipts(task.layout)
    earlier = receipts.read_for(source.folder)
    known = {} if earlier is None else earlier.outputs.get(Output.MASKS, {})
    files = _list_amended(task, made, known)
    if earlier is not None and files == known:
        return None
    row = _describe_amended(source, made, earlier)
    if row is not None and task.target.path.parents[1].name != row.subset:
        return None  # somebody's copy, in a folder of another name
    issues = () if earlier is None else earlier.record.issues
    record, made_by = SampleRecord(task.name, row, issues=issues), None
    if intact is not None and task.steps & {Step.DENOISE, Step.RESTORE}:
        params, after = task.params, made.after
        if Step.RESTORE in task.steps:
            params, after = replace(params, excluded=EVERY_LABEL), intact.record.before
        made_by = denoised_otherwise(intact, params)
        others = (found for found in intact.record.issues if found.step != Step.DENOISE)
        new = (found for found in made.mask_issues if found.step == Step.DENOISE)
        issues = (*others, *new)
        record = replace(intact.record, files=row, after=after, changes=made.changes, issues=issues)
    if earlier is None:
        outputs = {Output.VOLUME: dict[str, str](), Output.MASKS: files}
        nothing = dict.fromkeys(Output)
        return Receipt(Origin((), nothing), nothing, outputs, record)
    return replace(
        earlier,
        made_with={**earlier.made_with, Output.MASKS: made_by},
        outputs={**earlier.outputs, Output.MASKS: files},
        record=record,
    )


def _list_amended(task: SampleTask, made: Made, known: Mapping[str, str]) -> dict[str, str]:
    """Return the masks that are ours with their identities: of those not written now, the known.

    So a mask that was edited by hand stays another than the receipt says until it is written.
    """
    layout, folder = task.layout, task.target
    written = {folder.mask} if made.wrote_mask else set[Path]()
    stay = set() if made.wrote_mask else {folder.mask}
    if made.binary_labels is None:
        stay |= set(folder.binary_masks())
    else:
        paths = folder.binary_mask_paths(task.params.label_map)
        written |= {paths[label] for label in made.binary_labels}
    written.add(made.kept or KeptFiles(layout.restore).path_for(task.name, folder.mask))
    files = {key: known[key] for key in layout.keys(stay) if key in known}
    return files | Receipts(layout).identities(*(path for path in written if path.exists()))


def _describe_amended(
    source: FolderSource, made: Made, earlier: Receipt | None
) -> SampleFiles | None:
    """Return the sample's row of the dataset manifest, as far as its files tell it."""
    if earlier is not None and earlier.record.files is not None:
        row = earlier.record.files
        binary = row.binary_labels if made.binary_labels is None else made.binary_labels
        return replace(row, labels_present=made.present, mask_dtype="uint8", binary_labels=binary)
    grouped = source.layout.grouped
    if not source.folder.path.is_relative_to(grouped):
        return None
    found = describe_sample(source, grouped).value
    return None if found is None else found.files
