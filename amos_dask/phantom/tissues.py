"""Tissue codes of the phantom, their labels, and how bright they are.

A scan is first painted as *tissues* (one code a voxel, finer than the labels: a kidney is
cortex and medulla, a stomach is wall, contents and gas). The mask and the intensities are
both looked up from it, so that they always fit each other.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

# Codes 1..15 are the AMOS22 labels themselves (15 = prostate/uterus).
AIR: Final = 0
SPLEEN: Final = 1
RIGHT_KIDNEY: Final = 2
LEFT_KIDNEY: Final = 3
GALL_BLADDER: Final = 4
ESOPHAGUS: Final = 5
LIVER: Final = 6
STOMACH: Final = 7
AORTA: Final = 8
POSTCAVA: Final = 9
PANCREAS: Final = 10
RIGHT_ADRENAL: Final = 11
LEFT_ADRENAL: Final = 12
DUODENUM: Final = 13
BLADDER: Final = 14
PROSTATE_UTERUS: Final = 15

SKIN: Final = 16
SUBCUTANEOUS_FAT: Final = 17
BODY_WALL: Final = 18
BONE: Final = 19
MARROW: Final = 20
TABLE: Final = 21
VISCERAL_FAT: Final = 22
LUNG: Final = 23
MUSCLE: Final = 24
BLOOD: Final = 25
BOWEL: Final = 26
BOWEL_CONTENTS: Final = 27
BOWEL_GAS: Final = 28
DISC: Final = 29
CANAL: Final = 30
RENAL_SINUS: Final = 31
RIGHT_MEDULLA: Final = 32
LEFT_MEDULLA: Final = 33
STOMACH_CONTENTS: Final = 34
STOMACH_GAS: Final = 35
ESOPHAGUS_GAS: Final = 36
DUODENUM_CONTENTS: Final = 37
LIVER_VESSEL: Final = 38
N_TISSUES: Final = 39

# What organs may not grow into: they are cut off at the abdominal wall and at bones.
_FIRM: Final = (AIR, SKIN, SUBCUTANEOUS_FAT, BODY_WALL, BONE, MARROW, TABLE)

_PART_OF: Final = {
    RIGHT_MEDULLA: RIGHT_KIDNEY,
    LEFT_MEDULLA: LEFT_KIDNEY,
    STOMACH_CONTENTS: STOMACH,
    STOMACH_GAS: STOMACH,
    ESOPHAGUS_GAS: ESOPHAGUS,
    DUODENUM_CONTENTS: DUODENUM,
    LIVER_VESSEL: LIVER,
}

# code: (CT in HU, CT noise sigma in HU, MR T1-like, MR T2-like in arbitrary units)
_BRIGHTNESS: Final[dict[int, tuple[float, float, float, float]]] = {
    AIR: (-1000, 3.5, 3, 3),
    SPLEEN: (112, 16, 215, 330),
    RIGHT_KIDNEY: (172, 17, 300, 350),
    LEFT_KIDNEY: (172, 17, 300, 350),
    GALL_BLADDER: (8, 16, 120, 760),
    ESOPHAGUS: (48, 16, 230, 260),
    LIVER: (104, 16, 330, 190),
    STOMACH: (72, 16, 240, 280),
    AORTA: (158, 17, 70, 55),
    POSTCAVA: (132, 17, 85, 65),
    PANCREAS: (88, 16, 350, 260),
    RIGHT_ADRENAL: (72, 16, 235, 240),
    LEFT_ADRENAL: (72, 16, 235, 240),
    DUODENUM: (66, 16, 240, 290),
    BLADDER: (6, 17, 90, 820),
    PROSTATE_UTERUS: (66, 17, 230, 330),
    SKIN: (10, 14, 260, 240),
    SUBCUTANEOUS_FAT: (-106, 13, 640, 560),
    BODY_WALL: (56, 16, 190, 120),
    BONE: (520, 22, 50, 30),
    MARROW: (190, 22, 380, 300),
    TABLE: (-90, 14, 3, 3),
    VISCERAL_FAT: (-100, 15, 600, 520),
    LUNG: (-840, 20, 25, 20),
    MUSCLE: (58, 17, 195, 125),
    BLOOD: (140, 17, 90, 70),
    BOWEL: (62, 16, 240, 290),
    BOWEL_CONTENTS: (22, 18, 260, 480),
    BOWEL_GAS: (-880, 14, 8, 8),
    DISC: (85, 17, 260, 300),
    CANAL: (22, 17, 140, 640),
    RENAL_SINUS: (-45, 17, 420, 520),
    RIGHT_MEDULLA: (142, 17, 235, 420),
    LEFT_MEDULLA: (142, 17, 235, 420),
    STOMACH_CONTENTS: (26, 17, 210, 560),
    STOMACH_GAS: (-900, 14, 8, 8),
    ESOPHAGUS_GAS: (-420, 20, 20, 20),
    DUODENUM_CONTENTS: (24, 17, 215, 540),
    LIVER_VESSEL: (148, 17, 120, 90),
}
# What contrast medium adds: these fall back to blood and parenchyma in a plain scan.
_PLAIN_CT: Final[dict[int, float]] = {
    SPLEEN: 48,
    RIGHT_KIDNEY: 33,
    LEFT_KIDNEY: 33,
    RIGHT_MEDULLA: 29,
    LEFT_MEDULLA: 29,
    LIVER: 60,
    LIVER_VESSEL: 42,
    AORTA: 43,
    POSTCAVA: 41,
    BLOOD: 42,
    PANCREAS: 40,
    STOMACH: 42,
    DUODENUM: 40,
    BOWEL: 40,
}

Float32 = npt.NDArray[np.float32]


def organ_lookup() -> npt.NDArray[np.uint8]:
    """Tissue code -> label 0..15, shape (N_TISSUES,)."""
    lookup = np.zeros(N_TISSUES, np.uint8)
    lookup[1:16] = np.arange(1, 16)
    for part, organ in _PART_OF.items():
        lookup[part] = organ
    return lookup


def soft_lookup() -> npt.NDArray[np.bool_]:
    """Tissue code -> whether an organ may be painted over it, shape (N_TISSUES,)."""
    lookup = np.ones(N_TISSUES, np.bool_)
    lookup[list(_FIRM)] = False
    return lookup


def only_over(*codes: int) -> npt.NDArray[np.bool_]:
    """Tissue code -> whether it is one of `codes`, shape (N_TISSUES,)."""
    lookup = np.zeros(N_TISSUES, np.bool_)
    lookup[list(codes)] = True
    return lookup


def ct_brightness(rng: np.random.Generator) -> tuple[Float32, Float32]:
    """Mean HU and noise sigma in HU of every tissue in one CT, two arrays (N_TISSUES,)."""
    table = np.array([_BRIGHTNESS[code][:2] for code in range(N_TISSUES)], np.float32)
    mean, sigma = table[:, 0].copy(), table[:, 1].copy()
    if rng.random() < 0.3:
        for code, value in _PLAIN_CT.items():
            mean[code] = value
    mean[1:16] += rng.normal(0.0, 4.0, 15).astype(np.float32)
    return mean, sigma * np.float32(rng.uniform(0.75, 1.0))


def mr_brightness(rng: np.random.Generator) -> Float32:
    """Mean signal in arbitrary units of every tissue in one MR scan, shape (N_TISSUES,)."""
    column = 2 if rng.random() < 0.6 else 3
    mean = np.array([_BRIGHTNESS[code][column] for code in range(N_TISSUES)], np.float32)
    return mean * rng.uniform(0.93, 1.07, N_TISSUES).astype(np.float32)
