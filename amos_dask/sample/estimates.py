"""What a scan costs: memory, time, bytes. Measured on CT, see the benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from amos_dask.nifti import read_info
from amos_dask.records import FileRef, Sample
from amos_dask.root.receipts import Output
from amos_dask.sample.source import CANNOT_BE_READ


@dataclass(frozen=True)
class Cost:
    """What a voxel costs.

    Parameters
    ----------
    seconds : float
        Of one core.
    written_bytes : float
        After compression.
    """

    seconds: float
    written_bytes: float


COSTS = {Output.VOLUME: Cost(15e-9, 1.1), Output.MASKS: Cost(6e-9, 0.03)}
_CANDIDATES = 10
# Compiling the kernels, the first time on a machine, takes a little more.
_IDLE_WORKER_BYTES = 300e6
_PEAK_BYTES_A_VOXEL = 2.5


def peak_bytes(n_voxels: int) -> int:
    """Return about how much memory a worker needs for a scan."""
    return int(_IDLE_WORKER_BYTES + _PEAK_BYTES_A_VOXEL * n_voxels)


def largest_scan_bytes(samples: Iterable[Sample]) -> int:
    """Return about how much memory a worker needs for the largest of the samples.

    Only the headers of the largest files are read.
    """
    volumes = [sample.volume for sample in samples if sample.volume is not None]
    largest = sorted(volumes, key=lambda ref: -ref.size)[:_CANDIDATES]
    return peak_bytes(max(map(count_voxels, largest), default=0))


def count_voxels(ref: FileRef | None) -> int:
    """Return the voxels that a header promises; 0 where it cannot be read."""
    if ref is None:
        return 0
    try:
        return read_info(ref).n_voxels
    except CANNOT_BE_READ:
        return 0
