"""From stored values to float32 intensities and uint8 labels, a chunk at a time."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.accelerate import njit
from amos_dask.kernels.layout import read_only

_KERNEL_CODES = "bBhHiIlLqQfd"  # dtypes that numba takes as they are


def scale_to_float32(
    raw: NDArray[Any], slope: float, inter: float, out: NDArray[np.float32]
) -> None:
    """Scale stored values: ``float32(float64(raw) * slope + inter)``, each step rounded by itself.

    As in nibabel there is no multiplication by a slope of 1 and no addition of an intercept of
    0. Values beyond the range of float32 become infinite.

    Parameters
    ----------
    raw : (n,) of any integer or float dtype
        Values as stored in the file.
    slope, inter : float
        The file's scaling, 1 and 0 when it has none.
    out : float32 (n,)
        Array to fill.

    Raises
    ------
    ValueError
        When ``raw`` is not flat, or ``out`` of another shape or type.
    """
    _check_chunk(raw, out, np.float32)
    dtype = raw.dtype.newbyteorder("=") if raw.dtype.char in _KERNEL_CODES else np.float64
    # x * 1.0 is x; x + 0.0 is not when x is -0.0, but x + -0.0 always is.
    addend = float(inter) if inter != 0 else -0.0
    with np.errstate(all="ignore"):  # with the JIT off, numpy would warn of infinities
        _scale(read_only(raw.astype(dtype, copy=False)), float(slope), addend, out)


@njit
def _scale(raw: NDArray[Any], slope: float, inter: float, out: NDArray[np.float32]) -> None:
    for i in range(raw.size):
        out[i] = np.float32(np.float64(raw[i]) * slope + inter)


def cast_to_labels(values: NDArray[Any], out: NDArray[np.uint8]) -> int:
    """Cast values to labels, and count those that are none.

    Parameters
    ----------
    values : (n,) of any integer or float dtype
        Values of a mask.
    out : uint8 (n,)
        Array to fill; 0 where a value is no label.

    Returns
    -------
    int
        How many values are not whole numbers from 0 to 255; NaN and infinities are not.

    Raises
    ------
    ValueError
        When ``values`` is not flat, or ``out`` of another shape or type.
    """
    _check_chunk(values, out, np.uint8)
    with np.errstate(invalid="ignore"):
        np.copyto(out, values, casting="unsafe")
    if values.dtype == np.uint8:
        return 0
    # Whatever the cast makes of a value that is no label, it is a label and so not that value.
    is_bad = out != values
    n_bad = int(np.count_nonzero(is_bad))
    if n_bad:
        out[is_bad] = 0
    return n_bad


def _check_chunk(values: NDArray[Any], out: NDArray[Any], dtype: type[np.generic]) -> None:
    if values.ndim != 1 or out.shape != values.shape or out.dtype != dtype:
        raise ValueError(
            f"expected flat values and as many {np.dtype(dtype)} to fill, "
            f"got {values.shape} and {out.dtype} {out.shape}"
        )
