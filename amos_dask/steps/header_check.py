"""Header check: what the headers of a scan and its mask say, without decoding a voxel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from amos_dask import geometry
from amos_dask.datasets import Kind
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef
from amos_dask.issues import Issue, make_issue
from amos_dask.nifti import ImageInfo, ImageReader, read_info
from amos_dask.records import FileHeader, HeaderCheck, Sample

# Raised when what is said of the same headers changes: they are read again then.
RESULT_VERSION = 2
# Voxel sizes in mm of scans of people.
_PLAUSIBLE_MM = (0.1, 10.0)
# Share of the grid's diagonal that sform and qform, or files of one scan, may be apart at a corner.
# Rounding of a quaternion to float32 puts them up to half of it apart.
_FORMS_APART = 0.002


def check_headers(sample: Sample) -> HeaderCheck:
    """Read the headers of a sample's files and check them.

    Returns
    -------
    HeaderCheck
        A row for each file, the volume first, and the issues found. An unreadable header gives a
        row without geometry and an ``error``.
    """
    sample_id, n_channels, files = sample.sample_id, sample.n_channels_a_file, sample.files
    issues, rows = list[Issue](), list[FileHeader]()
    first: dict[Kind, ImageInfo | None] = {}
    for kind, ref in files:
        info = None
        try:
            info = read_info(ref, n_channels if kind == "volume" else 1)
        except (UnreadableImageError, InaccessibleFileError) as error:
            issues.append(unreadable(sample, ref, kind, error))
        # What is odd about the first of several files, on one grid, is told of it alone.
        is_first, volume = kind not in first, first.get("volume")
        first.setdefault(kind, info)
        row = _describe(ref, kind, info)
        if info is not None and row.orientation_to is None:
            issues.append(bad_affine(sample_id, ref.path, kind))
        elif info is not None and is_first:
            of = partial(make_issue, sample=sample_id, file=ref.path)
            issues += [of(code, told, action=action) for code, told, action in _oddities(info)]
        if kind == "mask" and volume is not None and info is not None:
            norm = geometry.difference_norm(info.affine, volume.affine)
            row = replace(row, diff_trans_f_norm=norm if np.isfinite(norm) else None)
        rows.append(row)
    return HeaderCheck(sample_id, tuple(rows), tuple(issues), RESULT_VERSION)


def unchecked_headers(sample: Sample) -> HeaderCheck:
    """Return what is known of headers that nobody could look at: rows without geometry."""
    rows = tuple(_describe(ref, kind, None) for kind, ref in sample.files)
    return HeaderCheck(sample.sample_id, rows, ())


def unreadable(sample: Sample, ref: FileRef, kind: Kind, error: Exception) -> Issue:
    """Return the issue of a file that cannot be read."""
    issue = _unusable(sample.sample_id, ref.path, kind, f"unreadable_{kind}", str(error))
    if isinstance(error, InaccessibleFileError):  # as all steps say it, so that it is said once
        return replace(issue, action="earlier output, if any, left as it is")
    return issue


def check_tail(image: ImageReader) -> list[tuple[str, str]]:
    """Return code and message of what follows an image that was read to its end."""
    return [("trailing_bytes", "bytes follow the image")] if image.has_trailing_bytes else []


def require_same_grid(first: ImageInfo, other: ImageInfo) -> None:
    """Raise `UnreadableImageError` where an image is not on the grid of the first of several."""
    if other.shape != first.shape:
        raise UnreadableImageError(f"has the shape {other.shape}, the first file {first.shape}")
    distance_mm, diagonal_mm = geometry.farthest_apart(other.affine, first.affine, first.shape)
    if not distance_mm <= _FORMS_APART * diagonal_mm:
        raise UnreadableImageError(
            f"lies up to {distance_mm:.4g} mm from the first file, on another grid"
        )


def bad_affine(sample_id: str, path: str, kind: Kind) -> Issue:
    """Return the issue of a file whose affine is not finite or cannot be inverted."""
    return _unusable(sample_id, path, kind, "bad_affine", geometry.UNUSABLE)


def _unusable(sample_id: str, path: str, kind: Kind, code: str, message: str) -> Issue:
    action = "nothing written" if kind == "volume" else "no mask written"
    return make_issue(code, message, sample=sample_id, file=path, action=action)


def _oddities(info: ImageInfo) -> Iterator[tuple[str, str, str]]:
    """Yield code, message and action of what is odd about a usable affine."""
    sizes = _shown(info.spacing_mm)
    said = f"xyzt_units says {info.unit}"
    if info.unit != "mm" and info.mm_per_unit == 1:
        yield "units_implausible", f"{said}, of voxels of {sizes}", "taken as mm"
    elif info.unit != "mm":
        yield "units_converted", said, f"converted to voxels of {sizes} mm"
    if not geometry.same_spacing(info.pixdim_mm, info.spacing_mm):
        message = f"pixdim says {_shown(info.pixdim_mm)} mm, the affine {sizes} mm"
        yield "bad_spacing", message, "the affine's spacing is used"
    lowest, highest = _PLAUSIBLE_MM
    if not lowest <= min(info.spacing_mm) <= max(info.spacing_mm) <= highest:
        message = f"voxels of {sizes} mm are none of a scan of a person"
        yield "implausible_spacing", message, "taken as they are"
    if info.other_affine is not None:
        yield from _compare_forms(info, info.other_affine)
    if not geometry.has_right_angles(info.affine):
        # A qform of the file's own has right angles, and is then what ITK goes by.
        readers = "ITK, SimpleITK and nnU-Net's default reader"
        refused = "refuse the file" if info.other_affine is None else "read the file by its qform"
        if info.form == "itk":
            refused = "read the file as it is"
        message = f"the axes are not at right angles: {readers} {refused}"
        yield "not_orthonormal", message, "kept; they read what is written by its qform"


def _compare_forms(info: ImageInfo, other: geometry.Affine) -> Iterator[tuple[str, str, str]]:
    distance, diagonal = geometry.farthest_apart(info.affine, other, info.shape)
    if distance <= _FORMS_APART * diagonal:
        return
    not_taken = "qform" if info.form == "sform" else "sform"
    message = f"the {info.form} says {_describe_form(info.affine)}, "
    message += f"the {not_taken} {_describe_form(other)}"
    if np.isfinite(distance):
        message += f"; up to {distance:.4g} mm apart"
    yield "forms_disagree", message, f"the {info.form} is used"


def _describe_form(affine: geometry.Affine) -> str:
    if not geometry.is_usable(affine):
        return "nothing that can be used"
    origin = ", ".join(f"{place:.6g}" for place in affine[:3, 3])
    spacing, codes = _shown(geometry.spacing_mm(affine)), geometry.axis_codes(affine)
    return f"{spacing} mm, {codes} from ({origin})"


def _shown(sizes: tuple[float, ...]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)


def _describe(ref: FileRef, kind: Kind, info: ImageInfo | None) -> FileHeader:
    if info is None:
        return FileHeader(ref.path, kind)
    return FileHeader(
        file_path=ref.path,
        kind=kind,
        shape=info.shape,
        pixdim_mm=info.pixdim_mm,
        dtype=info.dtype,
        **geometry.describe(info.affine),
    )
