"""What a run would do, and what it would cost, without doing it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.nifti import read_info
from amos_dask.pipeline.results import RunPlan
from amos_dask.pipeline.samples import Order, plan_samples
from amos_dask.recipe.work import RunTask
from amos_dask.records import FileRef, Sample
from amos_dask.store.layout import find_sample_folders, sample_folder
from amos_dask.store.receipts import Part

_COLUMNS = ("ID", "subset", "modality", "reason", "todo", "read_bytes", "write_bytes", "folder")


@dataclass(frozen=True)
class _Cost:
    """What a voxel costs; measured on CT, see the benchmarks.

    ``written_bytes`` is what is left of it after compression.
    """

    seconds: float
    written_bytes: float


_COSTS = {Part.VOLUME: _Cost(15e-9, 1.1), Part.MASKS: _Cost(6e-9, 0.03)}
_CANDIDATES = 10
_IDLE_WORKER_BYTES = 250e6
_PEAK_BYTES_A_VOXEL = 2.5


def make_plan(order: Order, location: str) -> RunPlan:
    """Return the plan of a run; reads the headers of the samples that are to be processed."""
    plan = plan_samples(order, find_sample_folders(order.layout.grouped))
    rows, sizes, seconds = [], [0], 0.0
    for task, work in plan:
        n_voxels = _count_voxels(task.sample.volume) if work.parts else 0
        sizes.append(n_voxels)
        seconds += n_voxels * sum(_COSTS[part].seconds for part in _made(task))
        rows.append(_row(task, str(work.reason), n_voxels))
    samples = pd.DataFrame(rows, columns=list(_COLUMNS))
    return RunPlan(
        root_dir=order.layout.root,
        archive=location,
        samples=samples,
        n_bytes_to_read=int(samples["read_bytes"].sum()),
        n_bytes_to_write=int(samples["write_bytes"].sum()),
        peak_memory_bytes=_peak_bytes(max(sizes)),
        cpu_seconds=seconds,
    )


def _peak_bytes(n_voxels: int) -> int:
    """Return about how much memory a worker needs for a scan."""
    return int(_IDLE_WORKER_BYTES + _PEAK_BYTES_A_VOXEL * n_voxels)


def largest_scan_bytes(samples: Iterable[Sample]) -> int:
    """Return about how much memory a worker needs for the largest of the samples.

    Only the headers of the largest files are read.
    """
    volumes = [sample.volume for sample in samples if sample.volume is not None]
    largest = sorted(volumes, key=lambda ref: -ref.size)[:_CANDIDATES]
    return _peak_bytes(max(map(_count_voxels, largest), default=0))


def _made(task: RunTask) -> list[Part]:
    """Return the parts that will be made: without a mask there are no masks."""
    return [part for part in Part if part in task.parts and _input(task, part) is not None]


def _input(task: RunTask, part: Part) -> FileRef | None:
    return task.sample.volume if part == Part.VOLUME else task.sample.mask


def _row(task: RunTask, reason: str, n_voxels: int) -> dict[str, Any]:
    sample, made = task.sample, _made(task)
    refs = [ref for ref in (_input(task, part) for part in made) if ref is not None]
    folder = sample_folder(task.layout.group(sample.modality), sample).path
    return {
        "ID": sample.sample_id,
        "subset": sample.subset,
        "modality": sample.modality,
        "reason": reason,
        "todo": "+".join(made or sorted(task.parts)),  # masks may only have to go
        "read_bytes": sum(ref.size for ref in refs),
        "write_bytes": round(n_voxels * sum(_COSTS[part].written_bytes for part in made)),
        "folder": folder.relative_to(task.layout.root).as_posix(),
    }


def _count_voxels(ref: FileRef | None) -> int:
    """Return the voxels that a header promises; 0 where it cannot be read."""
    if ref is None:
        return 0
    try:
        x, y, z = read_info(ref).shape
    except (UnreadableImageError, InaccessibleFileError):
        return 0
    return x * y * z
