"""The end of a run: all samples' records, then tables, leaks, statistics and report of them."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from amos_dask.compact import Compact
from amos_dask.engine.session import FEW, Session
from amos_dask.errors import AmosDaskError, ClusterError
from amos_dask.issues import Issue, make_issue
from amos_dask.leaks import Leaks, find_leaks
from amos_dask.records import (
    HeaderCheck,
    SampleRecord,
    SampleResult,
    Step,
    by_number,
)
from amos_dask.report.content import Findings
from amos_dask.report.make_report import find_repaired, take_pictures, write_report
from amos_dask.results import describe_samples
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.receipts import Receipts
from amos_dask.root.table_state import (
    TableCounts,
    TableState,
    read_table_state,
    write_table_state,
)
from amos_dask.sample.describe import describe_foreign
from amos_dask.sample.todo import current_receipt
from amos_dask.settings import Found, Settings
from amos_dask.statistics.stats import write_statistics
from amos_dask.tables.drafts import Draft, Drafted, write_draft
from amos_dask.tables.issue_files import IssueLog, has_whole_log, write_issues
from amos_dask.tables.manifests import dataset_frame
from amos_dask.tables.of_root import Tables, fingerprint, write_tables
from amos_dask.tables.own_workbooks import find_altered_files
from amos_dask.tables.twins import has_unwanted


def conclude(
    session: Session,
    found: Found,
    headers: Sequence[HeaderCheck],
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
    headers : sequence of HeaderCheck
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
    records = Compact(read_records(session, layout, organised))
    leaks, tables = _write_manifests(session, found, headers, records, own)
    log.replace(Step.LEAKS, leaks.issues)
    label_map, outputs = found.params.label_map, tables.outputs
    counted, n_pictures, unseen = None, dict[str, int](), list[Issue]()
    if settings.statistics:
        files = [record.files for record in records if record.files is not None]
        counted = write_statistics(session, own, label_map, files)
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
        norms = find_repaired((check.sample_id, check.mask_norm) for check in headers)
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
    card = own.find_there(layout.card, layout.croissant)
    others = (layout.issues_workbook, layout.issues_text, *own.find_twins(), *card)
    write_table_state(layout, made_from, outputs, others, tables.counts)
    return tables.counts, outputs


def _write_manifests(
    session: Session,
    found: Found,
    headers: Sequence[HeaderCheck],
    records: Sequence[SampleRecord],
    own: OwnFiles,
) -> tuple[Leaks, Tables]:
    """Find leaks and write the manifests.

    Both need the dataset manifest's frame, which of many samples is large, and goes on return.
    """
    files = (record.files for record in records if record.files is not None)
    names = found.layout.dataset.channel_names
    manifest = dataset_frame(files, found.params.label_map, names)
    leaks = find_leaks(session, found.layout, manifest)
    # Only of many samples do the workbooks take longer than having workers write them.
    draft = partial(_draft, session) if session.is_started and len(records) > FEW else None
    samples = found.archive.samples
    tables = write_tables(own, found.params, samples, headers, records, manifest, draft)
    return leaks, tables


def _draft(session: Session, drafts: list[Draft]) -> dict[str, Drafted]:
    """Have workers write workbooks.

    One whose task failed is written by the client, which then says what is wrong.
    """
    found = dict[str, Drafted]()
    with suppress(ClusterError):
        for outcome in session.map("tables", write_draft, drafts):
            if outcome.value is not None:
                found[outcome.name] = outcome.value
    return found


def _fingerprint(
    found: Found,
    headers: Sequence[HeaderCheck],
    organised: Sequence[Organised],
    log: IssueLog,
) -> dict[str, str]:
    """Return a checksum of everything that each part of what was asked for depends on."""
    settings = found.settings
    tables = fingerprint(
        (found.params, found.exclusions),
        found.archive.samples,
        headers,
        (sample.digest for sample in organised),
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
    counted = (layout.statistics_workbook, layout.statistics_text, layout.card, layout.croissant)
    unwanted = {
        "statistics": () if settings.statistics else counted,
        "report": () if settings.report else (layout.report,),
    }
    for part, paths in unwanted.items():
        if known.get(part, "").startswith(made_from["tables"]):
            continue
        for path in own.find_there(*paths):
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


# Network file systems show a file of another machine after at most a minute.
_SECONDS_UNTIL_SEEN = 90.0


@dataclass(frozen=True, slots=True)
class Organised:
    """A sample under ``grouped`` and where its record is."""

    sample_id: str
    digest: str  # of what it adds to the tables
    record: SampleRecord | None = None  # what it adds; None while it is in its receipt


def find_organised(
    session: Session,
    found: Found,
    results: Sequence[SampleResult],
    folders: Iterable[SampleFolder],
) -> list[Organised]:
    """Return all samples that are organised under ROOT, by number.

    Those of this run have receipts. Receipts of others are asked as far as they speak for the
    files as they are. What then remains is described from its files where it lies in the place of
    a sample of the archive; other folders that look like samples are somebody's own.

    Parameters
    ----------
    session : Session
        Where to describe samples.
    found : Found
        What the run goes by.
    results : sequence of SampleResult
        How the chosen samples ended.
    folders : iterable of SampleFolder
        The samples that were there before.
    """
    layout, receipts = found.layout, Receipts(found.layout)
    digests, written = dict[str, str](), dict[str, Path]()
    for result in results:
        digests[result.sample_id] = result.digest
        if result.folder is not None:
            written[result.sample_id] = layout.grouped / result.folder
    organised = [Organised(name, digests[name]) for name in written]
    unknown, unlisted = list[SampleFolder](), list[SampleFolder]()
    for folder in folders:
        name = folder.sample_id
        if written.get(name) == folder.path or not any(folder.path.glob(f"{name}_*")):
            continue
        if name not in written and receipts.read_for(folder) is not None:
            receipt = current_receipt(folder, layout, found.params_for(name))
            if receipt is None:
                unknown.append(folder)
            else:
                organised.append(Organised(name, receipt.digest))
        else:
            unlisted.append(folder)
    places = set[Path]()
    if unlisted:  # else the archive need not be gone through
        samples = found.archive.samples
        places = {layout.folder_for(layout.group(s.modality), s).path for s in samples}
    for folder in unlisted:
        if folder.sample_id not in written and folder.path in places:
            unknown.append(folder)
        else:
            record = describe_foreign(folder, layout)
            organised.append(Organised(folder.sample_id, repr(record), record))
    thresholds = found.params.region_volume_thresh
    records = describe_samples(session, layout, found.params.label_map, unknown, thresholds)
    organised += [
        Organised(record.sample_id, repr(record), record)
        for record in records
        # Why a sample could not be made was said.
        if record.files is not None or record.sample_id not in digests
    ]
    return sorted(organised, key=lambda sample: by_number(sample.sample_id))


def read_records(
    session: Session, layout: Layout, organised: Sequence[Organised]
) -> Iterator[SampleRecord]:
    """Yield the records, one at a time; waits for those that other machines have just written."""
    receipts = Receipts(layout)
    deadline = time.monotonic() + (_SECONDS_UNTIL_SEEN if session.is_elsewhere else 0.0)
    for sample in organised:
        yield sample.record or _read_receipt(receipts, sample, deadline)


def _read_receipt(receipts: Receipts, sample: Organised, deadline: float) -> SampleRecord:
    while True:
        receipt = receipts.read(sample.sample_id)
        if receipt is not None and receipt.digest == sample.digest:
            return receipt.record
        if time.monotonic() > deadline:
            raise AmosDaskError(
                f"{receipts.layout.receipts}: what was written of {sample.sample_id} cannot be "
                "seen here; was ROOT_DIR removed, or is it not on a disk that all machines share?"
            )
        time.sleep(0.5)
