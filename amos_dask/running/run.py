"""``run``: the whole tutorial in one pass over the archive."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from amos_dask.archive.discover import Discovery
from amos_dask.arguments import keep_exclusions, keep_label_map
from amos_dask.commands.from_archive import audit_archive
from amos_dask.engine.events import Listener, Notice
from amos_dask.engine.session import Needs, Session, open_session
from amos_dask.exclusions import Exclusions
from amos_dask.records import Sample, Step, TableCounts
from amos_dask.results import RunPlan, RunResult
from amos_dask.root.audit_log import AuditLog
from amos_dask.root.dataset import keep_dataset, layout_for
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import absolute
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import remove_all_leftovers
from amos_dask.root.working import working_on
from amos_dask.running.conclude import bring_up_to_date
from amos_dask.running.plan import make_plan
from amos_dask.running.request import Request, understand
from amos_dask.running.samples import Order, Processed, find_organised, process_samples
from amos_dask.sample.todo import is_denoised_otherwise
from amos_dask.selection import EVERYTHING, Selection
from amos_dask.steps import header_check as audit

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
    dataset: str | Path | None = None,
    labeled_data_meta: str | Path | None = None,
    mr_metadata_offset: str = "auto",
    label_explanation: str | Path | None = None,
    region_volume_thresh: Sequence[float] = (100.0,),
    kernel_size: tuple[int, int] = (5, 5),
    filter_halfedge: int = 3,
    region_area_thresh: float = 10.0,
    exclude: str | Path | None = None,
    selection: Selection = EVERYTHING,
    force: bool = False,
    statistics: bool = True,
    report: bool = True,
    break_lock: bool = False,
    performance_report: str | Path | None = None,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> RunResult:
    """Turn an archive, AMOS22's or another, into a clean, organised dataset with manifests.

    What an earlier run completed, also one that was killed, is not done again: a sample is
    processed when its files in the archive, its metadata, the parameters or its outputs are not
    as its receipt says, or when it failed.

    Parameters
    ----------
    root_dir : str or Path
        Where the result goes: ``descriptor/`` and ``grouped/`` are made here.
    archive : str or Path, optional
        Folder, ``amos22.zip``, or a URL of either; by default ``root_dir/archive`` or
        ``root_dir/amos22.zip``. Never written to.
    dataset : str or Path, optional
        ``amos22``, ``ct-org``, ``decathlon``, or the path of a definition (YAML); by default what
        ROOT_DIR holds already, else AMOS22.
    labeled_data_meta : str or Path, optional
        The metadata csv; by default the one inside or beside the archive.
    mr_metadata_offset : {"auto", "0", "-1"}
        Which csv row MR scan N takes: N + offset. ``auto`` decides from the csv.
    label_explanation : str or Path, optional
        Label map; by default ``root_dir/descriptor/label_map.yaml``, else the dataset's.
    region_volume_thresh : sequence of float
        Small regions are listed below each of these volumes in mm3.
    kernel_size : (int, int)
        Pixels of denoising's structuring element along x and y.
    filter_halfedge : int
        Denoising counts votes in a box of ``2 * filter_halfedge + 1`` pixels.
    region_area_thresh : float
        Slice regions strictly below this area in mm2 may change.
    exclude : str or Path, optional
        What denoising leaves as it was: a csv file with columns ``sample`` and ``label``, where
        ``*`` or nothing means all; kept as ``root_dir/descriptor/denoise_exclude.csv``, which is
        read by default.
    selection : Selection
        Which samples to process; manifests always cover all of ``root_dir``.
    force : bool
        Process complete samples again.
    statistics : bool
        Write ``descriptor/statistics.xlsx`` and ``.json`` as well, as `stats` does.
    report : bool
        Write ``descriptor/report.html`` as well, as `make_report` does.
    break_lock : bool
        Take ``root_dir`` over from a run that died on another machine.
    performance_report : str or Path, optional
        File for Dask's own report on tasks, workers and transfers.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster with a process for each core. It is started when
        there is something to do.
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
    KeyboardInterrupt
        On Ctrl-C and SIGTERM, after running samples have ended; the next run goes on.
    """
    start = time.perf_counter()
    request = understand(
        layout_for(absolute(root_dir), dataset),
        archive,
        (labeled_data_meta, mr_metadata_offset),
        label_explanation,
        region_volume_thresh,
        (kernel_size, filter_halfedge, region_area_thresh),
        exclude,
        selection,
        force=force,
    )
    wanted = replace(request.order, statistics=statistics, report=report)
    request = replace(request, order=wanted)
    layout = request.order.layout
    needs = Needs.of([request.found.location], [str(layout.root)])
    with (
        working_on(layout, break_lock=break_lock),
        open_session(cluster, progress, needs, performance_report) as session,
        _saying_how_to_go_on(session),
    ):
        processed, counts, outputs = _run(session, request)
    issues = tuple(IssueLog(layout.issue_log).all())
    chosen = {sample.sample_id for sample in request.order.samples}
    failed = {issue.sample for issue in issues if issue.severity == "error"}
    return RunResult(
        root_dir=layout.root,
        counts=counts,
        issues=issues,
        reasons=processed.reasons,
        n_processed=len(chosen),
        n_failed=len(failed & chosen),
        n_failed_others=len(failed - chosen),
        n_changed_voxels=sum(found.n_changed for found in processed.results),
        seconds=time.perf_counter() - start,
        outputs=outputs,
    )


def plan_run(
    root_dir: str | Path,
    archive: str | Path | None = None,
    *,
    dataset: str | Path | None = None,
    labeled_data_meta: str | Path | None = None,
    mr_metadata_offset: str = "auto",
    label_explanation: str | Path | None = None,
    region_volume_thresh: Sequence[float] = (100.0,),
    kernel_size: tuple[int, int] = (5, 5),
    filter_halfedge: int = 3,
    region_area_thresh: float = 10.0,
    exclude: str | Path | None = None,
    selection: Selection = EVERYTHING,
    force: bool = False,
) -> RunPlan:
    """Return what `run` would do, from headers and receipts, without writing anything.

    Parameters
    ----------
    root_dir, archive, dataset, labeled_data_meta, mr_metadata_offset, label_explanation
        As for `run`.
    region_volume_thresh, kernel_size, filter_halfedge, region_area_thresh, exclude
        As for `run`.
    selection, force
        As for `run`.

    Returns
    -------
    RunPlan
        A row a sample with what would be done and why, bytes to read and write, and estimates.
    """
    request = understand(
        layout_for(absolute(root_dir), dataset),
        archive,
        (labeled_data_meta, mr_metadata_offset),
        label_explanation,
        region_volume_thresh,
        (kernel_size, filter_halfedge, region_area_thresh),
        exclude,
        selection,
        force=force,
    )
    return make_plan(request.order, request.found.location)


@contextmanager
def _saying_how_to_go_on(session: Session) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        session.listener(
            Notice("interrupted; what is complete stays, the same command goes on from there")
        )
        raise


def _run(session: Session, request: Request) -> tuple[Processed, TableCounts, tuple[Path, ...]]:
    order, found = request.order, request.found
    layout, params = order.layout, order.params
    remove_all_leftovers(layout.descriptor, layout.grouped, layout.state)  # of killed runs
    keep_dataset(layout)
    _name_absent(session, order.exclusions, found)
    audit_log = AuditLog(layout.audits, audit.RESULT_VERSION, found.samples)
    audits, audit_issues = audit_archive(session, found, audit_log)
    processed = process_samples(session, order)
    # Only now: a run that could not start must not change what the next one goes by.
    keep_label_map(layout, params.label_map, replace=request.replaces_label_map)
    if request.replaces_exclusions:
        keep_exclusions(layout, order.exclusions)
    organised = find_organised(session, order, processed)
    _name_denoised_otherwise(session, order, found.samples)
    log = IssueLog(layout.issue_log)
    log.replace(Step.ARCHIVE_MANIFEST, audit_issues)
    samples = None if request.is_everything else {sample.sample_id for sample in order.samples}
    for step in _SAMPLE_STEPS:
        log.replace(step, processed.issues_of(step), samples)
    counts, outputs = bring_up_to_date(session, order, found.samples, audits, organised, log)
    return processed, counts, outputs


def _name_absent(session: Session, exclusions: Exclusions, found: Discovery) -> None:
    absent = sorted(exclusions.by_number.keys() - {int(sample.seq) for sample in found.samples})
    if absent:
        names = ", ".join(map(found.definition.sample_id, absent))
        session.listener(Notice(f"excluded from denoising, but not in the archive: {names}"))


def _name_denoised_otherwise(session: Session, order: Order, samples: Iterable[Sample]) -> None:
    """Say how many samples that were not chosen were denoised with other parameters."""
    others = {sample.sample_id for sample in samples}
    others -= {sample.sample_id for sample in order.samples}
    receipts = (Receipts(order.layout).read(name) for name in others)
    n_others = sum(
        receipt is not None and is_denoised_otherwise(receipt, order.params) for receipt in receipts
    )
    if n_others:
        one = n_others == 1
        session.listener(
            Notice(
                f"{n_others} other sample{' was' if one else 's were'} denoised with other "
                "parameters; run without a choice of samples to make all alike"
            )
        )
