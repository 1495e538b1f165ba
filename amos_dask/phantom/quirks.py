"""What is odd about which scan of a phantom archive, and the NIfTI bytes that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from isal import igzip

from amos_dask.phantom.scan import Scan

Affine = npt.NDArray[np.float64]

# The largest value in the real MR scans; an int16 cannot hold it.
LARGEST_MR_VALUE: Final = 186_452
_GZIP_LEVEL: Final = 1


@dataclass(frozen=True)
class Plan:
    """How one scan is stored.

    Attributes
    ----------
    storage
        Axis codes of the stored volume.
    oblique
        Axes turned against the world, as with a tilted gantry.
    forms
        Which of the header's affines are set: "both", "sform" or "qform".
    mask_dtype
        Data type of the mask file.
    mask_affine
        Against the volume's: "same", "rounded" (differs by less than 1e-4), "shifted" (by some
        hundredths of a millimetre) or "flipped" (other axis codes).
    values
        "plain" int16, "offset" (int16 with scl_inter), "slope" (int16 with scl_slope),
        "big_slope" and "big_float" (up to `LARGEST_MR_VALUE`).
    one_frame
        The volume is four-dimensional with one frame.
    nnunet_name
        The image is called ``amos_0001_0000.nii.gz``.
    wrong_pixdim
        The header's pixdim contradicts its affine.
    missing
        Fields left empty in the csv: "sex", "age".
    """

    storage: str = "RAS"
    oblique: bool = False
    forms: str = "both"
    mask_dtype: str = "uint8"
    mask_affine: str = "same"
    values: str = "plain"
    one_frame: bool = False
    nnunet_name: bool = False
    wrong_pixdim: bool = False
    missing: tuple[str, ...] = ()


CT_PLANS: Final = (
    Plan(forms="sform"),
    Plan(storage="LAS", mask_dtype="int16"),
    Plan(storage="LAS", values="offset"),
    Plan(oblique=True, mask_dtype="int32", mask_affine="shifted"),
    Plan(storage="LAS", forms="qform", missing=("age",)),
    Plan(storage="PSR", mask_dtype="float64", missing=("sex",)),
    Plan(mask_affine="flipped", nnunet_name=True),
    Plan(forms="sform", one_frame=True, wrong_pixdim=True),
)
MRI_PLANS: Final = (
    Plan(storage="LPS", oblique=True, mask_dtype="int16", mask_affine="rounded", one_frame=True),
    Plan(values="big_slope", mask_dtype="float64", missing=("age",)),
    Plan(storage="LAS", values="big_float"),
    Plan(storage="LAS", forms="qform", values="slope", mask_affine="shifted"),
)


def quirk_names(plan: Plan, *, labelled: bool) -> tuple[str, ...]:
    """Names of what is odd in a scan stored after `plan`, sorted.

    Parameters
    ----------
    plan
        How the scan is stored.
    labelled
        Whether it has a mask at all.
    """
    names = [f"storage_{plan.storage.lower()}", *(f"missing_{one}" for one in plan.missing)]
    if plan.oblique:
        names.append("oblique")
    if plan.forms != "both":
        names.append(f"{plan.forms}_only")
    if plan.values != "plain":
        names.append(f"values_{plan.values}")
    names += [one for one in ("one_frame", "nnunet_name", "wrong_pixdim") if getattr(plan, one)]
    if labelled:
        names.append(f"mask_{plan.mask_dtype}")
        if plan.mask_affine != "same":
            names.append(f"mask_affine_{plan.mask_affine}")
    return tuple(sorted(names))


def storage_affine(scan: Scan, plan: Plan, origin_mm: npt.NDArray[np.float64]) -> Affine:
    """Voxel -> RAS+ mm of the scan as stored, (4, 4); `origin_mm` is the scan's corner."""
    affine = np.diag([*scan.spacing_mm, 1.0])
    affine[:3, 3] = origin_mm
    inverse = nib.orientations.inv_ornt_aff(_orientation(plan), scan.volume.shape)
    stored = affine @ inverse
    if plan.oblique:
        stored = _rotation(0.14, 0.05) @ stored
    return np.asarray(stored, np.float64)


def _orientation(plan: Plan) -> npt.NDArray[np.float64]:
    """Return the change from RAS to the plan's storage, as nibabel describes it, (3, 2)."""
    start = nib.orientations.axcodes2ornt("RAS")
    end = nib.orientations.axcodes2ornt(plan.storage)
    return np.asarray(nib.orientations.ornt_transform(start, end))


def _rotation(about_x: float, about_z: float) -> Affine:
    """Return a small turn, radians, (4, 4)."""
    cx, sx, cz, sz = np.cos(about_x), np.sin(about_x), np.cos(about_z), np.sin(about_z)
    tilt = np.array([[1, 0, 0, 0], [0, cx, -sx, 0], [0, sx, cx, 0], [0, 0, 0, 1.0]])
    turn = np.array([[cz, -sz, 0, 0], [sz, cz, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    return np.asarray(turn @ tilt, np.float64)


def stored(array: npt.NDArray[Any], plan: Plan) -> npt.NDArray[Any]:
    """Order and direct the axes of a RAS array (x, y, z) as the plan stores them."""
    return np.asarray(nib.orientations.apply_orientation(array, _orientation(plan)))


def volume_file(scan: Scan, plan: Plan, affine: Affine) -> bytes:
    """Return the gzipped NIfTI file of the intensities."""
    voxels = stored(scan.volume, plan)
    slope, inter = 1.0, 0.0
    if plan.values == "offset":
        voxels, inter = voxels + np.int16(1024), -1024.0
    elif plan.values == "slope":
        slope = 2.4371185
    elif plan.values == "big_slope":
        slope = LARGEST_MR_VALUE / float(voxels.max())
    elif plan.values == "big_float":
        voxels = (voxels * (LARGEST_MR_VALUE / float(voxels.max()))).astype(np.float32)
    if plan.one_frame:
        voxels = voxels[..., np.newaxis]
    header = _header(voxels, affine, plan.forms)
    # ITK writes 1 and 0 where nothing is scaled, nibabel writes nan: both occur.
    if plan.forms != "sform":
        header["scl_slope"], header["scl_inter"] = slope, inter
    if plan.wrong_pixdim:
        header["pixdim"][1:4] = 1.0
    return nifti_gz(header, voxels)


def mask_file(mask: npt.NDArray[np.uint8], plan: Plan, affine: Affine) -> bytes:
    """Return the gzipped NIfTI file of the labels; `mask` is in the plan's storage already."""
    voxels = mask.astype(plan.mask_dtype)
    affine = affine.copy()
    if plan.mask_affine == "rounded":
        affine[:3, 3] += 2e-5
    elif plan.mask_affine == "shifted":
        affine[:3, 3] += (0.02, -0.03, 0.01)
        affine[0, 0] *= 1.0005
    elif plan.mask_affine == "flipped":
        affine[0] *= -1.0
    return nifti_gz(_header(voxels, affine, plan.forms), voxels)


def _header(voxels: npt.NDArray[Any], affine: Affine, forms: str) -> Any:
    header = nib.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_xyzt_units("mm")
    # Also sets pixdim, which a header with an sform alone needs as well.
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    if forms == "sform":
        header["qform_code"] = 0
    elif forms == "qform":
        header["sform_code"] = 0
        header["srow_x"] = header["srow_y"] = header["srow_z"] = 0
    header["vox_offset"] = 352
    return header


def nifti_gz(header: Any, voxels: npt.NDArray[Any]) -> bytes:
    """Join a header and its voxels to a gzipped NIfTI file without a time in it."""
    raw = bytes(header.binaryblock) + bytes(4) + voxels.tobytes(order="F")
    return bytes(igzip.compress(raw, _GZIP_LEVEL, mtime=0))
