"""Denoising with numpy and scipy, as fast as these allow without a compiled loop.

The same definition as `amos_dask.kernels.slice_denoise`, and the same result. What makes it
fast for scipy: a label is only looked at on slices where it occurs and within its bounding box,
opening and closing only where there is a small component, and votes are counted for all unclear
pixels of a slice at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.uint8]
Bits = NDArray[np.bool_]

_ALL_NEIGHBOURS = np.ones((3, 3), dtype=bool)


class Parameters(NamedTuple):
    """Pixel size and threshold, structuring element, half-width of the voting box."""

    spacing_xy_mm: tuple[float, float] = (1.0, 1.0)
    area_threshold_mm2: float = 10.0
    kernel_size: tuple[int, int] = (5, 5)
    filter_halfedge: int = 3


def denoise(mask: Mask, parameters: Parameters) -> Mask:
    """Return the denoised (x, y, z) mask, Fortran-ordered."""
    result = np.array(mask, order="F")
    for z in range(mask.shape[2]):
        # Transposed, a slice of a Fortran-ordered mask is C-ordered, which scipy prefers.
        _denoise_slice(mask[:, :, z].T, result[:, :, z].T, parameters)
    return result


def _denoise_slice(plane: Mask, result: Mask, parameters: Parameters) -> None:
    """Denoise one (y, x) slice into ``result``, which holds a copy of it."""
    processed: dict[int, Bits] = {}
    changed = False
    for label, box in _boxes(plane):
        binary = plane == label
        changed |= _optimize(binary, box, parameters)
        processed[label] = binary
    if not changed:
        return  # every pixel still has exactly its own label
    stack = np.array(list(processed.values()))
    labels = np.array(list(processed), np.uint8)
    n_set = stack.sum(axis=0, dtype=np.uint8)
    result[:] = labels[stack.argmax(axis=0)]
    y, x = np.nonzero(n_set != 1)
    if y.size:
        result[y, x] = _vote(stack, labels, y, x, parameters.filter_halfedge)


def _boxes(plane: Mask) -> list[tuple[int, tuple[slice, slice]]]:
    """Return each label present, ascending, with its bounding box."""
    background = ndimage.find_objects((plane == 0).view(np.uint8))
    boxes = [(0, background[0])] if background else []
    found = ndimage.find_objects(plane)
    return boxes + [(i + 1, box) for i, box in enumerate(found) if box is not None]


def _optimize(binary: Bits, box: tuple[slice, slice], parameters: Parameters) -> bool:
    """Open small islands and close small holes in place; tell whether there are any."""
    kx, ky = parameters.kernel_size
    window, is_whole = _window(binary.shape, box, (ky, kx))
    inside = binary[window]
    n_outside = 0 if is_whole else binary.size - inside.size
    islands = _small_components(inside, 0, parameters)
    # Around a box in the middle of the slice there is one component of the complement.
    holes = _small_components(~inside, n_outside, parameters)
    if islands is None and holes is None:
        return False
    structure = np.ones((ky, kx), dtype=bool)
    before = inside.copy()
    if islands is not None:
        opened = ndimage.binary_opening(before, structure)
        inside[islands] = opened[islands]
    if holes is not None:
        closed = ndimage.binary_closing(before, structure)
        inside[holes] = closed[holes]
    return True


def _window(
    shape: tuple[int, int], box: tuple[slice, slice], margin: tuple[int, int]
) -> tuple[tuple[slice, slice], bool]:
    """Return a box with a margin in which the morphology is that of the slice.

    A box that reaches the slice's border may cut the complement in two: then it is the slice.
    """
    sides = list(zip(box, margin, shape, strict=True))
    if all(s.start - m > 0 and s.stop + m < n for s, m, n in sides):
        (y, x) = (slice(s.start - m, s.stop + m) for s, m, _ in sides)
        return (y, x), False
    return (slice(None), slice(None)), True


def _small_components(binary: Bits, n_outside: int, parameters: Parameters) -> Bits | None:
    """Mark the pixels of small components; the one of the first pixel has ``n_outside`` more."""
    numbered, n = ndimage.label(binary, _ALL_NEIGHBOURS)
    sizes = np.bincount(numbered.ravel(), minlength=n + 1)
    if binary[0, 0]:
        sizes[numbered[0, 0]] += n_outside
    spacing_x, spacing_y = parameters.spacing_xy_mm
    is_small = sizes * spacing_x * spacing_y < parameters.area_threshold_mm2
    is_small[0] = False
    return is_small[numbered] if is_small.any() else None


def _vote(
    stack: Bits, labels: NDArray[np.uint8], y: NDArray[np.intp], x: NDArray[np.intp], halfedge: int
) -> NDArray[np.uint8]:
    """Return the label with most votes around each pixel; the lowest of equals, 0 without any."""
    edges = ((0, 0), (halfedge, halfedge), (halfedge, halfedge))
    size = 2 * halfedge + 1
    windows = sliding_window_view(np.pad(stack, edges), (size, size), axis=(1, 2))
    votes = windows[:, y, x].sum(axis=(2, 3))
    is_set = stack[:, y, x]
    votes[~is_set & is_set.any(axis=0)] = 0
    winners = labels[votes.argmax(axis=0)]
    winners[votes.max(axis=0) == 0] = 0
    return winners
