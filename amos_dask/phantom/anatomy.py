"""The abdomen as one table: stacks of ellipses in a reference body, in painting order.

Axes: x to the patient's right, y to the front, z to the head. The reference body is 340 mm
wide, 240 mm deep and 450 mm high; x and y are 0 in its middle, z is 0 at the pelvic floor. What
comes later is painted over what came before, which is how organs come to touch each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from amos_dask.phantom.tissues import EVERYWHERE, SOFT

HALF_WIDTH_MM: Final = 170.0
HALF_DEPTH_MM: Final = 120.0
HEIGHT_MM: Final = 450.0
_ANY: Final = -9.0


@dataclass(frozen=True)
class Organ:
    """A stack of ellipses.

    Attributes
    ----------
    tissue
        What it is made of.
    keys
        ``(z, centre x, centre y, radius x, radius y)`` in reference millimetres, by z.
    inner
        ``(tissue, share, floor)``: what fills it where the squared distance from the centre, in
        radii, is below the share, in front of the floor, in radii: gas rises to the front.
    over
        The tissues that it may be painted over.
    tilt, bend_y
        Millimetres forward per millimetre to the right, and per square millimetre sideways.
    lean, bend_x
        Millimetres to the right per millimetre forward, and per square millimetre forward.
    wobble
        How far the outline waves, in radii; what waves more than 0.02 differs between patients.
    ragged_mm
        How rough its border is, drawn afresh on each slice as a reader's hand does.
    both
        Painted a second time, mirrored.
    detail
        Left out of very small scans.
    sex
        "F" or "M" where only they have it.
    """

    tissue: str
    keys: tuple[tuple[float, float, float, float, float], ...]
    inner: tuple[tuple[str, float, float], ...] = ()
    over: frozenset[str] = SOFT
    tilt: float = 0.0
    bend_y: float = 0.0
    lean: float = 0.0
    bend_x: float = 0.0
    wobble: float = 0.05
    ragged_mm: float = 0.8
    both: bool = False
    detail: bool = False
    sex: str = "FM"


def organs_of(sex: str, n_loops: int, between: Callable[[float, float], float]) -> list[Organ]:
    """List the organs of one patient in painting order.

    Parameters
    ----------
    sex
        "F" has a uterus, "M" a prostate.
    n_loops
        Loops of small bowel; 0 also leaves out what very small scans cannot show.
    between
        Draws a number between two.

    Returns
    -------
    list of Organ
        None of them is to be mirrored any more.
    """
    loops = [_loop(between) for _ in range(n_loops)]
    found: list[Organ] = []
    for organ in (*_FRAME, *loops, *_ORGANS):
        if sex in organ.sex and (n_loops or not organ.detail):
            found.append(organ)
            if organ.both:
                found.append(_mirrored(organ))
    return found


def _mirrored(organ: Organ) -> Organ:
    keys = tuple((z, -x, y, rx, ry) for z, x, y, rx, ry in organ.keys)
    return replace(organ, keys=keys, tilt=-organ.tilt, lean=-organ.lean, bend_x=-organ.bend_x)


def _loop(between: Callable[[float, float], float]) -> Organ:
    """Draw a loop of small bowel; one in six holds gas."""
    z, x, y = between(64, 265), between(-84, 78), between(-4, 76)
    rx, ry, rz = between(12, 27), between(10, 15), between(9, 20)
    keys = ((z - rz, x, y, rx / 2, ry / 2), (z, x, y, rx, ry), (z + rz, x, y, rx / 2, ry / 2))
    inner = _GUT if between(0, 6) < 1 else _GUT[:1]
    tilt, bend_y = between(-0.6, 0.6), between(-0.01, 0.01)
    return Organ("bowel", keys, inner, tilt=tilt, bend_y=bend_y, wobble=0.1, detail=True)


_GUT: Final = (("bowel contents", 0.62, _ANY), ("bowel gas", 0.56, 0.0))
_BONE: Final = (("marrow", 0.6, _ANY),)
_LIVER: Final = frozenset({"liver", "liver vessel"})
_KIDNEY: Final = frozenset({"right kidney", "right medulla", "left kidney", "left medulla"})
_WALL: Final = frozenset({"body wall", "outer fat", "inner fat", "lung"})


def _ribs() -> Iterator[Organ]:
    """Ribs run down and forward, so that a slice cuts each of them once."""
    keys = (
        (-125, 58, 87, 8, 6), (-109, 91, 73, 7, 8), (-94, 117, 53, 6, 9), (-78, 135, 28, 5, 9),
        (-62, 142, 2, 4, 9.5), (-47, 137, -29, 5, 9), (-31, 119, -57, 6, 9), (-16, 95, -76, 7, 8),
        (0, 67, -90, 8, 6.5),
    )  # fmt: skip
    for top in range(292, 620, 36):
        rib = tuple((top + z, x, y, rx, ry) for z, x, y, rx, ry in keys)
        yield Organ("bone", rib, (("marrow", 0.4, _ANY),), _WALL, wobble=0, both=True, detail=True)


def _vertebrae() -> Iterator[Organ]:
    for z in range(142, 460, 35):
        body = ((z, 0, -43, 24, 18.5), (z + 27, 0, -43, 24, 18.5))
        yield Organ("bone", body, (("marrow", 0.8, _ANY),), EVERYWHERE, bend_y=0.004, detail=True)
        behind = ((z - 6, 0, -92, 4.5, 14), (z + 19, 0, -90, 4.5, 15))
        yield Organ("bone", behind, _BONE, EVERYWHERE, detail=True)
        side = ((z + 8, 28, -66, 18, 4), (z + 18, 28, -66, 20, 4.5))
        yield Organ("bone", side, (), EVERYWHERE, tilt=-0.2, both=True, detail=True)


# fmt: off
_FRAME: Final = (
    Organ("table", ((-9, 0, -132, 196, 9), (999, 0, -132, 196, 9)), (("air", 0.5, _ANY),),
          EVERYWHERE, bend_y=0.0006, wobble=0, ragged_mm=0),
    Organ("skin", ((-9, 0, 0, 165, 108), (80, 0, 0, 168, 112), (180, 0, 0, 158, 110),
                   (330, 0, 0, 164, 116), (460, 0, 0, 160, 114)),
          (("outer fat", 0.975, _ANY),), EVERYWHERE, wobble=0.012, ragged_mm=0),
    Organ("body wall", ((-9, 0, -2, 146, 92), (80, 0, -2, 142, 94), (180, 0, -3, 138, 97),
                        (330, 0, -2, 148, 104), (460, 0, 0, 148, 105)),
          (), EVERYWHERE, wobble=0.015),
    Organ("inner fat", ((-9, 0, 4, 72, 66), (60, 0, 4, 86, 70), (130, 0, 6, 108, 76),
                        (200, 0, 8, 124, 82), (330, 0, 8, 136, 90), (460, 0, 8, 138, 92)),
          (), EVERYWHERE, wobble=0.015),
    # The lungs end in crescents behind liver and spleen, the heart shows its lower wall.
    Organ("lung", ((318, 96, -50, 10, 14), (345, 92, -44, 34, 38), (380, 78, -22, 54, 66),
                   (415, 72, 0, 62, 84), (460, 72, 6, 64, 90)), bend_x=-0.002, both=True),
    Organ("muscle", ((422, -26, 50, 20, 14), (436, -26, 46, 50, 34), (460, -24, 42, 60, 44)),
          (("blood", 0.62, _ANY),)),
    Organ("body wall", ((-9, 92, -50, 56, 42), (70, 88, -58, 52, 36), (150, 84, -56, 40, 30)),
          (), EVERYWHERE, both=True, detail=True),
    Organ("bone", ((62, 82, -8, 17, 24), (90, 80, -22, 9, 36), (130, 92, -20, 8, 50),
                   (165, 106, -8, 7, 40), (188, 112, 4, 6, 14)),
          _BONE, EVERYWHERE, lean=0.35, both=True, detail=True),
    Organ("bone", ((-9, 112, -8, 17, 17), (12, 108, -8, 19, 18), (30, 98, -4, 27, 20),
                   (48, 92, 0, 23, 23), (66, 90, 0, 13, 13)),
          (("marrow", 0.85, _ANY),), EVERYWHERE, both=True, detail=True),
    Organ("bone", ((10, 20, 56, 14, 7), (28, 24, 56, 22, 8), (44, 50, 44, 26, 9)),
          _BONE, EVERYWHERE, tilt=-0.45, both=True, detail=True),
    Organ("bowel", ((-9, 0, -40, 12, 11), (60, 0, -46, 18, 15), (125, -8, -34, 15, 13)),
          (("bowel contents", 0.6, _ANY), ("bowel gas", 0.54, 0.3))),
    Organ("body wall", ((120, 34, -72, 30, 20), (250, 36, -76, 34, 24), (460, 32, -80, 30, 22)),
          (), EVERYWHERE, both=True),
    Organ("muscle", ((30, 66, 16, 15, 15), (110, 48, -14, 20, 21), (200, 38, -38, 19, 21),
                     (290, 29, -46, 11, 13), (320, 26, -46, 4, 5)), both=True),
    Organ("disc", ((138, 0, -44, 23, 17), (460, 0, -44, 21, 17)), (), EVERYWHERE),
    Organ("bone", ((138, 0, -66, 17, 13), (460, 0, -66, 16, 13)), (), EVERYWHERE),
    *_vertebrae(),
    Organ("spinal canal", ((130, 0, -67, 9, 7), (460, 0, -67, 9, 7)), (), EVERYWHERE),
    Organ("bone", ((18, 0, -72, 12, 7), (60, 0, -80, 28, 11), (110, 0, -70, 44, 17),
                   (142, 0, -52, 40, 18)), (("marrow", 0.8, _ANY),), EVERYWHERE, bend_y=-0.006),
    *_ribs(),
    Organ("bowel", ((112, 88, 2, 18, 20), (150, 96, 0, 25, 26), (215, 100, -4, 23, 24),
                    (262, 96, 4, 17, 18)), _GUT, wobble=0.14, detail=True),
    Organ("bowel", ((70, -52, 0, 14, 14), (110, -86, -6, 16, 17), (200, -104, -14, 16, 17),
                    (300, -112, 0, 18, 19), (340, -112, 22, 14, 14)),
          _GUT, wobble=0.14, detail=True),
    Organ("bowel", ((236, 10, 72, 50, 10), (255, 0, 76, 96, 15), (278, -25, 78, 84, 14),
                    (318, -80, 68, 32, 15), (345, -96, 60, 18, 14)),
          _GUT, bend_y=-0.0028, wobble=0.15, detail=True),
)
_ORGANS: Final = (
    # Fat under the left diaphragm.
    Organ("inner fat", ((296, -92, -10, 30, 50), (370, -82, 0, 52, 70), (405, -78, 4, 46, 58),
                        (428, -72, 6, 20, 26)), detail=True),
    Organ("spleen", ((284, -118, -26, 6, 10), (300, -118, -32, 14, 28), (325, -116, -38, 21, 42),
                     (360, -112, -42, 25, 48), (395, -104, -42, 26, 40), (414, -94, -38, 12, 16)),
          bend_x=0.007),
    Organ("liver", ((244, 108, 0, 8, 16), (262, 104, 2, 22, 40), (290, 95, 3, 38, 58),
                    (320, 84, 4, 52, 70), (355, 72, 6, 66, 76), (395, 66, 10, 72, 76),
                    (422, 66, 8, 64, 68), (438, 68, 4, 46, 50), (446, 68, 4, 22, 26))),
    Organ("liver", ((296, 22, 62, 10, 8), (318, 20, 60, 28, 20), (350, 12, 58, 48, 29),
                    (380, 2, 56, 64, 32), (412, -6, 54, 58, 28), (434, -4, 52, 26, 16)),
          tilt=0.12),
    Organ("inner fat", ((300, 12, 56, 5, 24), (352, 14, 62, 2.5, 20)), (), _LIVER,
          lean=-0.25, detail=True),
    Organ("inner fat", ((306, 34, 14, 22, 14), (345, 30, 18, 20, 7), (358, 28, 18, 8, 4)), (),
          _LIVER, tilt=0.3, detail=True),
    Organ("liver vessel", ((318, 24, 12, 7, 7), (340, 44, 16, 26, 6), (362, 70, 14, 30, 4)), (),
          _LIVER, tilt=-0.2, bend_y=0.004, detail=True),
    Organ("liver vessel", ((392, 64, -2, 22, 3), (420, 47, 4, 22, 4)), (), _LIVER, tilt=-0.4,
          detail=True),
    Organ("liver vessel", ((392, 52, 30, 22, 3), (420, 41, 20, 22, 4)), (), _LIVER, tilt=0.9,
          detail=True),
    Organ("liver vessel", ((319, 92, -28, 4, 3), (335, 86, -28, 8, 3), (396, 80, 20, 4, 3)), (),
          _LIVER, tilt=0.5, detail=True),
    Organ("stomach", ((256, -6, 56, 16, 6), (272, -10, 58, 46, 15), (294, -26, 58, 54, 19),
                      (320, -54, 48, 38, 26), (350, -66, 34, 33, 34), (385, -70, 14, 36, 40),
                      (412, -66, 2, 34, 36), (430, -62, -2, 18, 20)),
          (("stomach contents", 0.76, _ANY), ("stomach gas", 0.68, 0.35)),
          tilt=-0.15, wobble=0.07),
    Organ("esophagus", ((383, -44, 10, 9, 7), (396, -34, 8, 11, 8), (424, -20, 4, 9, 8),
                        (460, -12, 0, 9, 8)), (("esophagus gas", 0.14, _ANY),)),
    *(Organ("duodenum", keys, (("duodenum contents", 0.5, _ANY),), bend_y=bend_y)
      for keys, bend_y in (
          (((278, 42, 42, 12, 9), (290, 36, 48, 16, 11), (302, 26, 52, 10, 8)), 0),
          (((210, 2, 2, 16, 5), (219, 4, 4, 38, 9), (229, 6, 4, 40, 9), (237, 12, 5, 16, 6)),
           -0.002),
          (((220, 36, 6, 9, 7), (236, 43, 12, 13, 11), (268, 46, 24, 14, 12),
            (296, 44, 38, 10, 9)), 0),
          (((216, -26, 4, 10, 8), (240, -29, 10, 10, 9), (258, -30, 16, 8, 7)), 0))),
    Organ("pancreas", ((250, 27, 16, 8, 7), (266, 26, 21, 16, 13), (282, 18, 26, 23, 14),
                       (296, -8, 24, 38, 12), (310, -40, 16, 48, 11.5), (326, -68, 2, 34, 11),
                       (340, -90, -14, 14, 9)),
          tilt=0.3, bend_y=-0.0035, wobble=0.1, ragged_mm=1.6),
    Organ("blood", ((306, -34, 6, 32, 4), (318, -58, -6, 28, 4)), tilt=0.35, bend_y=-0.003,
          detail=True),
    Organ("blood", ((150, 10, 26, 5, 5), (250, 6, 18, 6, 6), (292, 10, 14, 7, 7)), detail=True),
    Organ("gall bladder", ((245, 68, 68, 5, 6), (256, 68, 64, 13, 14), (276, 66, 58, 17, 20),
                           (300, 62, 48, 13, 17), (320, 58, 38, 6, 7)), lean=0.2),
    Organ("inner fat", ((216, 68, -28, 9, 9), (230, 66, -32, 25, 24), (252, 63, -36, 35, 34)), (),
          _LIVER, detail=True),
    Organ("right kidney", ((216, 68, -28, 7, 7), (230, 66, -32, 19, 18), (252, 63, -36, 27, 25),
                           (285, 59, -40, 29, 27), (318, 55, -43, 24, 23), (338, 52, -44, 9, 9)),
          (("right medulla", 0.56, _ANY),), tilt=-0.15),
    Organ("renal sinus", ((254, 42, -30, 12, 4), (270, 46, -32, 18, 9), (292, 43, -34, 17, 9),
                          (306, 40, -36, 10, 4)), (), _KIDNEY, tilt=0.25, detail=True),
    Organ("left kidney", ((230, -72, -30, 7, 7), (244, -70, -34, 19, 18), (266, -67, -38, 27, 25),
                          (299, -63, -42, 29, 27), (332, -59, -45, 24, 23), (352, -56, -46, 9, 9)),
          (("left medulla", 0.56, _ANY),), tilt=0.15),
    Organ("renal sinus", ((268, -46, -32, 12, 4), (284, -50, -34, 18, 9), (306, -47, -36, 17, 9),
                          (320, -44, -38, 10, 4)), (), _KIDNEY, tilt=-0.25, detail=True),
    Organ("blood", ((60, 52, 12, 6, 6), (110, 34, -6, 7, 7), (156, 12, -16, 8, 8)), both=True,
          detail=True),
    Organ("blood", ((268, 30, -22, 14, 4), (284, 30, -20, 16, 4)), tilt=-0.5, both=True,
          detail=True),
    Organ("postcava", ((150, 15, -15, 10, 8), (220, 17, -12, 11.5, 9.5), (300, 20, -6, 12.5, 10),
                       (350, 23, 0, 14, 11), (400, 28, 8, 15, 12.5), (446, 32, 12, 14, 12))),
    Organ("aorta", ((158, -3, -17, 10, 9), (250, -6, -14, 10.5, 10.5), (350, -11, -15, 12, 12),
                    (460, -20, -20, 13, 13)), wobble=0.02),
    # An adrenal gland is two thin limbs that meet in front, like a lambda.
    Organ("right adrenal", ((326, 35, -25, 3, 8), (344, 33, -21, 3.2, 13), (366, 31, -17, 2.8, 7)),
          lean=-0.2, ragged_mm=0.5),
    Organ("right adrenal", ((324, 41, -28, 3, 6), (340, 39, -24, 3.2, 11), (358, 35, -19, 2.8, 6)),
          lean=-0.75, ragged_mm=0.5),
    Organ("left adrenal", ((316, -38, -20, 3, 7), (335, -41, -16, 3.4, 12), (358, -42, -12, 3, 6)),
          lean=0.15, ragged_mm=0.5),
    Organ("left adrenal", ((314, -46, -22, 3, 6), (330, -48, -19, 3.4, 11), (352, -46, -14, 3, 5)),
          lean=0.75, ragged_mm=0.5),
    Organ("prostate or uterus", ((-9, 0, 2, 16, 12), (8, 0, 4, 22, 16), (22, 0, 4, 24, 18),
                                 (36, 0, 4, 12, 9)), sex="M"),
    Organ("prostate or uterus", ((24, 0, -18, 10, 8), (40, 0, -16, 18, 12), (62, 3, -12, 27, 18),
                                 (86, 6, -6, 30, 20), (104, 6, 0, 14, 10)), sex="F"),
    Organ("bladder", ((24, 0, 26, 12, 9), (36, 0, 28, 30, 21), (56, 0, 30, 42, 29),
                      (80, 0, 27, 36, 23), (96, 0, 24, 14, 8))),
)
# fmt: on
