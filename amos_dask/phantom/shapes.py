"""The vocabulary of the phantom's anatomy: stacks of ellipses in a reference body.

Axes: x to the patient's right, y to the front, z to the head. The reference body is 340 mm
wide, 240 mm deep and 450 mm high (`HALF_WIDTH_MM`, `HALF_DEPTH_MM`, `HEIGHT_MM`); x and y are
0 in its middle, z is 0 at the pelvic floor. `painting` maps a voxel grid onto it, so that any
field of view holds a whole abdomen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

HALF_WIDTH_MM: Final = 170.0
HALF_DEPTH_MM: Final = 120.0
HEIGHT_MM: Final = 450.0

Key = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Shape:
    """A stack of ellipses.

    Attributes
    ----------
    layers
        ``(threshold, tissue)`` from the outside in: the tissue fills where the squared
        distance from the centre, in radii, is below the threshold.
    keys
        ``(z, centre x, centre y, radius x, radius y)`` in reference millimetres, by z.
    tilt
        Millimetres forward per millimetre to the right.
    lean
        Millimetres to the right per millimetre forward.
    bend_y, bend_x
        Millimetres forward (to the right) per squared millimetre sideways (forward): an arch.
    gas
        ``(tissue, level)``: fills the second layer above the level, in radii, as gas rises
        to the front of a patient on the back.
    over
        "soft" spares bones and the abdominal wall, "air" spares all but air, "wall" keeps to
        the abdominal wall, "any" covers everything, "liver", "kidney" keep to that organ.
    ragged_mm
        Standard deviation of the border, drawn afresh on each slice as a reader's hand does.
    detail
        Left out of very small scans.
    wobble
        How far the outline waves, in radii; shapes above 0.02 also vary from patient to patient.
    """

    layers: tuple[tuple[float, int], ...]
    keys: tuple[Key, ...]
    tilt: float = 0.0
    lean: float = 0.0
    bend_y: float = 0.0
    bend_x: float = 0.0
    gas: tuple[int, float] | None = None
    over: str = "soft"
    ragged_mm: float = 0.8
    detail: bool = False
    wobble: float = 0.05


def mirrored(shape: Shape) -> Shape:
    """Return the same shape on the other side of the body."""
    keys = tuple((z, -x, y, rx, ry) for z, x, y, rx, ry in shape.keys)
    return replace(shape, keys=keys, tilt=-shape.tilt, lean=-shape.lean, bend_x=-shape.bend_x)


def both_sides(shape: Shape) -> tuple[Shape, Shape]:
    """Return the shape and its mirror image."""
    return shape, mirrored(shape)
