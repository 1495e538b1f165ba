"""The samples under ``grouped``, and where the record of each one is."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from amos_dask.engine.events import Outcome
from amos_dask.engine.session import Session
from amos_dask.errors import AmosDaskError
from amos_dask.labels import LabelMap
from amos_dask.records import (
    SampleRecord,
    SampleResult,
    Step,
    StepIssue,
    StepResult,
    by_number,
)
from amos_dask.results import failure_issue
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import Receipts
from amos_dask.sample.describe import describe_foreign, describe_sample
from amos_dask.sample.source import FolderSource
from amos_dask.sample.todo import current_receipt
from amos_dask.settings import Found

# Network file systems show a file of another machine after at most a minute.
_SECONDS_UNTIL_SEEN = 90.0


@dataclass(frozen=True)
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
    written = {r.sample_id: layout.grouped / r.folder for r in results if r.folder is not None}
    digests = {result.sample_id: result.digest for result in results}
    organised = [Organised(name, digests[name]) for name in written]
    places = {layout.folder_for(layout.group(s.modality), s).path for s in found.archive.samples}
    unknown = []
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
        elif name not in written and folder.path in places:
            unknown.append(folder)
        else:
            record = describe_foreign(folder, layout)
            organised.append(Organised(name, repr(record), record))
    thresholds = found.params.region_volume_thresh
    records = describe_samples(session, layout, found.params.label_map, thresholds, unknown)
    organised += [
        Organised(record.sample_id, repr(record), record)
        for record in records
        # Why a sample could not be made was said.
        if record.files is not None or record.sample_id not in digests
    ]
    return sorted(organised, key=lambda sample: by_number(sample.sample_id))


def describe_samples(
    session: Session,
    layout: Layout,
    label_map: LabelMap,
    thresholds_mm3: tuple[float, ...],
    folders: Iterable[SampleFolder],
) -> Iterator[SampleRecord]:
    """Yield the records of samples whose receipts say nothing, made from their files.

    Parameters
    ----------
    session : Session
        Where to read them.
    layout : Layout
        ROOT_DIR.
    label_map : LabelMap
        The labels a mask may hold.
    thresholds_mm3 : tuple of float
        Region volume thresholds.
    folders : iterable of SampleFolder
        The samples.

    Yields
    ------
    SampleRecord
        As they are read; one that only has issues where that failed.
    """
    sources = [FolderSource(folder, layout, label_map) for folder in folders]
    describe = partial(describe_sample, below=layout.grouped, thresholds_mm3=thresholds_mm3)
    for outcome in session.map("describe", describe, sources):
        yield _record(outcome)


def _record(outcome: Outcome[StepResult[SampleRecord]]) -> SampleRecord:
    if outcome.value is not None and outcome.value.value is not None:
        return outcome.value.value
    issues = (failure_issue(outcome),) if outcome.value is None else outcome.value.issues
    found = tuple(StepIssue(Step.DATASET_MANIFEST, issue) for issue in issues)
    return SampleRecord(outcome.name, None, issues=found)


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
