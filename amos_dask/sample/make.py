"""Making one sample: a source and a list of steps give files, a record and a receipt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from amos_dask.errors import ForeignFileError
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo
from amos_dask.records import Sample, SampleFiles, SampleRecord, SampleResult, Step, StepIssue
from amos_dask.root.kept import InBlocks, KeptFiles
from amos_dask.root.receipts import EVERY_OUTPUT, Edit, Origin, Output, Receipt, Receipts
from amos_dask.root.staging import Staging
from amos_dask.sample.amend import amend_receipt, find_intact
from amos_dask.sample.edits import (
    describe_edited_info,
    describe_edits,
    is_edited,
    read_edited_mask,
)
from amos_dask.sample.masks import MadeMasks, known_masks, make_masks
from amos_dask.sample.publish import Publication, move_sample, note_edit
from amos_dask.sample.source import STAYS, ArchiveSource, EarlierOutputStaysError
from amos_dask.sample.task import EVERY_STEP, Clock, SampleTask
from amos_dask.sample.todo import made_with, may_keep_rest, summarise
from amos_dask.steps.info_file import describe_files, info_yaml
from amos_dask.steps.pictures import pack_pictures
from amos_dask.steps.volume import written_info


def make_sample(task: SampleTask) -> SampleResult:
    """Do the steps of a task with one sample, and leave its receipt.

    Parameters
    ----------
    task : SampleTask
        The sample: where it comes from, what is done, where it goes.

    Returns
    -------
    SampleResult
        Its issues; the receipt holds its contribution to every table. A sample whose volume is
        damaged writes nothing; one whose mask is damaged still gets its volume. What an earlier run
        made of a file that is damaged or gone now stays, and so does what is not ours.
    """
    receipts = Receipts(task.layout)
    origin = task.source.find_origin()  # before reading: what changes meanwhile is read again
    earlier = receipts.read(task.name)
    is_ours = _is_ours(task, earlier)
    intact = None if task.folder is None else find_intact(task.folder, receipts)
    if not may_keep_rest(origin, earlier, task.outputs):
        task = replace(task, outputs=EVERY_OUTPUT)
    if intact is not None:
        task = _listing_regions(task, intact)
    try:
        if is_ours and task.folder is None:
            earlier = move_sample(task, earlier)
        publication = Publication(task, earlier)
        with Staging(publication.journal) as staging:
            made = _make(task, earlier, staging)
            if not made.is_lost:
                _stage_kept(task, made, staging, is_ours)
                if earlier is not None and is_ours:
                    earlier = note_edit(receipts, earlier, *_find_edits(task, made, earlier))
                publication.publish(staging, origin)
                made.clock.lap("flush to disk")
    except (EarlierOutputStaysError, ForeignFileError) as stop:
        return _leave(task, earlier, _issue_of(task, stop))
    if made.is_lost or not is_ours:
        made.issues += _of_publishing(task, publication)
        publication.keep_elsewhere()
        return _summarise(task, made, None)
    made.written = _list_masks(task, made.masks)
    publication.remove_others(_find_kept(task, made))
    made.issues += _of_publishing(task, publication)
    receipt: Receipt | None
    if made.scan is not None:
        receipt = _receipt_from_archive(task, made, origin, earlier)
    else:
        receipt = amend_receipt(task, made.masks, made.kept, intact)
    if receipt is not None:
        receipts.write(receipt)
    publication.end()
    return _summarise(task, made, receipt)


def _of_publishing(task: SampleTask, publication: Publication) -> list[StepIssue]:
    return [StepIssue(task.own_step, issue) for issue in publication.find_issues()]


def _find_edits(task: SampleTask, made: _Made, earlier: Receipt) -> list[Edit]:
    """Return what of a sample was edited by hand and stays, so that no kill makes it ours."""
    receipts = Receipts(task.layout)
    is_mask = made.is_edited or (
        task.folder is not None
        and task.folder == task.target
        and is_edited(receipts, earlier, Edit.MASK)
    )
    return [*([Edit.MASK] if is_mask else ()), *([Edit.INFO] if task.keeps_info else ())]


def _issue_of(task: SampleTask, stop: EarlierOutputStaysError | ForeignFileError) -> Issue:
    if isinstance(stop, EarlierOutputStaysError):
        return stop.issue
    return make_issue(
        "foreign_file",
        f"{stop.path.name} {stop.why}",
        sample=task.name,
        file=task.layout.shown(stop.path),
        action="nothing of the sample was touched; move the file elsewhere, or give --adopt",
    )


def _leave(task: SampleTask, earlier: Receipt | None, issue: Issue) -> SampleResult:
    """Leave a sample as it is, and say why in its receipt, if it has one."""
    found = StepIssue(task.own_step, issue)
    Publication(task, earlier)  # removes what was staged
    if earlier is None or task.folder is not None:
        return SampleResult(task.name, None, "", 0, (found,))
    kept = [known for known in earlier.record.issues if known.issue.severity != "error"]
    receipt = replace(earlier, record=replace(earlier.record, issues=(*kept, found)))
    Receipts(task.layout).write(receipt)
    return summarise(receipt)


def _listing_regions(task: SampleTask, intact: Receipt) -> SampleTask:
    """Return a task that denoises in a folder with the regions that its receipt has to list."""
    if Step.DENOISE not in task.steps or task.folder != task.target:
        return task
    thresholds = tuple(threshold for threshold, _ in intact.record.before)
    params = replace(task.params, region_volume_thresh=thresholds)
    return replace(task, steps=task.steps | {Step.SMALL_REGIONS}, params=params)


def _is_ours(task: SampleTask, earlier: Receipt | None) -> bool:
    """Return whether the receipt is to speak for what is made, and what it lists may be removed.

    Not for what lies elsewhere than where `run` puts samples, nor for somebody's copy of a sample:
    only what makes samples anew from the archive, in the place it made them in, moves them.
    """
    grouped, target = task.layout.grouped, task.target.path
    group = target.parents[2] if len(target.parents) > 3 else target
    if group.parent != grouped:
        return False
    known = None if earlier is None else earlier.record.files
    if task.steps == EVERY_STEP or known is None:
        return True
    folder = task.layout.folder_of(known).path
    return folder == target if task.folder is not None else folder.is_relative_to(group)


@dataclass
class _Made:
    """What became of a sample.

    Parameters
    ----------
    masks : MadeMasks
        Its masks.
    scan : ImageInfo or None
        Header of the archive's scan; None where the archive was not asked.
    issues : list of StepIssue
        What was found of the volume.
    is_lost : bool
        Whether the volume cannot be used, so that there is no sample.
    is_edited : bool
        Whether the mask was edited by hand.
    clock : Clock
        How long it took.
    kept : Path or None
        What is kept beside the receipt.
    written : tuple of Path
        The mask and its binary masks, as far as there are any.
    """

    masks: MadeMasks = field(default_factory=MadeMasks)
    scan: ImageInfo | None = None
    issues: list[StepIssue] = field(default_factory=list)
    is_lost: bool = False
    is_edited: bool = False
    clock: Clock = field(default_factory=Clock)
    kept: Path | None = None
    written: tuple[Path, ...] = ()


def _make(task: SampleTask, earlier: Receipt | None, staging: Staging) -> _Made:
    """Stage the outputs of a task."""
    made, source = _Made(), task.source
    if not isinstance(source, ArchiveSource):
        made.masks = make_masks(task, None, staging, made.clock)
        return made
    scan, found = source.read_header()
    if scan is not None:
        # Before the volume, whose values are looked at under the masks as it streams by.
        _make_masks(task, source, scan, earlier, staging, made)
    if scan is not None and Output.VOLUME in task.outputs:
        path = staging.path_for(task.target.volume)
        scan, found = source.convert_volume(path, made.masks.watcher())
        if not task.keeps_info:
            staging.write_text(task.target.info, info_yaml(source.sample))
        made.clock.lap("volume")
    elif earlier is not None and Output.VOLUME not in task.outputs:
        made.issues = [i for i in earlier.record.issues if _is_of_volume(source.sample, i)]
    if task.keeps_info:
        found = [*found, describe_edited_info(task)]
    made.issues += [StepIssue(Step.CONFIRM_PAIRS, issue) for issue in found]
    made.scan, made.is_lost = scan, scan is None
    if made.is_lost:
        made.masks = MadeMasks()  # nothing is written, so that nothing is said of them
    return made


def _make_masks(
    task: SampleTask,
    source: ArchiveSource,
    scan: ImageInfo,
    earlier: Receipt | None,
    staging: Staging,
    made: _Made,
) -> None:
    """Stage the masks, or take over what is known of them where they are complete or stay."""
    sample = source.sample
    volume_path = None if sample.volume is None else sample.volume.path
    if earlier is not None and Output.MASKS not in task.outputs:
        made.masks = known_masks(earlier.record, volume_path)
        return
    edited = read_edited_mask(task, earlier, written_info(scan))
    made.is_edited = edited is not None
    made.masks = make_masks(task, scan, staging, made.clock, edited)
    if earlier is None:
        return
    was_there = earlier.origin.inputs[Output.MASKS] is not None
    is_gone = sample.mask is None and was_there
    missing = [source.missing_file("mask")] if is_gone else []
    if made.is_edited:
        is_new = source.find_origin().inputs[Output.MASKS] != earlier.origin.inputs[Output.MASKS]
        found = describe_edits(task, earlier, is_source_new=is_new and sample.mask is not None)
        made.masks.found(Step.CONFIRM_PAIRS, [*found, *missing, *(edited.issues if edited else ())])
        beside = KeptFiles(task.layout.restore).path_for(task.name, task.target.mask)
        made.kept = beside if beside.exists() and not made.masks.wrote_mask else None
    elif made.masks.present is None and earlier.outputs[Output.MASKS]:
        issues = made.masks.issues or [StepIssue(Step.CONFIRM_PAIRS, one) for one in missing]
        made.masks = known_masks(earlier.record, volume_path)
        kept = [known for known in made.masks.issues if known.issue.severity != "error"]
        stays = [replace(i, issue=replace(i.issue, action=STAYS)) for i in issues]
        made.masks.issues, made.masks.stays = [*kept, *stays], True


def _is_of_volume(sample: Sample, found: StepIssue) -> bool:
    return sample.volume is not None and found.issue.file == sample.volume.path


def _stage_kept(task: SampleTask, made: _Made, staging: Staging, is_ours: bool) -> None:
    """Stage what is kept beside the receipt."""
    masks, volume = made.masks, None
    of_volume: dict[str, NDArray[Any] | InBlocks] = {}
    if made.scan is not None and Output.VOLUME in task.outputs:  # else looked at when needed
        volume = staging.path_for(task.target.volume)
        if masks.counter is not None:
            of_volume |= masks.counter.result().columns()
            made.clock.lap("count values")
        if masks.taker is not None:
            of_volume |= pack_pictures(masks.taker.result())
            made.clock.lap("pictures")
    if masks.wrote_mask:
        mask, kept = staging.path_for(task.target.mask), KeptFiles(task.layout.restore)
        difference = masks.difference
        if not is_ours and kept.read_difference(task.name, mask) is not None:
            return  # the copied mask's, whose receipt lists it as it is
        made.kept = kept.stage(staging, task.name, mask, difference, of_volume, volume)


def _list_masks(task: SampleTask, masks: MadeMasks) -> tuple[Path, ...]:
    """Return the mask and its binary masks, as far as there are any."""
    if masks.present is None:
        return ()
    paths = task.target.binary_mask_paths(task.params.label_map)
    return (task.target.mask, *(paths[label] for label in masks.binary_labels or ()))


def _find_kept(task: SampleTask, made: _Made) -> set[Path]:
    """Return the files that stay of those that the receipt lists."""
    target = task.target
    is_anew = made.scan is not None and not made.masks.stays
    keep = {target.info, target.volume, *made.written}
    if not is_anew:
        keep |= {target.mask, *(target.binary_masks() if made.masks.binary_labels is None else ())}
    if made.masks.stays:
        keep |= set(target.binary_masks())
    if made.masks.wrote_mask or (is_anew and Output.MASKS in task.outputs):
        keep |= {made.kept} if made.kept is not None else set()
    else:
        keep |= set(KeptFiles(task.layout.restore).of_sample(task.name))
    return keep


def _receipt_from_archive(
    task: SampleTask, made: _Made, origin: Origin, earlier: Receipt | None
) -> Receipt:
    masks, target = made.masks, task.target
    task = replace(task, outputs=task.outputs - {Output.MASKS}) if masks.stays else task
    kept = () if made.kept is None else (made.kept,)
    files = {Output.VOLUME: (target.info, target.volume), Output.MASKS: (*made.written, *kept)}
    receipts = Receipts(task.layout)
    outputs = {
        output: receipts.identities(*files[output])
        if earlier is None or output in task.outputs
        else earlier.outputs[output]
        for output in Output
    }
    edited = () if earlier is None or task.discard_edits else earlier.edited
    if not made.is_edited and Output.MASKS in task.outputs:
        edited = tuple(edit for edit in edited if edit != Edit.MASK)
    if not task.keeps_info:
        edited = tuple(edit for edit in edited if edit != Edit.INFO)
    made_by = dict(made_with(task.params, edited))
    is_gone = origin.inputs[Output.MASKS] is None
    if earlier is not None and (masks.stays or (made.is_edited and is_gone)):
        inputs = {**origin.inputs, Output.MASKS: earlier.origin.inputs[Output.MASKS]}
        origin = replace(origin, inputs=inputs)
    if earlier is not None and masks.stays and origin.inputs[Output.MASKS] is not None:
        made_by[Output.MASKS] = earlier.made_with[Output.MASKS]
    if task.steps != EVERY_STEP:  # which makes what there is of masks another thing
        made_by[Output.MASKS] = None
    is_whole = task.outputs == EVERY_OUTPUT or earlier is None
    return Receipt(
        origin,
        made_by,
        outputs,
        SampleRecord(
            sample_id=task.name,
            files=_describe(task, made),
            before=masks.before,
            after=masks.after,
            changes=masks.changes,
            issues=(*made.issues, *masks.issues),
        ),
        headers=task.headers if task.planned == origin else None,
        seconds=made.clock.seconds if is_whole or earlier is None else earlier.seconds,
        edited=edited,
    )


def _describe(task: SampleTask, made: _Made) -> SampleFiles | None:
    if made.scan is None or not isinstance(task.source, ArchiveSource):
        return None
    sample, masks = task.source.sample, made.masks
    return describe_files(
        sample_id=sample.sample_id,
        subset=sample.subset,
        metadata=sample.metadata,
        folder=task.target.path.relative_to(task.layout.grouped).as_posix(),
        volume=written_info(made.scan),
        mask_dtype=None if masks.present is None else "uint8",
        labels_present=masks.present,
        binary_labels=masks.binary_labels or (),
    )


def _summarise(task: SampleTask, made: _Made, receipt: Receipt | None) -> SampleResult:
    masks = made.masks
    files = None if receipt is None else receipt.record.files
    folder = None if files is None else files.folder
    if made.scan is not None and folder is None:  # written where no receipt speaks for it
        folder = task.target.path.as_posix()
    return SampleResult(
        sample_id=task.name,
        folder=folder,
        digest=receipt.digest if receipt is not None else "",
        n_changed=sum(change.n_voxels for change in masks.changes),
        issues=(*made.issues, *masks.issues),
        is_changed=masks.is_changed,
        n_binary_masks=len(masks.binary_labels or ()),
        regions=masks.after if made.scan is None else (),
        is_lost=made.is_lost,
    )
