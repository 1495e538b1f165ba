"""Islands and pinholes, as readers leave them in masks."""

from __future__ import annotations

import itertools
from typing import Final

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]

# Real AMOS22 masks: 8,768 regions below 100 mm3 in 360 scans.
_REGIONS_A_SCAN: Final = 22
_SINGLE_SLICE_SPECKS_A_SCAN: Final = 60
_NOISY_FACTOR: Final = 20
_SPARED_VOXELS: Final = 40
_FULL_SIZE_VOXELS: Final = 512 * 512 * 90
_MAX_REGION_MM3: Final = 90.0
_MAX_SPECK_MM2: Final = 9.0


def plant_specks(
    mask: Mask, spacing_mm: tuple[float, float, float], rng: np.random.Generator, noisy: bool
) -> None:
    """Plant islands, pinholes and single-slice specks, in place.

    Parameters
    ----------
    mask
        Labels, (z, y, x).
    spacing_mm
        Voxel size in millimetres, (x, y, z).
    rng
        Draws them.
    noisy
        Twenty times as many.
    """
    share = min((mask.size / _FULL_SIZE_VOXELS) ** 0.25, 1.0)
    factor = share * (_NOISY_FACTOR if noisy else 1)
    # Small organs are left alone: on coarse grids a speck would be the end of them.
    spared = np.bincount(mask.reshape(-1), minlength=256) < _SPARED_VOXELS
    centres = _organ_voxels(mask, rng)
    if len(centres) == 0:
        return
    for number, planter in (
        (_REGIONS_A_SCAN, _plant_region),
        (_SINGLE_SLICE_SPECKS_A_SCAN, _plant_single_slice_speck),
    ):
        wanted = round(factor * number)
        planted = 0
        for _ in range(12 * wanted):
            if planted >= wanted:
                break
            centre = centres[rng.integers(len(centres))]
            planted += planter(mask, centre, spacing_mm, spared, rng)


def _organ_voxels(mask: Mask, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Voxels to plant at or near, (n, 3) as (z, y, x): every organ as often as the next."""
    coarse = mask[:, ::4, ::4] if mask.shape[1] > 128 else mask
    step = 4 if mask.shape[1] > 128 else 1
    flat = coarse.reshape(-1)
    inside = np.flatnonzero(flat)
    order = np.argsort(flat[inside], kind="stable")
    inside = inside[order]
    starts = np.searchsorted(flat[inside], np.arange(1, 17))
    picks = [
        inside[rng.integers(low, high, 400)]
        for low, high in itertools.pairwise(starts)
        if high > low
    ]
    if not picks:
        return np.zeros((0, 3), np.int64)
    z, y, x = np.unravel_index(np.concatenate(picks), coarse.shape)
    return np.stack([z, y * step, x * step], axis=1)


def _blot(n_pixels: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw a ragged, 4-connected spot, (n_pixels, 2) offsets (y, x) from its first pixel."""
    pixels = [(0, 0)]
    seen = {(0, 0)}
    while len(pixels) < n_pixels:
        y, x = pixels[rng.integers(len(pixels))]
        dy, dx = ((0, 1), (1, 0), (0, -1), (-1, 0))[rng.integers(4)]
        pixel = (y + dy, x + dx)
        if pixel not in seen:
            seen.add(pixel)
            pixels.append(pixel)
    return np.array(pixels, np.int64)


def _spot_size(limit: float, rng: np.random.Generator) -> int:
    """Mostly a few pixels, at most `limit`, at least one."""
    return max(1, min(int(rng.geometric(0.22)), int(limit), 24))


def _surroundings(mask: Mask, spot: npt.NDArray[np.int64]) -> Mask:
    """Return the box of `mask` one voxel larger than the spot, cut at the border."""
    low = np.maximum(spot.min(axis=0) - 1, 0)
    high = spot.max(axis=0) + 2
    return mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]]


def _fits(mask: Mask, spot: npt.NDArray[np.int64]) -> bool:
    return bool((spot >= 0).all() and (spot < np.array(mask.shape)).all())


def _write(
    mask: Mask, spot: npt.NDArray[np.int64], label: int, spared: npt.NDArray[np.bool_]
) -> bool:
    """Write a label on a spot, unless a spared organ is there; tell whether it was written."""
    voxels = spot[:, 0], spot[:, 1], spot[:, 2]
    if spared[mask[voxels]].any():
        return False
    mask[voxels] = label
    return True


def _plant_region(
    mask: Mask,
    centre: npt.NDArray[np.int64],
    spacing_mm: tuple[float, float, float],
    spared: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> bool:
    """Plant an island beside an organ, or a pinhole in it; small in three dimensions."""
    voxel_mm3 = spacing_mm[0] * spacing_mm[1] * spacing_mm[2]
    blot = _blot(_spot_size(_MAX_REGION_MM3 / voxel_mm3, rng), rng)
    spot = np.column_stack([np.zeros(len(blot), np.int64), blot]) + centre
    label = int(mask[tuple(centre)])
    if rng.random() < 0.35:
        return _plant_pinhole(mask, spot, label, spared)
    reach = max(3, mask.shape[2] // 20)
    spot = spot + np.array([rng.integers(-1, 2), *rng.integers(-reach, reach + 1, 2)])
    if not _fits(mask, spot) or (_surroundings(mask, spot) == label).any():
        return False
    return _write(mask, spot, label, spared)


def _plant_pinhole(
    mask: Mask, spot: npt.NDArray[np.int64], label: int, spared: npt.NDArray[np.bool_]
) -> bool:
    if not _fits(mask, spot) or not (_surroundings(mask, spot) == label).all():
        return False
    return _write(mask, spot, 0, spared)


def _plant_single_slice_speck(
    mask: Mask,
    centre: npt.NDArray[np.int64],
    spacing_mm: tuple[float, float, float],
    spared: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> bool:
    """Plant a speck that is small on its slice but joined to its organ on the next one."""
    blot = _blot(_spot_size(_MAX_SPECK_MM2 / (spacing_mm[0] * spacing_mm[1]), rng), rng)
    label = int(mask[tuple(centre)])
    up = 1 if rng.random() < 0.5 else -1
    spot = np.column_stack([np.zeros(len(blot), np.int64), blot]) + centre
    for _ in range(mask.shape[0]):
        spot = spot + np.array([up, 0, 0])
        if not _fits(mask, spot):
            return False
        on_slice = _surroundings(mask, spot)[1 if spot[0, 0] > 0 else 0]
        if not (on_slice == label).any():
            return _write(mask, spot, label, spared)
    return False
