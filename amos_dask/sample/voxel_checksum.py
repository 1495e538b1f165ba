"""What only volumes with the same voxels have in common, without reading them where possible."""

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
from amos_dask.root.staging import gzip_trailer


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume to compare with others."""

    name: str  # the id of its sample
    path: Path
    shown_as: str  # in issues: POSIX, relative to ROOT_DIR


def tell_checksum(volume: Volume) -> str | None:
    """Return what `checksum_voxels` does, as far as the end of a file that we wrote tells it."""
    try:
        with open_image(file_ref(volume.path, volume.shown_as)) as image:
            told = told_voxel_crc32(image, bytes.fromhex(gzip_trailer(volume.path)))
            return None if told is None else f"{_kind(image.info)} {told:08x}"
    except (UnreadableImageError, InaccessibleFileError, OSError):
        return None  # said when it is to be unpacked


def checksum_voxels(volume: Volume) -> StepResult[str]:
    """Return what scans with the same voxels have in common, and hardly ever others."""
    return _read(volume, lambda image: f"{_kind(image.info)} {voxel_crc32(image):08x}")


def digest_voxels(volume: Volume) -> StepResult[str]:
    """Return what only scans with the same voxels have in common; unpacks the volume."""
    return _read(volume, lambda image: f"{_kind(image.info)} {voxel_sha256(image)}")


def _kind(info: ImageInfo) -> str:
    """Return what the same bytes may mean different voxels by."""
    return f"{info.shape} {info.stored_dtype.name} {info.slope} {info.inter}"


def _read(volume: Volume, read: Callable[[ImageReader], str]) -> StepResult[str]:
    try:
        with open_image(file_ref(volume.path, volume.shown_as)) as image:
            return StepResult(volume.name, read(image))
    except (UnreadableImageError, InaccessibleFileError, OSError) as error:
        issue = make_issue(
            "unreadable_volume",
            str(error),
            sample=volume.name,
            file=volume.shown_as,
            action="not compared with other scans",
        )
        return StepResult(volume.name, None, (issue,))
