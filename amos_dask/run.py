"""``run``: the whole tutorial in one pass over the archive, from top to bottom."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from amos_dask.changes import describe_changes, find_absent, prune, require_same_archive
from amos_dask.compact import Compact
from amos_dask.conclude import conclude, find_organised
from amos_dask.engine.events import Listener, Notice, Outcome
from amos_dask.engine.session import Session, open_session
from amos_dask.errors import number_of
from amos_dask.issues import Issue
from amos_dask.plan import Headers, Plan, Tasks, describe_reasons, make_plan, read_headers
from amos_dask.records import SampleResult, Step, StepIssue
from amos_dask.results import RunResult, failure_issue
from amos_dask.root.choices import (
    find_exclusions,
    keep_dataset,
    keep_exclusions,
    keep_label_map,
    require_no_archive,
    write_remembered,
)
from amos_dask.root.layout import Layout, find_samples_of
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import (
    remove_temporaries,
    replaced_bytes,
    require_room,
    run_number,
    write_text,
)
from amos_dask.root.table_state import TableCounts
from amos_dask.root.working import working_on
from amos_dask.sample.make import make_sample
from amos_dask.sample.selection import EVERYTHING, Selection
from amos_dask.sample.todo import Reason, is_denoised_otherwise, largest_scan_bytes
from amos_dask.settings import Found, Settings, find
from amos_dask.tables.issue_files import IssueLog
from amos_dask.tables.twins import require_twins

_SAMPLE_STEPS = (
    Step.CONFIRM_PAIRS,
    Step.SPLIT_PROSTATE_UTERUS,
    Step.BINARY_MASKS,
    Step.SMALL_REGIONS,
    Step.DENOISE,
)


def run(
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
    statistics: bool = True,
    report: bool = True,
    csv: bool | None = None,
    parquet: bool | None = None,
    no_lock: bool = False,
    performance_report: str | Path | None = None,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> RunResult:
    """Turn an archive, AMOS22's or another, into a clean, organised dataset with manifests.

    What an earlier run completed, also one that was killed, is not done again: a sample is
    processed when its files in the archive, its metadata, the parameters or its outputs are not
    as its receipt says, or when it failed. ROOT_DIR remembers archive, csv, offset and parameters
    of denoising: what is None is as it was in the last run, else as said below.

    Parameters
    ----------
    root_dir : str or Path
        Where the result goes: ``descriptor/`` and ``grouped/`` are made here.
    archive : str, Path or sequence of these, optional
        Folder, ``amos22.zip``, tar, or a URL of any; several are one archive together. Else
        ``root_dir/archive`` or ``root_dir/amos22.zip``. Never written to.
    dataset : str or Path, optional
        Name of a dataset that `list_datasets` gives, or the path of a definition (YAML); by
        default what ROOT_DIR holds already, else AMOS22.
    labeled_data_meta : str or Path, optional
        The metadata csv; else the one inside or beside the archive.
    metadata_encoding : str, optional
        Its encoding, such as ``gb18030``; else it is recognised.
    mr_metadata_offset : {"auto", "0", "-1"}, optional
        Which csv row MR scan N takes: N + offset. ``auto``, the default, decides from the csv.
    label_explanation : str or Path, optional
        Label map; by default ``root_dir/descriptor/label_map.yaml``, else the dataset's.
    region_volume_thresh : sequence of float
        Small regions are listed below each of these volumes in mm3.
    kernel_size : (int, int), optional
        Pixels of denoising's structuring element along x and y; else ``(5, 5)``.
    filter_halfedge : int, optional
        Denoising counts votes in a box of ``2 * filter_halfedge + 1`` pixels; else 3.
    region_area_thresh : float, optional
        Slice regions strictly below this area in mm2 may change; else 10.
    exclude : str or Path, optional
        What denoising leaves as it was: a csv file with columns ``sample`` and ``label``, where
        ``*`` or nothing means all; kept as ``root_dir/descriptor/denoise_exclude.csv``, which is
        read by default.
    selection : Selection
        Which samples to process; manifests always cover all of ``root_dir``.
    force : bool
        Process complete samples again.
    adopt : bool
        A file that is in the way and not ours goes to ``root_dir/replaced/``, and its place is
        ours; otherwise it is the error ``foreign_file``.
    discard_edits : bool
        Make masks and info files that were edited by hand anew; the edited ones go to
        ``root_dir/replaced/``.
    prune : bool
        Remove finished samples of which the archive has nothing left; their volumes and masks go
        to ``root_dir/replaced/``.
    switch_archive : bool
        Go on with an archive that is not the one of the last run.
    without_metadata : bool
        Go on although the metadata csv of the last run is gone.
    statistics : bool
        Write ``descriptor/statistics.xlsx`` and ``.json`` as well, as `stats` does.
    report : bool
        Write ``descriptor/report.html`` as well, as `make_report` does.
    csv, parquet : bool, optional
        Write each worksheet as a csv or Parquet file beside its workbook as well, or no more; by
        default as in the last run.
    no_lock : bool
        Take no lock on ``root_dir``, for a file system that has none; two runs at once would mix
        their files there.
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

    Examples
    --------
    >>> result = amos_dask.run("data/AMOS22", "downloads/amos22", progress="none")
    >>> result.exit_code.name, dict(result.reasons)
    ('DONE', {'complete': 12})
    >>> result.dataset_manifest[["ID", "sex", "szx", "szy"]].head(1).values.tolist()
    [['amos_0001', 'F', 64, 56]]
    """
    given, start = locals(), time.perf_counter()
    settings = Settings(**{field.name: given[field.name] for field in fields(Settings)})
    settings.require_outside_archive()
    if performance_report is not None:
        require_no_archive(Layout(settings.root), Path(performance_report).absolute())
    with working_on(Layout(settings.root), no_lock=no_lock):
        found = find(settings)
        to_see = (found.archive.locations, [str(found.layout.root)])
        with open_session(cluster, progress, to_see, performance_report) as session:
            try:
                adopt, twins = settings.adopt, settings.twins
                with OwnFiles(found.layout, adopt=adopt, is_run=True, twins=twins) as own:
                    require_twins(own)
                    made, counts, outputs = _run(session, found, own)
            except KeyboardInterrupt:
                how = "interrupted; what is complete stays, the same command goes on from there"
                session.listener(Notice(how, "warning"))
                raise
    return _result(found, made, counts, outputs, time.perf_counter() - start)


def _run(
    session: Session, found: Found, own: OwnFiles
) -> tuple[_Made, TableCounts, tuple[Path, ...]]:
    layout, settings = found.layout, found.settings
    remove_temporaries(layout)  # of killed runs
    folders = Compact(find_samples_of(layout))
    plan = make_plan(found)
    require_same_archive(found, plan)
    absent = find_absent(found, folders)
    keep_dataset(own, layout.dataset)
    _say_what_is_otherwise(session, found, plan)
    plan, headers = _check_headers(session, found, plan)
    made = _make_samples(session, found, plan, headers)
    # Only now: a run that could not start must not change what the next one goes by.
    keep_label_map(own, found.params.label_map, replace=True)
    if settings.exclude is not None:
        _name_ended(session, found)
        keep_exclusions(own, found.exclusions)
    write_remembered(layout, found.now)
    if settings.prune:
        absent, folders = prune(absent), Compact(find_samples_of(layout))
        for issue in absent.removed:
            session.listener(
                Notice(f"{issue.sample}: {issue.message}; {issue.action}", issue.severity)
            )
    organised = find_organised(session, found, made.results, folders)
    _name_denoised_otherwise(session, found)
    log, of_headers = IssueLog(layout.issue_log), [*headers.issues, *absent.issues]
    chosen = None if settings.selection.is_everything else found.chosen
    of_samples = [*made.issues, *(absent.issues_of_samples if chosen is None else ())]
    log.replace(Step.ARCHIVE_MANIFEST, of_headers)
    by_step: dict[Step, list[Issue]] = {step: [] for step in _SAMPLE_STEPS}
    for told in of_samples:
        if told.step in by_step:
            by_step[told.step].append(told.issue)
    for step, issues in by_step.items():
        log.replace(step, issues, chosen)
    counts, outputs = conclude(session, found, headers.checks, organised, log, own)
    return made, counts, outputs


@dataclass(frozen=True)
class _Made:
    """How the chosen samples ended."""

    results: Sequence[SampleResult]  # of all that did not fail outside the data's own errors
    failures: tuple[Issue, ...]  # of those that did
    reasons: Mapping[str, int]  # how many samples were complete, new, changed, …

    @property
    def issues(self) -> list[StepIssue]:
        """The issues of all steps; tasks that failed count as the first one's."""
        failed = (StepIssue(Step.CONFIRM_PAIRS, issue) for issue in self.failures)
        return [*(told for result in self.results for told in result.issues), *failed]


def _check_headers(session: Session, found: Found, plan: Plan) -> tuple[Plan, Headers]:
    """Read the headers that no receipt tells; return the plan held against those of all samples."""
    headers, receipts = read_headers(session, found.archive, plan.headers), Receipts(found.layout)
    plan = plan.held_against(headers.checks)
    for planned in plan.samples:
        check = headers.checks[planned.place]
        is_new = plan.headers[planned.place] is None and check.version
        if is_new and not planned.todo.outputs:  # else the sample's own task keeps them
            receipts.keep_headers(check)
    return plan, headers


def _make_samples(session: Session, found: Found, plan: Plan, headers: Headers) -> _Made:
    """Make the samples that are not complete."""
    reasons = plan.reasons
    if set(reasons) - {Reason.NEW}:
        session.listener(Notice(describe_reasons(reasons)))
    results = Compact(p.todo.result for p in plan.samples if p.todo.result is not None)
    failures, tasks = list(plan.missing), Tasks(plan, headers.checks)
    if tasks:
        left = (planned.sample for planned in plan.samples if planned.todo.outputs)
        session.require_memory(largest_scan_bytes(left))
        session.prepare_kernels()
        require_room(found.layout.replaced, plan.bytes_to_keep, "to be kept of what changes")
        run_number(found.layout)
    with closing(session.map("sample", make_sample, tasks)) as outcomes:
        for outcome in outcomes:
            if outcome.value is None:
                failures.append(failure_issue(outcome, _keep_details(found.layout, outcome)))
            else:
                results.append(outcome.value)
    return _Made(results, tuple(failures), reasons)


def _keep_details(layout: Layout, outcome: Outcome[SampleResult]) -> str:
    """Write a failure's traceback or its worker's last words; return the file, for the issue."""
    path = layout.logs / f"{outcome.name}.log"
    with suppress(OSError):  # the same reason may stop us here
        write_text(path, f"{outcome.failure}\n\n{outcome.details}\n")
    return layout.shown(path)


def _result(
    found: Found, made: _Made, counts: TableCounts, outputs: tuple[Path, ...], seconds: float
) -> RunResult:
    issues = tuple(IssueLog(found.layout.issue_log).all())
    failed = {issue.sample for issue in issues if issue.severity == "error"} - {""}
    return RunResult(
        root_dir=found.layout.root,
        counts=counts,
        issues=issues,
        reasons=made.reasons,
        n_processed=len(found.chosen),
        n_failed=len(failed & found.chosen),
        n_failed_others=len(failed - found.chosen),
        n_changed_voxels=sum(result.n_changed for result in made.results),
        seconds=seconds,
        outputs=outputs,
        replaced_bytes=replaced_bytes(found.layout),
    )


def _say_what_is_otherwise(session: Session, found: Found, plan: Plan) -> None:
    """Say what changes of what is remembered, and which exclusions speak of no sample."""
    if changes := describe_changes(found, plan):
        session.listener(Notice(changes, "warning"))
    label_map = found.params.label_map
    if left := found.layout.dataset.not_denoised(label_map):
        names = ", ".join(name for label, name in label_map.names().items() if label in left)
        whose = f"{found.layout.dataset.name}'s definition"
        session.listener(Notice(f"denoising leaves as they are, as {whose} says: {names}"))
    if absent := found.exclusions.by_sample.keys() - found.sample_ids:
        names = ", ".join(sorted(absent))
        told = f"excluded from denoising, but not in the archive: {names}"
        session.listener(Notice(told, "warning"))


def _name_ended(session: Session, found: Found) -> None:
    """Say what was excluded from denoising and is not by the list that was given."""
    kept = find_exclusions(found.layout, None, found.params.label_map)
    if ended := found.exclusions.find_ended(kept, found.params.label_map.names()):
        told = f"no longer excluded from denoising: {'; '.join(ended)}"
        session.listener(Notice(told, "warning"))


def _name_denoised_otherwise(session: Session, found: Found) -> None:
    """Say how many samples that were not chosen were denoised with other parameters."""
    others = found.sample_ids - found.chosen
    receipts = (Receipts(found.layout).read(name) for name in others)
    n_others = sum(r is not None and is_denoised_otherwise(r, found.params) for r in receipts)
    if n_others:
        were = "was" if n_others == 1 else "were"
        told = f"{number_of(n_others, 'other sample')} {were} denoised with other parameters"
        told += "; run without a choice of samples to make all alike"
        session.listener(Notice(told, "warning"))
