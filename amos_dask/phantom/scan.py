"""One synthetic scan: intensities and mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from amos_dask.phantom import tissues as t
from amos_dask.phantom.anatomy import abdomen
from amos_dask.phantom.painting import (
    Float32,
    Tissue,
    body_grid,
    border_texture,
    draw_chance,
    loops_shown,
    paint,
    require_labels,
)
from amos_dask.phantom.specks import plant_specks

# The in-plane blur is the scanner's resolution: it softens borders and correlates the noise.
# White noise loses this factor of its sigma to it, so it starts out that much larger.
_BLUR_VOXELS = 0.6
_BLUR_GAIN = 0.474
_PADDING_HU = -1024


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
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    seed: int,
    *,
    sex: str = "M",
    noisy: bool = False,
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
        "F" has a uterus behind the bladder, anything else a prostate below it.
    noisy
        Plant some twenty times as many islands and pinholes as real masks have.

    Returns
    -------
    Scan
        Intensities and mask in RAS storage.
    """
    if modality not in ("ct", "mri"):
        raise ValueError(f"modality must be 'ct' or 'mri', not {modality!r}")
    if shape[0] < 12 or shape[1] < 10 or shape[2] < 4:
        raise ValueError(f"shape {shape} is too small for an abdomen; the least is (12, 10, 4)")
    rng = np.random.default_rng([seed, *shape])
    tissue, texture = _make_tissue(shape, spacing_mm, sex, rng)
    mask = t.organ_lookup()[tissue]
    plant_specks(mask, spacing_mm, rng, noisy)
    volume = _make_ct(tissue, texture, rng) if modality == "ct" else _make_mr(tissue, rng)
    return Scan(volume.T, mask.T, spacing_mm)


def _make_tissue(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    sex: str,
    rng: np.random.Generator,
) -> tuple[Tissue, Float32]:
    """Tissue codes (z, y, x), and the texture (2y, 2x) their borders were drawn with."""
    grid = body_grid(shape, spacing_mm, width=rng.uniform(0.87, 0.95))
    texture = border_texture(grid, rng)
    shapes = abdomen(sex, rng, n_loops=loops_shown(shape))
    tissue = np.zeros(shape[::-1], np.uint8)
    paint(tissue, grid, shapes, texture, draw_chance(len(shapes), grid, rng))
    require_labels(tissue, grid, shapes)
    return tissue, texture


def _make_ct(tissue: Tissue, texture: Float32, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """HU of a tissue map, int16 (z, y, x)."""
    mean, sigma = t.ct_brightness(rng)
    sigma = sigma / np.float32(_BLUR_GAIN)
    volume = np.empty(tissue.shape, np.int16)
    rows, columns = tissue.shape[1:]
    offsets = rng.integers(0, (rows, columns), (len(tissue), 2))
    for number, codes in enumerate(tissue):
        y, x = offsets[number]
        noise = rng.standard_normal(codes.shape, np.float32)
        noise += 0.25 * texture[y : y + rows, x : x + columns]
        noise *= sigma[codes]
        noise += mean[codes]
        blurred = ndimage.gaussian_filter(noise, _BLUR_VOXELS, truncate=3.0, mode="nearest")
        np.clip(np.rint(blurred, out=blurred), -1024, 3071, out=blurred)
        volume[number] = blurred
    volume[:, ~_reconstructed(rows, columns)] = _PADDING_HU
    return volume


def _reconstructed(rows: int, columns: int) -> npt.NDArray[np.bool_]:
    """Whether a pixel lies in the circle that the scanner reconstructs, (y, x)."""
    y = np.arange(rows)[:, None] - (rows - 1) / 2
    x = np.arange(columns)[None, :] - (columns - 1) / 2
    return np.asarray(x * x + y * y <= (max(rows, columns) / 2) ** 2)


def _make_mr(tissue: Tissue, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Signal of a tissue map in arbitrary units, int16 (z, y, x): a magnitude, never negative."""
    mean = t.mr_brightness(rng)
    sigma = np.float32(rng.uniform(8.0, 14.0))
    volume = np.empty(tissue.shape, np.int16)
    coil = _coil_profile(tissue.shape[1], tissue.shape[2], rng)
    for codes, out in zip(tissue, volume, strict=True):
        signal = ndimage.gaussian_filter(mean[codes], _BLUR_VOXELS, truncate=3.0, mode="nearest")
        signal *= coil
        signal += sigma * rng.standard_normal(codes.shape, np.float32)
        imaginary = sigma * rng.standard_normal(codes.shape, np.float32)
        out[:] = np.rint(np.hypot(signal, imaginary))
    return volume


def _coil_profile(rows: int, columns: int, rng: np.random.Generator) -> Float32:
    """Receive sensitivity of a slice, (y, x): brighter near the coils in front and behind."""
    y = np.linspace(-1.0, 1.0, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1.0, 1.0, columns, dtype=np.float32)[None, :]
    tilt_x, tilt_y = (float(value) for value in rng.uniform(-0.12, 0.12, 2))
    profile = 0.85 + 0.3 * y * y + 0.12 * x * x + tilt_x * x + tilt_y * y
    return np.asarray(profile, np.float32)
