"""The plan of a run: what headers say, a task for each chosen sample, what is left to do."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from amos_dask.archive.discover import Discovery
from amos_dask.compact import Compact
from amos_dask.engine.events import Notice, Outcome
from amos_dask.engine.session import Session
from amos_dask.errors import number_of
from amos_dask.issues import Issue
from amos_dask.records import HeaderCheck, Metadata, Sample
from amos_dask.results import failure_issue
from amos_dask.root.receipts import UNKNOWN, Origin, Receipt, Receipts
from amos_dask.sample.publish import find_edited_metadata, with_metadata
from amos_dask.sample.source import ArchiveSource
from amos_dask.sample.todo import EVERY_STEP, Reason, SampleTask, ToDo, find_misread, find_todo
from amos_dask.settings import Found
from amos_dask.steps.header_check import RESULT_VERSION, check_headers, unchecked_headers


@dataclass(frozen=True, slots=True)
class Planned:
    """A sample of a run."""

    place: int  # among the archive's samples
    sample: Sample  # as it lies in the archive
    edited: Metadata | None  # of its info file, where that was edited by hand
    has_earlier_output: bool  # as of `ArchiveSource`
    origin: Origin  # what it would be made from
    todo: ToDo  # what is left to do

    @property
    def bytes_to_read(self) -> int:
        """Size of the sample's files in the archive."""
        return sum(ref.n_bytes for _, ref in self.sample.files)


@dataclass(frozen=True)
class Plan:
    """What a run is going to do."""

    found: Found  # what it goes by
    samples: Sequence[Planned]  # the chosen ones that have a volume
    # Of each sample of the archive, from its receipt if its files are still the same.
    headers: Sequence[HeaderCheck | None]
    same_inputs: tuple[bool, ...]  # of each remembered file that is there, whether it is the same
    missing: tuple[Issue, ...]  # chosen and finished, and the volume is gone from the archive

    @property
    def bytes_to_keep(self) -> int:
        """Size of the finished volumes and masks that may have to be kept in ``replaced/``."""
        targets = (
            self.task(planned).target
            for planned in self.samples
            if planned.todo.reason in (Reason.CHANGED, Reason.REPAIRED)
        )
        finals = (final for target in targets for final in (*target.volumes, target.mask))
        return sum(final.stat().st_size for final in finals if final.is_file())

    @property
    def reasons(self) -> Counter[str]:
        """How many samples are complete, new, changed and so on."""
        return Counter(str(planned.todo.reason) for planned in self.samples)

    def task(self, planned: Planned, headers: HeaderCheck | None = None) -> SampleTask:
        """Return what makes a sample."""
        found, has_earlier = self.found, planned.has_earlier_output
        source = _find_source(found, planned.sample, planned.edited, has_earlier=has_earlier)
        task = _make_task(found, source, planned.origin, keeps_info=planned.edited is not None)
        return replace(task, outputs=planned.todo.outputs, headers=headers)

    def held_against(self, headers: Sequence[HeaderCheck]) -> Plan:
        """Return the plan after headers were read that no receipt tells.

        What is complete, but was made of the same headers otherwise, is made again.
        """
        receipts, changed = Receipts(self.found.layout), dict[int, ToDo]()
        for planned in self.samples:
            receipt = None
            if not planned.todo.outputs and self.headers[planned.place] is None:
                receipt = receipts.read(planned.sample.sample_id)
            if receipt is not None:
                misread = find_misread(receipt.record, headers[planned.place])
                if misread:
                    changed[planned.place] = ToDo(Reason.CHANGED, misread)
        if not changed:
            return self
        todos = ((planned, changed.get(planned.place, planned.todo)) for planned in self.samples)
        return replace(self, samples=Compact(replace(one, todo=todo) for one, todo in todos))


class Tasks:
    """The tasks of a plan's samples that are not complete, each made when its turn comes.

    The largest first, so that no worker is left with a large scan when the others are done.
    """

    def __init__(self, plan: Plan, headers: Sequence[HeaderCheck]) -> None:
        left = (
            (-planned.bytes_to_read, n)
            for n, planned in enumerate(plan.samples)
            if planned.todo.outputs
        )
        self._plan, self._headers = plan, headers
        self._order = array("Q", (n for _, n in sorted(left)))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._order)

    def __iter__(self) -> Iterator[SampleTask]:
        """Yield the tasks."""
        for n in self._order:
            planned = self._plan.samples[n]
            yield self._plan.task(planned, self._headers[planned.place])


def make_plan(found: Found) -> Plan:
    """Hold every sample's receipt against the archive, the parameters and the files."""
    layout, settings, receipts = found.layout, found.settings, Receipts(found.layout)
    samples, headers = Compact[Planned](), Compact[HeaderCheck | None]()
    missing, same_inputs = list[Issue](), list[bool]()
    for place, sample in enumerate(found.archive.samples):
        receipt, edited = receipts.read(sample.sample_id), None
        if not settings.discard_edits:
            edited = find_edited_metadata(receipts, receipt)
        files = None if receipt is None else receipt.record.files
        has_earlier = files is not None and layout.folder_of(files).volume.exists()
        source = _find_source(found, sample, edited, has_earlier=has_earlier)
        origin, told = source.find_origin(), None
        if receipt is not None:
            same_inputs += receipt.compare_inputs(origin)
            told = receipt.headers if _tells_of(receipt, sample, origin) else None
        headers.append(told)
        if sample.sample_id in found.chosen and sample.volume is not None:
            task = _make_task(found, source, origin, keeps_info=edited is not None)
            todo = ToDo(Reason.FORCED) if settings.force else find_todo(task, receipt, origin)
            samples.append(Planned(place, sample, edited, has_earlier, origin, todo))
        elif sample.sample_id in found.chosen and source.has_earlier_output:
            missing.append(source.missing_file("scan"))
    return Plan(found, samples, headers, tuple(same_inputs), tuple(missing))


def _find_source(
    found: Found, sample: Sample, edited: Metadata | None, *, has_earlier: bool
) -> ArchiveSource:
    """Return a sample as it lies in the archive, with the metadata that were edited by hand."""
    dataset = found.layout.dataset
    sample = sample if edited is None else with_metadata(sample, edited, dataset)
    return ArchiveSource(sample, dataset, has_earlier)


def _make_task(
    found: Found, source: ArchiveSource, origin: Origin, *, keeps_info: bool
) -> SampleTask:
    sample, layout = source.sample, found.layout
    return SampleTask(
        source,
        layout,
        layout.folder_for(layout.group(sample.modality), sample),
        EVERY_STEP,
        found.params_for(sample.sample_id),
        count_values=found.settings.statistics,
        take_pictures=found.settings.report,
        modality=sample.modality,
        adopt=found.settings.adopt,
        discard_edits=found.settings.discard_edits,
        keeps_info=keeps_info,
        planned=origin,
    )


def _tells_of(receipt: Receipt, sample: Sample, origin: Origin) -> bool:
    """Return whether a receipt tells what the headers of a sample's files would say."""
    known = receipt.headers
    return (
        known is not None
        and known.version == RESULT_VERSION
        and origin.inputs == receipt.origin.inputs
        and UNKNOWN not in origin.inputs.values()
        and [file.file_path for file in known.files] == [ref.path for _, ref in sample.files]
    )


def describe_reasons(reasons: Mapping[str, int]) -> str:
    """Return such as ``12 samples: 10 complete, 2 changed``."""
    ordered = [f"{reasons[reason]} {reason}" for reason in Reason if reasons.get(reason)]
    return f"{number_of(sum(reasons.values()), 'sample')}: {', '.join(ordered)}"


@dataclass(frozen=True)
class Headers:
    """What the headers of an archive say."""

    checks: Sequence[HeaderCheck]  # of every sample, in order
    others: tuple[Issue, ...]  # of names and metadata, and of what could not be looked at

    @property
    def issues(self) -> list[Issue]:
        """What is said of names, metadata and headers."""
        return [*self.others, *(issue for check in self.checks for issue in check.issues)]


def read_headers(
    session: Session, archive: Discovery, known: Sequence[HeaderCheck | None] | None = None
) -> Headers:
    """Read all headers that are not known from files that are still the same.

    Parameters
    ----------
    session : Session
        Where to read them.
    archive : Discovery
        The archive.
    known : sequence of HeaderCheck or None, optional
        What is known of each of its samples.
    """
    for issue in archive.issues:
        is_of_dataset = issue.severity == "warning" and not issue.sample
        if is_of_dataset or issue.code == "mr_metadata_offset":
            session.listener(Notice(issue.message, issue.severity))
    checks, others = Compact[HeaderCheck](), list(archive.issues)
    known = [None] * len(archive.samples) if known is None else known
    unread = archive.samples
    if any(told is not None for told in known):
        unread = Compact(s for s, told in zip(unread, known, strict=True) if told is None)
    early = dict[str, Outcome[HeaderCheck]]()  # whose turn has not come
    with closing(session.map("headers", check_headers, unread)) as outcomes:
        for sample, told in zip(archive.samples, known, strict=True):
            if told is None:
                while sample.sample_id not in early:
                    outcome = next(outcomes)
                    early[outcome.name] = outcome
                outcome = early.pop(sample.sample_id)
                if outcome.value is None:
                    others.append(failure_issue(outcome))
                told = outcome.value or unchecked_headers(sample)
            checks.append(told)
        next(outcomes, None)  # which says that all are read
    return Headers(checks, tuple(others))
