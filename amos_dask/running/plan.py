"""What a run would do, and what it would cost, without doing it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from amos_dask.archive.locations import shown
from amos_dask.records import FileRef
from amos_dask.results import RunPlan
from amos_dask.root.layout import find_samples_of, sample_folder
from amos_dask.root.receipts import Part
from amos_dask.running.samples import Order, plan_samples
from amos_dask.sample.estimates import COSTS, count_voxels, peak_bytes
from amos_dask.sample.todo import RunTask

_COLUMNS = ("ID", "subset", "modality", "reason", "todo", "read_bytes", "write_bytes", "folder")


def make_plan(order: Order, location: str) -> RunPlan:
    """Return the plan of a run; reads the headers of the samples that are to be processed."""
    plan = plan_samples(order, find_samples_of(order.layout))
    rows, sizes, seconds = [], [0], 0.0
    for task, work in plan:
        n_voxels = count_voxels(task.sample.volume) if work.parts else 0
        sizes.append(n_voxels)
        seconds += n_voxels * sum(COSTS[part].seconds for part in _made(task))
        rows.append(_row(task, str(work.reason), n_voxels))
    samples = pd.DataFrame(rows, columns=list(_COLUMNS))
    return RunPlan(
        root_dir=order.layout.root,
        archive=shown(location),
        samples=samples,
        n_bytes_to_read=int(samples["read_bytes"].sum()),
        n_bytes_to_write=int(samples["write_bytes"].sum()),
        peak_memory_bytes=peak_bytes(max(sizes)),
        cpu_seconds=seconds,
    )


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
        "write_bytes": round(n_voxels * sum(COSTS[part].written_bytes for part in made)),
        "folder": folder.relative_to(task.layout.root).as_posix(),
    }
