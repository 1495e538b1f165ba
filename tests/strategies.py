"""Small slices, volumes and parameters that try to break the kernels.

Everything comes in two forms: a builder that draws from a `numpy.random.Generator`, for plain
loops over thousands of seeds, and a hypothesis strategy, for examples that shrink. The spacings
are float32 values widened to float64, as they are in a mask's geometry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numba import config as numba_config
from numpy.random import Generator
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Shape = tuple[int, ...]

JIT = not numba_config.DISABLE_JIT
"""False under NUMBA_DISABLE_JIT=1, where the kernels are plain Python and everything is small."""

N_LABELS = 17
HUGE_AREA_MM2 = 1e12


def examples(with_jit: int, without_jit: int) -> settings:
    """Give hypothesis settings that make a run repeatable on any machine, however slow.

    Parameters
    ----------
    with_jit, without_jit : int
        How many examples to try, with numba's JIT on and off.

    Returns
    -------
    hypothesis.settings
        To be used as a decorator.
    """
    return settings(
        max_examples=with_jit if JIT else without_jit,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


# ---------------------------------------------------------------- labels


def random_palette(rng: Generator, n_labels: int | None = None) -> Mask:
    """Draw distinct labels of the label map; without a number, from 1 to all 17 of them."""
    if n_labels is None:
        n_labels = int(rng.choice([1, 2, 2, 3, 3, 4, 5, 8, N_LABELS]))
    return rng.permutation(N_LABELS)[:n_labels].astype(np.uint8)


# ---------------------------------------------------------------- slices, (nx, ny)


def constant_slice(rng: Generator, shape: Shape) -> Mask:
    """One label everywhere."""
    return np.full(shape, random_palette(rng, 1)[0])


def noise_slice(rng: Generator, shape: Shape) -> Mask:
    """Independent pixels of few or all labels, the first of them more or less dominant."""
    palette = random_palette(rng)
    noise = rng.choice(palette, size=shape)
    dominant = rng.random(shape) < rng.choice([0.0, 0.3, 0.5, 0.7, 0.9, 0.97])
    return np.where(dominant, palette[0], noise)


def checkerboard_slice(rng: Generator, shape: Shape) -> Mask:
    """A board of rectangular cells that takes its labels in turn, diagonally."""
    palette = random_palette(rng)
    x, y = np.indices(shape)
    wide, high = rng.integers(1, 4, size=2)
    return np.asarray(palette[(x // wide + y // high) % len(palette)], dtype=np.uint8)


def stripes_slice(rng: Generator, shape: Shape) -> Mask:
    """Parallel stripes of random widths, upright, level or diagonal."""
    palette = random_palette(rng)
    along_x, along_y = [(1, 0), (0, 1), (1, 1), (1, -1), (2, 1)][rng.integers(5)]
    x, y = np.indices(shape)
    place = along_x * x + along_y * y
    place -= place.min()
    stripes = np.repeat(rng.choice(palette, size=place.max() + 1), rng.integers(1, 4))
    return np.asarray(stripes[place], dtype=np.uint8)


def rings_slice(rng: Generator, shape: Shape) -> Mask:
    """Rings in rings around a random centre, square, diamond or stretched."""
    palette = random_palette(rng)
    x, y = np.indices(shape)
    dx = np.abs(x - rng.integers(shape[0])) // rng.choice([1, 1, 2])
    dy = np.abs(y - rng.integers(shape[1])) // rng.choice([1, 1, 2])
    radius = dx + dy if rng.random() < 0.3 else np.maximum(dx, dy)
    labels = rng.choice(palette, size=int(radius.max()) + 1)
    return np.asarray(labels[radius], dtype=np.uint8)


def rectangles_slice(rng: Generator, shape: Shape) -> Mask:
    """A ground with a few rectangles of other labels, overlapping and cut by the border."""
    palette = random_palette(rng)
    slice_ = np.full(shape, palette[0])
    for _ in range(rng.integers(1, 9)):
        x, y = rng.integers(-2, shape[0]), rng.integers(-2, shape[1])
        wide, high = rng.integers(1, 7, size=2)
        slice_[max(x, 0) : max(x + wide, 0), max(y, 0) : max(y + high, 0)] = rng.choice(palette)
    return slice_


def regions_slice(rng: Generator, shape: Shape) -> Mask:
    """Large regions that meet in lines and points, with islands and pinholes strewn over them."""
    palette = random_palette(rng)
    x, y = np.indices(shape)
    n_regions = int(rng.integers(2, 6))
    at_x = rng.integers(shape[0], size=(n_regions, 1, 1))
    at_y = rng.integers(shape[1], size=(n_regions, 1, 1))
    nearest = np.argmin((x - at_x) ** 2 + (y - at_y) ** 2, axis=0)
    slice_ = rng.choice(palette, size=n_regions)[nearest]
    strewn = rng.random(shape) < rng.choice([0.02, 0.06, 0.12])
    return np.where(strewn, rng.choice(palette, size=shape), slice_)


def diagonal_slice(rng: Generator, shape: Shape) -> Mask:
    """Chains of pixels that touch only at corners, on one ground."""
    palette = random_palette(rng)
    slice_ = np.full(shape, palette[0])
    for _ in range(rng.integers(1, 5)):
        label = rng.choice(palette)
        x, y = rng.integers(shape[0]), rng.integers(shape[1])
        step_x, step_y = rng.choice([-1, 1], size=2)
        for _ in range(rng.integers(1, 9)):
            if 0 <= x < shape[0] and 0 <= y < shape[1]:
                slice_[x, y] = label
            if rng.random() < 0.2:
                step_y = -step_y
            x, y = x + step_x, y + step_y
    return slice_


def border_slice(rng: Generator, shape: Shape) -> Mask:
    """One ground whose border pixels are strewn or framed with other labels."""
    palette = random_palette(rng)
    slice_ = np.full(shape, palette[0])
    x, y = np.indices(shape)
    inward = np.minimum(
        np.minimum(x, shape[0] - 1 - x),
        np.minimum(y, shape[1] - 1 - y),
    )
    frame = inward < rng.integers(1, 4)
    frame &= rng.random(shape) < rng.choice([0.1, 0.4, 1.0])
    return np.where(frame, rng.choice(palette, size=shape), slice_)


def single_pixels_slice(rng: Generator, shape: Shape) -> Mask:
    """One ground with one to three pixels of other labels."""
    palette = random_palette(rng)
    slice_ = np.full(shape, palette[0])
    for _ in range(rng.integers(1, 4)):
        slice_[rng.integers(shape[0]), rng.integers(shape[1])] = rng.choice(palette)
    return slice_


def bullseye_slice(rng: Generator, shape: Shape) -> Mask:
    """Small targets on large regions: rings whose closings overlap, so that labels compete."""
    slice_ = regions_slice(rng, shape)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.integers(shape[0]), rng.integers(shape[1])
        half_x, half_y = rng.integers(1, 4, size=2)
        for inset in range(int(rng.integers(1, 4))):
            left, low = max(x - half_x + inset, 0), max(y - half_y + inset, 0)
            right, high = max(x + half_x + 1 - inset, left), max(y + half_y + 1 - inset, low)
            slice_[left:right, low:high] = rng.integers(N_LABELS)
    return slice_


SLICES: dict[str, Callable[[Generator, Shape], Mask]] = {
    "constant": constant_slice,
    "noise": noise_slice,
    "checkerboard": checkerboard_slice,
    "stripes": stripes_slice,
    "rings": rings_slice,
    "rectangles": rectangles_slice,
    "regions": regions_slice,
    "diagonal": diagonal_slice,
    "border": border_slice,
    "single pixels": single_pixels_slice,
    "bullseye": bullseye_slice,
}
"""Builders of (nx, ny) slices by the name of what they build."""


def random_slice_shape(rng: Generator, max_side: int) -> Shape:
    """Draw the shape of a slice, not seldom one pixel wide or high."""
    nx, ny = (int(side) for side in rng.integers(1, max_side + 1, size=2))
    thin = rng.random()
    if thin < 0.05:
        nx = 1
    elif thin < 0.1:
        ny = 1
    elif thin < 0.6:
        nx, ny = max(nx, max_side // 2), max(ny, max_side // 2)
    return nx, ny


def random_slice(rng: Generator, max_side: int) -> Mask:
    """Draw a slice of any pattern."""
    build = SLICES[str(rng.choice(list(SLICES)))]
    return build(rng, random_slice_shape(rng, max_side))


# ---------------------------------------------------------------- volumes, (nx, ny, nz)


def noise_volume(rng: Generator, shape: Shape) -> Mask:
    """Independent voxels of few or all labels, the first of them more or less dominant."""
    return noise_slice(rng, shape)


def bytes_volume(rng: Generator, shape: Shape) -> Mask:
    """Independent voxels of a few of all 256 values."""
    values = rng.integers(0, 256, size=rng.integers(1, 9), dtype=np.uint8)
    return rng.choice(np.append(values, [0, 255]).astype(np.uint8), size=shape)


def checkerboard_volume(rng: Generator, shape: Shape) -> Mask:
    """A board of boxes that takes its labels in turn."""
    palette = random_palette(rng)
    x, y, z = np.indices(shape)
    wide, high, deep = rng.integers(1, 4, size=3)
    board = (x // wide + y // high + z // deep) % len(palette)
    return np.asarray(palette[board], dtype=np.uint8)


def shells_volume(rng: Generator, shape: Shape) -> Mask:
    """Shells in shells around a random centre."""
    palette = random_palette(rng)
    centre = [int(rng.integers(side)) for side in shape]
    offsets = np.abs(np.indices(shape) - np.reshape(centre, (3, 1, 1, 1)))
    radius = offsets.sum(axis=0) if rng.random() < 0.3 else offsets.max(axis=0)
    labels = rng.choice(palette, size=int(radius.max()) + 1)
    return np.asarray(labels[radius], dtype=np.uint8)


def boxes_volume(rng: Generator, shape: Shape) -> Mask:
    """A ground with a few boxes of other labels."""
    palette = random_palette(rng)
    volume = np.full(shape, palette[0])
    for _ in range(rng.integers(1, 9)):
        starts = [int(rng.integers(side)) for side in shape]
        sides = rng.integers(1, 5, size=3)
        box = tuple(slice(a, a + n) for a, n in zip(starts, sides, strict=True))
        volume[box] = rng.choice(palette)
    return volume


def corner_chains_volume(rng: Generator, shape: Shape) -> Mask:
    """Chains of voxels that touch only at corners or edges, on one ground."""
    palette = random_palette(rng)
    volume = np.full(shape, palette[0])
    for _ in range(rng.integers(1, 5)):
        label = rng.choice(palette)
        voxel = np.array([rng.integers(side) for side in shape])
        for _ in range(rng.integers(1, 12)):
            if np.all(voxel >= 0) and np.all(voxel < shape):
                volume[tuple(voxel)] = label
            voxel = voxel + rng.choice([-1, 1], size=3) * (rng.random(3) < 0.85)
    return volume


def comb_volume(rng: Generator, shape: Shape) -> Mask:
    """Separate teeth that are joined late, by a back at one end: the worst for union-find."""
    palette = random_palette(rng, 2)
    volume = np.full(shape, palette[0])
    axis, along = (int(a) for a in rng.permutation(3)[:2])
    teeth: list[slice | int] = [slice(None)] * 3
    teeth[axis] = slice(int(rng.integers(2)), None, 2)
    volume[tuple(teeth)] = palette[1]
    back: list[slice | int] = [slice(None)] * 3
    back[along] = int(rng.choice([0, -1]))
    volume[tuple(back)] = palette[1]
    return volume


def serpentine_volume(rng: Generator, shape: Shape) -> Mask:
    """Walls with one gap each, at alternate ends: one long winding way between them."""
    palette = random_palette(rng, 2)
    volume = np.full(shape, palette[0])
    axis, along = (int(a) for a in rng.permutation(3)[:2])
    for n, at in enumerate(range(1, shape[axis], 2)):
        wall: list[slice | int] = [slice(None)] * 3
        wall[axis] = at
        wall[along] = slice(1, None) if n % 2 else slice(None, -1)
        volume[tuple(wall)] = palette[1]
    return volume


def stacked_slices_volume(rng: Generator, shape: Shape) -> Mask:
    """Slices of random patterns, drawn one by one or repeated, across a random axis."""
    axis = int(rng.integers(3))
    flat = tuple(side for a, side in enumerate(shape) if a != axis)
    builders = list(SLICES.values())
    drawn = [builders[rng.integers(len(builders))](rng, flat) for _ in range(shape[axis])]
    if rng.random() < 0.4:
        drawn = [drawn[0]] * shape[axis]
    return np.stack(drawn, axis=axis)


VOLUMES: dict[str, Callable[[Generator, Shape], Mask]] = {
    "constant": constant_slice,
    "noise": noise_volume,
    "bytes": bytes_volume,
    "checkerboard": checkerboard_volume,
    "shells": shells_volume,
    "boxes": boxes_volume,
    "corner chains": corner_chains_volume,
    "comb": comb_volume,
    "serpentine": serpentine_volume,
    "stacked slices": stacked_slices_volume,
}
"""Builders of (nx, ny, nz) volumes by the name of what they build."""


def random_volume(rng: Generator, max_side: int) -> Mask:
    """Draw a volume of any pattern, not seldom one voxel thick along some axes."""
    shape = [int(side) for side in rng.integers(1, max_side + 1, size=3)]
    for axis in range(3):
        if rng.random() < 0.1:
            shape[axis] = 1
    return VOLUMES[str(rng.choice(list(VOLUMES)))](rng, tuple(shape))


# ---------------------------------------------------------------- memory layouts


def c_ordered(array: Mask) -> Mask:
    """Copy in C order."""
    return np.array(array, order="C")


def fortran_ordered(array: Mask) -> Mask:
    """Copy in Fortran order."""
    return np.array(array, order="F")


def mixed_axes(array: Mask) -> Mask:
    """Copy with the axes in another order in memory: neither C nor Fortran order."""
    return np.moveaxis(np.array(np.moveaxis(array, 0, 1), order="C"), 0, 1)


def every_other_voxel(array: Mask) -> Mask:
    """Copy into every other voxel of an array filled with another label."""
    spaced = np.full([2 * side + 1 for side in array.shape], 77, dtype=np.uint8)
    view = spaced[tuple(slice(1, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def reversed_strides(array: Mask) -> Mask:
    """Copy with negative strides along every axis."""
    backwards = tuple(slice(None, None, -1) for _ in array.shape)
    return np.array(array[backwards], order="C")[backwards]


def read_only(array: Mask) -> Mask:
    """Copy that cannot be written to, as a memory-mapped file cannot."""
    copy = fortran_ordered(array)
    copy.flags.writeable = False
    return copy


LAYOUTS: dict[str, Callable[[Mask], Mask]] = {
    "C": c_ordered,
    "Fortran": fortran_ordered,
    "mixed axes": mixed_axes,
    "every other voxel": every_other_voxel,
    "negative strides": reversed_strides,
    "read only": read_only,
}
"""The ways in which the same 3-dimensional mask can lie in memory, by name."""


# ---------------------------------------------------------------- denoising


@dataclass(frozen=True)
class DenoiseCase:
    """One call of `denoise_slices`.

    Parameters
    ----------
    mask : (nx, ny, nz) uint8 array
        Multi-label mask, its labels 0..16.
    spacing_xy_mm : tuple of 2 floats
        ``spx, spy`` in mm.
    area_threshold_mm2 : float
        Components of a slice strictly below it are small.
    kernel_size : tuple of 2 ints
        ``kx, ky`` in pixels.
    filter_halfedge : int
        Half the edge of the voting box.
    """

    mask: Mask
    spacing_xy_mm: tuple[float, float]
    area_threshold_mm2: float
    kernel_size: tuple[int, int]
    filter_halfedge: int

    @property
    def parameters(self) -> tuple[tuple[float, float], float, tuple[int, int], int]:
        """All but the mask, in the order of the kernel's arguments."""
        return (
            self.spacing_xy_mm,
            self.area_threshold_mm2,
            self.kernel_size,
            self.filter_halfedge,
        )

    def __str__(self) -> str:
        return (
            f"mask = np.array({np.asarray(self.mask).tolist()}, dtype=np.uint8)"
            f".reshape({self.mask.shape})\n"
            f"spacing_xy_mm, area_threshold_mm2 = {self.spacing_xy_mm}, {self.area_threshold_mm2}\n"
            f"kernel_size, filter_halfedge = {self.kernel_size}, {self.filter_halfedge}"
        )


def random_spacing(rng: Generator) -> tuple[float, float]:
    """Draw a spacing from 0.3 to 5 mm, equal in both directions more often than not."""
    spx, spy = rng.uniform(0.3, 5.0, size=2).astype(np.float32)
    chance = rng.random()
    if chance < 0.3:
        return 1.0, 1.0
    if chance < 0.6:
        return float(spx), float(spx)
    return float(spx), float(spy)


def random_threshold(rng: Generator, spacing_xy_mm: tuple[float, float], n_pixels: int) -> float:
    """Draw an area: that of a whole number of pixels exactly, next to it, free, huge or 0."""
    spx, spy = spacing_xy_mm
    n = int(rng.integers(1, min(n_pixels, 30) + 2))
    exact = n * spx * spy
    chance = rng.random()
    if chance < 0.40:
        return exact
    if chance < 0.50:
        return float(np.nextafter(exact, 0.0))
    if chance < 0.60:
        return float(np.nextafter(exact, np.inf))
    if chance < 0.85:
        return float(rng.uniform(0.0, 30.0 * spx * spy))
    if chance < 0.97:
        return HUGE_AREA_MM2
    return 0.0


def random_kernel(rng: Generator) -> tuple[int, int]:
    """Draw a kernel of 1..8 pixels a side, the tutorial's and other odd squares among them."""
    chance = rng.random()
    if chance < 0.2:
        return 5, 5
    if chance < 0.4:
        return 3, 3
    kx, ky = (int(side) for side in rng.integers(1, 9, size=2))
    return kx, ky


def random_denoise_case(rng: Generator, max_side: int, max_slices: int = 1) -> DenoiseCase:
    """Draw a mask of one shape of slice but any patterns, and parameters for it."""
    first = random_slice(rng, max_side)
    names = [str(name) for name in rng.choice(list(SLICES), size=rng.integers(max_slices))]
    others = [SLICES[name](rng, first.shape) for name in names]
    spacing_xy_mm = random_spacing(rng)
    return DenoiseCase(
        mask=np.stack([first, *others], axis=2),
        spacing_xy_mm=spacing_xy_mm,
        area_threshold_mm2=random_threshold(rng, spacing_xy_mm, first.size),
        kernel_size=random_kernel(rng),
        filter_halfedge=int(rng.integers(5)),
    )


# ---------------------------------------------------------------- hypothesis strategies


def _drawn_masks(
    builders: dict[str, Callable[[Generator, Shape], Mask]],
    shapes: st.SearchStrategy[Shape],
) -> st.SearchStrategy[Mask]:
    """Masks of the named patterns, by name, shape and seed."""

    def build(name: str, shape: Shape, seed: int) -> Mask:
        return builders[name](np.random.default_rng(seed), shape)

    return st.builds(build, st.sampled_from(sorted(builders)), shapes, st.integers(0, 2**32 - 1))


def _free_masks(shapes: st.SearchStrategy[Shape]) -> st.SearchStrategy[Mask]:
    """Masks voxel by voxel, which shrink well: of two, three or all labels."""
    return st.sampled_from([1, 2, 5, N_LABELS - 1]).flatmap(
        lambda highest: hnp.arrays(np.uint8, shapes, elements=st.integers(0, highest), fill=None)
    )


def slices(max_side: int = 12) -> st.SearchStrategy[Mask]:
    """Multi-label slices (nx, ny) with labels 0..16."""
    shapes: st.SearchStrategy[Shape] = st.tuples(*[st.integers(1, max_side)] * 2)
    return _free_masks(shapes) | _drawn_masks(SLICES, shapes)


def volumes(max_side: int = 7) -> st.SearchStrategy[Mask]:
    """Masks (nx, ny, nz), empty ones and values up to 255 among them."""
    full: st.SearchStrategy[Shape] = st.tuples(*[st.integers(1, max_side)] * 3)
    empty: st.SearchStrategy[Shape] = st.tuples(*[st.integers(0, 2)] * 3)
    return _free_masks(full | empty) | _drawn_masks(VOLUMES, full)


def layouts() -> st.SearchStrategy[Callable[[Mask], Mask]]:
    """Ways in which a mask can lie in memory."""
    return st.sampled_from(sorted(LAYOUTS)).map(LAYOUTS.__getitem__)


def spacings() -> st.SearchStrategy[float]:
    """Spacings in mm, float32 widened to float64."""
    free = st.floats(float(np.float32(0.3)), 5.0, width=32).map(float)
    return st.sampled_from([1.0, 0.5, 0.78125, float(np.float32(0.7)), 5.0]) | free


@st.composite
def thresholds(draw: st.DrawFn, unit: float, second_factor: float = 1.0) -> float:
    """Thresholds that equal a whole number of pixels or voxels exactly, or lie beside one.

    Parameters
    ----------
    draw : callable
        Supplied by hypothesis.
    unit, second_factor : float
        A pixel is ``n * unit * second_factor`` big.

    Returns
    -------
    float
        The threshold in mm2 or mm3.
    """
    exact = draw(st.integers(0, 40)) * unit * second_factor
    return draw(
        st.just(exact)
        | st.just(float(np.nextafter(exact, np.inf)))
        | st.just(float(np.nextafter(exact, 0.0)))
        | st.floats(0.0, 60.0 * unit * second_factor)
        | st.sampled_from([0.0, HUGE_AREA_MM2])
    )


@st.composite
def denoise_cases(draw: st.DrawFn, max_side: int = 12) -> DenoiseCase:
    """Calls of `denoise_slices` on a mask of one slice."""
    spx = draw(spacings())
    spy = draw(st.just(spx) | spacings())
    return DenoiseCase(
        mask=draw(slices(max_side))[:, :, np.newaxis],
        spacing_xy_mm=(spx, spy),
        area_threshold_mm2=draw(thresholds(spx, spy)),
        kernel_size=draw(st.sampled_from([(3, 3), (5, 5)]) | st.tuples(*[st.integers(1, 8)] * 2)),
        filter_halfedge=draw(st.integers(0, 4)),
    )
