"""numba's defaults for every kernel, in one place."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba  # type: ignore[import-untyped, unused-ignore]

_Function = TypeVar("_Function", bound=Callable[..., Any])


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
        return cast(_Function, _compiler(cache=True, forceinline=False)(function))
    except RuntimeError:  # no folder for the cache is writable (a read-only container image)
        return cast(_Function, _compiler(cache=False, forceinline=False)(function))


def njit_inline(function: _Function) -> _Function:
    """Compile a part of a kernel into its callers.

    For what runs once a row or a run: a real call hands over every array as seven words, which
    costs more than the work itself. Nothing is cached but the callers.
    """
    return cast(_Function, _compiler(cache=False, forceinline=True)(function))


def _compiler(*, cache: bool, forceinline: bool) -> Callable[[Callable[..., Any]], Any]:
    return cast(
        Callable[[Callable[..., Any]], Any],
        numba.njit(
            cache=cache, forceinline=forceinline, nogil=True, fastmath=False, boundscheck=False
        ),
    )
