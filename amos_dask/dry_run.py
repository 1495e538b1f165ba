"""What a run would do, and what it would cost, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.changes import Absent, describe_changes, find_absent, require_same_archive
from amos_dask.file_refs import FileRef
from amos_dask.kernels import are_compiled
from amos_dask.plan import Planned, make_plan
from amos_dask.records import Sample
from amos_dask.results import RunPlan
from amos_dask.root.layout import Layout, find_samples_of
from amos_dask.root.receipts import Output, Receipt
from amos_dask.root.working import reading_from
from amos_dask.sample.selection import EVERYTHING, Selection
from amos_dask.sample.todo import SampleTask, ScanSize, seconds_a_voxel, written_bytes_a_voxel
from amos_dask.settings import Settings, find

# As measured on two cores, from the program's start: imports, workers, their first look at the
# kernels; and compiling these, once a machine.
_SECONDS_TO_START, _SECONDS_TO_COMPILE = 4.0, 15.0
_SECONDS_A_SAMPLE = 0.1  # of one core, however small it is
_COLUMNS = ("ID", "subset", "modality", "reason", "todo", "read_bytes", "write_bytes", "folder")


def plan_run(
    root_dir: str | Path,
    archive: str | Path | Sequence[str | Path] | None = None,
    *,
    dataset: str | Path | None = None,
    labeled_data_meta: str | Path | None = None,
    metadata_encoding: str | None = None,
    mr_metadata_offset: str | None = None,
    label_explanation: str | Path | None = None,
    region_volume_thresh: Sequence[float] = (100.0,),
    kernel_size: tuple[int, int] | None = None,
    filter_halfedge: int | None = None,
    region_area_thresh: float | None = None,
    exclude: str | Path | None = None,
    selection: Selection = EVERYTHING,
    force: bool = False,
    adopt: bool = False,
    discard_edits: bool = False,
    prune: bool = False,
    switch_archive: bool = False,
    without_metadata: bool = False,
) -> RunPlan:
    """Return what `run` would do, from headers and receipts, without writing anything.

    Parameters
    ----------
    root_dir, archive, dataset, labeled_data_meta, metadata_encoding, mr_metadata_offset
        As for `run`.
    label_explanation, region_volume_thresh, kernel_size, filter_halfedge, region_area_thresh
        As for `run`.
    exclude, selection, force, adopt, discard_edits, prune, switch_archive, without_metadata
        As for `run`.

    Returns
    -------
    RunPlan
        A row a sample with what would be done and why, bytes to read and write, and estimates.

    Raises
    ------
    AmosDaskError
        As `run`, when nothing can be done at all.

    Examples
    --------
    >>> plan = amos_dask.plan_run("data/AMOS22", "downloads/amos22", force=True)
    >>> plan.samples[["ID", "reason", "todo"]].head(1).values.tolist()
    [['amos_0001', 'forced', 'volume+masks']]
    """
    settings = Settings(**locals())  # of which each argument is a field
    with reading_from(Layout(settings.root)):
        found = find(settings)
        plan = make_plan(found)
        require_same_archive(found, plan)
        absent = find_absent(found, find_samples_of(found.layout))
    rows, sizes, seconds = [], [ScanSize()], 0.0
    for planned in plan.samples:
        made = _made(planned)
        sample = planned.sample
        volume = sample.volume if planned.todo.outputs else None
        sizes.append(ScanSize.of(volume, sample.n_channels))
        n_voxels = sizes[-1].n_voxels
        seconds += _SECONDS_A_SAMPLE if made else 0.0
        seconds += n_voxels * sum(seconds_a_voxel(sample, output) for output in made)
        rows.append(_row(planned, plan.task(planned), made, n_voxels))
    rows += [_row_of_absent(absent, receipt, "") for receipt in absent.listed]
    removal = "removal" if prune else ""
    rows += [_row_of_absent(absent, receipt, removal) for receipt in absent.withdrawn]
    samples = pd.DataFrame(rows, columns=list(_COLUMNS))
    is_compiled = are_compiled()
    startup = _SECONDS_TO_START + (0.0 if is_compiled else _SECONDS_TO_COMPILE)
    if not any(planned.todo.outputs for planned in plan.samples):
        startup = 0.0  # nothing is started
    return RunPlan(
        root_dir=found.layout.root,
        archive=found.archive.shown,
        samples=samples,
        n_bytes_to_read=int(samples["read_bytes"].sum()),
        n_bytes_to_write=int(samples["write_bytes"].sum()),
        peak_memory_bytes=max(size.peak_bytes for size in sizes),
        cpu_seconds=seconds,
        changes=describe_changes(found, plan),
        startup_seconds=startup,
        are_kernels_compiled=is_compiled,
    )


def _made(planned: Planned) -> list[Output]:
    """Return the outputs that will be made: without a mask none, without a channel nothing."""
    if planned.sample.absent_channels:
        return []
    return [o for o in Output if o in planned.todo.outputs and _inputs(planned.sample, o)]


def _inputs(sample: Sample, output: Output) -> list[FileRef]:
    return [ref for kind, ref in sample.files if (kind == "volume") == (output == Output.VOLUME)]


def _row(planned: Planned, task: SampleTask, made: list[Output], n_voxels: int) -> tuple[Any, ...]:
    sample, todo = planned.sample, planned.todo
    return (
        sample.sample_id,
        sample.subset,
        sample.modality,
        str(todo.reason),
        "+".join(made) or ("kept" if todo.outputs else ""),  # its file is missing
        sum(ref.n_bytes for output in made for ref in _inputs(sample, output)),
        round(n_voxels * sum(written_bytes_a_voxel(sample, output) for output in made)),
        task.target.path.relative_to(task.layout.root).as_posix(),
    )


def _row_of_absent(absent: Absent, receipt: Receipt, todo: str) -> tuple[Any, ...]:
    """Return the row of a sample of which the archive has no file."""
    name, files = receipt.record.sample_id, receipt.record.files
    subset, folder = ("", "") if files is None else (files.subset, files.folder)
    modality = absent.layout.modality_of(folder)
    return (name, subset, modality, "absent", todo, 0, 0, absent.folder(receipt))
