"""The whole tutorial for one sample in one pass: each input read once, each output written once."""

from __future__ import annotations

from dataclasses import replace

from amos_dask.issues import Issue
from amos_dask.nifti import ImageInfo
from amos_dask.records import SampleFiles, SampleRecord, SampleResult, Step, StepIssue
from amos_dask.root.derived import forget_others
from amos_dask.root.layout import SampleFolder, sample_folder
from amos_dask.root.picture_files import pack_pictures, pictures_path
from amos_dask.root.receipts import EVERY_PART, Origin, Part, Receipt, Receipts
from amos_dask.root.restore import RestoreData
from amos_dask.root.staging import Staging, remove_leftovers
from amos_dask.root.times import StageTimes, write_times
from amos_dask.sample.masks import MaskResult, issues_of, known_masks, stage_masks
from amos_dask.sample.pairs import (
    EarlierOutputStaysError,
    look_at_volume,
    stage_volume,
)
from amos_dask.sample.todo import RunTask, made_with, may_keep_rest, origin_of, summarise
from amos_dask.statistics.value_counts import counts_path, pack_counts
from amos_dask.steps import pictures
from amos_dask.steps.describe import describe_files
from amos_dask.steps.volume import written_info


def run_sample(task: RunTask) -> SampleResult:
    """Organise, relabel, denoise and describe one sample, and leave its receipt.

    Returns
    -------
    SampleResult
        Its issues; the receipt holds its contribution to every table. A sample whose volume is
        damaged writes nothing and loses what an earlier run wrote; one whose mask is damaged still
        gets its volume. Where a file cannot be read for reasons outside it, earlier output stays.
    """
    receipts = Receipts(task.layout)
    origin = origin_of(task.sample)  # before reading: what changes meanwhile is read again
    earlier = None if task.parts == EVERY_PART else receipts.read(task.name)
    if earlier is None or not may_keep_rest(origin, earlier, task.parts):
        task, earlier = replace(task, parts=EVERY_PART), None
    times = StageTimes()
    try:
        receipt = _organise(task, origin, earlier, times)
    except EarlierOutputStaysError as stop:
        issues = (StepIssue(Step.CONFIRM_PAIRS, stop.issue),)
        return SampleResult(task.name, None, "", 0, issues)
    if receipt.record.files is None:
        receipts.forget(task.name)
        return summarise(receipt.record, "")
    if earlier is None:
        write_times(task.layout.times, task.name, times.seconds)
    return summarise(receipt.record, receipts.write(receipt))


def _organise(task: RunTask, origin: Origin, earlier: Receipt | None, times: StageTimes) -> Receipt:
    folder = sample_folder(task.layout.group(task.sample.modality), task.sample)
    receipts = Receipts(task.layout)
    remove_leftovers(folder.path)
    with Staging() as staging:
        scan, found = look_at_volume(task.sample)
        masks = MaskResult()
        if scan is not None:
            # Before the volume, whose values are looked at under the masks as it streams by.
            masks = _masks(task, folder, scan, staging, earlier, times)
            with times.of("volume"):
                scan, found = _volume(task, folder, scan, staging, masks)
        issues = _issues_of_volume(task, found, earlier)
        if scan is not None:
            _publish(task, folder, staging, masks, times)
    if scan is None:
        receipts.remove_listed(task.name, keep=())
        nothing = SampleRecord(task.name, None, (), (), (), tuple(issues))
        return Receipt(origin, {}, {}, nothing)
    written = masks.written(task, folder)
    receipts.remove_listed(task.name, keep=(folder.info, folder.volume, *written))
    if Part.MASKS in task.parts:
        RestoreData(task.layout.restore).forget_others(task.name, masks.restore_data)
    record = SampleRecord(
        sample_id=task.name,
        files=_describe(task, folder, written_info(scan), masks),
        before=masks.before,
        after=masks.after,
        changes=masks.changes,
        issues=(*issues, *masks.issues),
    )
    restore = () if masks.restore_data is None else (masks.restore_data,)
    files = {Part.VOLUME: (folder.info, folder.volume), Part.MASKS: (*written, *restore)}
    outputs = {
        part: receipts.identities(*files[part])
        if earlier is None or part in task.parts
        else earlier.outputs[part]
        for part in Part
    }
    return Receipt(origin, made_with(task.params), outputs, record)


def _publish(
    task: RunTask, folder: SampleFolder, staging: Staging, masks: MaskResult, times: StageTimes
) -> None:
    if Part.VOLUME in task.parts:  # else those who want to see it read the files later
        with times.of("count values"):
            _stage_counts(task, folder, staging, masks)
        with times.of("pictures"):
            _stage_pictures(task, folder, staging, masks)
    with times.of("flush to disk"):
        # The mask's description says that the files beside it are in place.
        staging.publish(last=folder.mask)


def _masks(
    task: RunTask,
    folder: SampleFolder,
    scan: ImageInfo,
    staging: Staging,
    earlier: Receipt | None,
    times: StageTimes,
) -> MaskResult:
    """Stage the masks, or take over what is known of them where they are complete."""
    if earlier is None or Part.MASKS in task.parts:
        return stage_masks(task, folder, scan, staging, times)
    volume = task.sample.volume
    return known_masks(earlier.record, None if volume is None else volume.path)


def _volume(
    task: RunTask, folder: SampleFolder, scan: ImageInfo, staging: Staging, masks: MaskResult
) -> tuple[ImageInfo | None, list[Issue]]:
    """Stage the volume unless it is complete; without a header in return it cannot be used."""
    if Part.VOLUME not in task.parts:
        return scan, []
    return stage_volume(task.sample, folder, staging, masks.watcher())


def _issues_of_volume(
    task: RunTask, found: list[Issue], earlier: Receipt | None
) -> list[StepIssue]:
    """Return what was found now, and before of a volume that is complete."""
    known = () if earlier is None or Part.VOLUME in task.parts else earlier.record.issues
    kept = [issue for issue in known if _is_of_volume(task, issue)]
    return [*kept, *issues_of(Step.CONFIRM_PAIRS, found)]


def _stage_counts(task: RunTask, folder: SampleFolder, staging: Staging, masks: MaskResult) -> None:
    """Stage how often each value occurs under each label."""
    if masks.counter is None:
        return
    files = staging.path_for(folder.volume), staging.path_for(folder.mask)
    path = counts_path(task.layout.values, task.name, *files)
    found = {label: counts.columns for label, counts in masks.counter.result().items()}
    staging.path_for(path).write_bytes(pack_counts(found))
    forget_others(task.layout.values, task.name, path)


def _stage_pictures(
    task: RunTask, folder: SampleFolder, staging: Staging, masks: MaskResult
) -> None:
    """Stage the pictures of the slices that denoising changed most."""
    if masks.taker is None or masks.restore_data is None:
        return
    files = (folder.volume, folder.mask, masks.restore_data)
    volume, mask, restore = (staging.path_for(file) for file in files)
    made_from = (volume, mask, restore)
    path = pictures_path(task.layout.pictures, task.name, made_from, pictures.RESULT_VERSION)
    staging.write_text(path, pack_pictures(masks.taker.result()))
    forget_others(task.layout.pictures, task.name, path)


def _is_of_volume(task: RunTask, found: StepIssue) -> bool:
    volume = task.sample.volume
    return volume is not None and found.issue.file == volume.path


def _describe(
    task: RunTask, folder: SampleFolder, volume: ImageInfo, result: MaskResult
) -> SampleFiles:
    return describe_files(
        sample_id=task.sample.sample_id,
        subset=task.sample.subset,
        metadata=task.sample.metadata,
        folder=folder.path.relative_to(task.layout.grouped).as_posix(),
        volume=volume,
        mask_dtype=None if result.present is None else "uint8",
        labels_present=result.present,
        binary_labels=result.binary_labels,
    )
