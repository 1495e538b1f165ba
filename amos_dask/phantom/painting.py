"""Shapes onto a voxel grid: tissue codes, slice by slice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from amos_dask.phantom import tissues as t
from amos_dask.phantom.shapes import HALF_DEPTH_MM, HALF_WIDTH_MM, HEIGHT_MM, Shape

Float32 = npt.NDArray[np.float32]
Tissue = npt.NDArray[np.uint8]

_MIN_RADIUS_VOXELS: Final = 0.62
_DETAIL_MIN_WIDTH: Final = 32
_MANY_LOOPS_MIN_WIDTH: Final = 128
_COMMON_VOXELS: Final = 12
_RAGGED_VOXELS: Final = 2.2

_OVER: Final = {
    "soft": t.soft_lookup(),
    "air": t.only_over(t.AIR),
    "wall": t.only_over(t.BODY_WALL, t.SUBCUTANEOUS_FAT, t.VISCERAL_FAT, t.LUNG),
    "any": np.ones(t.N_TISSUES, np.bool_),
    "liver": t.only_over(t.LIVER, t.LIVER_VESSEL),
    "kidney": t.only_over(t.RIGHT_KIDNEY, t.RIGHT_MEDULLA, t.LEFT_KIDNEY, t.LEFT_MEDULLA),
}


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a scan lie in the reference body.

    Attributes
    ----------
    x, y, z
        Positions of the voxel centres along each axis, in reference millimetres.
    step
        Voxel size in reference millimetres, (x, y, z).
    """

    x: Float32
    y: Float32
    z: Float32
    step: tuple[float, float, float]


def body_grid(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], width: float
) -> Grid:
    """Fit the reference body into a field of view.

    Parameters
    ----------
    shape
        Voxels along (x, y, z).
    spacing_mm
        Voxel size in millimetres, (x, y, z).
    width
        Width of the body, in widths of the field of view; the depth follows as far as it can.
    """
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
    return Grid(x.astype(as32), y.astype(as32), z.astype(as32), (step_x, step_y, step_z))


def border_texture(grid: Grid, rng: np.random.Generator) -> Float32:
    """Smooth noise of unit variance, (y, x), twice as large as a slice so that any window fits.

    Windows of it, taken at random places, displace the borders of every shape on every slice.
    """
    rows, columns = 2 * len(grid.y), 2 * len(grid.x)
    white = rng.standard_normal((rows, columns), np.float32)
    fine = ndimage.gaussian_filter(white, _RAGGED_VOXELS, mode="wrap", truncate=2.5)
    texture = fine / fine.std()
    if len(grid.x) >= _DETAIL_MIN_WIDTH:
        coarse = white[::4, ::4]
        coarse = ndimage.gaussian_filter(coarse, _RAGGED_VOXELS, mode="wrap", truncate=2.5)
        coarse = np.repeat(np.repeat(coarse / coarse.std(), 4, 0), 4, 1)[:rows, :columns]
        texture = 0.55 * texture + 0.8 * coarse
    return np.asarray(texture, np.float32)


@dataclass(frozen=True)
class Chance:
    """What differs from one patient to the next, drawn for all shapes at once.

    Attributes
    ----------
    jitter
        Standard normal: how far each shape is off in x and y and its radii, (n_shapes, 4).
    phases
        Where the waves of its outline start in x and y, radians, (n_shapes, 2).
    corners
        Row and column of the texture window of each shape on each slice, (n_shapes, n_slices, 2).
    """

    jitter: npt.NDArray[np.float64]
    phases: npt.NDArray[np.float64]
    corners: npt.NDArray[np.int64]


def draw_chance(n_shapes: int, grid: Grid, rng: np.random.Generator) -> Chance:
    """Draw what differs from one patient to the next."""
    jitter = rng.standard_normal((n_shapes, 4))
    phases = rng.uniform(0.0, 2.0 * np.pi, (n_shapes, 2))
    corners = rng.random((n_shapes, len(grid.z), 2)) * (len(grid.y), len(grid.x))
    return Chance(jitter, phases, corners.astype(np.int64))


@dataclass(frozen=True)
class _Ellipse:
    """A shape on one slice, in reference millimetres."""

    slice_index: int
    centre_x: float
    centre_y: float
    radius_x: float
    radius_y: float


def _ellipses(shape: Shape, grid: Grid, jitter: npt.NDArray[np.float64]) -> list[_Ellipse]:
    """Interpolate a shape's keys at the slices; a shape between two slices moves onto one."""
    keys = np.array(shape.keys, np.float64)
    if shape.wobble > 0.02:
        keys[:, 1:3] += 1.8 * jitter[:2]
        keys[:, 3:5] *= 1.0 + 0.045 * jitter[2:]
    first = math.ceil((keys[0, 0] - grid.z[0]) / grid.step[2])
    stop = math.floor((keys[-1, 0] - grid.z[0]) / grid.step[2]) + 1
    first, stop = max(first, 0), min(stop, len(grid.z))
    if stop > first:
        heights = grid.z[first:stop]
    else:
        middle = (keys[0, 0] + keys[-1, 0]) / 2
        first = min(max(int(middle / grid.step[2]), 0), len(grid.z) - 1)
        heights = np.array([middle], np.float32)
    columns = [np.interp(heights, keys[:, 0], keys[:, column]) for column in range(1, 5)]
    np.maximum(columns[2], _MIN_RADIUS_VOXELS * grid.step[0], out=columns[2])
    np.maximum(columns[3], _MIN_RADIUS_VOXELS * grid.step[1], out=columns[3])
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [_Ellipse(first + index, *row) for index, row in enumerate(rows)]


def _window(axis: Float32, step: float, centre: float, reach: float) -> tuple[int, int]:
    low = int(np.floor((centre - reach - float(axis[0])) / step))
    high = int(np.ceil((centre + reach - float(axis[0])) / step)) + 1
    return max(low, 0), min(high, len(axis))


def paint(
    tissue: Tissue, grid: Grid, shapes: list[Shape], texture: Float32, chance: Chance
) -> None:
    """Paint shapes into a tissue map one after the other, in place.

    Parameters
    ----------
    tissue
        Tissue codes, (z, y, x).
    grid
        Positions of its voxels.
    shapes
        What to paint.
    texture
        See `border_texture`.
    chance
        See `draw_chance`.
    """
    for index, shape in enumerate(shapes):
        phases = chance.phases[index].tolist()
        corners = chance.corners[index].tolist()
        for ellipse in _ellipses(shape, grid, chance.jitter[index]):
            row, column = corners[ellipse.slice_index]
            _paint_slice(tissue, grid, shape, ellipse, phases, texture[row:, column:])


def _reach(shape: Shape, ellipse: _Ellipse) -> tuple[float, float]:
    """How far the shape extends from its centre at most, in x and in y, reference mm."""
    radius_x, radius_y = ellipse.radius_x, ellipse.radius_y
    slack = 4.0 * shape.ragged_mm
    aside = (abs(shape.lean) + abs(shape.bend_x) * radius_y) * radius_y
    ahead = (abs(shape.tilt) + abs(shape.bend_y) * radius_x) * radius_x
    return (1.0 + shape.wobble) * radius_x + slack + aside, (
        (1.0 + shape.wobble) * radius_y + slack + ahead
    )


def _paint_slice(
    tissue: Tissue,
    grid: Grid,
    shape: Shape,
    ellipse: _Ellipse,
    phases: list[float],
    texture: Float32,
) -> None:
    radius_x, radius_y = ellipse.radius_x, ellipse.radius_y
    reach_x, reach_y = _reach(shape, ellipse)
    i0, i1 = _window(grid.x, grid.step[0], ellipse.centre_x, reach_x)
    j0, j1 = _window(grid.y, grid.step[1], ellipse.centre_y, reach_y)
    if i0 >= i1 or j0 >= j1:
        return
    x = grid.x[i0:i1] - np.float32(ellipse.centre_x)
    y = grid.y[j0:j1] - np.float32(ellipse.centre_y)
    # Displacements along one axis depend on the other only, which keeps them one-dimensional.
    shift_x = y * (shape.lean + shape.bend_x * y)
    shift_y = x * (shape.tilt + shape.bend_y * x)
    if shape.wobble:
        drift = 0.045 * float(grid.z[ellipse.slice_index])
        shift_x += shape.wobble * radius_x * np.sin(y * (3.3 / radius_y) + (phases[0] + drift))
        shift_y += shape.wobble * radius_y * np.sin(x * (2.9 / radius_x) + (phases[1] + drift))
    across = (x[None, :] - shift_x[:, None]) * np.float32(1.0 / radius_x)
    forward = (y[:, None] - shift_y[None, :]) * np.float32(1.0 / radius_y)
    depth = across * across
    depth += forward * forward
    if shape.ragged_mm:
        # In radii; on coarse grids never more than a part of the shape itself.
        ragged = 2.0 * max(shape.ragged_mm, 0.5 * grid.step[0]) / min(radius_x, radius_y)
        depth += np.float32(min(ragged, 0.25)) * texture[: j1 - j0, : i1 - i0]
    target = tissue[ellipse.slice_index, j0:j1, i0:i1]
    free = None if shape.over == "any" else _OVER[shape.over][target]
    for threshold, code in shape.layers:
        inside = depth < np.float32(threshold)
        if free is not None:
            inside &= free
        np.copyto(target, np.uint8(code), where=inside)
    if shape.gas is not None:
        inside &= (forward > shape.gas[1]) & (depth < np.float32(0.9 * shape.layers[-1][0]))
        np.copyto(target, np.uint8(shape.gas[0]), where=inside)


def loops_shown(shape: tuple[int, int, int]) -> int:
    """How many bowel loops a scan of `shape` voxels (x, y, z) can show, 0 if hardly anything."""
    if shape[0] < _DETAIL_MIN_WIDTH:
        return 0
    return 84 if shape[0] >= _MANY_LOOPS_MIN_WIDTH else 20


def require_labels(tissue: Tissue, grid: Grid, shapes: list[Shape]) -> None:
    """Put a voxel of each organ that a coarse grid has lost near its place, in place.

    Parameters
    ----------
    tissue
        Tissue codes, (z, y, x).
    grid
        Positions of its voxels.
    shapes
        The shapes that were painted.
    """
    labels = t.organ_lookup()[tissue]
    counts = np.bincount(labels.reshape(-1), minlength=16)
    for label in np.flatnonzero(counts == 0):
        shape = next(one for one in shapes if one.layers[0][1] == label)
        # Never at the cost of another organ that has hardly a voxel itself.
        common = np.argwhere((counts > _COMMON_VOXELS)[labels])
        z, x, y = np.array(shape.keys)[:, :3].mean(axis=0)
        places = np.stack([axis[common[:, n]] for n, axis in enumerate((grid.z, grid.y, grid.x))])
        away = ((places - np.array([[z], [y], [x]])) ** 2).sum(axis=0)
        nearest = tuple(common[int(np.argmin(away))])
        tissue[nearest] = labels[nearest] = label
        counts = np.bincount(labels.reshape(-1), minlength=16)
