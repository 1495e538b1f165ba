"""The end of a run: manifests, leaks, statistics and issues, written when they are outdated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from amos_dask.issues import Issue
from amos_dask.pipeline.leaks import find_leaks_of
from amos_dask.pipeline.reporting import has_whole_log, write_issues
from amos_dask.pipeline.run_tables import fingerprint, write_tables
from amos_dask.pipeline.samples import Order, Organised, read_records
from amos_dask.pipeline.session import Session
from amos_dask.pipeline.statistics import statistics_files, write_statistics
from amos_dask.records import Audit, Sample, Step, TableCounts
from amos_dask.store.issue_log import IssueLog
from amos_dask.store.table_state import read_table_state, write_table_state


def bring_up_to_date(
    session: Session,
    order: Order,
    samples: Sequence[Sample],
    audits: Mapping[str, Audit],
    organised: Sequence[Organised],
    log: IssueLog,
) -> tuple[TableCounts, tuple[Path, ...]]:
    """Write manifests, statistics and issues, unless they are there already, made from the same.

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
    made_from = fingerprint(params, samples, audits, digests, order.statistics, issues)
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
    if order.statistics:
        rows = [record.files for record in records if record.files is not None]
        counted = write_statistics(session, layout, params.label_map, rows)
        found += counted.issues
        outputs += counted.outputs
    else:
        for path in statistics_files(layout):  # those of an earlier run speak of other files
            path.unlink(missing_ok=True)
    log.replace(Step.DATASET_MANIFEST, found, scope=layout.grouped.name)
    files = write_issues(layout, log)
    # What could not be compared or counted now is tried again.
    is_whole = leaks.is_complete and not (order.statistics and counted.issues)
    write_table_state(layout, made_from if is_whole else "", outputs, files, tables.counts)
    return tables.counts, outputs


def _issues_of_rereading(organised: Sequence[Organised]) -> list[Issue]:
    """Return the issues of samples that were described from their files."""
    return [
        found.issue
        for sample in organised
        if sample.record is not None
        for found in sample.record.issues
        if found.step == Step.DATASET_MANIFEST
    ]
