"""The samples of a run: what is left to do, doing it, and where each one's record is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace

from amos_dask.engine.events import Notice, Outcome
from amos_dask.engine.session import Session
from amos_dask.errors import AmosDaskError
from amos_dask.exclusions import NO_EXCLUSIONS, Exclusions
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.records import (
    Params,
    Sample,
    SampleRecord,
    SampleResult,
    Step,
    StepIssue,
    sample_number,
)
from amos_dask.reporting import failure_issue
from amos_dask.root.layout import Layout, SampleFolder, find_samples_of
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import write_text
from amos_dask.sample.estimates import largest_scan_bytes
from amos_dask.sample.make import run_sample
from amos_dask.sample.reread import DescribeTask, reread_sample
from amos_dask.sample.todo import Reason, RunTask, Work, current_record, find_work

# Network file systems show a file of another machine after at most a minute.
_SECONDS_UNTIL_SEEN = 90.0


@dataclass(frozen=True)
class Order:
    """Samples to process, and how.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    params : Params
        Label map, denoising and region parameters.
    samples : tuple of Sample
        The chosen ones.
    force : bool
        Do again what is complete.
    exclusions : Exclusions
        What denoising leaves as it was.
    statistics, report : bool
        Count values for statistics; take pictures for the report.
    """

    layout: Layout
    params: Params
    samples: tuple[Sample, ...]
    force: bool = False
    exclusions: Exclusions = NO_EXCLUSIONS
    statistics: bool = True
    report: bool = True

    def params_for(self, sample_id: str) -> Params:
        """Return the parameters of one sample, with its exclusions."""
        return replace(self.params, excluded=self.exclusions.for_sample(sample_id))


@dataclass(frozen=True)
class Processed:
    """How the chosen samples ended.

    Parameters
    ----------
    results : tuple of SampleResult
        Of all samples that did not fail outside the data's own errors, complete ones included.
    failures : tuple of Issue
        Of those that did.
    reasons : mapping of str to int
        How many samples were complete, new, changed, …
    others : tuple of SampleFolder
        Folders that were there before and belong to other samples, or to ones that failed.
    """

    results: tuple[SampleResult, ...]
    failures: tuple[Issue, ...]
    reasons: Mapping[str, int]
    others: tuple[SampleFolder, ...]

    def issues_of(self, step: Step) -> list[Issue]:
        """Return the issues of a step; tasks that failed count as the first one's."""
        found = [i.issue for result in self.results for i in result.issues if i.step == step]
        return [*found, *self.failures] if step == Step.CONFIRM_PAIRS else found


@dataclass(frozen=True)
class Organised:
    """A sample under ``grouped`` and where its record is.

    Parameters
    ----------
    sample_id : str
        The sample.
    digest : str
        Checksum of what it adds to the tables.
    record : SampleRecord or None
        What it adds; None while it is in its receipt.
    """

    sample_id: str
    digest: str
    record: SampleRecord | None = None


def plan_samples(order: Order, folders: Iterable[SampleFolder]) -> list[tuple[RunTask, Work]]:
    """Return a task for each sample that has a volume, and what is left to do for it."""
    earlier = {folder.sample_id for folder in folders}
    plan = []
    for sample in order.samples:
        if sample.volume is not None:
            params = order.params_for(sample.sample_id)
            task = RunTask(sample, order.layout, params, sample.sample_id in earlier)
            work = Work(Reason.FORCED) if order.force else find_work(task)
            task = replace(
                task,
                parts=work.parts,
                count_values=order.statistics,
                take_pictures=order.report,
            )
            plan.append((task, work))
    return plan


def process_samples(session: Session, order: Order) -> Processed:
    """Process the samples that are not complete."""
    folders = find_samples_of(order.layout)
    plan = plan_samples(order, folders)
    reasons = Counter(str(work.reason) for _, work in plan)
    if set(reasons) - {Reason.NEW}:
        session.listener(Notice(describe_reasons(reasons)))
    results = [work.result for _, work in plan if work.result is not None]
    # Largest first: no worker is left with a large scan when the others are done.
    tasks = sorted((t for t, work in plan if work.parts), key=lambda t: -bytes_to_read(t.sample))
    failures = []
    if tasks:
        session.require_memory(largest_scan_bytes(task.sample for task in tasks))
        session.prepare_kernels()
    with closing(session.map("sample", run_sample, tasks)) as outcomes:
        for outcome in outcomes:
            if outcome.value is None:
                failures.append(failure_issue(outcome, _keep_details(order.layout, outcome)))
            else:
                results.append(outcome.value)
    written = {result.sample_id for result in results if result.folder is not None}
    others = tuple(folder for folder in folders if folder.sample_id not in written)
    return Processed(tuple(results), tuple(failures), reasons, others)


def _keep_details(layout: Layout, outcome: Outcome[SampleResult]) -> str:
    """Write a failure's traceback or its worker's last words; return the file, for the issue."""
    path = layout.logs / f"{outcome.name}.log"
    with suppress(OSError):  # the same reason may stop us here
        write_text(path, f"{outcome.failure}\n\n{outcome.details}\n")
    return path.relative_to(layout.root).as_posix()


def describe_reasons(reasons: Mapping[str, int]) -> str:
    """Return such as ``12 samples: 10 complete, 2 changed``."""
    ordered = [f"{reasons[reason]} {reason}" for reason in Reason if reasons.get(reason)]
    return f"{sum(reasons.values())} samples: {', '.join(ordered)}"


def bytes_to_read(sample: Sample) -> int:
    """Return the size of a sample's files in the archive."""
    return sum(ref.size for ref in (sample.volume, sample.mask) if ref is not None)


def find_organised(session: Session, order: Order, processed: Processed) -> list[Organised]:
    """Return all samples that are organised under ROOT, by number.

    Those of this run have receipts. Receipts of others are asked as far as they speak for the
    files as they are; what then remains is described from its files.
    """
    layout, params = order.layout, order.params
    found = [Organised(r.sample_id, r.digest) for r in processed.results if r.folder is not None]
    tried = {result.sample_id for result in processed.results}
    unknown = []
    for folder in Receipts(layout).leave_out_copies(processed.others):
        known = current_record(folder, layout, order.params_for(folder.sample_id))
        if known is not None:
            found.append(Organised(folder.sample_id, known[1]))
        elif folder.sample_id not in tried and any(folder.path.glob(f"{folder.sample_id}_*")):
            unknown.append(folder)
    thresholds = params.region_volume_thresh
    records = reread_samples(session, layout, params.label_map, thresholds, unknown)
    found += [Organised(record.sample_id, repr(record), record) for record in records]
    return sorted(found, key=lambda sample: sample_number(sample.sample_id))


def reread_samples(
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
        As they are read; one that only has an issue where that failed.
    """
    tasks = [
        DescribeTask(folder, layout, label_map, layout.grouped, thresholds_mm3)
        for folder in folders
    ]
    for outcome in session.map("describe", reread_sample, tasks):
        yield outcome.value or _undescribed(outcome)


def _undescribed(outcome: Outcome[SampleRecord]) -> SampleRecord:
    issue = StepIssue(Step.DATASET_MANIFEST, failure_issue(outcome))
    return SampleRecord(outcome.name, None, (), (), (), (issue,))


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
