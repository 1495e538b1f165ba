"""From stored values to float32 intensities and uint8 labels; chunks of flat arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def scale_to_float32(
    raw: NDArray[Any], slope: float, inter: float, out: NDArray[np.float32]
) -> None:
    """Write ``float32(float64(raw) * slope + inter)``, rounded after each step as nibabel does.

    Parameters
    ----------
    raw : (n,) whole or floating-point numbers
        Stored values.
    slope, inter : float
        Scaling; 1 and 0 leave values as they are.
    out : float32 (n,)
        The result.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, as in numpy
        if slope == 1 and inter == 0:
            out[:] = raw
            return
        values = raw.astype(np.float64)
        if slope != 1:
            values *= slope
        if inter != 0:
            values += inter
        out[:] = values


def cast_to_labels(values: NDArray[Any], out: NDArray[np.uint8]) -> int:
    """Write values as uint8 and return how many are not whole numbers in 0..255.

    Parameters
    ----------
    values : (n,) whole or floating-point numbers
        Values of a mask.
    out : uint8 (n,)
        The labels; 0 where a value is not one.
    """
    if values.dtype == np.uint8:
        out[:] = values
        return 0
    with np.errstate(invalid="ignore"):
        out[:] = values.astype(np.int64, copy=False).astype(np.uint8)
    is_bad = out != values
    n_bad = int(np.count_nonzero(is_bad))
    if n_bad:
        out[is_bad] = 0
    return n_bad
