"""Islands and pinholes, as readers leave them in masks."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]
Spot = npt.NDArray[np.int64]

# Real AMOS22 masks: 8,768 regions below 100 mm3 in 360 scans, and more that are small on a slice.
_SPECKS_A_SCAN, _FULL_SIZE_VOXELS = 82, 512 * 512 * 90
_PINHOLES, _ISLANDS = 0.2, 0.45
_SPARED_VOXELS: Final = 40
_MAX_MM2, _MAX_MM3 = 9.0, 90.0
_N_PIXELS: Final = (1, 1, 2, 4, 6, 9, 13, 18)
_STEPS: Final = np.array([(0, 0, 1), (0, 1, 0), (0, 0, -1), (0, -1, 0)])


def plant_specks(
    mask: Mask, spacing_mm: tuple[float, float, float], rng: np.random.Generator, times: int = 1
) -> None:
    """Plant islands, pinholes and specks that are small on one slice only, in place.

    Parameters
    ----------
    mask, spacing_mm
        Labels and voxel size in millimetres, (x, y, z).
    rng
        Draws them.
    times
        How many times as many as real masks have.
    """
    planes = mask.T
    # Every organ as often as the next, but small ones: a speck would be the end of them.
    spared = np.bincount(planes.reshape(-1), minlength=256) < _SPARED_VOXELS
    organs = [np.flatnonzero(planes == label) for label in range(1, 16) if not spared[label]]
    most = int(min(_MAX_MM2, _MAX_MM3 / spacing_mm[2]) / (spacing_mm[0] * spacing_mm[1]))
    wanted = round(times * _SPECKS_A_SCAN * math.sqrt(math.sqrt(mask.size / _FULL_SIZE_VOXELS)))
    for _ in range(12 * wanted if organs else 0):
        voxels = organs[rng.integers(len(organs))]
        centre = np.array(np.unravel_index(voxels[rng.integers(len(voxels))], planes.shape))
        n_pixels = max(1, min(_N_PIXELS[rng.integers(len(_N_PIXELS))], most))
        walk = np.cumsum(_STEPS[rng.integers(0, 4, n_pixels)], axis=0)
        label = planes[tuple(centre)]
        spot, written = _find_place(planes, centre + walk, label, rng)
        place = tuple(spot.T)
        if len(spot) and not spared[planes[place]].any():
            planes[place] = written
            wanted -= 1
        if not wanted:
            return


def _find_place(
    planes: Mask, spot: Spot, label: np.uint8, rng: np.random.Generator
) -> tuple[Spot, np.uint8]:
    """Move a spot to where it becomes a speck, and say of which label; empty where it cannot be."""
    nowhere = spot[:0], label
    kind = rng.random()
    if kind < _PINHOLES:
        around = _surroundings(planes, spot, 1)
        return (spot, np.uint8(0)) if around.size and (around == label).all() else nowhere
    if kind < _ISLANDS:
        reach = max(3, planes.shape[2] // 20)
        spot = spot + rng.integers((-1, -reach, -reach), (2, reach + 1, reach + 1))
        around = _surroundings(planes, spot, 1)
        return (spot, label) if around.size and (around != label).all() else nowhere
    # Out of the organ along z: small on its slice, but joined to the organ on the next one.
    step = (1 if rng.random() < 0.5 else -1, 0, 0)
    around = _surroundings(planes, spot, 0)
    while around.size and (around == label).any():
        spot = spot + step
        around = _surroundings(planes, spot, 0)
    return (spot, label) if around.size else nowhere


def _surroundings(planes: Mask, spot: Spot, n_slices: int) -> Mask:
    """Return the box one pixel larger than a spot, and so many slices; empty at the border."""
    margin = np.array([n_slices, 1, 1])
    low, high = spot.min(axis=0) - margin, spot.max(axis=0) + margin + 1
    if (low < 0).any() or (high > planes.shape).any():
        return planes[:0]
    return planes[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
