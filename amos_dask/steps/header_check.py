"""Header check: what the headers of a scan and its mask say, without decoding a voxel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from amos_dask import geometry
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo, read_info
from amos_dask.records import FileHeader, FileRef, HeaderCheck, Kind, Sample

# Raised when what is said of the same headers changes: they are read again then.
RESULT_VERSION = 1


def check_headers(sample: Sample) -> HeaderCheck:
    """Read the headers of a sample's files and check them.

    Parameters
    ----------
    sample : Sample
        With a volume, a mask, or both.

    Returns
    -------
    HeaderCheck
        A row for each file, the volume first, and the issues found. An unreadable header gives a
        row without geometry and an ``error``.
    """
    issues: list[Issue] = []
    volume = _read(sample, sample.volume, "volume", issues)
    mask = _read(sample, sample.mask, "mask", issues)
    rows = []
    if sample.volume is not None:
        rows.append(_describe(sample.volume, "volume", volume))
    if sample.mask is not None:
        row = _describe(sample.mask, "mask", mask)
        if volume is not None and mask is not None:
            norm = geometry.difference_norm(mask.affine, volume.affine)
            row = replace(row, diff_trans_f_norm=norm if np.isfinite(norm) else None)
        rows.append(row)
    return HeaderCheck(sample.sample_id, tuple(rows), tuple(issues), RESULT_VERSION)


def unchecked_headers(sample: Sample) -> HeaderCheck:
    """Return what is known of headers that nobody could look at: rows without geometry."""
    files: tuple[tuple[Kind, FileRef | None], ...]
    files = (("volume", sample.volume), ("mask", sample.mask))
    rows = tuple(_describe(ref, kind, None) for kind, ref in files if ref is not None)
    return HeaderCheck(sample.sample_id, rows, ())


def _read(sample: Sample, ref: FileRef | None, kind: Kind, issues: list[Issue]) -> ImageInfo | None:
    if ref is None:
        return None
    try:
        info = read_info(ref)
    except (UnreadableImageError, InaccessibleFileError) as error:
        issues.append(unreadable(sample, ref, kind, error))
        return None
    issues.extend(_check_geometry(sample.sample_id, ref, info, kind))
    return info


def unreadable(sample: Sample, ref: FileRef, kind: Kind, error: Exception) -> Issue:
    """Return the issue of a file that cannot be read."""
    issue = _unusable(sample.sample_id, ref.path, kind, f"unreadable_{kind}", str(error))
    if isinstance(error, InaccessibleFileError):  # as all steps say it, so that it is said once
        return replace(issue, action="earlier output, if any, left as it is")
    return issue


def bad_affine(sample_id: str, path: str, kind: Kind) -> Issue:
    """Return the issue of a file whose affine is not finite or cannot be inverted."""
    return _unusable(sample_id, path, kind, "bad_affine", geometry.UNUSABLE)


def _unusable(sample_id: str, path: str, kind: Kind, code: str, message: str) -> Issue:
    action = "nothing written" if kind == "volume" else "no mask written"
    return make_issue(code, message, sample=sample_id, file=path, action=action)


def _check_geometry(sample_id: str, ref: FileRef, info: ImageInfo, kind: Kind) -> Iterator[Issue]:
    if not geometry.is_usable(info.affine):
        yield bad_affine(sample_id, ref.path, kind)
    elif not geometry.same_spacing(info.pixdim_mm, info.spacing_mm):
        shown = " x ".join(f"{size:g}" for size in info.pixdim_mm)
        ours = " x ".join(f"{size:g}" for size in info.spacing_mm)
        yield make_issue(
            "bad_spacing",
            f"pixdim says {shown} mm, the affine {ours} mm",
            sample=sample_id,
            file=ref.path,
            action="the affine's spacing is used",
        )


def _describe(ref: FileRef, kind: Kind, info: ImageInfo | None) -> FileHeader:
    if info is None:
        return FileHeader(ref.path, kind)
    usable = geometry.is_usable(info.affine)
    finite = bool(np.isfinite(info.affine).all())
    return FileHeader(
        file_path=ref.path,
        kind=kind,
        shape=info.shape,
        pixdim_mm=info.pixdim_mm,
        orientation_from=geometry.orientation_from(info.affine) if usable else None,
        orientation_to=geometry.orientation_to(info.affine) if usable else None,
        dtype=info.dtype,
        affine_json=geometry.to_json(info.affine) if finite else None,
    )
