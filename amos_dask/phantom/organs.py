"""The organs with a label, with what lies in and right beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from amos_dask.phantom import tissues as t
from amos_dask.phantom.shapes import Shape, both_sides, mirrored


def organs(sex: str) -> Iterator[Shape]:
    """Yield the 15 labelled organs; "F" has a uterus, anything else a prostate."""
    yield from _spleen()
    yield from _liver()
    yield from _digestive()
    yield from _pancreas_and_gall_bladder()
    yield from _kidneys()
    yield from _vessels()
    yield from _adrenals()
    yield from _pelvic_organs(sex)


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
    yield from both_sides(replace(iliac, detail=True))
    renal = ((268, 30, -22, 14, 4), (284, 30, -20, 16, 4))
    yield from both_sides(Shape(((1.0, t.BLOOD),), renal, tilt=-0.5, detail=True))
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
