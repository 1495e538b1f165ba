"""The whole tutorial for one sample in one pass: each input read once, each output written once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from amos_dask.issues import Issue
from amos_dask.labels import PROSTATE, UTERUS
from amos_dask.nifti import ImageInfo, Mask, write_mask
from amos_dask.recipe.pairs import (
    EarlierOutputStaysError,
    PairTask,
    look_at_volume,
    read_paired_mask,
    remove_outdated,
    remove_superseded,
    stage_volume,
)
from amos_dask.recipe.work import RunTask, made_with, may_keep_rest, origin_of, summarise
from amos_dask.records import (
    LabelChange,
    SampleFiles,
    SampleRecord,
    SampleRegions,
    SampleResult,
    Step,
    StepIssue,
)
from amos_dask.stages.binary_masks import check_labels, write_binary_masks
from amos_dask.stages.denoise import denoise_mask, describe_step
from amos_dask.stages.describe import describe_files
from amos_dask.stages.intensities import ValueCounter
from amos_dask.stages.regions import find_small_regions
from amos_dask.stages.relabel import check_sex, labels_present, split_prostate_uterus
from amos_dask.stages.volume import written_info
from amos_dask.store.layout import SampleFolder
from amos_dask.store.receipts import EVERY_PART, Origin, Part, Receipt, Receipts
from amos_dask.store.restore import RestoreData
from amos_dask.store.staging import Staging, remove_leftovers
from amos_dask.store.value_counts import counts_path, forget_other_counts, pack_counts

Regions = tuple[tuple[float, SampleRegions], ...]


@dataclass
class _MaskResult:
    """What became of the mask."""

    present: tuple[int, ...] | None = None
    binary_labels: tuple[int, ...] = ()
    before: Regions = ()
    after: Regions = ()
    changes: tuple[LabelChange, ...] = ()
    restore_data: Path | None = None
    issues: list[StepIssue] = field(default_factory=list)
    counter: ValueCounter | None = None


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
    try:
        receipt = _organise(task, origin, earlier)
    except EarlierOutputStaysError as stop:
        issues = (StepIssue(Step.CONFIRM_PAIRS, stop.issue),)
        return SampleResult(task.name, None, "", 0, issues)
    if receipt.record.files is None:
        receipts.forget(task.name)
        return summarise(receipt.record, "")
    return summarise(receipt.record, receipts.write(receipt))


def _organise(task: RunTask, origin: Origin, earlier: Receipt | None) -> Receipt:
    pair = PairTask(task.sample, task.layout.group(task.sample.modality), task.superseded)
    folder = pair.folder
    remove_leftovers(folder.path)
    with Staging() as staging:
        scan, found = look_at_volume(task.sample)
        masks = _MaskResult()
        if scan is not None:
            # Before the volume, whose values are counted under the masks' labels as it streams by.
            masks = _masks(task, folder, scan, staging, earlier)
            scan, found = _volume(task, folder, scan, staging, masks.counter)
        issues = _issues_of_volume(task, found, earlier)
        if scan is None:
            remove_superseded(pair, written=False)
            nothing = SampleRecord(task.name, None, (), (), (), tuple(issues))
            return Receipt(origin, {}, {}, nothing)
        _stage_counts(task, folder, staging, masks.counter)
        # The mask's description says that the files beside it are in place.
        staging.publish(last=folder.mask)
    remove_superseded(pair, written=True)
    written = _written_masks(task, folder, masks)
    if Part.MASKS in task.parts:
        remove_outdated(folder, keep=written)
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
    receipts = Receipts(task.layout)
    outputs = {
        part: receipts.identities(*files[part])
        if earlier is None or part in task.parts
        else earlier.outputs[part]
        for part in Part
    }
    return Receipt(origin, made_with(task.params), outputs, record)


def _volume(
    task: RunTask,
    folder: SampleFolder,
    scan: ImageInfo,
    staging: Staging,
    counter: ValueCounter | None,
) -> tuple[ImageInfo | None, list[Issue]]:
    """Stage the volume unless it is complete; without a header in return it cannot be used."""
    if Part.VOLUME not in task.parts:
        return scan, []
    return stage_volume(task.sample, folder, staging, None if counter is None else counter.add)


def _issues_of_volume(
    task: RunTask, found: list[Issue], earlier: Receipt | None
) -> list[StepIssue]:
    """Return what was found now, and before of a volume that is complete."""
    known = () if earlier is None or Part.VOLUME in task.parts else earlier.record.issues
    kept = [issue for issue in known if _is_of_volume(task, issue)]
    return [*kept, *_of(Step.CONFIRM_PAIRS, found)]


def _stage_counts(
    task: RunTask, folder: SampleFolder, staging: Staging, counter: ValueCounter | None
) -> None:
    """Stage how often each value occurs; where the volume was not read, statistics count later."""
    if counter is None or Part.VOLUME not in task.parts:
        return
    files = staging.path_for(folder.volume), staging.path_for(folder.mask)
    path = counts_path(task.layout.values, task.name, *files)
    found = {label: counts.columns for label, counts in counter.result().items()}
    staging.path_for(path).write_bytes(pack_counts(found))
    forget_other_counts(task.layout.values, task.name, path)


def _masks(
    task: RunTask,
    folder: SampleFolder,
    scan: ImageInfo,
    staging: Staging,
    earlier: Receipt | None,
) -> _MaskResult:
    """Stage the masks, or take over what is known of them where they are complete."""
    if earlier is not None and Part.MASKS not in task.parts:
        return _known_masks(task, earlier.record)
    has_earlier_output = bool(task.superseded)
    mask, found = read_paired_mask(task.sample, scan, has_earlier_output=has_earlier_output)
    result = _MaskResult()
    if mask is not None:
        result = _stage_masks(task, folder, written_info(scan), mask, staging)
    result.issues[:0] = _of(Step.CONFIRM_PAIRS, found)
    return result


def _known_masks(task: RunTask, record: SampleRecord) -> _MaskResult:
    files = record.files
    return _MaskResult(
        present=None if files is None else files.labels_present,
        binary_labels=() if files is None else files.binary_labels,
        before=record.before,
        after=record.after,
        changes=record.changes,
        issues=[issue for issue in record.issues if not _is_of_volume(task, issue)],
    )


def _is_of_volume(task: RunTask, found: StepIssue) -> bool:
    volume = task.sample.volume
    return volume is not None and found.issue.file == volume.path


def _of(step: Step, issues: list[Issue]) -> list[StepIssue]:
    return [StepIssue(step, issue) for issue in issues]


def _stage_masks(
    task: RunTask,
    folder: SampleFolder,
    volume: ImageInfo,
    mask: Mask,
    staging: Staging,
) -> _MaskResult:
    sample, params = task.sample, task.params
    file = folder.mask.relative_to(task.layout.root).as_posix()
    sex = sample.metadata.sex
    present = labels_present(mask)
    issues, split = [], mask
    if params.splits_prostate_uterus:
        found = check_sex(present, sex, sample.sample_id, file)
        issues += _of(Step.SPLIT_PROSTATE_UTERUS, found)
        split = split_prostate_uterus(mask, sex, present)
    if split is not mask:  # known without counting a second time
        present = tuple(sorted({*present, UTERUS} - {PROSTATE}))
    found = check_labels(present, params.label_map, sample.sample_id, file)
    issues += _of(Step.BINARY_MASKS, found)
    thresholds = params.region_volume_thresh
    spacing = volume.spacing_mm
    find = (spacing, thresholds, params.label_map, sample.sample_id)
    before = find_small_regions(split, *find)
    if params.label_map.unknown(present):
        write_mask(staging.path_for(folder.mask), volume, split)
        return _MaskResult(present, (), before, before, issues=issues)
    final = denoise_mask(split, spacing, params.denoise, params.excluded)
    mark = describe_step(params.denoise, params.excluded)
    staged = staging.path_for(folder.mask)
    write_mask(staged, volume, final, mark)
    columns = params.label_map.columns()
    paths = {label: staging.path_for(folder.binary_mask(columns[label])) for label in columns}
    present = write_binary_masks(paths, final, volume)
    counter = ValueCounter(final, present) if task.count_values else None
    result = _MaskResult(present, tuple(columns), before, before, issues=issues, counter=counter)
    if not mark:  # all of the sample is excluded from denoising
        return result
    restore = RestoreData(task.layout.restore)
    result.restore_data, result.changes = restore.stage(
        staging, sample.sample_id, staged, split, final
    )
    result.after = find_small_regions(final, *find)
    return result


def _written_masks(task: RunTask, folder: SampleFolder, result: _MaskResult) -> tuple[Path, ...]:
    if result.present is None:
        return ()
    columns = task.params.label_map.columns()
    binary = (folder.binary_mask(columns[label]) for label in result.binary_labels)
    return (folder.mask, *binary)


def _describe(
    task: RunTask, folder: SampleFolder, volume: ImageInfo, result: _MaskResult
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
