"""Affines: spacing, orientation, comparison. Axis order (x, y, z) as stored, millimetres, RAS+."""

from __future__ import annotations

import json

import numpy as np
from nibabel.affines import obliquity, voxel_sizes
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray

Affine = NDArray[np.float64]

# Obliquity above which axes do not count as aligned with the world, in radians.
ALIGNED_WITHIN_RAD = 1e-4
# Frobenius norm below which two affines are the same geometry (float32 rounding of headers).
SAME_AFFINE_NORM = 1e-4
# Relative difference that pixdim and the affine's column norms may have (headers are float32).
SAME_SPACING_RATIO = 1e-3
_OPPOSITE = str.maketrans("LRPAIS", "RLAPSI")


def spacing_mm(affine: Affine) -> tuple[float, float, float]:
    """Return the voxel size along x, y, z in mm: float32 column norms widened to float64.

    Parameters
    ----------
    affine : (4, 4) float64
        Voxel index to RAS+ mm.
    """
    with np.errstate(all="ignore"):  # of an affine that cannot be used, nor then its spacing
        norms = np.sqrt(np.sum(affine[:3, :3] ** 2, axis=0)).astype(np.float32)
    return (float(norms[0]), float(norms[1]), float(norms[2]))


def voxel_sizes_mm(affine: Affine) -> NDArray[np.float64]:
    """Return the (3,) float64 voxel size along x, y, z in mm, as nibabel does."""
    return np.asarray(voxel_sizes(affine), dtype=np.float64)


def shortest_decimal(value: float) -> float:
    """Return the float whose decimal form is the shortest that restores ``float32(value)``."""
    return float(str(np.float32(value)))


# What is_usable() denies, for issues.
UNUSABLE = "the affine is not finite or cannot be inverted"


def is_usable(affine: Affine) -> bool:
    """Return whether the affine is finite, also as float32, and invertible."""
    columns = affine[:3, :3]
    with np.errstate(all="ignore"):
        norms = np.sqrt(np.sum(columns**2, axis=0)).astype(np.float32)
        is_finite = np.isfinite(affine.astype(np.float32)).all()
    if not (is_finite and (norms > 0).all()):
        return False
    # Scaled to unit columns first: small voxels do not make an affine singular.
    return bool(abs(np.linalg.det(columns / norms)) > 1e-6)


def axis_codes(affine: Affine) -> str:
    """Return the directions the axes point to, such as ``LAS`` (nibabel's axis codes)."""
    return "".join(code or "?" for code in aff2axcodes(affine))


def orientation_to(affine: Affine) -> str:
    """Return the axis codes, as ``Oblique(closest to LAS)`` when not aligned with the world."""
    return _describe(affine, axis_codes(affine))


def orientation_from(affine: Affine) -> str:
    """Return the codes of the sides the axes start from, the opposites of the axis codes."""
    return _describe(affine, axis_codes(affine).translate(_OPPOSITE))


def _describe(affine: Affine, codes: str) -> str:
    return f"Oblique(closest to {codes})" if is_oblique(affine) else codes


def is_oblique(affine: Affine) -> bool:
    """Return whether any axis is turned by more than 1e-4 rad from its closest world axis."""
    with np.errstate(invalid="ignore"):  # arccos of 1 + rounding error is an aligned axis
        return bool(np.nanmax(obliquity(affine), initial=0.0) > ALIGNED_WITHIN_RAD)


def difference_norm(mask_affine: Affine, volume_affine: Affine) -> float:
    """Return the Frobenius norm of mask affine minus volume affine."""
    return float(np.linalg.norm(mask_affine - volume_affine))


def to_json(affine: Affine) -> str:
    """Return the affine as a nested JSON list from which ``json.loads`` restores it exactly."""
    return json.dumps(affine.tolist())


def same_spacing(pixdim_mm: tuple[float, ...], spacing: tuple[float, ...]) -> bool:
    """Return whether a header's pixdim agrees with the affine's spacing, within 0.1 %."""
    return all(
        np.isfinite(ours) and abs(ours - theirs) <= SAME_SPACING_RATIO * theirs
        for ours, theirs in zip(pixdim_mm, spacing, strict=True)
    )
