"""The whole tutorial for one sample in one pass: each input read once, each output written once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amos_dask.issues import Issue
from amos_dask.nifti import ImageInfo, Mask, write_mask
from amos_dask.recipe.pairs import (
    EarlierOutputStaysError,
    PairTask,
    read_paired_mask,
    remove_outdated,
    remove_superseded,
    stage_volume,
)
from amos_dask.records import (
    Params,
    Sample,
    SampleFiles,
    SampleRecord,
    SampleRegions,
    Step,
    StepIssue,
)
from amos_dask.stages.binary_masks import check_labels, write_binary_masks
from amos_dask.stages.denoise import denoise_mask, describe_step
from amos_dask.stages.describe import describe_files
from amos_dask.stages.regions import find_small_regions
from amos_dask.stages.relabel import check_sex, labels_present, split_prostate_uterus
from amos_dask.stages.volume import written_info
from amos_dask.store.layout import Layout, SampleFolder
from amos_dask.store.receipts import Receipts
from amos_dask.store.restore import RestoreData
from amos_dask.store.staging import Staging, remove_leftovers

Regions = tuple[tuple[float, SampleRegions], ...]


@dataclass(frozen=True, slots=True)
class RunTask:
    """A sample to process from end to end.

    Parameters
    ----------
    sample : Sample
        The sample.
    layout : Layout
        ROOT_DIR.
    params : Params
        Label map, denoising and region parameters.
    superseded : tuple of Path
        Folders of the sample from earlier runs, removed unless written again.
    """

    sample: Sample
    layout: Layout
    params: Params
    superseded: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.sample.sample_id


@dataclass
class _MaskResult:
    """What became of the mask."""

    present: tuple[int, ...] | None = None
    binary_labels: tuple[int, ...] = ()
    before: Regions = ()
    after: Regions = ()
    n_changed: int = 0
    restore_data: Path | None = None


def run_sample(task: RunTask) -> SampleRecord:
    """Organise, relabel, denoise and describe one sample, and leave its receipt.

    Returns
    -------
    SampleRecord
        Its contribution to every table. A sample whose volume is damaged writes nothing and loses
        what an earlier run wrote; one whose mask is damaged still gets its volume. Where a file
        cannot be read for reasons outside it, earlier output stays.
    """
    receipts = Receipts(task.layout.receipts)
    try:
        record = _organise(task)
    except EarlierOutputStaysError as stop:
        issues = (StepIssue(Step.CONFIRM_PAIRS, stop.issue),)
        return SampleRecord(task.name, None, (), (), 0, issues)
    if record.files is None:
        receipts.forget(record.sample_id)
    else:
        folder = task.layout.grouped / record.files.folder
        receipts.write(record, task.params, SampleFolder(folder, task.sample.seq))
    return record


def _organise(task: RunTask) -> SampleRecord:
    sample, layout = task.sample, task.layout
    pair = PairTask(sample, layout.group(sample.modality), task.superseded)
    folder = pair.folder
    remove_leftovers(folder.path)
    issues: list[StepIssue] = []
    with Staging() as staging:
        scan, found = stage_volume(sample, folder, staging)
        issues += _of(Step.CONFIRM_PAIRS, found)
        if scan is None:
            remove_superseded(pair, written=False)
            return SampleRecord(sample.sample_id, None, (), (), 0, tuple(issues))
        mask, found = read_paired_mask(sample, scan, has_earlier_output=bool(task.superseded))
        issues += _of(Step.CONFIRM_PAIRS, found)
        volume = written_info(scan)
        result = _MaskResult()
        if mask is not None:
            result = _stage_masks(task, folder, volume, mask, staging, issues)
        # The mask's description says that the files beside it are in place.
        staging.publish(last=folder.mask)
    remove_superseded(pair, written=True)
    remove_outdated(folder, keep=_written_masks(task, folder, result))
    RestoreData(layout.restore).forget_others(sample.sample_id, result.restore_data)
    return SampleRecord(
        sample_id=sample.sample_id,
        files=_describe(task, folder, volume, result),
        before=result.before,
        after=result.after,
        n_changed=result.n_changed,
        issues=tuple(issues),
    )


def _of(step: Step, issues: list[Issue]) -> list[StepIssue]:
    return [StepIssue(step, issue) for issue in issues]


def _stage_masks(
    task: RunTask,
    folder: SampleFolder,
    volume: ImageInfo,
    mask: Mask,
    staging: Staging,
    issues: list[StepIssue],
) -> _MaskResult:
    sample, params = task.sample, task.params
    file = folder.mask.relative_to(task.layout.root).as_posix()
    sex = sample.metadata.sex
    present = labels_present(mask)
    issues += _of(Step.SPLIT_PROSTATE_UTERUS, check_sex(present, sex, sample.sample_id, file))
    split = split_prostate_uterus(mask, sex, present)
    present = present if split is mask else labels_present(split)
    found = check_labels(present, params.label_map, sample.sample_id, file)
    issues += _of(Step.BINARY_MASKS, found)
    thresholds = params.region_volume_thresh
    spacing = volume.spacing_mm
    find = (spacing, thresholds, params.label_map, sample.sample_id)
    before = find_small_regions(split, *find)
    if params.label_map.unknown(present):
        write_mask(staging.path_for(folder.mask), volume, split)
        return _MaskResult(present, (), before, before)
    final = denoise_mask(split, spacing, params.denoise)
    after = find_small_regions(final, *find)
    present = labels_present(final)
    staged = staging.path_for(folder.mask)
    write_mask(staged, volume, final, describe_step(params.denoise))
    restore = RestoreData(task.layout.restore)
    kept, n_changed = restore.stage(staging, sample.sample_id, staged, split, final)
    columns = params.label_map.columns()
    paths = {label: staging.path_for(folder.binary_mask(columns[label])) for label in columns}
    write_binary_masks(paths, final, present, volume)
    return _MaskResult(present, tuple(columns), before, after, n_changed, kept)


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
        seq=task.sample.seq,
        subset=task.sample.subset,
        metadata=task.sample.metadata,
        folder=folder.path.relative_to(task.layout.grouped).as_posix(),
        volume=volume,
        mask_dtype=None if result.present is None else "uint8",
        labels_present=result.present,
        binary_labels=result.binary_labels,
    )
