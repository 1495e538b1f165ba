"""Volume: a scan of any stored type becomes float32 with one consistent geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amos_dask.kernels.voxelwise import scale_to_float32
from amos_dask.nifti import ImageInfo, ImageReader, ImageWriter, make_header, parse_header

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1
_CHUNK_VOXELS = 1 << 18  # one MB of float32, which stays in the cache from scaling to packing


def volume_header(info: ImageInfo) -> bytes:
    """Return the header of the float32 volume written for a scan."""
    return make_header(info.shape, np.float32, info.affine, info.affine_code)


def written_info(info: ImageInfo) -> ImageInfo:
    """Return what the header of the written volume says; its affine is rounded to float32."""
    return parse_header(volume_header(info))


Watcher = Callable[[NDArray[np.float32]], None]


class SeenValues(NamedTuple):
    """What was seen of a volume's values while it streamed by."""

    all_finite: bool  # none is NaN or infinite
    is_constant: bool  # all are one value
    n_first: int  # slices along z, from the first on, that hold one value each
    n_last: int  # and back from the last


class _FlatSlices:
    """Finds slices of one value in a stream; of most, a few voxels are looked at."""

    def __init__(self, n_pixels: int) -> None:
        self._n_pixels = n_pixels  # voxels of a slice
        self._n_seen = 0  # of the last slice
        self._values: list[np.float32] = []  # of each slice; NaN where it has several

    def add(self, values: NDArray[np.float32]) -> None:
        """See the next values, in file order."""
        while values.size:
            if self._n_seen == 0:
                self._values.append(values[0])
            part = values[: self._n_pixels - self._n_seen]
            value = self._values[-1]
            # The middle of a slice tells most from a flat one.
            if part[part.size // 2] != value or not (part == value).all():
                self._values[-1] = np.float32(np.nan)
            self._n_seen = (self._n_seen + part.size) % self._n_pixels
            values = values[part.size :]

    def result(self, *, all_finite: bool) -> SeenValues:
        """Return what was seen, with whether all values were finite."""
        values = np.array(self._values)
        uneven = np.flatnonzero(np.isnan(values))
        if not uneven.size:
            is_constant = bool((values == values[0]).all())
            return SeenValues(all_finite, is_constant, values.size, values.size)
        n_first, n_last = int(uneven[0]), values.size - 1 - int(uneven[-1])
        return SeenValues(all_finite, False, n_first, n_last)


def convert_volume(image: ImageReader, path: Path, watchers: Sequence[Watcher] = ()) -> SeenValues:
    """Write a scan as float32, chunk by chunk in bounded memory.

    Parameters
    ----------
    image : ImageReader
        The scan, opened; it is read to its end.
    path : Path
        Where to write (a temporary name).
    watchers : sequence of callable
        Each is shown all values in file order, chunk by chunk; a chunk is valid until it returns.

    Raises
    ------
    UnreadableImageError
        When the scan is damaged.
    """
    info = image.info
    may_be_infinite = _may_be_infinite(info)
    all_finite, slices = True, _FlatSlices(info.shape[0] * info.shape[1])
    buffer = np.empty(_CHUNK_VOXELS, np.float32)
    with ImageWriter(path, volume_header(info)) as writer:
        for chunk in image.chunks():
            for start in range(0, chunk.size, _CHUNK_VOXELS):
                stored = chunk[start : start + _CHUNK_VOXELS]
                values = buffer[: stored.size]
                scale_to_float32(stored, info.slope, info.inter, values)
                if may_be_infinite:
                    all_finite &= bool(np.isfinite(values).all())
                slices.add(values)
                writer.write(values)
                for watcher in watchers:
                    watcher(values)
    return slices.result(all_finite=all_finite)


def _may_be_infinite(info: ImageInfo) -> bool:
    """Return whether the header alone cannot tell that float32 holds every voxel."""
    if info.stored_dtype.kind == "f":
        return True
    limits = np.iinfo(info.stored_dtype)
    largest = max(-int(limits.min), int(limits.max)) * abs(info.slope) + abs(info.inter)
    return not largest <= float(np.finfo(np.float32).max)  # nor with a slope that is NaN


def check_values(seen: SeenValues) -> Iterator[tuple[str, str]]:
    """Yield code and message for all that is odd about a volume's values."""
    if not seen.all_finite:
        yield "non_finite_voxels", "NaN or infinite voxels"
    if seen.is_constant:
        yield "constant_volume", "all voxels have one value"
    elif seen.n_first or seen.n_last:
        ends = ((seen.n_first, "first"), (seen.n_last, "last"))
        slices = (f"{end} slice" if n == 1 else f"{end} {n} slices" for n, end in ends if n)
        where = " and ".join(f"the {each}" for each in slices)
        yield "empty_slices", f"{where} along z, each of one value"
