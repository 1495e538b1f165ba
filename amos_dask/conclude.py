"""The end of a run: manifests, leaks, statistics, issues and report, unless they are current."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from amos_dask.card import find_card
from amos_dask.engine.session import FEW, Session
from amos_dask.errors import ClusterError
from amos_dask.issues import Issue, make_issue
from amos_dask.leaks import find_leaks_of
from amos_dask.organised import Organised, read_records
from amos_dask.records import HeaderCheck, Step
from amos_dask.report.content import Findings
from amos_dask.report.make_report import find_repaired, take_pictures, write_report
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.table_state import (
    TableCounts,
    TableState,
    read_table_state,
    write_table_state,
)
from amos_dask.settings import Found, Settings
from amos_dask.statistics.stats import write_statistics
from amos_dask.tables.issue_files import IssueLog, has_whole_log, write_issues
from amos_dask.tables.new_workbook import Draft, Drafted, write_draft
from amos_dask.tables.of_root import fingerprint, write_tables
from amos_dask.tables.own_workbooks import find_altered_files
from amos_dask.tables.twins import find_twins, has_unwanted


def conclude(
    session: Session,
    found: Found,
    headers: Mapping[str, HeaderCheck],
    organised: Sequence[Organised],
    log: IssueLog,
    own: OwnFiles,
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
    own : OwnFiles
        The files of ROOT.

    Returns
    -------
    counts : TableCounts
        Rows of the manifests.
    outputs : tuple of Path
        The manifests.
    """
    layout, settings = found.layout, found.settings
    made_from = _fingerprint(found, headers, organised, log)
    state = read_table_state(layout) if has_whole_log(layout) else None
    if state is not None and _is_current(own, state, made_from):
        return state.counts, tuple(layout.root / path for path in state.tables)
    records = list(read_records(session, layout, organised))
    leaks = find_leaks_of(session, layout, records)
    log.replace(Step.LEAKS, leaks.issues)
    draft = partial(_draft, session, len(records))
    tables = write_tables(own, found.params, found.archive.samples, headers, records, draft)
    label_map, outputs = found.params.label_map, tables.outputs
    counted, n_pictures, unseen = None, dict[str, int](), list[Issue]()
    if settings.statistics:
        rows = [record.files for record in records if record.files is not None]
        counted = write_statistics(session, own, label_map, rows)
        unseen, outputs = [*counted.issues], (*outputs, *counted.outputs)
    if settings.report:
        n_pictures, not_pictured = take_pictures(session, layout, label_map, records)
        unseen, outputs = [*unseen, *not_pictured], (*outputs, layout.report)
    issues = [*_issues_of_describing(organised), *tables.issues, *dict.fromkeys(unseen)]
    issues += _name_outdated(own, settings, made_from)

    def add_issues(more: Sequence[Issue]) -> None:
        log.replace(Step.DATASET_MANIFEST, [*issues, *more], scope=layout.grouped.name)

    write_issues(own, log, add_issues)
    told = own.issues()
    if settings.report:
        norms = find_repaired((name, check.mask_norm) for name, check in headers.items())
        exclusions = found.exclusions
        with own.trying():
            findings = (records, label_map, exclusions, counted, n_pictures, log.all(), norms)
            write_report(own, Findings(*findings))
        if own.issues() != told:  # of the report itself
            write_issues(own, log, add_issues)
    # What could not be compared, counted, pictured or written now is tried again.
    is_whole = leaks.is_complete and not unseen and not own.failed
    known = {} if state is None else state.made_from
    made_from = {**known, **made_from} if is_whole else {}
    others = (layout.issues_workbook, layout.issues_text, *find_twins(own), *find_card(own))
    write_table_state(layout, made_from, outputs, others, tables.counts)
    return tables.counts, outputs


def _draft(session: Session, n_samples: int, drafts: list[Draft]) -> dict[str, Drafted]:
    """Have workers write workbooks of many samples, where there are workers at hand.

    A workbook whose task failed is written by the client, which then says what is wrong.
    """
    worthwhile, found = session.is_started and n_samples > FEW, dict[str, Drafted]()
    with suppress(ClusterError):
        for outcome in session.map("tables", write_draft, drafts if worthwhile else []):
            if outcome.value is not None:
                found[outcome.name] = outcome.value
    return found


def _fingerprint(
    found: Found,
    headers: Mapping[str, HeaderCheck],
    organised: Sequence[Organised],
    log: IssueLog,
) -> dict[str, str]:
    """Return a checksum of everything that each part of what was asked for depends on."""
    settings = found.settings
    tables = fingerprint(
        found.params,
        found.archive.samples,
        headers,
        [sample.digest for sample in organised],
        found.exclusions,
        log.all(besides=(Step.DATASET_MANIFEST, Step.LEAKS)),
    )
    made_from = {"tables": tables}
    if settings.statistics:
        made_from["statistics"] = tables
    if settings.report:
        reviews = zlib.crc32(found.exclusions.text.encode())  # are comments in it
        made_from["report"] = f"{tables} {settings.statistics} {reviews:08x}"
    asked = (form for form, is_wanted in settings.twins.items() if is_wanted)
    made_from |= dict.fromkeys(asked, tables)
    return made_from


def _is_current(own: OwnFiles, state: TableState, made_from: Mapping[str, str]) -> bool:
    """Return whether all that was asked for is there and made from the same."""
    is_same = made_from.items() <= state.made_from.items() and not own.issues()
    is_same = is_same and not (state.has_other_definition(own.layout) or has_unwanted(own))
    return is_same and not find_altered_files(own, (*state.tables, *state.others), of_run=True)


def _name_outdated(
    own: OwnFiles, settings: Settings, made_from: Mapping[str, str]
) -> Iterator[Issue]:
    """Yield an issue of what was not asked for now, and speaks of samples as they were before."""
    layout, state = own.layout, read_table_state(own.layout)
    known = {} if state is None else state.made_from
    of_statistics = (layout.statistics_workbook, layout.statistics_text, *find_card(own))
    unwanted = {
        "statistics": () if settings.statistics else of_statistics,
        "report": () if settings.report else (layout.report,),
    }
    for part, paths in unwanted.items():
        is_old = not known.get(part, "").startswith(made_from["tables"])
        for path in paths:
            if is_old and path.exists() and own.ownership.lists(path):
                message, action = "speaks of an earlier run", f"without --no_{part} it is made anew"
                yield make_issue("outdated_output", message, file=layout.shown(path), action=action)


def _issues_of_describing(organised: Sequence[Organised]) -> list[Issue]:
    """Return the issues of samples that were described from their files."""
    return [
        found.issue
        for sample in organised
        if sample.record is not None
        for found in sample.record.issues
        if found.step == Step.DATASET_MANIFEST
    ]
