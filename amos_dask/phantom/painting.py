"""`make_scan`: the table of organs onto a voxel grid, and how bright the voxels are.

Only arithmetic that every machine does alike makes voxels, no sine and no library's filter: the
same seed gives the same scan everywhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from amos_dask.phantom.anatomy import HALF_DEPTH_MM, HALF_WIDTH_MM, HEIGHT_MM, Organ, organs_of
from amos_dask.phantom.specks import plant_specks
from amos_dask.phantom.tissues import TISSUES

Float32 = npt.NDArray[np.float32]
Tissue = npt.NDArray[np.uint8]
Shape = tuple[int, int, int]

_LEAST_SHAPE: Final = (12, 10, 4)
_LEAST_RADIUS_VOXELS: Final = 0.62
_DETAIL_WIDTH: Final = 32
_MANY_LOOPS_WIDTH: Final = 128
_COMMON_VOXELS: Final = 12
_PADDING_HU: Final = -1024
# Four bytes are summed to a voxel's noise, which has this standard deviation; the blur leaves
# half of it.
_NOISE_SIGMA: Final = 148
_BLUR_SUM: Final = 36

_CODES: Final = {name: code for code, name in enumerate(TISSUES)}
_LABELS: Final = np.array([tissue.label for tissue in TISSUES.values()], np.uint8)


@dataclass(frozen=True)
class Scan:
    """One synthetic scan, stored RAS: x to the patient's right, y forward, z up.

    Attributes
    ----------
    volume
        CT in HU or MR in arbitrary units, int16 (x, y, z), Fortran order.
    mask
        Labels 0..15 before the prostate/uterus split (15 is either), uint8 (x, y, z), Fortran
        order.
    spacing_mm
        Voxel size in millimetres, (x, y, z).
    """

    volume: npt.NDArray[np.int16]
    mask: npt.NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]


def make_scan(
    modality: str,
    shape: Shape,
    spacing_mm: tuple[float, float, float],
    seed: int,
    *,
    sex: str = "M",
) -> Scan:
    """Make one synthetic abdomen.

    The whole abdomen is fitted into the field of view, whatever its size: on 48x40x16 voxels
    each organ is a few voxels, on 512x512x90 it looks like one.

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

    Returns
    -------
    Scan
        Intensities and mask in RAS storage.

    Raises
    ------
    ValueError
        There is no such modality, or no abdomen fits into the shape.
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
    tissue = np.zeros(shape[::-1], np.uint8)
    texture = _make_texture(grid, rng)
    for organ in organs:
        _paint(tissue, grid, organ, texture, rng)
    _require_labels(tissue, grid, organs)
    mask = _LABELS[tissue].T
    plant_specks(mask, spacing_mm, rng)
    volume = _make_ct(tissue, rng) if modality == "ct" else _make_mr(tissue, rng)
    return Scan(volume.T, mask, spacing_mm)


@dataclass(frozen=True)
class _Grid:
    """Centres of the voxels along each axis, and their size (x, y, z), in reference mm."""

    x: Float32
    y: Float32
    z: Float32
    step: tuple[float, float, float]


def _fit_body(shape: Shape, spacing_mm: tuple[float, float, float], width: float) -> _Grid:
    """Fit the body into a field of view that is 1 / `width` as wide, as deep as it can be."""
    half_width = 0.5 * width * shape[0] * spacing_mm[0]
    half_depth = min(0.74 * half_width, 0.45 * shape[1] * spacing_mm[1])
    step_x = spacing_mm[0] * HALF_WIDTH_MM / half_width
    step_y = spacing_mm[1] * HALF_DEPTH_MM / half_depth
    step_z = HEIGHT_MM / shape[2]
    x = (np.arange(shape[0]) - (shape[0] - 1) / 2) * step_x
    # A little above the middle, where the table is.
    y = (np.arange(shape[1]) - (shape[1] - 1) * 0.515) * step_y
    z = (np.arange(shape[2]) + 0.5) * step_z
    as32 = np.float32
    return _Grid(x.astype(as32), y.astype(as32), z.astype(as32), (step_x, step_y, step_z))


def _make_texture(grid: _Grid, rng: np.random.Generator) -> Float32:
    """Smooth noise of unit variance, (2y, 2x): any window of it can displace an outline."""
    white = rng.integers(-128, 128, (2 * len(grid.y), 2 * len(grid.x)), np.int32)
    fine = _smooth(white)
    if len(grid.x) < _DETAIL_WIDTH:
        return fine
    coarse = np.repeat(np.repeat(_smooth(white[::4, ::4]), 4, 0), 4, 1)
    mixed = np.float32(0.55) * fine + np.float32(0.8) * coarse[: fine.shape[0], : fine.shape[1]]
    return np.asarray(mixed, np.float32)


def _smooth(white: npt.NDArray[np.int32]) -> Float32:
    """Average over windows of five pixels three times along both axes, to unit variance."""
    for axis in (0, 1) * 3:
        white = sum((np.roll(white, shift, axis) for shift in range(1, 5)), start=white)
    # The squares of the weights add up to 1751 an axis; the bytes' standard deviation is 73.9.
    return white.astype(np.float32) / np.float32(1751 * 73.9)


def _ellipses(organ: Organ, grid: _Grid, jitter: list[float]) -> Iterator[tuple[int, list[float]]]:
    """Yield slices and the ellipse there, ``[x, y, radius x, radius y]`` in reference mm.

    An organ between two slices moves onto one.
    """
    dx, dy, sx, sy = jitter if organ.wobble > 0.02 else [0.0] * 4
    bottom, top = organ.keys[0][0], organ.keys[-1][0]
    places = [(k, float(z)) for k, z in enumerate(grid.z) if bottom <= z <= top]
    if not places:
        middle = (bottom + top) / 2
        places = [(min(max(int(middle / grid.step[2]), 0), len(grid.z) - 1), middle)]
    for k, z in places:
        below, above = next(two for two in itertools.pairwise(organ.keys) if z <= two[1][0])
        share = (z - below[0]) / (above[0] - below[0])
        x, y, rx, ry = (a + share * (b - a) for a, b in zip(below[1:], above[1:], strict=True))
        rx = max(rx * (1.0 + 0.045 * sx), _LEAST_RADIUS_VOXELS * grid.step[0])
        ry = max(ry * (1.0 + 0.045 * sy), _LEAST_RADIUS_VOXELS * grid.step[1])
        yield k, [x + 1.8 * dx, y + 1.8 * dy, rx, ry]


def _paint(
    tissue: Tissue, grid: _Grid, organ: Organ, texture: Float32, rng: np.random.Generator
) -> None:
    """Paint one organ on all its slices, in place."""
    jitter = (rng.integers(-100, 101, 4) / 58.0).tolist()
    phases = rng.random(2).tolist()
    corners = rng.integers(0, (len(grid.y), len(grid.x)), (len(grid.z), 2)).tolist()
    free = np.array([name in organ.over for name in TISSUES])
    layers = ((organ.tissue, 1.0, -np.inf), *organ.inner)
    for k, ellipse in _ellipses(organ, grid, jitter):
        drift = 0.007 * float(grid.z[k])
        rows, columns = _window(grid, organ, ellipse)
        forward, depth = _distances(
            grid.x[columns], grid.y[rows], organ, ellipse, [phase + drift for phase in phases]
        )
        if organ.ragged_mm:
            # In radii; on coarse grids never more than a part of the organ itself.
            ragged = 2.0 * max(organ.ragged_mm, 0.5 * grid.step[0]) / min(ellipse[2:])
            row, column = corners[k]
            window = texture[row : row + depth.shape[0], column : column + depth.shape[1]]
            depth += np.float32(min(ragged, 0.25)) * window
        target = tissue[k, rows, columns]
        may = free[target]
        for name, share, floor in layers:
            inside = may & (depth < np.float32(share)) & (forward > np.float32(floor))
            target[inside] = _CODES[name]


def _window(grid: _Grid, organ: Organ, ellipse: list[float]) -> tuple[slice, slice]:
    """Rows and columns that an organ may reach on a slice."""
    x, y, rx, ry = ellipse
    aside = ry * (abs(organ.lean) + abs(organ.bend_x) * ry)
    ahead = rx * (abs(organ.tilt) + abs(organ.bend_y) * rx)
    found = []
    for axis, step, centre, reach in (
        (grid.y, grid.step[1], y, ahead + ry * (1.0 + organ.wobble)),
        (grid.x, grid.step[0], x, aside + rx * (1.0 + organ.wobble)),
    ):
        reach += 4.0 * organ.ragged_mm
        low = math.floor((centre - reach - float(axis[0])) / step)
        high = math.ceil((centre + reach - float(axis[0])) / step) + 1
        found.append(slice(min(max(low, 0), len(axis)), min(max(high, 0), len(axis))))
    return found[0], found[1]


def _distances(
    x: Float32, y: Float32, organ: Organ, ellipse: list[float], phases: list[float]
) -> tuple[Float32, Float32]:
    """How far forward pixels are, in radii, and their squared distance from the centre, (y, x)."""
    rx, ry = ellipse[2:]
    x = x - np.float32(ellipse[0])
    y = y - np.float32(ellipse[1])
    # Displacements along one axis depend on the other only, which keeps them one-dimensional.
    aside = y * (organ.lean + organ.bend_x * y)
    ahead = x * (organ.tilt + organ.bend_y * x)
    if organ.wobble:
        aside += organ.wobble * rx * _wave(y * (0.53 / ry) + phases[0])
        ahead += organ.wobble * ry * _wave(x * (0.46 / rx) + phases[1])
    across = (x[None, :] - aside[:, None]) * np.float32(1.0 / rx)
    forward = (y[:, None] - ahead[None, :]) * np.float32(1.0 / ry)
    return forward, across * across + forward * forward


def _wave(turns: Float32) -> Float32:
    """Return parabolas that rise and fall like a sine."""
    turns = turns - np.floor(turns) - np.float32(0.5)
    return np.asarray(8 * turns * (1 - 2 * np.abs(turns)), np.float32)


def _require_labels(tissue: Tissue, grid: _Grid, organs: list[Organ]) -> None:
    """Put a voxel of each label that a coarse grid has lost near its place, in place."""
    labels = _LABELS[tissue]
    counts = np.bincount(labels.reshape(-1), minlength=16)
    for label in np.flatnonzero(counts == 0):
        organ = next(one for one in organs if TISSUES[one.tissue].label == label)
        # Never at the cost of another organ that has hardly a voxel itself.
        common = np.argwhere((counts > _COMMON_VOXELS)[labels])
        z, x, y = (sum(key[n] for key in organ.keys) / len(organ.keys) for n in range(3))
        away = (grid.z[common[:, 0]] - z) ** 2
        away += (grid.y[common[:, 1]] - y) ** 2 + (grid.x[common[:, 2]] - x) ** 2
        nearest = tuple(common[int(np.argmin(away))])
        tissue[nearest], labels[nearest] = _CODES[organ.tissue], label
        counts = np.bincount(labels.reshape(-1), minlength=16)


def _make_ct(tissue: Tissue, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """HU of a tissue map, int16 (z, y, x)."""
    mean = np.array([one.hu for one in TISSUES.values()])
    # Before the blur; there is little noise in air.
    sigma = np.where(mean < -950, 7, rng.integers(24, 33))
    mean[1:] += rng.integers(-5, 6, len(mean) - 1)
    volume = np.empty(tissue.shape, np.int16)
    for codes, out in zip(tissue, volume, strict=True):
        noisy = mean.astype(np.int32)[codes] * _NOISE_SIGMA
        noisy += sigma.astype(np.int32)[codes] * _noise(codes.shape, rng)
        out[:] = np.clip(_blur(noisy), _PADDING_HU, 3071)
    # Only a circle is reconstructed.
    n_rows, n_columns = tissue.shape[1:]
    y, x = np.ogrid[1 - n_rows : n_rows : 2, 1 - n_columns : n_columns : 2]
    volume[:, x * x + y * y > max(n_rows, n_columns) ** 2] = _PADDING_HU
    return volume


def _make_mr(tissue: Tissue, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Signal of a tissue map in arbitrary units, int16 (z, y, x): a magnitude, never negative."""
    t1_like = rng.random() < 0.6
    mean = np.array([one.t1 if t1_like else one.t2 for one in TISSUES.values()])
    gain = rng.integers(1, 5)
    mean = gain * mean * rng.integers(93, 108, len(mean)) // 100
    sigma = int(gain * rng.integers(16, 29))
    # Brighter near the coils in front and behind, in 1/256.
    n_rows, n_columns = tissue.shape[1:]
    y, x = np.ogrid[:n_rows, :n_columns]
    y, x = 256 * y // n_rows - 128, 256 * x // n_columns - 128
    tilt_y, tilt_x = rng.integers(-30, 31, 2)
    coil = 218 + (77 * y * y + 31 * x * x + 128 * (tilt_y * y + tilt_x * x)) // 128**2
    volume = np.empty(tissue.shape, np.int16)
    for codes, out in zip(tissue, volume, strict=True):
        noisy = (mean[codes] * coil // 256 * _NOISE_SIGMA).astype(np.int32)
        noisy += sigma * _noise(codes.shape, rng)
        out[:] = np.abs(_blur(noisy))
    return volume


def _noise(shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """Sum four bytes a pixel, which is nearly a bell curve around 0."""
    words = rng.integers(0, 2**32, shape, np.uint32)
    pairs = (words & 0x00FF00FF) + ((words >> 8) & 0x00FF00FF)
    return ((pairs & 0xFFFF) + (pairs >> 16)).astype(np.int32) - 510


def _blur(noisy: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Average with the neighbours, as a scanner's resolution does: 1, 4, 1 along both axes."""
    for lines in (noisy, noisy.T):
        before = lines.copy()
        lines *= 4
        lines[1:] += before[:-1]
        lines[0] += before[0]
        lines[:-1] += before[1:]
        lines[-1] += before[-1]
    unit = _NOISE_SIGMA * _BLUR_SUM
    return (noisy + unit // 2) // unit
