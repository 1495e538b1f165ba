"""Making one sample: a source and a list of steps give files, a record and a receipt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from amos_dask.errors import ForeignFileError
from amos_dask.issues import make_issue
from amos_dask.records import SampleResult, Step, StepIssue
from amos_dask.root.kept import KeptFiles
from amos_dask.root.receipts import EVERY_OUTPUT, Edit, Origin, Output, Receipt, Receipts
from amos_dask.root.staging import Staging
from amos_dask.sample.describe import amend_receipt, list_masks, make_receipt
from amos_dask.sample.masks import Made, make_masks, stage_kept
from amos_dask.sample.publish import (
    Publication,
    describe_edited_info,
    describe_edits,
    is_edited,
    move_sample,
    note_edit,
    read_edited_mask,
)
from amos_dask.sample.source import STAYS, ArchiveSource, EarlierOutputStaysError, OpenedScan
from amos_dask.sample.todo import EVERY_STEP, SampleTask, may_keep_rest, summarise
from amos_dask.steps.header_check import check_tail
from amos_dask.steps.info_file import info_yaml
from amos_dask.steps.volume import check_values, convert_volume, written_info


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
    intact = None if task.folder is None else receipts.read_for(task.folder)
    if intact is not None and Output.MASKS in receipts.find_altered(intact):
        intact = None  # else it speaks for the masks as they are
    if not may_keep_rest(origin, earlier, task.outputs):
        task = replace(task, outputs=EVERY_OUTPUT)
    if intact is not None:
        task = _listing_regions(task, intact)
    try:
        if is_ours and task.folder is None:
            earlier = move_sample(task, earlier)
        publication = Publication(task, earlier)
        publication.make_way()
        with Staging(publication.journal) as staging:
            made = _make(task, origin, earlier, staging)
            if not made.is_lost:
                stage_kept(task, made, staging, is_ours=is_ours)
                if earlier is not None and is_ours:
                    earlier = note_edit(receipts, earlier, *_find_edits(task, made, earlier))
                publication.publish(staging, origin)
                made.published = staging.published
                made.clock.lap("flush to disk")
    except (EarlierOutputStaysError, ForeignFileError) as stop:
        return _leave(task, earlier, stop)
    speaks = is_ours and not made.is_lost  # the receipt is to speak for what was made
    if speaks:
        masks = list_masks(task, made)
        publication.remove_others(_find_kept(task, made, masks, earlier))
    made.volume_issues += [StepIssue(task.own_step, issue) for issue in publication.find_issues()]
    if not speaks:
        publication.keep_elsewhere()
        return _summarise(task, made, None)
    if isinstance(task.source, ArchiveSource):
        receipt: Receipt | None = make_receipt(task, task.source, made, masks, origin, earlier)
    else:
        receipt = amend_receipt(task, made, intact)
    if receipt is not None:
        receipts.write(receipt)
    publication.end()
    return _summarise(task, made, receipt)


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


def _listing_regions(task: SampleTask, intact: Receipt) -> SampleTask:
    """Return a task that denoises in a folder with the regions that its receipt has to list."""
    if Step.DENOISE not in task.steps or task.folder != task.target:
        return task
    thresholds = tuple(threshold for threshold, _ in intact.record.before)
    params = replace(task.params, region_volume_thresh=thresholds)
    return replace(task, steps=task.steps | {Step.SMALL_REGIONS}, params=params)


def _find_edits(task: SampleTask, made: Made, earlier: Receipt) -> list[Edit]:
    """Return what of a sample was edited by hand and stays, so that no kill makes it ours."""
    is_mask = made.is_edited or (
        task.folder is not None
        and task.folder == task.target
        and is_edited(Receipts(task.layout), earlier, Edit.MASK)
    )
    return [*([Edit.MASK] if is_mask else ()), *([Edit.INFO] if task.keeps_info else ())]


def _leave(
    task: SampleTask, earlier: Receipt | None, stop: EarlierOutputStaysError | ForeignFileError
) -> SampleResult:
    """Leave a sample as it is, and say why in its receipt, if it has one."""
    if isinstance(stop, EarlierOutputStaysError):
        issue = stop.issue
    else:
        message, file = f"{stop.path.name} {stop.why}", task.layout.shown(stop.path)
        action = "nothing of the sample was touched; move the file elsewhere, or give --adopt"
        issue = make_issue("foreign_file", message, sample=task.name, file=file, action=action)
    found = StepIssue(task.own_step, issue)
    Publication(task, earlier)  # removes what was staged
    if earlier is None or task.folder is not None:
        return SampleResult(task.name, None, "", 0, (found,))
    kept = [known for known in earlier.record.issues if known.issue.severity != "error"]
    receipt = replace(earlier, record=replace(earlier.record, issues=(*kept, found)))
    Receipts(task.layout).write(receipt)
    return summarise(receipt)


def _make(task: SampleTask, origin: Origin, earlier: Receipt | None, staging: Staging) -> Made:
    """Stage the outputs of a task."""
    made, source = Made(), task.source
    if not isinstance(source, ArchiveSource):
        make_masks(task, staging, made)
        return made

    def look_at(scan: OpenedScan) -> None:
        made.scan, made.written = scan.info, written_info(scan.info)
        # Before the volume, whose values are looked at under the masks as it streams by.
        if earlier is not None and Output.MASKS not in task.outputs:
            made.take_known(earlier.record, source)
        else:
            _make_masks(task, source, origin, earlier, staging, made)
        if Output.VOLUME not in task.outputs:
            return
        paths = staging.paths_for(task.target.volumes)
        for channel, (image, path) in enumerate(zip(scan.channels(), paths, strict=True)):
            is_pictured = channel == task.layout.dataset.pictured_channel
            seen = convert_volume(image, path, made.watchers(is_pictured=is_pictured))
            scan.found([*check_tail(image), *check_values(seen)])
        if not task.keeps_info:
            staging.write_text(task.target.info, info_yaml(source.sample))
        made.clock.lap("volume")

    scan, found = source.read_volume(look_at)
    if earlier is not None and Output.VOLUME not in task.outputs:
        made.volume_issues = [i for i in earlier.record.issues if source.is_of_volume(i.issue)]
    if task.keeps_info:
        found = [*found, describe_edited_info(task)]
    made.volume_issues += [StepIssue(Step.CONFIRM_PAIRS, issue) for issue in found]
    if scan is None:  # nothing is written, so that nothing is said of its masks
        return Made(is_lost=True, volume_issues=made.volume_issues)
    return made


def _make_masks(
    task: SampleTask,
    source: ArchiveSource,
    origin: Origin,
    earlier: Receipt | None,
    staging: Staging,
    made: Made,
) -> None:
    """Stage the masks, or take over what is known of them where they stay."""
    edited = read_edited_mask(task, earlier, made.written) if earlier and made.written else None
    made.is_edited = edited is not None
    is_finished = earlier is not None and bool(earlier.outputs[Output.MASKS])
    missing = source.check_masks_there(earlier.origin) if earlier and is_finished else []
    if made.is_edited or not missing:
        make_masks(task, staging, made, edited)
    if earlier is None:
        return
    if edited is not None:
        is_new = origin.inputs[Output.MASKS] != earlier.origin.inputs[Output.MASKS]
        is_new = is_new and source.sample.mask is not None
        found = describe_edits(task, earlier, is_source_new=is_new)
        made.found(Step.CONFIRM_PAIRS, [*found, *missing, *edited.issues])
        beside = KeptFiles(task.layout.restore).path_for(task.name, task.target.mask)
        made.kept = beside if beside.exists() and not made.wrote_mask else None
    elif made.present is None and is_finished:
        issues = made.mask_issues or [StepIssue(Step.CONFIRM_PAIRS, one) for one in missing]
        made.take_known(earlier.record, source)
        kept = [known for known in made.mask_issues if known.issue.severity != "error"]
        stays = [replace(i, issue=replace(i.issue, action=STAYS)) for i in issues]
        made.mask_issues, made.stays = [*kept, *stays], True


def _find_kept(
    task: SampleTask, made: Made, masks: tuple[Path, ...], earlier: Receipt | None
) -> set[Path]:
    """Return the files that stay of those that the receipt lists."""
    target = task.target
    is_anew = task.folder is None and not made.stays
    keep = {target.info, *target.volumes, *masks}
    if earlier is not None and (task.folder is not None or Output.VOLUME not in task.outputs):
        keep |= {task.layout.root / name for name in earlier.outputs[Output.VOLUME]}
    if not is_anew:
        keep.add(target.mask)
    if made.stays or (not is_anew and made.binary_labels is None):
        keep |= set(target.binary_masks())
    if made.wrote_mask or (is_anew and Output.MASKS in task.outputs):
        keep |= {made.kept} if made.kept is not None else set()
    else:
        keep |= set(KeptFiles(task.layout.restore).of_sample(task.name))
    return keep


def _summarise(task: SampleTask, made: Made, receipt: Receipt | None) -> SampleResult:
    files = None if receipt is None else receipt.record.files
    folder = None if files is None else files.folder
    if made.scan is not None and folder is None:  # written where no receipt speaks for it
        folder = task.target.path.as_posix()
    return SampleResult(
        sample_id=task.name,
        folder=folder,
        digest=receipt.digest if receipt is not None else "",
        n_changed=sum(change.n_voxels for change in made.changes),
        issues=made.issues,
        is_changed=made.is_changed,
        n_binary_masks=len(made.binary_labels or ()),
        regions=made.after if made.scan is None else (),
    )
