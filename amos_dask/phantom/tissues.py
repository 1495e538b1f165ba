"""The tissues of the phantom: their labels, and how bright they are on CT and MR.

A scan is painted as tissues first, which are finer than the labels: a kidney is cortex and
medulla, a stomach is wall, contents and gas. Mask and intensities are both looked up from them.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Tissue(NamedTuple):
    """Label before the prostate/uterus split, CT in HU, MR T1-like and T2-like signal."""

    label: int
    hu: int
    t1: int
    t2: int


# A voxel holds the position of its tissue in this table.
TISSUES: Final = {
    "air": Tissue(0, -1000, 3, 3),
    "spleen": Tissue(1, 112, 215, 330),
    "right kidney": Tissue(2, 172, 300, 350),
    "right medulla": Tissue(2, 142, 235, 420),
    "left kidney": Tissue(3, 172, 300, 350),
    "left medulla": Tissue(3, 142, 235, 420),
    "gall bladder": Tissue(4, 8, 120, 760),
    "esophagus": Tissue(5, 48, 230, 260),
    "esophagus gas": Tissue(5, -420, 20, 20),
    "liver": Tissue(6, 104, 330, 190),
    "liver vessel": Tissue(6, 148, 120, 90),
    "stomach": Tissue(7, 72, 240, 280),
    "stomach contents": Tissue(7, 26, 210, 560),
    "stomach gas": Tissue(7, -900, 8, 8),
    "aorta": Tissue(8, 158, 70, 55),
    "postcava": Tissue(9, 132, 85, 65),
    "pancreas": Tissue(10, 88, 350, 260),
    "right adrenal": Tissue(11, 72, 235, 240),
    "left adrenal": Tissue(12, 72, 235, 240),
    "duodenum": Tissue(13, 66, 240, 290),
    "duodenum contents": Tissue(13, 24, 215, 540),
    "bladder": Tissue(14, 6, 90, 820),
    "prostate or uterus": Tissue(15, 66, 230, 330),
    "skin": Tissue(0, 10, 260, 240),
    "outer fat": Tissue(0, -106, 640, 560),
    "body wall": Tissue(0, 56, 190, 120),
    "bone": Tissue(0, 520, 50, 30),
    "marrow": Tissue(0, 190, 380, 300),
    "disc": Tissue(0, 85, 260, 300),
    "spinal canal": Tissue(0, 22, 140, 640),
    "table": Tissue(0, -90, 3, 3),
    "inner fat": Tissue(0, -100, 600, 520),
    "renal sinus": Tissue(0, -45, 420, 520),
    "muscle": Tissue(0, 58, 195, 125),
    "lung": Tissue(0, -840, 25, 20),
    "blood": Tissue(0, 140, 90, 70),
    "bowel": Tissue(0, 62, 240, 290),
    "bowel contents": Tissue(0, 22, 260, 480),
    "bowel gas": Tissue(0, -880, 8, 8),
}

EVERYWHERE: Final = frozenset(TISSUES)
# Organs are cut off at the abdominal wall and at bones.
SOFT: Final = EVERYWHERE - {"air", "skin", "outer fat", "body wall", "bone", "marrow", "table"}
