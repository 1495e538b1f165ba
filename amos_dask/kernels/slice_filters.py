"""Opening and closing of one label with a box of ones, in a window of a slice.

The convention is that of `scipy.ndimage` with ``border_value=0``: the box around a pixel p reaches
from ``p - k // 2`` to ``p - k // 2 + k - 1`` under erosion and is mirrored under dilation. So the
opening is the union of the boxes that fit, and the closing is 0 wherever the box under erosion
passes the slice's border.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from amos_dask.kernels.accelerate import ZERO, Bytes, njit, njit_inline

OPEN, CLOSE = np.uint8(0), np.uint8(1)  # not plain numbers: one copy compiled for both


class Plane(NamedTuple):
    """A multi-label slice, flat with x fastest, and its size: pixel (x, y) is ``y * nx + x``."""

    values: Bytes
    nx: int
    ny: int


class Window(NamedTuple):
    """Pixels with ``x_begin <= x < x_end`` and ``y_begin <= y < y_end``."""

    x_begin: int
    x_end: int
    y_begin: int
    y_end: int


@njit_inline
def box_around(p: int, plane: Plane, halfedge: int) -> Window:
    """Return the box around a pixel, clipped at the border of the slice.

    Parameters
    ----------
    p : int
        The pixel.
    plane : Plane
        The slice.
    halfedge : int
        Pixels on each side of it.

    Returns
    -------
    Window
        At most ``2 * halfedge + 1`` pixels a side.
    """
    y = p // plane.nx
    x = p - y * plane.nx
    return Window(
        max(x - halfedge, 0),
        min(x + halfedge + 1, plane.nx),
        max(y - halfedge, 0),
        min(y + halfedge + 1, plane.ny),
    )


@njit
def filter_label(
    operation: np.uint8,
    plane: Plane,
    label: np.uint8,
    window: Window,
    kernel: tuple[int, int],
    result: Bytes,
    scratch: Bytes,
) -> None:
    """Open or close the binary mask of a label, as if it were 0 outside a window.

    Parameters
    ----------
    operation : uint8
        OPEN or CLOSE.
    plane : Plane
        The slice.
    label : uint8
        The label.
    window : Window
        What is read and written. Within ``k - 1`` pixels of its edges, unless they are the
        slice's, the result is not that of the whole slice.
    kernel : (int, int)
        Size of the box along x and y.
    result, scratch : uint8 (x * y,)
        Filled in the window, with 0 and 1.

    Examples
    --------
    >>> plane = Plane(np.array([0, 5, 5, 5, 0, 5], np.uint8), 6, 1)
    >>> opened = np.zeros(6, np.uint8)
    >>> filter_label(OPEN, plane, np.uint8(5), Window(0, 6, 0, 1), (3, 1), opened, opened.copy())
    >>> opened.tolist()
    [0, 1, 1, 1, 0, 0]
    """
    nx = plane.nx
    kx, ky = kernel
    for y in range(window.y_begin, window.y_end):
        for p in range(y * nx + window.x_begin, y * nx + window.x_end):
            result[p] = plane.values[p] == label
    if operation == OPEN:
        _filter(result, scratch, nx, window, _erosion(kx), _erosion(ky))
        _filter(result, scratch, nx, window, _dilation(kx), _dilation(ky))
    else:
        _filter(result, scratch, nx, window, _dilation(kx), _dilation(ky))
        _filter(result, scratch, nx, window, _erosion(kx), _erosion(ky))


class _Line(NamedTuple):
    """The pixels of a box along one axis before and after its own, and the ones it must hold."""

    before: int
    after: int
    n_needed: int


@njit_inline
def _erosion(k: int) -> _Line:
    return _Line(k // 2, (k - 1) // 2, k)


@njit_inline
def _dilation(k: int) -> _Line:
    return _Line((k - 1) // 2, k // 2, 1)


@njit_inline
def _filter(
    values: Bytes, scratch: Bytes, nx: int, window: Window, along_x: _Line, along_y: _Line
) -> None:
    width = window.x_end - window.x_begin
    height = window.y_end - window.y_begin
    for y in range(window.y_begin, window.y_end):
        _filter_line(values, scratch, y * nx + window.x_begin, 1, width, along_x)
    for x in range(window.x_begin, window.x_end):
        _filter_line(scratch, values, window.y_begin * nx + x, nx, height, along_y)


@njit_inline
def _filter_line(
    source: Bytes, target: Bytes, begin: int, stride: int, n: int, line: _Line
) -> None:
    """Set the pixels of a line whose box holds enough ones, clear the others.

    Outside the line there are none. One step a pixel, however long the box is.
    """
    n_ones = ZERO
    for t in range(-line.after, n):
        if t + line.after < n:
            n_ones += source[begin + (t + line.after) * stride]
        if t - line.before > 0:
            n_ones -= source[begin + (t - line.before - 1) * stride]
        if t >= 0:
            target[begin + t * stride] = n_ones >= line.n_needed
