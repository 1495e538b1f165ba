"""numba's defaults for every kernel, and arrays as kernels take them: flat, in file order."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray


def _remove_outdated_code(folder: Path) -> None:
    """Remove cached machine code that is older than the newest kernel file.

    numba notices a change of the file that defines a kernel, not of the files it calls.
    """
    newest = max(path.stat().st_mtime for path in folder.glob("*.py"))
    for path in (folder / "__pycache__").glob("*.nb[ic]"):
        with contextlib.suppress(OSError):  # a read-only install, or another process was faster
            if path.stat().st_mtime < newest:
                path.unlink()


_remove_outdated_code(Path(__file__).parent)

_Function = TypeVar("_Function", bound=Callable[..., Any])

# ``fastmath`` stays off: results are promised bit for bit, so LLVM must neither reorder nor fuse
# floating-point operations. ``_nrt`` off takes away numba's runtime: no atomic counting of
# references to arrays, which around short functions costs several times their work, and much
# less to compile. The price: a kernel neither makes nor returns an array; its caller brings all.
_DEFAULTS = {"nogil": True, "fastmath": False, "boundscheck": False, "_nrt": False}

# 0 as a variable. For a plain 0 passed on, numba would compile the callee once more.
ZERO = cast(int, np.int64(0))


def njit(function: _Function) -> _Function:
    """Compile a kernel in nopython mode with the defaults of this package.

    The machine code is cached on disk and runs without the GIL. A kernel uses and slices the
    arrays it is given; it makes none and returns none. With ``NUMBA_DISABLE_JIT=1`` the function
    comes back as it is.

    Parameters
    ----------
    function : callable
        A function of numbers, arrays and named tuples of these.

    Returns
    -------
    callable
        The compiled function, typed as the one given.
    """
    try:
        return cast(_Function, numba.njit(cache=True, **_DEFAULTS)(function))
    except RuntimeError:  # no folder for the cache is writable (a read-only container image)
        return cast(_Function, numba.njit(cache=False, **_DEFAULTS)(function))


def njit_inline(function: _Function) -> _Function:
    """Compile a part of a kernel into its callers; only these are cached.

    For what runs once a row, a run or a pixel: a real call hands over every array as seven words.

    Parameters
    ----------
    function : callable
        As `njit` takes it.

    Returns
    -------
    callable
        The compiled function, typed as the one given.
    """
    return cast(_Function, numba.njit(cache=False, forceinline=True, **_DEFAULTS)(function))


Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]

_Scalar = TypeVar("_Scalar", bound=np.generic)


def require_mask(mask: NDArray[Any]) -> None:
    """Refuse what is no uint8 (x, y, z) mask.

    Parameters
    ----------
    mask : array
        Anything.

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    if mask.ndim != 3 or mask.dtype != np.uint8:
        raise ValueError(f"expected a uint8 (x, y, z) mask, got {mask.dtype} {mask.shape}")


def flat_fortran(mask: Bytes) -> Bytes:
    """Return a mask's voxels, x fastest, as a read-only flat array.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Copied unless it is in Fortran order.

    Returns
    -------
    uint8 (x * y * z,)

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.

    Examples
    --------
    >>> flat_fortran(np.array([[[1], [2]], [[3], [4]]], np.uint8)).tolist()
    [1, 3, 2, 4]
    """
    require_mask(mask)
    return read_only(mask.reshape(-1, order="F"))


def flat_any_order(mask: Bytes) -> Bytes:
    """Return a mask's voxels as they lie in memory, as a read-only flat array.

    Parameters
    ----------
    mask : uint8 (x, y, z)
        Copied only when it is neither in Fortran nor in C order.

    Returns
    -------
    uint8 (x * y * z,)

    Raises
    ------
    ValueError
        When ``mask`` is not three-dimensional or not uint8.
    """
    require_mask(mask)
    return read_only(mask.reshape(-1, order="C" if mask.flags.c_contiguous else "F"))


def read_only(values: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Return a contiguous read-only array of the same values, a view where possible.

    numba compiles a kernel once for arrays that may be written to and once more for those that
    may not; kernels never write to their input, so all input is made to be of the second kind.

    Parameters
    ----------
    values : array
        Of any type and shape; not changed.

    Returns
    -------
    array
        In C order.
    """
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view
