"""The end of a run: manifests, leaks, statistics, issues and report, unless they are current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from amos_dask.engine.session import Session
from amos_dask.issues import Issue
from amos_dask.leaks import find_leaks_of
from amos_dask.organised import Organised, read_records
from amos_dask.records import HeaderCheck, Step
from amos_dask.report.content import Findings
from amos_dask.report.make_report import write_report
from amos_dask.report.picturing import take_pictures
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.table_state import TableCounts, read_table_state, write_table_state
from amos_dask.settings import Found
from amos_dask.statistics.stats import statistics_files, write_statistics
from amos_dask.tables.issue_files import has_whole_log, write_issues
from amos_dask.tables.of_root import fingerprint, write_tables


def conclude(
    session: Session,
    found: Found,
    headers: Mapping[str, HeaderCheck],
    organised: Sequence[Organised],
    log: IssueLog,
) -> tuple[TableCounts, tuple[Path, ...]]:
    """Write manifests, statistics, issues and report, unless they are there, made from the same.

    Parameters
    ----------
    session : Session
        Where to compare scans and to count.
    found : Found
        What the run goes by.
    headers : mapping of str to HeaderCheck
        What the headers of the archive say, for its manifest.
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
    layout, params, settings = found.layout, found.params, found.settings
    made_from = _fingerprint(found, headers, organised, log)
    state = read_table_state(layout) if has_whole_log(layout) else None
    if state is not None and state.is_current(layout, made_from):
        return state.counts, tuple(layout.root / path for path in state.tables)
    records = list(read_records(session, layout, organised))
    # Tasks first: a run that dies while it writes manifests needs no cluster to write them later.
    leaks = find_leaks_of(session, layout, records)
    log.replace(Step.LEAKS, leaks.issues)
    tables = write_tables(layout, params, found.archive.samples, headers, records)
    issues = [*_issues_of_describing(organised), *tables.issues]
    outputs = tables.outputs
    counted, unseen = None, list[Issue]()
    n_pictures: Mapping[str, int] = {}
    if settings.statistics:
        rows = [record.files for record in records if record.files is not None]
        counted = write_statistics(session, layout, params.label_map, rows)
        unseen += counted.issues
        outputs += counted.outputs
    if settings.report:
        n_pictures, not_pictured = take_pictures(session, layout, params.label_map, records)
        unseen += not_pictured
    issues += dict.fromkeys(unseen)
    log.replace(Step.DATASET_MANIFEST, issues, scope=layout.grouped.name)
    files = write_issues(layout, log)
    if settings.report:
        label_map, told = params.label_map, log.all()
        findings = Findings(records, label_map, found.exclusions, counted, n_pictures, told)
        outputs += (write_report(layout, findings),)
    _remove_outdated(found)
    # What could not be compared, counted or pictured now is tried again.
    is_whole = leaks.is_complete and not unseen
    write_table_state(layout, made_from if is_whole else "", outputs, files, tables.counts)
    return tables.counts, outputs


def _fingerprint(
    found: Found,
    headers: Mapping[str, HeaderCheck],
    organised: Sequence[Organised],
    log: IssueLog,
) -> str:
    """Return a checksum of everything that the tables depend on."""
    settings = found.settings
    return fingerprint(
        found.params,
        found.archive.samples,
        headers,
        [sample.digest for sample in organised],
        settings.statistics,
        settings.report,
        found.exclusions,
        log.all(besides=(Step.DATASET_MANIFEST, Step.LEAKS)),
    )


def _remove_outdated(found: Found) -> None:
    """Remove what was not asked for now: that of an earlier run speaks of other files."""
    layout, settings = found.layout, found.settings
    unwanted = () if settings.statistics else statistics_files(layout)
    for path in (*unwanted, *(() if settings.report else (layout.report,))):
        path.unlink(missing_ok=True)


def _issues_of_describing(organised: Sequence[Organised]) -> list[Issue]:
    """Return the issues of samples that were described from their files."""
    return [
        found.issue
        for sample in organised
        if sample.record is not None
        for found in sample.record.issues
        if found.step == Step.DATASET_MANIFEST
    ]
