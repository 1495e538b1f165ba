"""One sample of the archive, held against what it should be. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

from amos_dask.archive.ends import is_packed, read_ends
from amos_dask.errors import BadMaskError, InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import open_image, read_info
from amos_dask.records import FileRef, Kind, Sample, StepResult
from amos_dask.steps.header_check import check_headers, unreadable
from amos_dask.steps.mask import check_pair, read_mask
from amos_dask.verification.unpacking import is_told_length, unpack

_CANNOT_BE_READ = (UnreadableImageError, InaccessibleFileError)


@dataclass(frozen=True, slots=True)
class ArchiveCheck:
    """A sample of the archive to verify.

    Parameters
    ----------
    sample : Sample
        The sample.
    full : bool
        Unpack every voxel.
    """

    sample: Sample
    full: bool

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.sample.sample_id


@dataclass(frozen=True, slots=True)
class Seen:
    """What was looked at of a sample, or of several.

    Parameters
    ----------
    n_files : int
        Files.
    n_unseen_ends : int
        How many of them are packed in a zip, so that their ends were not seen.
    """

    n_files: int
    n_unseen_ends: int


def verify_sample(task: ArchiveCheck) -> StepResult[Seen]:
    """Verify the files of a sample in the archive.

    Headers are read, and the ends of each file are held against its header and the zip's
    directory. Voxels are unpacked when that is asked for, or where the ends do not agree: only so
    a damaged file is told from one of several gzip members.

    Returns
    -------
    StepResult of Seen
        What was looked at.
    """
    sample = task.sample
    found = list(check_headers(sample).issues)
    unusable = {issue.file for issue in found if issue.code.startswith("unreadable")}
    files: tuple[tuple[Kind, FileRef | None], ...]
    files = (("volume", sample.volume), ("mask", sample.mask))
    refs = [(kind, ref) for kind, ref in files if ref is not None]
    for kind, ref in refs:
        if ref.path not in unusable:
            found += _verify_file(sample, kind, ref, full=task.full)
    if not unusable:
        found += _verify_shapes(sample)
    nothing_done = (replace(issue, action="") for issue in found)
    n_unseen = 0 if task.full else sum(is_packed(ref) for _, ref in refs)
    return StepResult(task.name, Seen(len(refs), n_unseen), tuple(nothing_done))


def _verify_file(sample: Sample, kind: Kind, ref: FileRef, *, full: bool) -> list[Issue]:
    issue = partial(make_issue, sample=sample.sample_id, file=ref.path)
    try:
        ends = read_ends(ref)
        if ends.zip_fault:
            return [issue("damaged_zip", ends.zip_fault)]
        if not full and is_told_length(read_info(ref), ends.length):
            return []
        with open_image(ref) as image:
            if kind == "mask":
                read_mask(image)
            else:
                unpack(image)
    except _CANNOT_BE_READ as error:
        return [unreadable(sample, ref, kind, error)]
    except BadMaskError as error:
        return [issue(error.code, error.message)]
    if image.has_trailing_bytes:
        return [issue("trailing_bytes", "bytes follow the image")]
    return []


def _verify_shapes(sample: Sample) -> Iterator[Issue]:
    """Yield an issue when the headers of scan and mask tell different shapes."""
    if sample.volume is None or sample.mask is None:
        return
    try:
        volume, mask = read_info(sample.volume), read_info(sample.mask)
        check_pair(volume, mask, sample.sample_id, sample.mask.path)
    except BadMaskError as error:
        if error.code == "shape_mismatch":  # affines have been looked at already
            yield make_issue(
                error.code, error.message, sample=sample.sample_id, file=sample.mask.path
            )
    except _CANNOT_BE_READ:
        return  # said already
