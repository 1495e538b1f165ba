"""Describing one organised sample from its files, for manifests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amos_dask import geometry
from amos_dask.datasets import SUBSETS
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo
from amos_dask.records import SampleFiles, SampleRecord, SampleRegions, Step, StepIssue, StepResult
from amos_dask.root.layout import safe_name
from amos_dask.root.restore import RestoreData
from amos_dask.sample.changes import read_changes
from amos_dask.sample.source import (
    FolderTask,
    bad_info_file,
    check_mask_labels,
    expected_binary_masks,
    open_mask,
    read_header,
    read_info_file,
    unreadable_output,
)
from amos_dask.steps.denoise import is_denoised
from amos_dask.steps.describe import describe_files
from amos_dask.steps.relabel import labels_present
from amos_dask.steps.small_regions import find_small_regions


@dataclass
class _Masks:
    """What was found of a sample's masks."""

    dtype: str | None = None
    present: tuple[int, ...] | None = None
    binary_labels: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DescribeTask(FolderTask):
    """An organised sample to describe.

    Parameters
    ----------
    below : Path
        Folder to which the paths of the manifest are relative.
    thresholds_mm3 : tuple of float
        For `reread_sample`: region volume thresholds.
    """

    below: Path
    thresholds_mm3: tuple[float, ...] = ()


def describe_sample(task: DescribeTask) -> StepResult[tuple[SampleFiles, tuple[str, ...]]]:
    """Describe a sample's files for the dataset manifest (tutorial routine 05).

    Returns
    -------
    StepResult of (SampleFiles, tuple of str)
        The row, and the inconsistencies found between the sample's files.
    """
    folder = task.folder
    try:
        seq, subset, metadata = read_info_file(folder)
    except ValueError as error:
        return StepResult(task.name, None, (bad_info_file(task, error),))
    try:
        volume = read_header(folder.volume)
    except (UnreadableImageError, InaccessibleFileError) as error:
        issue = unreadable_output(task, folder.volume, "volume", error)
        return StepResult(task.name, None, (issue,))
    problems = _compare_info(task, seq, subset, metadata.sex)
    issues: list[Issue] = []
    masks = _look_at_masks(task, volume, problems, issues)
    row = describe_files(
        sample_id=folder.sample_id,
        subset=subset,
        metadata=metadata,
        folder=folder.path.relative_to(task.below).as_posix(),
        volume=volume,
        mask_dtype=masks.dtype,
        labels_present=masks.present,
        binary_labels=masks.binary_labels,
    )
    return StepResult(task.name, (row, tuple(problems)), tuple(issues))


def _compare_info(task: FolderTask, seq: str, subset: str, sex: str) -> list[str]:
    """Return how the info file contradicts the folder's place, a sentence each."""
    folder = task.folder
    place = folder.path.parent.parent.name
    problems = []
    if seq != folder.seq:
        problems.append(f"seq is {seq!r}")
    if place in SUBSETS and place != subset:
        problems.append(f"subset is {subset!r}, but the folder lies in {place!r}")
    if folder.path.name != f"{folder.sample_id}_{safe_name(sex)}":
        problems.append(f"sex is {sex!r}, but the folder is {folder.path.name!r}")
    return [f"{task.shown(folder.info)}: {problem}" for problem in problems]


def _look_at_masks(
    task: FolderTask, volume: ImageInfo, problems: list[str], issues: list[Issue]
) -> _Masks:
    folder = task.folder
    if not folder.mask.exists():
        if folder.binary_masks():
            issues.append(_missing_file(task, folder.mask, "binary masks without their mask"))
        return _Masks()
    opened = open_mask(task)
    if isinstance(opened, Issue):
        issues.append(opened)
        return _Masks()
    mask, info = opened
    problems += _compare(task, folder.mask, info, volume, info.dtype)
    present = labels_present(mask)
    issues += check_mask_labels(task, present)
    binary_labels = _check_binary_masks(task, volume, info.dtype, problems, issues)
    return _Masks(info.dtype, present, binary_labels)


def _check_binary_masks(
    task: FolderTask,
    volume: ImageInfo,
    mask_dtype: str,
    problems: list[str],
    issues: list[Issue],
) -> tuple[int, ...]:
    expected = expected_binary_masks(task.label_map, task.folder)
    existing = set(task.folder.binary_masks())
    labels = []
    for label, path in expected.items():
        if path not in existing:
            if existing:  # before binary-masks has run there are none at all
                issues.append(_missing_file(task, path, "the other binary masks are there"))
            continue
        try:
            info = read_header(path)
        except (UnreadableImageError, InaccessibleFileError) as error:
            issues.append(unreadable_output(task, path, "mask", error))
            continue
        labels.append(label)
        problems += _compare(task, path, info, volume, mask_dtype)
    return tuple(labels)


def _missing_file(task: FolderTask, path: Path, message: str) -> Issue:
    return make_issue("missing_file", message, sample=task.name, file=task.shown(path))


def _compare(
    task: FolderTask, path: Path, info: ImageInfo, volume: ImageInfo, mask_dtype: str
) -> list[str]:
    """Return how a mask contradicts its volume, a sentence each."""
    problems = []
    if info.shape != volume.shape:
        problems.append(f"shape {info.shape}, but the volume has {volume.shape}")
    norm = geometry.difference_norm(info.affine, volume.affine)
    if not norm <= geometry.SAME_AFFINE_NORM:
        problems.append(f"affine differs from the volume's by {norm:.6g}")
    if not geometry.same_spacing(info.pixdim_mm, volume.spacing_mm):
        problems.append(f"spacing {info.pixdim_mm}, but the volume has {volume.spacing_mm}")
    if info.dtype != mask_dtype:
        problems.append(f"type {info.dtype}, but the multi-label mask has {mask_dtype}")
    return [f"{task.shown(path)}: {problem}" for problem in problems]


def reread_sample(task: DescribeTask) -> SampleRecord:
    """Describe a sample that has no valid receipt, regions included, from its files.

    Regions before denoising are those of the restored mask, where it is kept.
    """
    described = describe_sample(task)
    issues = [StepIssue(Step.DATASET_MANIFEST, issue) for issue in described.issues]
    if described.value is None:
        return SampleRecord(task.name, None, (), (), (), tuple(issues))
    row, problems = described.value
    issues += [
        StepIssue(Step.DATASET_MANIFEST, make_issue("inconsistent", problem, sample=task.name))
        for problem in problems
    ]
    before, after = _find_regions(task)
    found = read_changes(task)
    changes = () if found.value is None else found.value.changes
    issues += [StepIssue(Step.DATASET_MANIFEST, issue) for issue in found.issues]
    return SampleRecord(task.name, row, before, after, changes, tuple(issues))


def _find_regions(
    task: DescribeTask,
) -> tuple[tuple[tuple[float, SampleRegions], ...], tuple[tuple[float, SampleRegions], ...]]:
    opened = open_mask(task) if task.folder.mask.exists() else None
    if opened is None or isinstance(opened, Issue):
        return (), ()
    mask, info = opened
    find = (info.spacing_mm, task.thresholds_mm3, task.label_map, task.name)
    after = find_small_regions(mask, *find)
    if not is_denoised(info.description):
        return after, after
    restore = RestoreData(task.layout.restore)
    undenoised = restore.restore(task.name, task.folder.mask, mask)
    return (after if undenoised is None else find_small_regions(undenoised, *find)), after
