"""The organs of one patient: those of the table ``anatomy.yaml``, and loops of small bowel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

_TABLE: Final = yaml.safe_load(Path(__file__).with_name("anatomy.yaml").read_text(encoding="utf-8"))


class Tissue(NamedTuple):
    """Label before the prostate/uterus split, CT in HU, T1-like and T2-like MR signal."""

    label: int
    hu: int
    t1: int
    t2: int


# A kidney is cortex and medulla, a stomach wall, contents and gas: finer than the labels.
TISSUES: Final = {name: Tissue(*numbers) for name, numbers in _TABLE["tissues"].items()}
_GROUPS: Final = {
    "everything": frozenset(TISSUES),
    "soft": frozenset(TISSUES) - set(_TABLE["groups"]["firm"]),
    **{name: frozenset(tissues) for name, tissues in _TABLE["groups"].items()},
}
_GUT: Final = (("bowel contents", 0.62), ("bowel gas", 0.56, 0.0))


@dataclass(frozen=True)
class Organ:
    """A stack of ellipses."""

    tissue: str
    keys: tuple[tuple[float, ...], ...]  # (z, centre x, y, radius x, y), reference mm, by z
    # (tissue, share): what fills it where the squared distance from the centre, in radii, is below
    # the share; a third number is a level in radii: gas rises to the front of it.
    inner: tuple[tuple[Any, ...], ...] = ()
    over: str = "soft"  # the tissues that it is painted over, a group of the table
    # Millimetres forward per millimetre to the right, and per square millimetre sideways.
    tilt: float = 0.0
    bend_y: float = 0.0
    # Millimetres to the right per millimetre forward, and per square millimetre forward.
    lean: float = 0.0
    bend_x: float = 0.0
    # How far the outline waves, in radii; what waves more than 0.02 differs between patients.
    wobble: float = 0.05
    ragged_mm: float = 0.8  # how rough its border is, drawn afresh on each slice as readers do
    both: bool = False  # painted a second time, mirrored
    detail: bool = False  # left out of very small scans
    sex: str = "FM"  # or that of those who have it

    @property
    def covers(self) -> frozenset[str]:
        """Names of the tissues that it is painted over."""
        return _GROUPS[self.over]


def organs_of(sex: str, n_loops: int, between: Callable[[float, float], float]) -> list[Organ]:
    """Return the organs of one patient in painting order, mirrored ones for themselves.

    Parameters
    ----------
    sex
        "F" has a uterus, "M" a prostate.
    n_loops
        Loops of small bowel; 0 also leaves out what very small scans cannot show.
    between
        Draws a number between two.
    """
    loops = [_loop(between) for _ in range(n_loops)]
    organs = [*_rows("frame"), *loops, *_rows("organs")]
    return [one for one in organs if sex in one.sex and (n_loops or not one.detail)]


def _rows(section: str) -> Iterator[Organ]:
    for fields in _TABLE[section]:
        first, stop, step = fields.get("repeat", (0, 1, 1))
        organ = Organ(**{name: value for name, value in fields.items() if name != "repeat"})
        for up in range(0, stop - first, step):
            one = replace(organ, keys=tuple((z + up, *ellipse) for z, *ellipse in organ.keys))
            yield one
            if organ.both:
                keys = tuple((z, -x, *rest) for z, x, *rest in one.keys)
                yield replace(one, keys=keys, tilt=-one.tilt, lean=-one.lean, bend_x=-one.bend_x)


def _loop(between: Callable[[float, float], float]) -> Organ:
    """Draw a loop of small bowel; one in six holds gas."""
    z, x, y = between(64, 265), between(-84, 78), between(-4, 76)
    rx, ry, rz = between(12, 27), between(10, 15), between(9, 20)
    keys = ((z - rz, x, y, rx / 2, ry / 2), (z, x, y, rx, ry), (z + rz, x, y, rx / 2, ry / 2))
    inner = _GUT if between(0, 6) < 1 else _GUT[:1]
    tilt, bend_y = between(-0.6, 0.6), between(-0.01, 0.01)
    return Organ("bowel", keys, inner, tilt=tilt, bend_y=bend_y, wobble=0.1, detail=True)
