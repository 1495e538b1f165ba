"""From the archive's volume and mask to a sample folder: info, float32 volume, uint8 mask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from amos_dask import geometry
from amos_dask.errors import BadMaskError, InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo, Mask, open_image, read_info, write_mask
from amos_dask.records import Sample, StepResult
from amos_dask.root.layout import SampleFolder, sample_folder
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import Staging, remove_leftovers
from amos_dask.steps.describe import info_yaml
from amos_dask.steps.header_check import bad_affine, unreadable
from amos_dask.steps.mask import check_pair, read_mask
from amos_dask.steps.volume import Watcher, convert_volume


@dataclass(frozen=True, slots=True)
class PairTask:
    """A sample to organise.

    Parameters
    ----------
    sample : Sample
        The sample.
    group : Path
        Folder of its modality's dataset.
    receipts : Receipts
        Of ROOT_DIR: what they list of the sample is removed unless written again.
    has_earlier_output : bool
        Whether there is a folder of the sample.
    """

    sample: Sample
    group: Path
    receipts: Receipts
    has_earlier_output: bool = False

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.sample.sample_id

    @property
    def folder(self) -> SampleFolder:
        """Where the sample goes."""
        return sample_folder(self.group, self.sample)


class EarlierOutputStaysError(Exception):
    """A file could not be read for reasons outside it: what is there from earlier is not touched.

    Parameters
    ----------
    issue : Issue
        Which file, and why.
    """

    def __init__(self, issue: Issue) -> None:
        super().__init__(issue)
        self.issue = replace(issue, action="earlier output, if any, left as it is")


def pair_sample(task: PairTask) -> StepResult[bool]:
    """Write a sample's info, volume and mask (tutorial routine 02).

    Returns
    -------
    StepResult of bool
        True when the sample was written, with or without a mask.
    """
    try:
        return _pair(task)
    except EarlierOutputStaysError as stop:
        return StepResult(task.name, None, (stop.issue,))


def _pair(task: PairTask) -> StepResult[bool]:
    folder = task.folder
    remove_leftovers(folder.path)
    with Staging() as staging:
        volume, issues = stage_volume(task.sample, folder, staging)
        mask = None
        if volume is not None:
            earlier = task.has_earlier_output
            mask, found = read_paired_mask(task.sample, volume, has_earlier_output=earlier)
            issues += found
            if mask is not None:
                write_mask(staging.path_for(folder.mask), volume, mask)
            staging.publish()
    if volume is None:
        task.receipts.remove_listed(task.name, keep=())
        return StepResult(task.name, None, tuple(issues))
    masks = (folder.mask,) if mask is not None else ()
    task.receipts.remove_listed(task.name, keep=(folder.info, folder.volume, *masks))
    return StepResult(task.name, True, tuple(issues))


def stage_volume(
    sample: Sample, folder: SampleFolder, staging: Staging, see: Watcher | None = None
) -> tuple[ImageInfo | None, list[Issue]]:
    """Stage a sample's info file and float32 volume, showing the values to who wants to see them.

    Parameters
    ----------
    sample : Sample
        As it lies in the archive.
    folder : SampleFolder
        Where it goes.
    staging : Staging
        Publishes both files, later.
    see : callable, optional
        Is shown all float32 values in file order, chunk by chunk.

    Returns
    -------
    info : ImageInfo or None
        The scan's own header; None when the scan cannot be used.
    issues : list of Issue
        Why not, or what is odd.

    Raises
    ------
    EarlierOutputStaysError
        When the scan cannot be read now, which says nothing about its voxels.
    """
    ref = sample.volume
    if ref is None:
        return None, []  # said when the archive was searched
    try:
        with open_image(ref) as image:
            if not geometry.is_usable(image.info.affine):
                return None, [bad_affine(sample.sample_id, ref.path, "volume")]
            all_finite = convert_volume(image, staging.path_for(folder.volume), see)
    except UnreadableImageError as error:
        return None, [unreadable(sample, ref, "volume", error)]
    except InaccessibleFileError as error:
        raise EarlierOutputStaysError(unreadable(sample, ref, "volume", error)) from error
    staging.write_text(folder.info, info_yaml(sample))
    issues = []
    if image.has_trailing_bytes:
        issues.append(_oddity(sample, "trailing_bytes", "bytes follow the image", ref.path))
    if not all_finite:
        issues.append(_oddity(sample, "non_finite_voxels", "NaN or infinite voxels", ref.path))
    return image.info, issues


def look_at_volume(sample: Sample) -> tuple[ImageInfo | None, list[Issue]]:
    """Read the header of a sample's scan.

    Returns
    -------
    info : ImageInfo or None
        The scan's own header; None when the scan cannot be used.
    issues : list of Issue
        Why not.

    Raises
    ------
    EarlierOutputStaysError
        When the scan cannot be read now, which says nothing about its voxels.
    """
    ref = sample.volume
    if ref is None:
        return None, []  # said when the archive was searched
    try:
        info = read_info(ref)
    except UnreadableImageError as error:
        return None, [unreadable(sample, ref, "volume", error)]
    except InaccessibleFileError as error:
        raise EarlierOutputStaysError(unreadable(sample, ref, "volume", error)) from error
    if not geometry.is_usable(info.affine):
        return None, [bad_affine(sample.sample_id, ref.path, "volume")]
    return info, []


def read_paired_mask(
    sample: Sample, volume: ImageInfo, *, has_earlier_output: bool
) -> tuple[Mask | None, list[Issue]]:
    """Read a sample's mask for a volume, given the scan's own header.

    Returns
    -------
    mask : (x, y, z) uint8 or None
        None without a usable mask.
    issues : list of Issue
        Why it cannot be used, or what was repaired.
    """
    ref = sample.mask
    if ref is None:
        return None, []
    try:
        with open_image(ref) as image:
            issues = check_pair(volume, image.info, sample.sample_id, ref.path)
            mask = read_mask(image)
    except UnreadableImageError as error:
        return None, [unreadable(sample, ref, "mask", error)]
    except InaccessibleFileError as error:
        if has_earlier_output:
            raise EarlierOutputStaysError(unreadable(sample, ref, "mask", error)) from error
        return None, [unreadable(sample, ref, "mask", error)]
    except BadMaskError as error:
        return None, [_oddity(sample, error.code, error.message, ref.path, "no mask written")]
    if image.has_trailing_bytes:
        issues.append(_oddity(sample, "trailing_bytes", "bytes follow the image", ref.path))
    return mask, issues


def _oddity(sample: Sample, code: str, message: str, path: str, action: str = "") -> Issue:
    return make_issue(code, message, sample=sample.sample_id, file=path, action=action)
