"""Opening and closing of one label with a box of ones, inside a box of a slice.

The convention is scipy's with ``border_value=0``: the window of a pixel p under erosion is
``p - k // 2`` to ``p - k // 2 + k - 1``, under dilation its mirror image. So the opening is the
union of the kx x ky boxes that fit, and the closing is 0 wherever the erosion window passes the
slice's border.

Masks in work are flat uint8 arrays of 0 and 1 of the size of the slice, x fastest; only a box of
them is used at a time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit, njit_inline

BytePlane = NDArray[np.uint8]

# The value that spreads. Not plain numbers: numba would compile a copy for each literal.
ERODE, DILATE = np.uint8(0), np.uint8(1)


class Box(NamedTuple):
    """Pixels with ``x_begin <= x < x_end`` and ``y_begin <= y < y_end``."""

    x_begin: int
    x_end: int
    y_begin: int
    y_end: int


class Kernel(NamedTuple):
    """The reach of an erosion window: pixels before and after its own, along x and y."""

    x_before: int
    x_after: int
    y_before: int
    y_after: int


def new_kernel(kx: int, ky: int) -> Kernel:
    """Return the kernel of ``kx`` by ``ky`` ones, its centre where scipy puts it."""
    return Kernel(kx // 2, kx - 1 - kx // 2, ky // 2, ky - 1 - ky // 2)


@njit
def open_label(
    plane: BytePlane,
    nx: int,
    label: np.uint8,
    kernel: Kernel,
    box: Box,
    opened: BytePlane,
    scratch: BytePlane,
) -> Box:
    """Open ``plane == label`` as if nothing of it lay outside ``box``; return that box."""
    inner = _shrunk(box, kernel)
    _mark_label(plane, nx, label, box, opened)
    _sweep(opened, scratch, ERODE, nx, box, inner, kernel)
    _sweep(opened, scratch, DILATE, nx, inner, box, _mirrored(kernel))
    return box


@njit
def close_label(
    plane: BytePlane,
    nx: int,
    ny: int,
    label: np.uint8,
    kernel: Kernel,
    box: Box,
    closed: BytePlane,
    scratch: BytePlane,
) -> Box:
    """Close ``plane == label`` in ``box``; return the part of it where the closing may be 1."""
    whole = Box(0, nx, 0, ny)
    inner = _intersection(box, _shrunk(whole, kernel))
    if inner.x_begin < inner.x_end and inner.y_begin < inner.y_end:
        windows = _grown(inner, kernel)
        source = _intersection(_grown(windows, _mirrored(kernel)), whole)
        _mark_label(plane, nx, label, source, closed)
        _sweep(closed, scratch, DILATE, nx, source, windows, _mirrored(kernel))
        _sweep(closed, scratch, ERODE, nx, windows, inner, kernel)
    return inner


@njit_inline
def _mirrored(kernel: Kernel) -> Kernel:
    return Kernel(kernel.x_after, kernel.x_before, kernel.y_after, kernel.y_before)


@njit_inline
def _grown(box: Box, kernel: Kernel) -> Box:
    """Return the box of all the pixels in the windows of a box."""
    return Box(
        box.x_begin - kernel.x_before,
        box.x_end + kernel.x_after,
        box.y_begin - kernel.y_before,
        box.y_end + kernel.y_after,
    )


@njit_inline
def _shrunk(box: Box, kernel: Kernel) -> Box:
    """Return the box of the pixels whose windows lie in a box; it may have no extent."""
    return Box(
        box.x_begin + kernel.x_before,
        box.x_end - kernel.x_after,
        box.y_begin + kernel.y_before,
        box.y_end - kernel.y_after,
    )


@njit_inline
def _intersection(a: Box, b: Box) -> Box:
    return Box(
        max(a.x_begin, b.x_begin),
        min(a.x_end, b.x_end),
        max(a.y_begin, b.y_begin),
        min(a.y_end, b.y_end),
    )


@njit_inline
def _mark_label(plane: BytePlane, nx: int, label: np.uint8, box: Box, target: BytePlane) -> None:
    for y in range(box.y_begin, box.y_end):
        for x in range(box.x_begin, box.x_end):
            target[y * nx + x] = plane[y * nx + x] == label


@njit
def _sweep(
    values: BytePlane,
    scratch: BytePlane,
    value: np.uint8,
    nx: int,
    source: Box,
    target: Box,
    kernel: Kernel,
) -> None:
    """Spread ``value``. Reads the box ``source``, writes ``target``."""
    for y in range(source.y_begin, source.y_end):
        _sweep_line(
            values, scratch, value, y * nx, 1, source.x_begin, source.x_end, target.x_begin,
            target.x_end, kernel.x_before, kernel.x_after,
        )  # fmt: skip
    for x in range(target.x_begin, target.x_end):
        _sweep_line(
            scratch, values, value, x, nx, source.y_begin, source.y_end, target.y_begin,
            target.y_end, kernel.y_before, kernel.y_after,
        )  # fmt: skip


@njit_inline
def _sweep_line(
    values: BytePlane,
    target: BytePlane,
    value: np.uint8,
    offset: int,
    stride: int,
    source_begin: int,
    source_end: int,
    begin: int,
    end: int,
    before: int,
    after: int,
) -> None:
    """Set each target pixel to ``value`` where its window of the source holds one, else not.

    One step per pixel whatever the window: it is enough to know where ``value`` came last.
    """
    i = max(source_begin, begin - before)
    last = begin - before - 1
    for t in range(begin, end):
        stop = min(t + after + 1, source_end)
        while i < stop:
            if values[offset + i * stride] == value:
                last = i
            i += 1
        target[offset + t * stride] = value if last >= t - before else value ^ 1
