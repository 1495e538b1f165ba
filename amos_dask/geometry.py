"""Affines: spacing, orientation, comparison. Axis order (x, y, z) as stored, millimetres, RAS+."""

from __future__ import annotations

import json
import math
from itertools import product
from operator import mul
from typing import Any

import numpy as np
from nibabel.affines import obliquity, voxel_sizes
from nibabel.orientations import (
    aff2axcodes,
    apply_orientation,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from numpy.typing import NDArray

from amos_dask.errors import AmosDaskError

Affine = NDArray[np.float64]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
# Obliquity above which axes do not count as aligned with the world, in radians.
ALIGNED_WITHIN_RAD = 1e-4
# Frobenius norm below which two affines are the same geometry (float32 rounding of headers).
SAME_AFFINE_NORM = 1e-4
# Relative difference that pixdim and the affine's column norms may have (headers are float32).
SAME_SPACING_RATIO = 1e-3
# How far the products of two rows of an affine's unit axes may be from those of right angles
# before SimpleITK refuses the file: found with SimpleITK 2.5.7 (ITK 5.4), which reads 1.0e-4 and
# refuses 1.0001e-4 for shears along any axis, under rotations, flips and any spacing.
RIGHT_ANGLES_WITHIN = 1e-4
# Difference of two grids in voxels, for each voxel, up to which they are the same.
_SAME_GRID_WITHIN = 1e-4
_CODES = ("LR", "PA", "IS")
_CORNERS = np.array(list(product((0.0, 1.0), repeat=3)))
_OPPOSITE = str.maketrans("LRPAIS", "RLAPSI")


def from_lps(
    direction: tuple[float, ...], spacing: tuple[float, ...], origin: tuple[float, ...]
) -> Affine:
    """Return the affine, (4, 4) float64 and RAS+ mm, of an image of n >= 3 axes as ITK tells it.

    Parameters
    ----------
    direction : tuple of n * n float
        Row by row, a matrix whose columns are the directions of the axes in LPS+.
    spacing, origin : tuple of n float
        Voxel size along each axis, and the centre of the first voxel in LPS+; mm.
    """
    n_axes, affine = len(spacing), np.eye(4)
    axes = np.reshape(direction, (n_axes, n_axes)) * spacing
    with np.errstate(all="ignore"):  # of what is not finite, which makes the affine unusable
        affine[:3, :3] = _LPS_TO_RAS @ axes[:3, :3]
        affine[:3, 3] = _LPS_TO_RAS @ np.array(origin[:3])
    return affine + 0.0  # no negative zeros


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
    columns, norms = affine[:3, :3], np.array(spacing_mm(affine))
    with np.errstate(all="ignore"):
        is_finite = np.isfinite(affine.astype(np.float32)).all()
    if not (is_finite and (norms > 0).all()):
        return False
    # Scaled to unit columns first: small voxels do not make an affine singular.
    return bool(abs(np.linalg.det(columns / norms)) > 1e-6)


def axis_codes(affine: Affine) -> str:
    """Return the directions the axes point to, such as ``LAS`` (nibabel's axis codes)."""
    codes = _aligned_codes(affine)
    return codes or "".join(code or "?" for code in aff2axcodes(affine))


def _aligned_codes(affine: Affine) -> str | None:
    """Return the axis codes of an affine that is exactly aligned with the world, else None.

    Most are, and nibabel's answer takes a third of a header check.
    """
    axes, world = np.nonzero(affine[:3, :3].T)
    if axes.tolist() != [0, 1, 2] or sorted(world.tolist()) != [0, 1, 2]:
        return None
    return "".join(_CODES[w][int(affine[w, axis] > 0)] for axis, w in enumerate(world.tolist()))


def orientation_to(affine: Affine) -> str:
    """Return the axis codes, as ``Oblique(closest to LAS)`` when not aligned with the world."""
    codes = axis_codes(affine)
    return f"Oblique(closest to {codes})" if is_oblique(affine) else codes


def describe(affine: Affine) -> dict[str, Any]:
    """Return an affine as manifests show it, by the names of `FileHeader`'s fields.

    ``orientation_to`` says where the axes point to, ``orientation_from`` where they come from;
    None of an affine that cannot be used. ``affine_json`` is None where it is not finite.
    """
    to = orientation_to(affine) if is_usable(affine) else None
    return {
        "orientation_from": None if to is None else to.translate(_OPPOSITE),
        "orientation_to": to,
        "affine_json": to_json(affine) if np.isfinite(affine).all() else None,
    }


def is_oblique(affine: Affine) -> bool:
    """Return whether any axis is turned by more than 1e-4 rad from its closest world axis."""
    if _aligned_codes(affine) is not None:
        return False
    with np.errstate(invalid="ignore"):  # arccos of 1 + rounding error is an aligned axis
        return bool(np.nanmax(obliquity(affine), initial=0.0) > ALIGNED_WITHIN_RAD)


def difference_norm(mask_affine: Affine, volume_affine: Affine) -> float:
    """Return the Frobenius norm of mask affine minus volume affine."""
    return float(np.linalg.norm(mask_affine - volume_affine))


def is_same(one: Affine, other: Affine) -> bool:
    """Return whether two affines are the same geometry, but for the rounding of headers."""
    return difference_norm(one, other) <= SAME_AFFINE_NORM


def has_right_angles(affine: Affine) -> bool:
    """Return whether the axes are at right angles, as far as SimpleITK's NIfTI reader goes."""
    axes = affine[:3, :3] / np.sqrt(np.sum(affine[:3, :3] ** 2, axis=0))
    return bool(np.abs(axes @ axes.T - np.eye(3)).max() <= RIGHT_ANGLES_WITHIN)


def farthest_apart(one: Affine, other: Affine, shape: tuple[int, ...]) -> tuple[float, float]:
    """Return how far apart two affines put the corners of a grid.

    Parameters
    ----------
    one, other : (4, 4) float64
        Voxel index to RAS+ mm.
    shape : (int, int, int)
        Voxels along x, y, z.

    Returns
    -------
    distance_mm : float
        The largest distance between the two places of a corner; corners are those of the outer
        voxels, not their centres. NaN where an affine is not finite.
    diagonal_mm : float
        The diagonal of the grid under the first affine.
    """
    with np.errstate(all="ignore"):
        difference = (one - other)[:3]
        apart = (_CORNERS * shape - 0.5) @ difference[:, :3].T + difference[:, 3]
        distance = math.sqrt((apart * apart).sum(axis=1).max())
    return distance, math.hypot(*map(mul, spacing_mm(one), shape))


Turn = NDArray[np.float64]


def find_turn(volume: Affine, mask: Affine, mask_shape: tuple[int, ...]) -> Turn | None:
    """Return how a mask's grid lies on its volume's, where it is the volume's turned over.

    Parameters
    ----------
    volume, mask : (4, 4) float64
        Voxel index to RAS+ mm.
    mask_shape : (int, int, int)
        Voxels of the mask.

    Returns
    -------
    (3, 2) float64 or None
        Flips and permutation of the mask's axes that give the volume's order, as of
        `nibabel.orientations`. None where these do not make the affines equal, to 1e-4 of a voxel
        for each voxel, where nothing is to be turned, and where an affine cannot be used.
    """
    if not (is_usable(volume) and is_usable(mask)):
        return None
    to_volume = np.linalg.solve(volume, mask)
    turn = io_orientation(to_volume)
    if np.isnan(turn).any() or not is_a_turn(turn):
        return None
    difference = np.abs(to_volume @ inv_ornt_aff(turn, mask_shape) - np.eye(4))
    difference[:3, 3] /= max(mask_shape)  # a flip moves the origin by the error of every voxel
    return turn if difference.max() <= _SAME_GRID_WITHIN else None


def closest_turn(volume: Affine, mask: Affine, mask_shape: tuple[int, ...]) -> tuple[Turn, Affine]:
    """Return the turn that brings a mask's axes closest to its volume's.

    Parameters
    ----------
    volume, mask : (4, 4) float64
        Voxel index to RAS+ mm; both usable.
    mask_shape : (int, int, int)
        Voxels of the mask.

    Returns
    -------
    turn : (3, 2) float64
        Flips and permutation of the mask's axes, as of `nibabel.orientations`.
    affine : (4, 4) float64
        The mask's affine after the turn.
    """
    turn = ornt_transform(io_orientation(mask), io_orientation(volume))
    return turn, mask @ inv_ornt_aff(turn, mask_shape)


def pointing_to(codes: str) -> Affine:
    """Return a (4, 4) float64 affine of 1 mm whose axes point to directions, such as ``RAS``.

    Raises
    ------
    AmosDaskError
        When the three letters are not one of L and R, one of P and A, and one of I and S.
    """
    worlds = [next((w for w, pair in enumerate(_CODES) if code in pair), -1) for code in codes]
    if sorted(worlds) != [0, 1, 2]:
        raise AmosDaskError(f"orientation {codes!r} names no three directions such as RAS or LPS.")
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, (code, world) in enumerate(zip(codes, worlds, strict=True)):
        affine[world, axis] = 1.0 if _CODES[world][1] == code else -1.0
    return affine


def is_a_turn(turn: Turn) -> bool:
    """Return whether a turn changes anything."""
    return not np.array_equal(turn, [[0, 1], [1, 1], [2, 1]])


def turned_shape(turn: Turn, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of an array after a turn."""
    return tuple(shape[axis] for axis in np.argsort(turn[:, 0]))


def turned(turn: Turn, voxels: NDArray[Any]) -> NDArray[Any]:
    """Return an (x, y, z) array after a turn, in Fortran order."""
    return np.asfortranarray(apply_orientation(voxels, turn))


def to_json(affine: Affine) -> str:
    """Return the affine as a nested JSON list from which ``json.loads`` restores it exactly."""
    return json.dumps(affine.tolist())


def from_json(text: str) -> Affine:
    """Return the affine that `to_json` made a text of."""
    return np.array(json.loads(text), dtype=np.float64)


def same_spacing(pixdim_mm: tuple[float, ...], spacing: tuple[float, ...]) -> bool:
    """Return whether a header's pixdim agrees with the affine's spacing, within 0.1 %."""
    return all(
        np.isfinite(ours) and abs(ours - theirs) <= SAME_SPACING_RATIO * theirs
        for ours, theirs in zip(pixdim_mm, spacing, strict=True)
    )
