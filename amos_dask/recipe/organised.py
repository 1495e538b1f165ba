"""The steps of the tutorial on one organised sample folder, each from its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amos_dask import geometry
from amos_dask.archive.sources import file_ref
from amos_dask.errors import BadMaskError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import LabelMap
from amos_dask.nifti import ImageInfo, Mask, open_image, read_info, write_mask
from amos_dask.records import DenoiseParams, Metadata, SampleFiles, SampleRegions, StepResult
from amos_dask.stages.binary_masks import check_labels, write_binary_masks
from amos_dask.stages.denoise import denoise_mask, describe_step, is_denoised
from amos_dask.stages.describe import describe_files, parse_info_yaml
from amos_dask.stages.mask import read_mask
from amos_dask.stages.regions import find_small_regions
from amos_dask.stages.relabel import check_sex, labels_present, split_prostate_uterus
from amos_dask.store.layout import Layout, SampleFolder
from amos_dask.store.restore import RestoreData
from amos_dask.store.staging import Staging, remove_leftovers

# Result of denoising a mask that was denoised with the same parameters before.
ALREADY_DONE = -1


@dataclass(frozen=True, slots=True)
class FolderTask:
    """An organised sample to work on.

    Parameters
    ----------
    folder : SampleFolder
        The sample's files.
    layout : Layout
        ROOT_DIR, to which paths in issues are relative.
    label_map : LabelMap
        The labels a mask may hold.
    """

    folder: SampleFolder
    layout: Layout
    label_map: LabelMap

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.folder.sample_id

    def shown(self, path: Path) -> str:
        """Return a path as issues show it."""
        try:
            return path.relative_to(self.layout.root).as_posix()
        except ValueError:
            return path.name


def split_sample(task: FolderTask) -> StepResult[bool]:
    """Give label 15 its place by the patient's sex (tutorial routine 03).

    Returns
    -------
    StepResult of bool
        Whether the mask was changed.
    """
    opened = _open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    try:
        _, _, metadata = _read_info_file(task.folder)
    except ValueError as error:
        return StepResult(task.name, None, (_bad_info(task, error),))
    present = labels_present(mask)
    split = split_prostate_uterus(mask, metadata.sex, present)
    if split is not mask:
        with Staging() as staging:
            path = staging.path_for(task.folder.mask)
            write_mask(path, info, split, info.description)
            staging.publish()
    issues = check_sex(present, metadata.sex, task.name, task.shown(task.folder.mask))
    return StepResult(task.name, split is not mask, tuple(issues))


def extract_binary_masks(task: FolderTask) -> StepResult[int]:
    """Write a binary mask for each label of the map (tutorial routine 04).

    Returns
    -------
    StepResult of int
        Number of files written.
    """
    opened = _open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    present = labels_present(mask)
    issues = tuple(check_labels(present, task.label_map, task.name, task.shown(task.folder.mask)))
    paths = {}
    with Staging() as staging:
        if not task.label_map.unknown(present):
            paths = _stage_binary_masks(task.label_map, task.folder, mask, info, present, staging)
        staging.publish()
    for path in task.folder.binary_masks():
        if path not in paths.values():
            path.unlink()
    return StepResult(task.name, len(paths), issues)


@dataclass(frozen=True, slots=True)
class RegionsTask(FolderTask):
    """An organised sample whose small regions are wanted.

    Parameters
    ----------
    threshold_mm3 : float
        Regions strictly below this volume are small.
    """

    threshold_mm3: float


def find_sample_regions(task: RegionsTask) -> StepResult[SampleRegions]:
    """Find the small regions of a sample's mask."""
    opened = _open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    found = find_small_regions(
        mask, info.spacing_mm, (task.threshold_mm3,), task.label_map, task.name
    )
    return StepResult(task.name, found[0][1])


@dataclass(frozen=True, slots=True)
class DenoiseTask(FolderTask):
    """An organised sample to denoise.

    Parameters
    ----------
    params : DenoiseParams
        How.
    output : SampleFolder
        Where the mask and its binary masks go; the sample's own folder to work in place.
    """

    params: DenoiseParams
    output: SampleFolder


def denoise_sample(task: DenoiseTask) -> StepResult[int]:
    """Denoise a sample's mask and write it with its binary masks.

    A mask that was denoised with the same parameters is not denoised again; with others, the
    undenoised mask is restored first.

    Returns
    -------
    StepResult of int
        Number of voxels that changed, or `ALREADY_DONE`; None when it could not be done.
    """
    opened = _open_mask(task)
    if isinstance(opened, Issue):
        return StepResult(task.name, None, (opened,))
    mask, info = opened
    present = labels_present(mask)
    issues = tuple(check_labels(present, task.label_map, task.name, task.shown(task.folder.mask)))
    if task.label_map.unknown(present):
        return StepResult(task.name, None, issues)
    in_place = task.output.path == task.folder.path
    done = info.description == describe_step(task.params)
    if done and in_place and _has_binary_masks(task):
        return StepResult(task.name, ALREADY_DONE, issues)
    restore = RestoreData(task.layout.state / "restore")
    if is_denoised(info.description) and not done:
        restored = restore.restore(task.name, task.folder.mask, mask)
        if restored is None:
            return StepResult(task.name, None, (*issues, _not_restorable(task)))
        mask = restored
    final = mask if done else denoise_mask(mask, info.spacing_mm, task.params)
    remove_leftovers(task.output.path)
    kept: Path | None = None
    with Staging() as staging:
        staged = staging.path_for(task.output.mask)
        write_mask(staged, info, final, describe_step(task.params))
        if not done:
            kept = restore.stage(staging, task.name, staged, mask, final)
        _stage_binary_masks(
            task.label_map, task.output, final, info, labels_present(final), staging
        )
        staging.publish(last=task.output.mask)
    if in_place and not done:
        restore.forget_others(task.name, kept)
    return StepResult(task.name, ALREADY_DONE if done else int((mask != final).sum()), issues)


def is_restorable(task: DenoiseTask) -> bool:
    """Return whether a mask can be denoised: it was not, or the same way, or can be had back.

    Reads the header only.
    """
    try:
        description = _read_header(task.folder.mask).description
    except UnreadableImageError:
        return True  # the task itself says what is wrong with it
    if not is_denoised(description) or description == describe_step(task.params):
        return True
    restore = RestoreData(task.layout.state / "restore")
    return restore.path_for(task.name, task.folder.mask).exists()


def describe_sample(task: FolderTask) -> StepResult[tuple[SampleFiles, tuple[str, ...]]]:
    """Describe a sample's files for the dataset manifest (tutorial routine 05).

    Returns
    -------
    StepResult of (SampleFiles, tuple of str)
        The row, and the inconsistencies found between the sample's files.
    """
    folder = task.folder
    try:
        seq, subset, metadata = _read_info_file(folder)
        volume = _read_header(folder.volume)
    except (ValueError, UnreadableImageError) as error:
        if isinstance(error, ValueError):
            return StepResult(task.name, None, (_bad_info(task, error),))
        return StepResult(task.name, None, (_unreadable(task, folder.volume, "volume", error),))
    problems = [] if seq == folder.seq else [f"{task.shown(folder.info)}: seq is {seq!r}"]
    mask_dtype: str | None = None
    present: tuple[int, ...] | None = None
    binary: tuple[int, ...] = ()
    issues: tuple[Issue, ...] = ()
    if folder.mask.exists():
        opened = _open_mask(task)
        if isinstance(opened, Issue):
            issues = (opened,)
        else:
            mask, info = opened
            problems += _compare(task, folder.mask, info, volume, info.dtype)
            mask_dtype, present = info.dtype, labels_present(mask)
            binary, found, issues = _check_binary_masks(task, volume, info.dtype)
            problems += found
    row = describe_files(
        seq=folder.seq,
        subset=subset,
        metadata=metadata,
        folder=folder.path.as_posix(),
        volume=volume,
        mask_dtype=mask_dtype,
        labels_present=present,
        binary_labels=binary,
    )
    return StepResult(task.name, (row, tuple(problems)), issues)


def _check_binary_masks(
    task: FolderTask, volume: ImageInfo, mask_dtype: str
) -> tuple[tuple[int, ...], list[str], tuple[Issue, ...]]:
    labels, problems, issues = [], [], []
    for label, column in task.label_map.columns().items():
        path = task.folder.binary_mask(column)
        if not path.exists():
            continue
        try:
            info = _read_header(path)
        except UnreadableImageError as error:
            issues.append(_unreadable(task, path, "mask", error))
            continue
        labels.append(label)
        problems += _compare(task, path, info, volume, mask_dtype)
    return tuple(labels), problems, tuple(issues)


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


def _open_mask(task: FolderTask) -> tuple[Mask, ImageInfo] | Issue:
    path = task.folder.mask
    try:
        with open_image(file_ref(path, task.shown(path))) as image:
            return read_mask(image), image.info
    except UnreadableImageError as error:
        return _unreadable(task, path, "mask", error)
    except BadMaskError as error:
        return make_issue(error.code, error.message, sample=task.name, file=task.shown(path))


def _read_header(path: Path) -> ImageInfo:
    return read_info(file_ref(path, path.name))


def _read_info_file(folder: SampleFolder) -> tuple[str, str, Metadata]:
    try:
        return parse_info_yaml(folder.info.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot be read ({error})") from error


def _bad_info(task: FolderTask, error: ValueError) -> Issue:
    return make_issue(
        "bad_info_file", str(error), sample=task.name, file=task.shown(task.folder.info)
    )


def _unreadable(task: FolderTask, path: Path, kind: str, error: UnreadableImageError) -> Issue:
    return make_issue(f"unreadable_{kind}", str(error), sample=task.name, file=task.shown(path))


def _not_restorable(task: FolderTask) -> Issue:
    return make_issue(
        "not_restorable",
        "denoised with other parameters, and the undenoised mask is not kept",
        sample=task.name,
        file=task.shown(task.folder.mask),
        action="mask left as it is; write it anew with confirm-pairs, then denoise",
    )


def _has_binary_masks(task: FolderTask) -> bool:
    columns = task.label_map.columns().values()
    return all(task.folder.binary_mask(column).exists() for column in columns)


def _stage_binary_masks(
    label_map: LabelMap,
    folder: SampleFolder,
    mask: Mask,
    info: ImageInfo,
    present: tuple[int, ...],
    staging: Staging,
) -> dict[int, Path]:
    finals = {label: folder.binary_mask(c) for label, c in label_map.columns().items()}
    staged = {label: staging.path_for(final) for label, final in finals.items()}
    write_binary_masks(staged, mask, present, info)
    return finals
