"""The abdomen as a list of shapes, in painting order.

What comes later in the list is painted over what came before, which is how organs come to
touch each other.
"""

from __future__ import annotations

import functools

import numpy as np

from amos_dask.phantom import frame, organs
from amos_dask.phantom.shapes import Shape


@functools.cache
def _before_bowel() -> tuple[Shape, ...]:
    return tuple(frame.frame())


@functools.cache
def _after_bowel(sex: str) -> tuple[Shape, ...]:
    return tuple(organs.organs(sex))


def abdomen(sex: str, rng: np.random.Generator, *, n_loops: int) -> list[Shape]:
    """List all shapes of one patient, in painting order.

    Parameters
    ----------
    sex
        "F" has a uterus, anything else a prostate.
    rng
        Draws the bowel loops.
    n_loops
        Loops of small bowel; 0 also leaves out what very small scans cannot show, the colon,
        ribs and small vessels.
    """
    if n_loops:
        return [*_before_bowel(), *frame.bowel(rng, n_loops), *_after_bowel(sex)]
    return [one for one in (*_before_bowel(), *_after_bowel(sex)) if not one.detail]
