"""The kernels: numba and numpy on plain arrays, one family a file; here what all have in common.

Masks are uint8 (x, y, z) arrays, best in Fortran order as NIfTI stores them; nothing here knows
files, labels' names or Dask.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numba.core import event
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Ints: TypeAlias = NDArray[np.int64]
Shape: TypeAlias = tuple[int, int, int]


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

_KERNELS: list[Any] = []  # all that are called from outside kernels
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
    """
    try:
        kernel = numba.njit(cache=True, **_DEFAULTS)(function)
    except RuntimeError:  # no folder for the cache is writable (a read-only container image)
        kernel = numba.njit(cache=False, **_DEFAULTS)(function)
    _KERNELS.append(kernel)
    return cast(_Function, kernel)


def njit_inline(function: _Function) -> _Function:
    """Compile a part of a kernel into its callers; only these are cached.

    For what runs once a row, a run or a pixel: a real call hands over every array as seven words.
    """
    return cast(_Function, numba.njit(cache=False, forceinline=True, **_DEFAULTS)(function))


@contextlib.contextmanager
def noticing_compiling(tell: Callable[[], None]) -> Iterator[None]:
    """Call ``tell`` whenever numba begins to compile a kernel."""

    class Compiling(event.Listener):  # type: ignore[misc]  # numba has no types
        def on_start(self, _: Any) -> None:
            tell()

        def on_end(self, _: Any) -> None:
            pass

    with event.install_listener("numba:compile", Compiling()):
        yield


def are_compiled() -> bool:
    """Return whether numba's cache on this machine seems to hold the machine code of all kernels.

    By the names of its files; whether the code is for this processor is seen when it is loaded.
    """
    _families()
    return all(map(_is_cached, _KERNELS))


def _is_cached(kernel: Any) -> bool:
    if not hasattr(kernel, "stats"):  # NUMBA_DISABLE_JIT
        return True
    folder, code = kernel.stats.cache_path, kernel.py_func.__code__
    pattern = f"*.{kernel.__qualname__}-{code.co_firstlineno}.*.nbi"
    return bool(folder) and any(Path(folder).glob(pattern))


def warm_up(tell_compiling: Callable[[], None] = lambda: None) -> None:
    """Run every kernel once on tiny arrays of the usual types.

    Afterwards numba's cache on this machine holds the machine code, and no later process has to
    compile it. Harmless to repeat.

    Parameters
    ----------
    tell_compiling : callable
        Is called whenever numba begins to compile, which it does not for what its cache holds.
    """
    with noticing_compiling(tell_compiling):
        _run_every_kernel()


def _run_every_kernel() -> None:
    components, label_sets, slice_denoise, voxelwise = _families()
    mask = np.zeros((32, 8, 2), np.uint8, order="F")
    mask[2, 2, 0] = 1
    components.label_components(mask)
    slice_denoise.denoise_slices(mask, (1.0, 1.0), 10.0, (3, 3), 1)
    voxelwise.remap_labels(mask, np.arange(256, dtype=np.uint8))
    voxelwise.count_labels(mask)
    sets = label_sets.LabelSets(mask.size)
    sets.begin(1)
    sets.cover(0, mask.ravel(order="F"))
    sets.resolve([1])
    rows, table = np.zeros(256, np.int64), np.zeros((1, voxelwise.N_VALUES), np.int64)
    voxelwise.count_values(np.full(1, 0.5, np.float32), np.zeros(1, np.uint8), rows, table)
    for dtype in (np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64):
        voxelwise.scale_to_float32(np.zeros(1, dtype), 1.0, 0.0, np.empty(1, np.float32))


def _families() -> tuple[Any, ...]:
    """Return the files of kernels, which register theirs as they are imported."""
    from amos_dask.kernels import components, label_sets, slice_denoise, voxelwise

    return components, label_sets, slice_denoise, voxelwise
