"""What surrounds the labelled organs: skin, muscles, bones, lungs and bowel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from amos_dask.phantom import tissues as t
from amos_dask.phantom.shapes import Key, Shape, both_sides


def frame() -> Iterator[Shape]:
    """Yield body wall, lungs, bones and muscles."""
    yield from _shell()
    yield from _chest()
    yield from _pelvis()
    yield from _spine()
    yield from _ribs()


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
    yield from both_sides(lung)
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
    yield from both_sides(back)
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
    yield from both_sides(psoas)
    crus = Shape(
        ((1.0, t.MUSCLE),),
        ((290, 16, -22, 5, 8), (430, 20, -22, 6, 15)),
        lean=-0.3,
        detail=True,
    )
    yield from both_sides(crus)
    yield Shape(((1.0, t.DISC),), ((138, 0, -44, 23, 17), (460, 0, -44, 21, 17)), over="any")
    yield Shape(((1.0, t.BONE),), ((138, 0, -66, 17, 13), (460, 0, -66, 16, 13)), over="any")
    for bottom in range(142, 460, 35):
        low, high = float(bottom), float(bottom + 27)
        ends: tuple[Key, Key] = ((low, 0, -43, 24, 18.5), (high, 0, -43, 24, 18.5))
        yield Shape(((1.0, t.BONE), (0.8, t.MARROW)), ends, over="any", bend_y=0.004, detail=True)
        spine: tuple[Key, Key] = ((low - 6, 0, -92, 4.5, 14), (high - 8, 0, -90, 4.5, 15))
        yield Shape(((1.0, t.BONE), (0.4, t.MARROW)), spine, over="any", detail=True)
        side: tuple[Key, Key] = ((low + 8, 28, -66, 18, 4), (low + 18, 28, -66, 20, 4.5))
        yield from both_sides(Shape(((1.0, t.BONE),), side, tilt=-0.2, over="any", detail=True))
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
        yield from both_sides(replace(part, detail=True))
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
        yield from both_sides(rib)


def bowel(rng: np.random.Generator, n_loops: int) -> Iterator[Shape]:
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
    for _ in range(n_loops):
        z, x, y = rng.uniform(64, 265), rng.uniform(-84, 78), rng.uniform(-4, 76)
        rx, ry, rz = rng.uniform(12, 27), rng.uniform(10, 15), rng.uniform(9, 20)
        keys = ((z - rz, x, y, rx / 2, ry / 2), (z, x, y, rx, ry), (z + rz, x, y, rx / 2, ry / 2))
        shape = Shape(loops, keys, tilt=rng.uniform(-0.6, 0.6), bend_y=rng.uniform(-0.01, 0.01))
        with_gas = rng.random() < 0.16
        yield replace(shape, gas=gas if with_gas else None, detail=True, wobble=0.1)
