"""``run``: the whole tutorial in one pass over the archive."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.archive.discover import discover
from amos_dask.archive.sources import is_url
from amos_dask.errors import AmosDaskError
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.pipeline.from_archive import audit_archive
from amos_dask.pipeline.results import RunPlan, RunResult
from amos_dask.pipeline.run_tables import write_tables
from amos_dask.pipeline.selection import EVERYTHING, Selection
from amos_dask.pipeline.session import (
    Session,
    failure_issue,
    find_label_map,
    issue_log,
    keep_label_map,
    open_session,
    require_kernel,
    require_outside_archive,
    require_threshold,
    sample_number,
    write_issues,
)
from amos_dask.progress import Listener
from amos_dask.recipe.describing import DescribeTask, reread_sample
from amos_dask.recipe.fused import RunTask, run_sample
from amos_dask.records import (
    DenoiseParams,
    Outcome,
    Params,
    Sample,
    SampleRecord,
    Step,
    StepIssue,
)
from amos_dask.store.layout import Layout, absolute, find_sample_folders, sample_folder
from amos_dask.store.receipts import Receipts
from amos_dask.store.staging import remove_all_leftovers

_SAMPLE_STEPS = (
    Step.CONFIRM_PAIRS,
    Step.SPLIT_PROSTATE_UTERUS,
    Step.BINARY_MASKS,
    Step.SMALL_REGIONS,
    Step.DENOISE,
)


def run(
    root_dir: str | Path,
    archive: str | Path | None = None,
    *,
    labeled_data_meta: str | Path | None = None,
    mr_metadata_offset: str = "auto",
    label_explanation: str | Path | None = None,
    region_volume_thresh: Sequence[float] = (100.0,),
    kernel_size: tuple[int, int] = (5, 5),
    filter_halfedge: int = 3,
    region_area_thresh: float = 10.0,
    selection: Selection = EVERYTHING,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> RunResult:
    """Turn the AMOS22 archive into a clean, organised dataset with manifests.

    Parameters
    ----------
    root_dir : str or Path
        Where the result goes: ``descriptor/`` and ``grouped/`` are made here.
    archive : str or Path, optional
        Folder, ``amos22.zip``, or a URL of either; by default ``root_dir/archive`` or
        ``root_dir/amos22.zip``. Never written to.
    labeled_data_meta : str or Path, optional
        The metadata csv; by default the one inside or beside the archive.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which csv row MR scan N takes: N + offset. ``auto`` decides from the csv.
    label_explanation : str or Path, optional
        Label map; by default ``root_dir/descriptor/label_map.yaml``, else AMOS22's.
    region_volume_thresh : sequence of float
        Small regions are listed below each of these volumes in mm3.
    kernel_size : (int, int)
        Pixels of denoising's structuring element along x and y.
    filter_halfedge : int
        Denoising counts votes in a box of ``2 * filter_halfedge + 1`` pixels.
    region_area_thresh : float
        Slice regions strictly below this area in mm2 may change.
    selection : Selection
        Which samples to process; manifests always cover all of ``root_dir``.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster with a process for each core.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    RunResult
        Manifests as frames, issues, counts.

    Raises
    ------
    AmosDaskError
        When nothing can be done at all; failed samples are issues instead.
    """
    start = time.perf_counter()
    layout = Layout(absolute(root_dir))
    location = find_archive(layout, archive)
    require_outside_archive(layout.root, location)
    meta = None if labeled_data_meta is None else str(labeled_data_meta)
    found = discover(location, meta, mr_metadata_offset)
    chosen = selection.choose(found.samples)
    params = Params(
        _choose_label_map(layout, label_explanation, selection),
        DenoiseParams(
            *require_kernel(kernel_size, filter_halfedge),
            require_threshold("region_area_thresh", region_area_thresh),
        ),
        _thresholds(layout, region_volume_thresh),
    )
    with open_session(cluster, progress) as session:
        remove_all_leftovers(layout.descriptor, layout.grouped, layout.state)
        audits, audit_issues = audit_archive(session, found)
        outcomes = _run_samples(session, layout, params, chosen)
        # Only now: a run that could not start must not change what the next one goes by.
        keep_label_map(layout, params.label_map, replace=label_explanation is not None)
        records = _current_records(session, layout, params)
    log = issue_log(layout)
    log.replace(Step.ARCHIVE_MANIFEST, audit_issues)
    samples = None if selection.is_everything else {sample.sample_id for sample in chosen}
    for step in _SAMPLE_STEPS:
        log.replace(step, outcomes.issues_of(step), samples)
    tables = write_tables(layout, params, found.samples, audits, records)
    rereading = [i.issue for r in records for i in r.issues if i.step == Step.DATASET_MANIFEST]
    scope = layout.grouped.name
    log.replace(Step.DATASET_MANIFEST, [*rereading, *tables.issues], scope=scope)
    issues = write_issues(layout)
    failed = {issue.sample for issue in issues if issue.severity == "error"}
    return RunResult(
        root_dir=layout.root,
        archive_manifest=tables.archive,
        dataset_manifest=tables.dataset,
        regions_before=tables.regions_before,
        regions_after=tables.regions_after,
        issues=issues,
        n_processed=len(chosen),
        n_failed=len(failed & {sample.sample_id for sample in chosen}),
        n_failed_others=len(failed - {sample.sample_id for sample in chosen}),
        n_changed_voxels=sum(record.n_changed for record in outcomes.records),
        seconds=time.perf_counter() - start,
        outputs=tables.outputs,
    )


def plan_run(
    root_dir: str | Path,
    archive: str | Path | None = None,
    *,
    labeled_data_meta: str | Path | None = None,
    mr_metadata_offset: str = "auto",
    selection: Selection = EVERYTHING,
) -> RunPlan:
    """Return what `run` would process, without reading an image or writing anything.

    Parameters
    ----------
    root_dir, archive, labeled_data_meta, mr_metadata_offset, selection
        As for `run`.

    Returns
    -------
    RunPlan
        A row a sample with the bytes to read and the folder to write.
    """
    layout = Layout(absolute(root_dir))
    location = find_archive(layout, archive)
    require_outside_archive(layout.root, location)
    meta = None if labeled_data_meta is None else str(labeled_data_meta)
    found = discover(location, meta, mr_metadata_offset)
    rows = [
        {
            "ID": sample.sample_id,
            "subset": sample.subset,
            "modality": sample.modality,
            "bytes": _bytes_to_read(sample),
            "folder": sample_folder(layout.group(sample.modality), sample)
            .path.relative_to(layout.root)
            .as_posix(),
        }
        for sample in selection.choose(found.samples)
        if sample.volume is not None
    ]
    columns = ["ID", "subset", "modality", "bytes", "folder"]
    return RunPlan(layout.root, location, pd.DataFrame(rows, columns=columns))


def find_archive(layout: Layout, archive: str | Path | None) -> str:
    """Return where the archive is: as given, else ``archive`` or ``amos22.zip`` in ROOT_DIR.

    A folder that holds nothing but the zip stands for the zip.
    """
    if archive is None:
        candidates = [layout.root / "archive", layout.root / "amos22.zip"]
        existing = [p for p in candidates if p.is_file() or (p.is_dir() and any(p.iterdir()))]
        if not existing:
            raise AmosDaskError(
                f"{layout.root}: neither archive/ nor amos22.zip here; name it with --archive."
            )
        archive = existing[0]
    if is_url(str(archive)):
        return str(archive)
    path = Path(archive)
    inside = path / "amos22.zip"
    if inside.is_file() and not any(path.glob("**/images*")):
        return str(inside)
    return str(path)


@dataclass(frozen=True)
class _SampleOutcomes:
    """What the sample tasks returned."""

    records: tuple[SampleRecord, ...]
    failures: tuple[Issue, ...]

    def issues_of(self, step: Step) -> list[Issue]:
        found = [i.issue for record in self.records for i in record.issues if i.step == step]
        return [*found, *self.failures] if step == Step.CONFIRM_PAIRS else found


def _run_samples(
    session: Session, layout: Layout, params: Params, samples: Iterable[Sample]
) -> _SampleOutcomes:
    earlier: dict[str, list[Path]] = {}
    for folder in find_sample_folders(layout.grouped):
        earlier.setdefault(folder.sample_id, []).append(folder.path)
    tasks = [
        RunTask(sample, layout, params, tuple(earlier.get(sample.sample_id, ())))
        for sample in samples
        if sample.volume is not None
    ]
    # Largest first: no worker is left with a large scan when the others are done.
    tasks.sort(key=lambda task: -_bytes_to_read(task.sample))
    session.prepare_kernels()
    records, failures = [], []
    for outcome in session.map("sample", run_sample, tasks):
        if outcome.value is None:
            failures.append(failure_issue(outcome))
        else:
            records.append(outcome.value)
    return _SampleOutcomes(tuple(records), tuple(failures))


def _bytes_to_read(sample: Sample) -> int:
    return sum(ref.size for ref in (sample.volume, sample.mask) if ref is not None)


def _current_records(session: Session, layout: Layout, params: Params) -> list[SampleRecord]:
    """Return the records of all samples that are organised under ROOT, by number.

    They come from receipts as far as those speak for the files as they are now; other samples are
    described from their files.
    """
    receipts = Receipts(layout.receipts)
    records, changed = [], []
    folders = find_sample_folders(layout.grouped)
    for folder in folders:
        record = receipts.read(params, folder)
        below = folder.path.relative_to(layout.grouped).as_posix()
        if record is None or record.files is None or record.files.folder != below:
            changed.append(folder)
        else:
            records.append(record)
    tasks = [
        DescribeTask(f, layout, params.label_map, layout.grouped, params.region_volume_thresh)
        for f in changed
    ]
    if tasks:
        described = session.map("describe", reread_sample, tasks)
        records += [outcome.value or _undescribed(outcome) for outcome in described]
    return sorted(records, key=lambda record: sample_number(record.sample_id))


def _undescribed(outcome: Outcome[SampleRecord]) -> SampleRecord:
    issue = StepIssue(Step.DATASET_MANIFEST, failure_issue(outcome))
    return SampleRecord(outcome.name, None, (), (), 0, (issue,))


def _choose_label_map(
    layout: Layout, label_explanation: str | Path | None, selection: Selection
) -> LabelMap:
    """Return the label map; raise when a part of the samples would get another one."""
    label_map = find_label_map(layout, label_explanation)
    differs = label_explanation is not None and label_map != find_label_map(layout, None)
    if differs and layout.label_map.exists() and not selection.is_everything:
        raise AmosDaskError(
            f"{label_explanation} differs from {layout.label_map}, which the other samples were "
            "made with; run without a choice of samples."
        )
    return label_map


def _thresholds(layout: Layout, asked: Sequence[float]) -> tuple[float, ...]:
    """Return the thresholds asked for, and those of region manifests that are there already."""
    thresholds = {require_threshold("region_volume_thresh", threshold) for threshold in asked}
    return tuple(sorted(thresholds | set(layout.region_thresholds())))
