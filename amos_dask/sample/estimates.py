"""What a scan costs: memory, time, bytes. As measured, see the benchmarks."""

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
# With the kernels compiled there, as the first worker of a machine does, or while the values of
# many scans are described together.
_IDLE_WORKER_BYTES = 360e6
# The mask on its way, all of it labelled; and values that are no usual whole numbers, while those
# under labels are counted.
_MASK_BYTES_A_VOXEL = 4.0
_VALUE_BYTES_A_VOXEL = 4.0
_USUAL_BYTES = 2


@dataclass(frozen=True)
class ScanSize:
    """What the header of a scan says of its size.

    Parameters
    ----------
    n_voxels : int
        Its voxels; 0 where the header cannot be read.
    is_whole : bool
        Whether its values are whole numbers of 16 bits, whatever they are.
    """

    n_voxels: int = 0
    is_whole: bool = True

    @classmethod
    def of(cls, ref: FileRef | None) -> ScanSize:
        """Read the header of a scan."""
        if ref is None:
            return cls()
        try:
            info = read_info(ref)
        except CANNOT_BE_READ:
            return cls()
        is_short = info.stored_dtype.kind in "iu" and info.stored_dtype.itemsize <= _USUAL_BYTES
        is_whole = float(info.slope).is_integer() and float(info.inter).is_integer()
        return cls(info.n_voxels, is_short and is_whole)

    @property
    def peak_bytes(self) -> int:
        """About how much memory a worker needs for it at most, however much of it is labelled."""
        of_values = 0.0 if self.is_whole else _VALUE_BYTES_A_VOXEL
        return int(_IDLE_WORKER_BYTES + (_MASK_BYTES_A_VOXEL + of_values) * self.n_voxels)


def largest_scan_bytes(samples: Iterable[Sample]) -> int:
    """Return about how much memory a worker needs for the largest of the samples.

    Only the headers of the largest files are read.
    """
    volumes = [sample.volume for sample in samples if sample.volume is not None]
    largest = sorted(volumes, key=lambda ref: -ref.size)[:_CANDIDATES]
    return max((ScanSize.of(ref).peak_bytes for ref in largest), default=ScanSize().peak_bytes)
