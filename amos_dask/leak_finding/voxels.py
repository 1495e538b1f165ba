"""What tells whether two organised scans have the same voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amos_dask.archive.listing import file_ref
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.issues import make_issue
from amos_dask.nifti import (
    ImageInfo,
    ImageReader,
    open_image,
    told_voxel_crc32,
    voxel_crc32,
    voxel_sha256,
)
from amos_dask.records import StepResult
from amos_dask.root.identity import gzip_trailer

# Raised when what is returned of the same volume would be another.
RESULT_VERSION = 1


@dataclass(frozen=True, slots=True)
class VolumeTask:
    """A volume to compare with others.

    Parameters
    ----------
    sample_id : str
        Its sample.
    path : Path
        Its file.
    shown_as : str
        The file for issues, POSIX and relative to ROOT_DIR.
    """

    sample_id: str
    path: Path
    shown_as: str

    @property
    def name(self) -> str:
        """The sample's id."""
        return self.sample_id


def checksum_voxels(task: VolumeTask) -> StepResult[str]:
    """Return what scans with the same voxels have in common, and hardly ever others.

    The checksum at the end of a file that we wrote tells it; other files are unpacked.
    """
    trailer = _trailer(task.path)

    def read(image: ImageReader) -> str:
        told = told_voxel_crc32(image, trailer)
        crc32 = voxel_crc32(image) if told is None else told
        return f"{_kind(image.info)} {crc32:08x}"

    return _read(task, read)


def digest_voxels(task: VolumeTask) -> StepResult[str]:
    """Return what only scans with the same voxels have in common; unpacks the volume."""
    return _read(task, lambda image: f"{_kind(image.info)} {voxel_sha256(image)}")


def _kind(info: ImageInfo) -> str:
    """Return what the same bytes may mean different voxels by."""
    return f"{info.shape} {info.stored_dtype.name} {info.slope} {info.inter}"


def _trailer(path: Path) -> bytes:
    try:
        return bytes.fromhex(gzip_trailer(path))
    except OSError:  # which opening the image says as well
        return b""


def _read(task: VolumeTask, read: Callable[[ImageReader], str]) -> StepResult[str]:
    try:
        with open_image(file_ref(task.path, task.shown_as)) as image:
            return StepResult(task.sample_id, read(image))
    except (UnreadableImageError, InaccessibleFileError) as error:
        issue = make_issue(
            "unreadable_volume",
            str(error),
            sample=task.sample_id,
            file=task.shown_as,
            action="not compared with other scans",
        )
        return StepResult(task.sample_id, None, (issue,))
