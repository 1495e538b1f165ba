"""What is odd about which scan of a phantom archive, and the NIfTI bytes that show it."""

from __future__ import annotations

import gzip
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat

from amos_dask.phantom.painting import Scan

Affine = npt.NDArray[np.float64]
Quirks = tuple[str, ...]

# The largest value in the real MR scans; an int16 cannot hold it.
LARGEST_MR_VALUE: Final = 186_452
_GZIP_LEVEL: Final = 1


def _table(*lines: str) -> tuple[Quirks, ...]:
    return tuple(tuple(sorted(line.split())) for line in lines)


# The first scan has the first line's, and so on. storage_*: axis codes of the voxels; mask_uint8
# ...: the mask's type; mask_affine_*: how it differs from the volume's; *_only: which of the
# header's affines is set; wrong_pixdim: it contradicts the affine; values_offset and _slope:
# scl_inter and scl_slope are set, values_big_*: up to `LARGEST_MR_VALUE`; missing_*: in the csv.
CT_QUIRKS: Final = _table(
    "storage_ras mask_uint8 sform_only",
    "storage_las mask_int16",
    "storage_las mask_uint8 values_offset",
    "storage_ras mask_int32 oblique mask_affine_shifted",
    "storage_las mask_uint8 qform_only missing_age",
    "storage_psr mask_float64 missing_sex",
    "storage_ras mask_uint8 mask_affine_flipped nnunet_name",
    "storage_ras mask_uint8 sform_only one_frame wrong_pixdim",
)
MRI_QUIRKS: Final = _table(
    "storage_lps mask_int16 oblique mask_affine_rounded one_frame",
    "storage_ras mask_float64 values_big_slope missing_age",
    "storage_las mask_uint8 values_big_float",
    "storage_las mask_uint8 qform_only values_slope mask_affine_shifted",
)
PLAIN: Final[Quirks] = ("mask_uint8", "storage_ras")


def mask_dtype(quirks: Quirks) -> str:
    """Return the name of the data type that masks are stored in."""
    names = (one[5:] for one in quirks if one.startswith("mask_") and "affine" not in one)
    return next(names, "uint8")


def ras_axes(quirks: Quirks) -> tuple[int, int, int]:
    """Return the axis in RAS of each axis as stored."""
    i, j, k = ("RLAPSI".index(code) // 2 for code in _storage(quirks))
    return i, j, k


def nifti_pair(
    scan: Scan, quirks: Quirks, corner_mm: npt.NDArray[np.float64]
) -> tuple[bytes, bytes]:
    """Return the gzipped NIfTI files of a scan, volume and mask, without a time in them.

    Parameters
    ----------
    scan
        Intensities of any type, also of several channels, and labels, both in RAS.
    quirks
        How it is stored.
    corner_mm
        Where the first voxel in RAS is, millimetres, (3,).
    """
    ornt = nib.orientations.axcodes2ornt
    turned = nib.orientations.ornt_transform(ornt("RAS"), ornt(_storage(quirks)))
    affine = from_matvec(np.diag(scan.spacing_mm), corner_mm)
    affine = affine @ nib.orientations.inv_ornt_aff(turned, scan.volume.shape[:3])
    if "oblique" in quirks:  # as with a tilted gantry
        affine = from_matvec(euler2mat(x=0.14, z=0.05)) @ affine
    volume = _volume_file(nib.orientations.apply_orientation(scan.volume, turned), quirks, affine)
    mask = nib.orientations.apply_orientation(scan.mask, turned).astype(mask_dtype(quirks))
    if "mask_affine_rounded" in quirks:  # by less than 1e-4
        affine[:3, 3] += 2e-5
    elif "mask_affine_shifted" in quirks:  # by some hundredths of a millimetre
        affine[:3, 3] += (0.02, -0.03, 0.01)
        affine[0, 0] *= 1.0005
    elif "mask_affine_flipped" in quirks:  # to other axis codes
        affine[0] *= -1.0
    return volume, _nifti_gz(_header(mask, affine, quirks), mask)


def _storage(quirks: Quirks) -> str:
    return next(name[-3:].upper() for name in quirks if name.startswith("storage_"))


def _volume_file(voxels: npt.NDArray[Any], quirks: Quirks, affine: Affine) -> bytes:
    slope, inter = 1.0, 0.0
    if "values_offset" in quirks:
        voxels, inter = voxels + np.int16(1024), -1024.0
    elif "values_slope" in quirks:
        slope = 2.4371185
    elif "values_big_slope" in quirks:
        slope = LARGEST_MR_VALUE / float(voxels.max())
    elif "values_big_float" in quirks:
        voxels = (voxels * (LARGEST_MR_VALUE / float(voxels.max()))).astype(np.float32)
    if "one_frame" in quirks:
        voxels = voxels[..., np.newaxis]
    header = _header(voxels, affine, quirks)
    # ITK writes 1 and 0 where nothing is scaled, nibabel writes nan: both occur.
    if "sform_only" not in quirks:
        header["scl_slope"], header["scl_inter"] = slope, inter
    if "wrong_pixdim" in quirks:
        header["pixdim"][1:4] = 1.0
    return _nifti_gz(header, voxels)


def _header(voxels: npt.NDArray[Any], affine: Affine, quirks: Quirks) -> Any:
    header = nib.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_xyzt_units("mm")
    # Also sets pixdim, which a header with an sform alone needs as well.
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    if "sform_only" in quirks:
        header["qform_code"] = 0
    elif "qform_only" in quirks:
        header["sform_code"] = 0
        header["srow_x"] = header["srow_y"] = header["srow_z"] = 0
    header["vox_offset"] = 352
    return header


def _nifti_gz(header: Any, voxels: npt.NDArray[Any]) -> bytes:
    raw = bytes(header.binaryblock) + bytes(4) + voxels.tobytes(order="F")
    return gzip.compress(raw, _GZIP_LEVEL, mtime=0)
