"""Denoise: islands and pinholes on slices, and the mark in the header that says it was done."""

from __future__ import annotations

import re

from amos_dask.kernels import denoise_slices
from amos_dask.nifti import Mask
from amos_dask.records import DenoiseParams

# Raised when the result for the same input and parameters changes.
RESULT_VERSION = 1
_MARK = re.compile(r"amos-dask denoise v\d+ .*")


def describe_step(params: DenoiseParams) -> str:
    """Return the NIfTI ``descrip`` (at most 79 characters) of a mask denoised this way."""
    kx, ky = params.kernel_size
    return (
        f"amos-dask denoise v{RESULT_VERSION} kernel={kx}x{ky} "
        f"halfedge={params.filter_halfedge} mm2={float(params.region_area_thresh)!r}"
    )


def is_denoised(description: str) -> bool:
    """Return whether a ``descrip`` says that its mask was denoised, with any parameters."""
    return _MARK.fullmatch(description) is not None


def denoise_mask(mask: Mask, spacing_mm: tuple[float, float, float], params: DenoiseParams) -> Mask:
    """Return the denoised mask; the definition is in `amos_dask.kernels.denoise_slices`.

    Parameters
    ----------
    mask : (x, y, z) uint8
        Multi-label mask whose labels are all in the label map; not changed.
    spacing_mm : (float, float, float)
        Voxel size along x, y, z in mm.
    params : DenoiseParams
        Kernel (pixels), voting box, and area (mm2) below which slice regions are small.
    """
    return denoise_slices(
        mask,
        spacing_mm[:2],
        params.region_area_thresh,
        params.kernel_size,
        params.filter_halfedge,
    )
