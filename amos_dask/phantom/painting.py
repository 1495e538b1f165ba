"""`make_scan`: the organs onto a voxel grid, specks in the mask, and how bright the voxels are.

Only arithmetic that every machine does alike makes voxels, no sine and no library's filter: the
same seed gives the same scan everywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from amos_dask.phantom.anatomy import TISSUES, Organ, organs_of

Float32 = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Grid = tuple[Float32, Float32, Float32]

_HALF_WIDTH_MM, _HALF_DEPTH_MM, _HEIGHT_MM = 170.0, 120.0, 450.0
_LEAST_SHAPE: Final = (12, 10, 4)
_LEAST_RADIUS_VOXELS: Final = 0.62
_DETAIL_WIDTH, _MANY_LOOPS_WIDTH = 32, 128
_COMMON_VOXELS: Final = 12
_PADDING_HU, _LARGEST_HU = -1024, 3071
# Four bytes are summed to a voxel's noise, which has this standard deviation; the blur, whose
# weights add up to 36, leaves half of it.
_NOISE_SIGMA, _BLUR_SUM = 148, 36

# A voxel is painted with the place of its tissue in the table.
_CODES: Final = {name: code for code, name in enumerate(TISSUES)}
_LABELS: Final = np.array([tissue.label for tissue in TISSUES.values()], np.uint8)


@dataclass(frozen=True)
class Scan:
    """One synthetic scan, stored RAS: x to the patient's right, y forward, z up.

    Arrays are (x, y, z), in Fortran order.
    """

    volume: npt.NDArray[np.int16]  # CT in HU or MR in arbitrary units
    mask: npt.NDArray[np.uint8]  # labels 0..15 before the split: 15 is prostate or uterus
    spacing_mm: tuple[float, float, float]


def make_scan(
    modality: str,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    seed: int,
    *,
    sex: str = "M",
) -> Scan:
    """Make one synthetic abdomen, fitted into the field of view.

    On 48x40x16 voxels each organ is a few voxels, on 512x512x90 it looks like one.

    Parameters
    ----------
    modality
        "ct" or "mri".
    shape
        Voxels along (x, y, z), at least (12, 10, 4).
    spacing_mm
        Voxel size in millimetres, (x, y, z).
    seed
        The same arguments give the same scan.
    sex
        "F" has a uterus behind the bladder, "M" a prostate below it.

    Raises
    ------
    ValueError
        There is no such modality, or no abdomen fits into the shape.

    Examples
    --------
    >>> scan = make_scan("ct", (64, 56, 20), (0.78125, 0.78125, 5.0), seed=1)
    >>> scan.volume.shape, scan.mask.shape, int(scan.mask.max())
    ((64, 56, 20), (64, 56, 20), 15)
    """
    if modality not in ("ct", "mri"):
        raise ValueError(f"modality must be 'ct' or 'mri', not {modality!r}")
    if any(n < least for n, least in zip(shape, _LEAST_SHAPE, strict=True)):
        raise ValueError(f"shape {shape} is too small for an abdomen; the least is {_LEAST_SHAPE}")
    rng = np.random.default_rng([seed, *shape])

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(rng.random())

    grid = _fit_body(shape, spacing_mm, between(0.87, 0.95))
    n_loops = 0 if shape[0] < _DETAIL_WIDTH else 20 if shape[0] < _MANY_LOOPS_WIDTH else 84
    organs = organs_of(sex, n_loops, between)
    codes = np.zeros(shape[::-1], np.uint8)
    texture = _make_texture(shape, rng)
    for organ in organs:
        _paint(codes, grid, organ, texture, rng)
    _require_labels(codes, grid, organs)
    mask = _LABELS[codes].T
    plant_specks(mask, spacing_mm, rng)
    return Scan(_make_volume(codes, modality, rng).T, mask, spacing_mm)


def _fit_body(shape: tuple[int, ...], spacing_mm: tuple[float, ...], width: float) -> Grid:
    """Return the voxels' centres along x, y and z in reference millimetres.

    The body's width is in widths of the field of view; it is as deep as fits.
    """
    half_width = 0.5 * width * shape[0] * spacing_mm[0]
    half_depth = min(0.74 * half_width, 0.45 * shape[1] * spacing_mm[1])
    x = (np.arange(shape[0]) - (shape[0] - 1) / 2) * (spacing_mm[0] * _HALF_WIDTH_MM / half_width)
    # A little above the middle, where the table is.
    y = np.arange(shape[1]) - (shape[1] - 1) * 0.515
    y *= spacing_mm[1] * _HALF_DEPTH_MM / half_depth
    z = (np.arange(shape[2]) + 0.5) * (_HEIGHT_MM / shape[2])
    return x.astype(np.float32), y.astype(np.float32), z.astype(np.float32)


def _make_texture(shape: tuple[int, ...], rng: np.random.Generator) -> Float32:
    """Return smooth noise of unit variance, (2y, 2x): any window of it can displace an outline."""
    white = rng.integers(-128, 128, (2 * shape[1], 2 * shape[0]), np.int32)
    fine = _smooth(white)
    if shape[0] < _DETAIL_WIDTH:
        return fine
    coarse = np.repeat(np.repeat(_smooth(white[::4, ::4]), 4, 0), 4, 1)
    return fine * np.float32(0.55) + coarse[: len(fine), : fine.shape[1]] * np.float32(0.8)


def _smooth(white: npt.NDArray[np.int32]) -> Float32:
    """Average over windows of five pixels three times along both axes, to unit variance."""
    for axis in (0, 1) * 3:
        white = sum((np.roll(white, shift, axis) for shift in range(1, 5)), start=white)
    # The squares of the weights add up to 1751 an axis; the bytes' standard deviation is 73.9.
    return white.astype(np.float32) / np.float32(1751 * 73.9)


def _paint(
    codes: Codes, grid: Grid, organ: Organ, texture: Float32, rng: np.random.Generator
) -> None:
    """Paint one organ on all its slices, in place."""
    jitter = (rng.integers(-100, 101, 4) / 58.0).tolist()
    phases = rng.random(2).tolist()
    corners = rng.integers(0, codes.shape[1:], (len(codes), 2)).tolist()
    free = np.array([name in organ.covers for name in TISSUES])
    pixel_mm = float(grid[0][1] - grid[0][0]), float(grid[1][1] - grid[1][0])
    for k, x, y, rx, ry in _ellipses(organ, grid[2], jitter):
        rx = max(rx, _LEAST_RADIUS_VOXELS * pixel_mm[0])
        ry = max(ry, _LEAST_RADIUS_VOXELS * pixel_mm[1])
        # What the organ can reach.
        aside = rx * (1.0 + organ.wobble) + ry * (abs(organ.lean) + abs(organ.bend_x) * ry)
        ahead = ry * (1.0 + organ.wobble) + rx * (abs(organ.tilt) + abs(organ.bend_y) * rx)
        aside, ahead = aside + 4.0 * organ.ragged_mm, ahead + 4.0 * organ.ragged_mm
        columns = slice(*np.searchsorted(grid[0], (x - aside, x + aside)))
        rows = slice(*np.searchsorted(grid[1], (y - ahead, y + ahead)))
        starts = [phase + 0.007 * float(grid[2][k]) for phase in phases]
        sideways, forward = grid[0][columns] - np.float32(x), grid[1][rows] - np.float32(y)
        forward, depth = _distances(sideways, forward, (rx, ry), organ, starts)
        # In radii; on coarse grids never more than a part of the organ itself.
        ragged = min(2.0 * max(organ.ragged_mm, 0.5 * pixel_mm[0]) / min(rx, ry), 0.25)
        if organ.ragged_mm:
            row, column = corners[k]
            window = texture[row : row + depth.shape[0], column : column + depth.shape[1]]
            depth += np.float32(ragged) * window
        target = codes[k, rows, columns]
        may = free[target]
        for name, share, *level in ((organ.tissue, 1.0), *organ.inner):
            inside = may & (depth < np.float32(share))
            if level:
                inside &= forward > np.float32(level[0])
            target[inside] = _CODES[name]


def _ellipses(organ: Organ, heights: Float32, jitter: list[float]) -> Iterator[tuple[Any, ...]]:
    """Yield ``(slice, x, y, radius x, radius y)``; an organ between two slices moves onto one."""
    dx, dy, sx, sy = jitter if organ.wobble > 0.02 else (0.0,) * 4
    bottom, top = organ.keys[0][0], organ.keys[-1][0]
    places = [(k, float(z)) for k, z in enumerate(heights) if bottom <= z <= top]
    if not places:
        middle = (bottom + top) / 2
        places = [(int(np.argmin(np.abs(heights - np.float32(middle)))), middle)]
    for k, z in places:
        below, above = next(two for two in itertools.pairwise(organ.keys) if z <= two[1][0])
        share = (z - below[0]) / (above[0] - below[0])
        x, y, rx, ry = (a + share * (b - a) for a, b in zip(below[1:], above[1:], strict=True))
        yield k, x + 1.8 * dx, y + 1.8 * dy, rx * (1.0 + 0.045 * sx), ry * (1.0 + 0.045 * sy)


def _distances(
    x: Float32, y: Float32, radii: tuple[float, float], organ: Organ, starts: list[float]
) -> tuple[Float32, Float32]:
    """How far forward pixels are, in radii, and their squared distance from the centre, (y, x)."""
    # Displacements along one axis depend on the other only, which keeps them one-dimensional.
    aside = y * (organ.lean + organ.bend_x * y)
    ahead = x * (organ.tilt + organ.bend_y * x)
    if organ.wobble:
        aside += organ.wobble * radii[0] * _wave(y * (0.53 / radii[1]) + starts[0])
        ahead += organ.wobble * radii[1] * _wave(x * (0.46 / radii[0]) + starts[1])
    across = (x[None, :] - aside[:, None]) * np.float32(1.0 / radii[0])
    forward = (y[:, None] - ahead[None, :]) * np.float32(1.0 / radii[1])
    return forward, across * across + forward * forward


def _wave(turns: Float32) -> Float32:
    """Return parabolas that rise and fall like a sine."""
    turns = turns - np.floor(turns) - np.float32(0.5)
    return np.asarray(8 * turns * (1 - 2 * np.abs(turns)), np.float32)


def _require_labels(codes: Codes, grid: Grid, organs: list[Organ]) -> None:
    """Put a voxel of each label that a coarse grid has lost near its place, in place."""
    counts = np.bincount(codes.reshape(-1), minlength=len(_LABELS))
    for label in range(1, 16):
        if counts[label == _LABELS].any():
            continue
        organ = next(one for one in organs if TISSUES[one.tissue].label == label)
        # Never at the cost of another organ that has hardly a voxel itself.
        common = np.argwhere((counts > _COMMON_VOXELS)[codes])
        z, x, y = (sum(key[n] for key in organ.keys) / len(organ.keys) for n in range(3))
        away = (grid[2][common[:, 0]] - z) ** 2 + (grid[1][common[:, 1]] - y) ** 2
        away += (grid[0][common[:, 2]] - x) ** 2
        nearest = tuple(common[int(np.argmin(away))])
        codes[nearest] = _CODES[organ.tissue]
        counts = np.bincount(codes.reshape(-1), minlength=len(_LABELS))


def _make_volume(codes: Codes, modality: str, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Return HU of a CT, or a magnitude in arbitrary units of an MR scan, int16 (z, y, x)."""
    n_rows, n_columns = codes.shape[1:]
    y, x = np.ogrid[1 - n_rows : n_rows : 2, 1 - n_columns : n_columns : 2]
    is_ct = modality == "ct"
    if is_ct:
        mean = np.array([one.hu for one in TISSUES.values()])
        sigma = np.where(mean < -950, 7, rng.integers(24, 33))  # there is little noise in air
        mean[1:] += rng.integers(-5, 6, len(mean) - 1)
        coil = np.full((n_rows, n_columns), 256)
    else:
        column, gain = rng.integers(2, 4), rng.integers(1, 5)
        mean = gain * np.array([one[column] for one in TISSUES.values()])
        mean = mean * rng.integers(93, 108, len(mean)) // 100
        sigma = np.full(len(mean), gain * rng.integers(8, 17))
        # Brighter near the coils in front and behind, in 1/256.
        v, u = 128 * y // n_rows, 128 * x // n_columns
        tilt_y, tilt_x = rng.integers(-30, 31, 2)
        coil = 218 + (77 * v * v + 31 * u * u + 128 * (tilt_y * v + tilt_x * u)) // 128**2
    volume = np.empty(codes.shape, np.int16)
    for plane, out in zip(codes, volume, strict=True):
        noisy = mean[plane] * coil // 256 * _NOISE_SIGMA + sigma[plane] * _noise(plane.shape, rng)
        blurred = _blur(noisy.astype(np.int32))
        out[:] = np.clip(blurred, _PADDING_HU, _LARGEST_HU) if is_ct else np.abs(blurred)
    if is_ct:  # only a circle is reconstructed
        volume[:, x * x + y * y > max(n_rows, n_columns) ** 2] = _PADDING_HU
    return volume


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Sum four bytes a pixel, which is nearly a bell curve around 0."""
    words = rng.integers(0, 2**32, shape, np.uint32)
    pairs = (words & 0x00FF00FF) + ((words >> 8) & 0x00FF00FF)
    return ((pairs & 0xFFFF) + (pairs >> 16)).astype(np.int32) - 510


def _blur(noisy: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Average with the neighbours, as a scanner's resolution does: 1, 4, 1 along both axes."""
    for lines in (noisy, noisy.T):
        padded = np.concatenate([lines[:1], lines, lines[-1:]])
        lines *= 4
        lines += padded[:-2] + padded[2:]
    unit = _NOISE_SIGMA * _BLUR_SUM
    return (noisy + unit // 2) // unit


# ---------------------------------------------------------------- specks, as readers leave them

Spot = npt.NDArray[np.int64]

# Real AMOS22 masks: 8,768 regions below 100 mm3 in 360 scans, and more that are small on a slice.
_SPECKS_A_SCAN, _FULL_SIZE_VOXELS = 82, 512 * 512 * 90
_PINHOLES, _ISLANDS = 0.2, 0.45
_SPARED_VOXELS: Final = 40
_MAX_MM2, _MAX_MM3 = 9.0, 90.0
_N_PIXELS: Final = (1, 1, 2, 4, 6, 9, 13, 18)
_STEPS: Final = np.array([(0, 0, 1), (0, 1, 0), (0, 0, -1), (0, -1, 0)])


def plant_specks(
    mask: Codes, spacing_mm: tuple[float, float, float], rng: np.random.Generator, times: int = 1
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
    planes: Codes, spot: Spot, label: np.uint8, rng: np.random.Generator
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


def _surroundings(planes: Codes, spot: Spot, n_slices: int) -> Codes:
    """Return the box one pixel larger than a spot, and so many slices; empty at the border."""
    margin = np.array([n_slices, 1, 1])
    low, high = spot.min(axis=0) - margin, spot.max(axis=0) + margin + 1
    if (low < 0).any() or (high > planes.shape).any():
        return planes[:0]
    return planes[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
