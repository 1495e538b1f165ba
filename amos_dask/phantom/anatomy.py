"""The abdomen as a list of shapes, in the millimetres of a reference body.

Axes: x to the patient's right, y to the front, z to the head. The reference body is 340 mm
wide, 240 mm deep and 450 mm high (`HALF_WIDTH_MM`, `HALF_DEPTH_MM`, `HEIGHT_MM`); x and y are
0 in its middle, z is 0 at the pelvic floor. `scan` maps a voxel grid onto it, so that any
field of view holds a whole abdomen.

A shape is an ellipse a slice, given at a few heights and interpolated between them. Tilt and
bend turn ellipses into crescents, arches and commas. What comes later in the list is painted
over what came before, which is how organs come to touch each other.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from amos_dask.phantom import tissues as t

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


def _both_sides(shape: Shape) -> tuple[Shape, Shape]:
    return shape, mirrored(shape)


def _shell() -> Iterator[Shape]:
    """Table, skin, fat, the muscles of the wall and the space within."""
    yield Shape(
        ((1.0, t.TABLE), (0.5, t.AIR)),
        ((-9, 0, -132, 196, 9), (999, 0, -132, 196, 9)),
        bend_y=0.0006,
        over="any",
        ragged_mm=0,
        wobble=0,
    )
    yield Shape(
        ((1.0, t.SKIN), (0.975, t.SUBCUTANEOUS_FAT)),
        (
            (-9, 0, 0, 165, 108),
            (80, 0, 0, 168, 112),
            (180, 0, 0, 158, 110),
            (330, 0, 0, 164, 116),
            (460, 0, 0, 160, 114),
        ),
        over="any",
        ragged_mm=0,
        wobble=0.012,
    )
    yield Shape(
        ((1.0, t.BODY_WALL),),
        (
            (-9, 0, -2, 146, 92),
            (80, 0, -2, 142, 94),
            (180, 0, -3, 138, 97),
            (330, 0, -2, 148, 104),
            (460, 0, 0, 148, 105),
        ),
        over="any",
        wobble=0.015,
    )
    yield Shape(
        ((1.0, t.VISCERAL_FAT),),
        (
            (-9, 0, 4, 72, 66),
            (60, 0, 4, 86, 70),
            (130, 0, 6, 108, 76),
            (200, 0, 8, 124, 82),
            (330, 0, 8, 136, 90),
            (460, 0, 8, 138, 92),
        ),
        over="any",
        wobble=0.015,
    )


def _chest() -> Iterator[Shape]:
    """Lung bases, which end in crescents behind liver and spleen, and the heart's lower wall."""
    lung = Shape(
        ((1.0, t.LUNG),),
        (
            (318, 96, -50, 10, 14),
            (345, 92, -44, 34, 38),
            (380, 78, -22, 54, 66),
            (415, 72, 0, 62, 84),
            (460, 72, 6, 64, 90),
        ),
        bend_x=-0.002,
    )
    yield from _both_sides(lung)
    yield Shape(
        ((1.0, t.MUSCLE), (0.62, t.BLOOD)),
        ((422, -26, 50, 20, 14), (436, -26, 46, 50, 34), (460, -24, 42, 60, 44)),
    )


def _spine() -> Iterator[Shape]:
    """Vertebrae with discs between them, sacrum, and the muscles along the back."""
    back = Shape(
        ((1.0, t.BODY_WALL),),
        ((120, 34, -72, 30, 20), (250, 36, -76, 34, 24), (460, 32, -80, 30, 22)),
        over="any",
    )
    yield from _both_sides(back)
    psoas = Shape(
        ((1.0, t.MUSCLE),),
        (
            (30, 66, 16, 15, 15),
            (110, 48, -14, 20, 21),
            (200, 38, -38, 19, 21),
            (290, 29, -46, 11, 13),
            (320, 26, -46, 4, 5),
        ),
    )
    yield from _both_sides(psoas)
    crus = Shape(
        ((1.0, t.MUSCLE),),
        ((290, 16, -22, 5, 8), (430, 20, -22, 6, 15)),
        lean=-0.3,
        detail=True,
    )
    yield from _both_sides(crus)
    yield Shape(((1.0, t.DISC),), ((138, 0, -44, 23, 17), (460, 0, -44, 21, 17)), over="any")
    yield Shape(((1.0, t.BONE),), ((138, 0, -66, 17, 13), (460, 0, -66, 16, 13)), over="any")
    for bottom in range(142, 460, 35):
        low, high = float(bottom), float(bottom + 27)
        ends: tuple[Key, Key] = ((low, 0, -43, 24, 18.5), (high, 0, -43, 24, 18.5))
        yield Shape(((1.0, t.BONE), (0.8, t.MARROW)), ends, over="any", bend_y=0.004, detail=True)
        spine: tuple[Key, Key] = ((low - 6, 0, -92, 4.5, 14), (high - 8, 0, -90, 4.5, 15))
        yield Shape(((1.0, t.BONE), (0.4, t.MARROW)), spine, over="any", detail=True)
        side: tuple[Key, Key] = ((low + 8, 28, -66, 18, 4), (low + 18, 28, -66, 20, 4.5))
        yield from _both_sides(Shape(((1.0, t.BONE),), side, tilt=-0.2, over="any", detail=True))
    yield Shape(((1.0, t.CANAL),), ((130, 0, -67, 9, 7), (460, 0, -67, 9, 7)), over="any")
    yield Shape(
        ((1.0, t.BONE), (0.8, t.MARROW)),
        (
            (18, 0, -72, 12, 7),
            (60, 0, -80, 28, 11),
            (110, 0, -70, 44, 17),
            (142, 0, -52, 40, 18),
        ),
        bend_y=-0.006,
        over="any",
    )


def _pelvis() -> Iterator[Shape]:
    """Hip bones, femoral heads and the muscles around them, rectum."""
    gluteal = Shape(
        ((1.0, t.BODY_WALL),),
        ((-9, 92, -50, 56, 42), (70, 88, -58, 52, 36), (150, 84, -56, 40, 30)),
        over="any",
    )
    wing = Shape(
        ((1.0, t.BONE), (0.5, t.MARROW)),
        (
            (62, 82, -8, 17, 24),
            (90, 80, -22, 9, 36),
            (130, 92, -20, 8, 50),
            (165, 106, -8, 7, 40),
            (188, 112, 4, 6, 14),
        ),
        lean=0.35,
        over="any",
    )
    head = Shape(
        ((1.0, t.BONE), (0.85, t.MARROW)),
        (
            (-9, 112, -8, 17, 17),
            (12, 108, -8, 19, 18),
            (30, 98, -4, 27, 20),
            (48, 92, 0, 23, 23),
            (66, 90, 0, 13, 13),
        ),
        over="any",
    )
    pubis = Shape(
        ((1.0, t.BONE), (0.6, t.MARROW)),
        ((10, 20, 56, 14, 7), (28, 24, 56, 22, 8), (44, 50, 44, 26, 9)),
        tilt=-0.45,
        over="any",
    )
    ischium = Shape(
        ((1.0, t.BONE), (0.6, t.MARROW)),
        ((-9, 58, -40, 12, 17), (40, 68, -26, 13, 20), (56, 74, -18, 12, 16)),
        over="any",
    )
    for part in (gluteal, wing, ischium, head, pubis):
        yield from _both_sides(replace(part, detail=True))
    yield Shape(
        ((1.0, t.BOWEL), (0.6, t.BOWEL_CONTENTS)),
        ((-9, 0, -40, 12, 11), (60, 0, -46, 18, 15), (125, -8, -34, 15, 13)),
        gas=(t.BOWEL_GAS, 0.3),
    )


def _ribs() -> Iterator[Shape]:
    """Ribs run down and forward, so that a slice cuts each of them once."""
    for top in range(292, 620, 36):
        keys = []
        for step in range(9):
            forward = step / 8.0
            angle = math.radians(-62.0 + 128.0 * forward)
            x, y = 142.0 * math.cos(angle), -3.0 + 99.0 * math.sin(angle)
            size = 4.0 + 4.5 * abs(math.sin(angle)), 4.0 + 5.5 * abs(math.cos(angle))
            keys.append((top - 125.0 * forward, x, y, *size))
        lowest_first = tuple(sorted(keys))
        rib = Shape(
            ((1.0, t.BONE), (0.4, t.MARROW)), lowest_first, over="wall", detail=True, wobble=0
        )
        yield from _both_sides(rib)


def _bowel(rng: np.random.Generator) -> Iterator[Shape]:
    """Colon around the edge, small bowel loops in the middle."""
    loops = ((1.0, t.BOWEL), (0.62, t.BOWEL_CONTENTS))
    gas = (t.BOWEL_GAS, 0.15)
    ascending = ((112, 88, 2, 18, 20), (150, 96, 0, 25, 26), (215, 100, -4, 23, 24),
                 (262, 96, 4, 17, 18))  # fmt: skip
    descending = ((70, -52, 0, 14, 14), (110, -86, -6, 16, 17), (200, -104, -14, 16, 17),
                  (300, -112, 0, 18, 19), (340, -112, 22, 14, 14))  # fmt: skip
    yield Shape(loops, ascending, gas=gas, detail=True, wobble=0.14)
    yield Shape(loops, descending, gas=(t.BOWEL_GAS, -0.1), detail=True, wobble=0.14)
    across = ((236, 10, 72, 50, 10), (255, 0, 76, 96, 15), (278, -25, 78, 84, 14),
              (318, -80, 68, 32, 15), (345, -96, 60, 18, 14))  # fmt: skip
    yield Shape(loops, across, gas=(t.BOWEL_GAS, -0.2), bend_y=-0.0028, detail=True, wobble=0.15)
    for _ in range(84):
        z, x, y = rng.uniform(64, 265), rng.uniform(-84, 78), rng.uniform(-4, 76)
        rx, ry, rz = rng.uniform(12, 27), rng.uniform(10, 15), rng.uniform(9, 20)
        keys = ((z - rz, x, y, rx / 2, ry / 2), (z, x, y, rx, ry), (z + rz, x, y, rx / 2, ry / 2))
        shape = Shape(loops, keys, tilt=rng.uniform(-0.6, 0.6), bend_y=rng.uniform(-0.01, 0.01))
        with_gas = rng.random() < 0.16
        yield replace(shape, gas=gas if with_gas else None, detail=True, wobble=0.1)


def _liver() -> Iterator[Shape]:
    yield Shape(
        ((1.0, t.LIVER),),
        (
            (244, 108, 0, 8, 16),
            (262, 104, 2, 22, 40),
            (290, 95, 3, 38, 58),
            (320, 84, 4, 52, 70),
            (355, 72, 6, 66, 76),
            (395, 66, 10, 72, 76),
            (422, 66, 8, 64, 68),
            (438, 68, 4, 46, 50),
            (446, 68, 4, 22, 26),
        ),
    )
    yield Shape(
        ((1.0, t.LIVER),),
        (
            (296, 22, 62, 10, 8),
            (318, 20, 60, 28, 20),
            (350, 12, 58, 48, 29),
            (380, 2, 56, 64, 32),
            (412, -6, 54, 58, 28),
            (434, -4, 52, 26, 16),
        ),
        tilt=0.12,
    )
    fissure = ((300, 12, 56, 5, 24), (352, 14, 62, 2.5, 20))
    yield Shape(((1.0, t.VISCERAL_FAT),), fissure, lean=-0.25, over="liver", detail=True)
    hilum = ((306, 34, 14, 22, 14), (345, 30, 18, 20, 7), (358, 28, 18, 8, 4))
    yield Shape(((1.0, t.VISCERAL_FAT),), hilum, tilt=0.3, over="liver", detail=True)
    portal = ((318, 24, 12, 7, 7), (340, 44, 16, 26, 6), (362, 70, 14, 30, 4))
    yield Shape(
        ((1.0, t.LIVER_VESSEL),), portal, tilt=-0.2, bend_y=0.004, over="liver", detail=True
    )
    for x, y, tilt in ((64, -2, -0.4), (52, 30, 0.9), (18, 42, -2.2)):
        vein = ((392, x, y, 22, 3), (420, (x + 30) / 2, (y + 10) / 2, 22, 4))
        yield Shape(((1.0, t.LIVER_VESSEL),), vein, tilt=tilt, over="liver", detail=True)
    for z, x, y in ((300, 96, 10), (335, 92, -28), (345, 108, 20), (372, 96, -20), (380, 80, 50)):
        branch = ((z - 16, x, y, 4, 3), (z, x - 6, y, 8, 3), (z + 16, x - 12, y, 4, 3))
        yield Shape(((1.0, t.LIVER_VESSEL),), branch, tilt=0.5, over="liver", detail=True)


def _spleen() -> Iterator[Shape]:
    # Fat under the left diaphragm: the lung ends in a crescent behind it.
    bed = ((296, -92, -10, 30, 50), (370, -82, 0, 52, 70), (405, -78, 4, 46, 58),
           (428, -72, 6, 20, 26))  # fmt: skip
    yield Shape(((1.0, t.VISCERAL_FAT),), bed, detail=True)
    yield Shape(
        ((1.0, t.SPLEEN),),
        (
            (284, -118, -26, 6, 10),
            (300, -118, -32, 14, 28),
            (325, -116, -38, 21, 42),
            (360, -112, -42, 25, 48),
            (395, -104, -42, 26, 40),
            (414, -94, -38, 12, 16),
        ),
        bend_x=0.007,
    )


def _digestive() -> Iterator[Shape]:
    yield Shape(
        ((1.0, t.STOMACH), (0.76, t.STOMACH_CONTENTS)),
        (
            (256, -6, 56, 16, 6),
            (272, -10, 58, 46, 15),
            (294, -26, 58, 54, 19),
            (320, -54, 48, 38, 26),
            (350, -66, 34, 33, 34),
            (385, -70, 14, 36, 40),
            (412, -66, 2, 34, 36),
            (430, -62, -2, 18, 20),
        ),
        tilt=-0.15,
        gas=(t.STOMACH_GAS, 0.35),
        wobble=0.07,
    )
    esophagus = ((383, -44, 10, 9, 7), (396, -34, 8, 11, 8), (424, -20, 4, 9, 8),
                 (460, -12, 0, 9, 8))  # fmt: skip
    yield Shape(((1.0, t.ESOPHAGUS), (0.14, t.ESOPHAGUS_GAS)), esophagus)
    gut = ((1.0, t.DUODENUM), (0.5, t.DUODENUM_CONTENTS))
    bulb = ((278, 42, 42, 12, 9), (290, 36, 48, 16, 11), (302, 26, 52, 10, 8))
    descending = ((220, 36, 6, 9, 7), (236, 43, 12, 13, 11), (268, 46, 24, 14, 12),
                  (296, 44, 38, 10, 9))  # fmt: skip
    horizontal = ((210, 2, 2, 16, 5), (219, 4, 4, 38, 9), (229, 6, 4, 40, 9), (237, 12, 5, 16, 6))
    ascending = ((216, -26, 4, 10, 8), (240, -29, 10, 10, 9), (258, -30, 16, 8, 7))
    yield Shape(gut, bulb)
    yield Shape(gut, horizontal, bend_y=-0.002)
    yield Shape(gut, descending)
    yield Shape(gut, ascending)


def _pancreas_and_gall_bladder() -> Iterator[Shape]:
    yield Shape(
        ((1.0, t.PANCREAS),),
        (
            (250, 27, 16, 8, 7),
            (266, 26, 21, 16, 13),
            (282, 18, 26, 23, 14),
            (296, -8, 24, 38, 12),
            (310, -40, 16, 48, 11.5),
            (326, -68, 2, 34, 11),
            (340, -90, -14, 14, 9),
        ),
        tilt=0.3,
        bend_y=-0.0035,
        ragged_mm=1.6,
        wobble=0.1,
    )
    splenic = ((306, -34, 6, 32, 4), (318, -58, -6, 28, 4))
    yield Shape(((1.0, t.BLOOD),), splenic, tilt=0.35, bend_y=-0.003, detail=True)
    mesenteric = ((150, 10, 26, 5, 5), (250, 6, 18, 6, 6), (292, 10, 14, 7, 7))
    yield Shape(((1.0, t.BLOOD),), mesenteric, detail=True)
    gall_bladder = ((245, 68, 68, 5, 6), (256, 68, 64, 13, 14), (276, 66, 58, 17, 20),
                    (300, 62, 48, 13, 17), (320, 58, 38, 6, 7))  # fmt: skip
    yield Shape(((1.0, t.GALL_BLADDER),), gall_bladder, lean=0.2)


def _kidneys() -> Iterator[Shape]:
    keys = ((216, 68, -28, 7, 7), (230, 66, -32, 19, 18), (252, 63, -36, 27, 25),
            (285, 59, -40, 29, 27), (318, 55, -43, 24, 23), (338, 52, -44, 9, 9))  # fmt: skip
    sinus = ((254, 42, -30, 12, 4), (270, 46, -32, 18, 9), (292, 43, -34, 17, 9),
             (306, 40, -36, 10, 4))  # fmt: skip
    fat = Shape(((1.0, t.VISCERAL_FAT),), tuple((z, x, y, 1.3 * rx, 1.35 * ry) for z, x, y, rx, ry
                                                in keys), over="liver")  # fmt: skip
    right = Shape(((1.0, t.RIGHT_KIDNEY), (0.56, t.RIGHT_MEDULLA)), keys, tilt=-0.15)
    hilum = Shape(
        ((1.0, t.RENAL_SINUS),), sinus, tilt=0.25, over="kidney", ragged_mm=1.4, detail=True
    )
    raised = tuple((z + 14, x + 4, y - 2, rx, ry) for z, x, y, rx, ry in keys)
    left = mirrored(replace(right, keys=raised))
    left_sinus = tuple((z + 14, x + 4, y - 2, rx, ry) for z, x, y, rx, ry in sinus)
    yield replace(fat, detail=True, keys=fat.keys[:3])
    yield right
    yield hilum
    yield replace(left, layers=((1.0, t.LEFT_KIDNEY), (0.56, t.LEFT_MEDULLA)))
    yield mirrored(replace(hilum, keys=left_sinus))


def _vessels() -> Iterator[Shape]:
    iliac = Shape(
        ((1.0, t.BLOOD),), ((60, 52, 12, 6, 6), (110, 34, -6, 7, 7), (156, 12, -16, 8, 8))
    )
    yield from _both_sides(replace(iliac, detail=True))
    renal = ((268, 30, -22, 14, 4), (284, 30, -20, 16, 4))
    yield from _both_sides(Shape(((1.0, t.BLOOD),), renal, tilt=-0.5, detail=True))
    postcava = ((150, 15, -15, 10, 8), (220, 17, -12, 11.5, 9.5), (300, 20, -6, 12.5, 10),
                (350, 23, 0, 14, 11), (400, 28, 8, 15, 12.5), (446, 32, 12, 14, 12))  # fmt: skip
    yield Shape(((1.0, t.POSTCAVA),), postcava)
    aorta = ((158, -3, -17, 10, 9), (250, -6, -14, 10.5, 10.5), (350, -11, -15, 12, 12),
             (460, -20, -20, 13, 13))  # fmt: skip
    yield Shape(((1.0, t.AORTA),), aorta, wobble=0.02)


def _adrenals() -> Iterator[Shape]:
    """Two thin limbs that meet in front, like a lambda."""
    right = ((1.0, t.RIGHT_ADRENAL),)
    left = ((1.0, t.LEFT_ADRENAL),)
    inner = ((326, 35, -25, 3, 8), (344, 33, -21, 3.2, 13), (366, 31, -17, 2.8, 7))
    outer = ((324, 41, -28, 3, 6), (340, 39, -24, 3.2, 11), (358, 35, -19, 2.8, 6))
    yield Shape(right, inner, lean=-0.2, ragged_mm=0.5)
    yield Shape(right, outer, lean=-0.75, ragged_mm=0.5)
    inner = ((316, -38, -20, 3, 7), (335, -41, -16, 3.4, 12), (358, -42, -12, 3, 6))
    outer = ((314, -46, -22, 3, 6), (330, -48, -19, 3.4, 11), (352, -46, -14, 3, 5))
    yield Shape(left, inner, lean=0.15, ragged_mm=0.5)
    yield Shape(left, outer, lean=0.75, ragged_mm=0.5)


def _pelvic_organs(sex: str) -> Iterator[Shape]:
    prostate = ((-9, 0, 2, 16, 12), (8, 0, 4, 22, 16), (22, 0, 4, 24, 18), (36, 0, 4, 12, 9))
    uterus = ((24, 0, -18, 10, 8), (40, 0, -16, 18, 12), (62, 3, -12, 27, 18),
              (86, 6, -6, 30, 20), (104, 6, 0, 14, 10))  # fmt: skip
    keys = uterus if sex == "F" else prostate
    yield Shape(((1.0, t.PROSTATE_UTERUS),), keys)
    bladder = ((24, 0, 26, 12, 9), (36, 0, 28, 30, 21), (56, 0, 30, 42, 29), (80, 0, 27, 36, 23),
               (96, 0, 24, 14, 8))  # fmt: skip
    yield Shape(((1.0, t.BLADDER),), bladder)


@functools.cache
def _before_bowel() -> tuple[Shape, ...]:
    return (*_shell(), *_chest(), *_pelvis(), *_spine(), *_ribs())


@functools.cache
def _after_bowel(sex: str) -> tuple[Shape, ...]:
    return (
        *_spleen(),
        *_liver(),
        *_digestive(),
        *_pancreas_and_gall_bladder(),
        *_kidneys(),
        *_vessels(),
        *_adrenals(),
        *_pelvic_organs(sex),
    )


def abdomen(sex: str, rng: np.random.Generator, *, detail: bool) -> list[Shape]:
    """List all shapes of one patient, in painting order.

    Parameters
    ----------
    sex
        "F" has a uterus, anything else a prostate.
    rng
        Draws the bowel loops.
    detail
        With what very small scans cannot show: bowel, ribs, small vessels.
    """
    if detail:
        return [*_before_bowel(), *_bowel(rng), *_after_bowel(sex)]
    return [one for one in (*_before_bowel(), *_after_bowel(sex)) if not one.detail]
