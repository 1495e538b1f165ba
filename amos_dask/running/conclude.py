"""The end of a run: manifests, leaks, statistics, issues and report, unless they are current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from amos_dask.engine.session import Session
from amos_dask.issues import Issue
from amos_dask.leaks import find_leaks_of
from amos_dask.records import Audit, Sample, Step, TableCounts
from amos_dask.report.picturing import Pictured
from amos_dask.report.write import (
    Findings,
    gather_pictures,
    norms_of_audits,
    write_report,
)
from amos_dask.reporting import has_whole_log, write_issues
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import Layout
from amos_dask.root.table_state import read_table_state, write_table_state
from amos_dask.running.run_tables import fingerprint, write_tables
from amos_dask.running.samples import Order, Organised, read_records
from amos_dask.statistics.write import statistics_files, write_statistics


def bring_up_to_date(
    session: Session,
    order: Order,
    samples: Sequence[Sample],
    audits: Mapping[str, Audit],
    organised: Sequence[Organised],
    log: IssueLog,
) -> tuple[TableCounts, tuple[Path, ...]]:
    """Write manifests, statistics, issues and report, unless they are there, made from the same.

    Parameters
    ----------
    session : Session
        Where to compare scans and to count.
    order : Order
        What was asked for.
    samples, audits
        The archive, for its manifest.
    organised : sequence of Organised
        All samples under ROOT, by number.
    log : IssueLog
        With the issues of this run; saved here.

    Returns
    -------
    counts : TableCounts
        Rows of the manifests.
    outputs : tuple of Path
        The manifests.
    """
    layout, params = order.layout, order.params
    digests = [sample.digest for sample in organised]
    issues = log.all(besides=(Step.DATASET_MANIFEST, Step.LEAKS))
    made_from = fingerprint(
        params, samples, audits, digests, order.statistics, order.report, order.exclusions, issues
    )
    state = read_table_state(layout) if has_whole_log(layout) else None
    if state is not None and state.is_current(layout, made_from):
        return state.counts, tuple(layout.root / path for path in state.tables)
    records = list(read_records(session, layout, organised))
    # Tasks first: a run that dies while it writes manifests needs no cluster to write them later.
    leaks = find_leaks_of(session, layout, records)
    log.replace(Step.LEAKS, leaks.issues)
    tables = write_tables(layout, params, samples, audits, records)
    found = [*_issues_of_rereading(organised), *tables.issues]
    outputs = tables.outputs
    counted, unseen = None, list[Issue]()
    pictures: Mapping[str, Pictured] = {}
    if order.statistics:
        rows = [record.files for record in records if record.files is not None]
        counted = write_statistics(session, layout, params.label_map, rows)
        unseen += counted.issues
        outputs += counted.outputs
    if order.report:
        pictures, issues = gather_pictures(session, layout, params.label_map, records)
        unseen += issues
    found += dict.fromkeys(unseen)
    log.replace(Step.DATASET_MANIFEST, found, scope=layout.grouped.name)
    files = write_issues(layout, log)
    if order.report:
        norms = norms_of_audits(audits)
        findings = Findings(records, params.label_map, order.exclusions, norms, counted)
        outputs += (write_report(layout, findings, pictures, log.all()),)
    _remove_outdated(layout, order)
    # What could not be compared, counted or pictured now is tried again.
    is_whole = leaks.is_complete and not unseen
    write_table_state(layout, made_from if is_whole else "", outputs, files, tables.counts)
    return tables.counts, outputs


def _remove_outdated(layout: Layout, order: Order) -> None:
    """Remove what was not asked for now: that of an earlier run speaks of other files."""
    unwanted = () if order.statistics else statistics_files(layout)
    for path in (*unwanted, *(() if order.report else (layout.report,))):
        path.unlink(missing_ok=True)


def _issues_of_rereading(organised: Sequence[Organised]) -> list[Issue]:
    """Return the issues of samples that were described from their files."""
    return [
        found.issue
        for sample in organised
        if sample.record is not None
        for found in sample.record.issues
        if found.step == Step.DATASET_MANIFEST
    ]
