"""numba's defaults for every kernel, in one place."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba  # type: ignore[import-untyped, unused-ignore]

_Function = TypeVar("_Function", bound=Callable[..., Any])

_DEFAULTS = {"nogil": True, "fastmath": False, "boundscheck": False}


def njit(function: _Function) -> _Function:
    """Compile a kernel in nopython mode with the defaults of this package.

    The machine code is cached on disk and runs without the GIL. ``fastmath`` stays off: results
    are promised bit for bit, so LLVM must neither reorder nor fuse floating-point operations.
    With ``NUMBA_DISABLE_JIT=1`` the function comes back as it is.

    numba notices a change of the file that defines a kernel, not of the files that the kernel
    calls: after editing one kernel file, touch the files that import it.

    Parameters
    ----------
    function : callable
        A function of scalars, arrays and named tuples of these.

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
    """Compile a part of a kernel into its callers, without counting references to arrays.

    For what runs once a row, a run or a pixel. A real call would hand over every array as seven
    words and count its references atomically, which costs several times the work itself. Such
    a function may use and slice the arrays it is given, but must neither make nor return one.
    Only its callers are cached.
    """
    compiler = numba.njit(cache=False, forceinline=True, _nrt=False, **_DEFAULTS)
    return cast(_Function, compiler(function))
