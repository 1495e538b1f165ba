"""The plan of a run: what headers say, a task for each chosen sample, what is left to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from amos_dask.archive.discover import Discovery
from amos_dask.engine.events import Notice
from amos_dask.engine.session import Session
from amos_dask.errors import number_of
from amos_dask.issues import Issue
from amos_dask.records import HeaderCheck, Sample
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

    sample: Sample  # as it lies in the archive
    task: SampleTask  # what makes it
    todo: ToDo  # what is left to do

    @property
    def bytes_to_read(self) -> int:
        """Size of the sample's files in the archive."""
        return sum(ref.n_bytes for _, ref in self.sample.files)


@dataclass(frozen=True)
class Plan:
    """What a run is going to do."""

    samples: tuple[Planned, ...]  # the chosen ones that have a volume
    headers: Mapping[str, HeaderCheck]  # of all samples whose files are the same, from receipts
    same_inputs: tuple[bool, ...]  # of each remembered file that is there, whether it is the same
    missing: tuple[Issue, ...]  # chosen and finished, and the volume is gone from the archive

    @property
    def bytes_to_keep(self) -> int:
        """Size of the finished volumes and masks that may have to be kept in ``replaced/``."""
        finals = (
            final
            for planned in self.samples
            if planned.todo.reason in (Reason.CHANGED, Reason.REPAIRED)
            for final in (*planned.task.target.volumes, planned.task.target.mask)
        )
        return sum(final.stat().st_size for final in finals if final.is_file())

    @property
    def reasons(self) -> Counter[str]:
        """How many samples are complete, new, changed and so on."""
        return Counter(str(planned.todo.reason) for planned in self.samples)

    def tasks(self, headers: Mapping[str, HeaderCheck]) -> list[SampleTask]:
        """Return the tasks of samples that are not complete, largest first.

        So no worker is left with a large scan when the others are done.
        """
        left = sorted(
            (planned for planned in self.samples if planned.todo.outputs),
            key=lambda planned: -planned.bytes_to_read,
        )
        return [
            replace(p.task, outputs=p.todo.outputs, headers=headers.get(p.task.name)) for p in left
        ]

    def held_against(self, headers: Mapping[str, HeaderCheck], receipts: Receipts) -> Plan:
        """Return the plan after headers were read that no receipt tells.

        What is complete, but was made of the same headers otherwise, is made again.
        """
        samples = []
        for planned in self.samples:
            receipt = None
            if not planned.todo.outputs and planned.task.name not in self.headers:
                receipt = receipts.read(planned.task.name)
            if receipt is not None:
                misread = find_misread(receipt.record, headers[planned.task.name])
                todo = ToDo(Reason.CHANGED, misread) if misread else planned.todo
                planned = replace(planned, todo=todo)
            samples.append(planned)
        return replace(self, samples=tuple(samples))


def make_plan(found: Found) -> Plan:
    """Hold every sample's receipt against the archive, the parameters and the files."""
    layout, settings, receipts = found.layout, found.settings, Receipts(found.layout)
    planned, missing, headers = list[Planned](), list[Issue](), dict[str, HeaderCheck]()
    same_inputs = list[bool]()
    for sample in found.archive.samples:
        receipt, edited = receipts.read(sample.sample_id), None
        if not settings.discard_edits:
            edited = find_edited_metadata(receipts, receipt)
        files = None if receipt is None else receipt.record.files
        source = ArchiveSource(
            sample if edited is None else with_metadata(sample, edited, layout.dataset),
            layout.dataset,
            files is not None and layout.folder_of(files).volume.exists(),
        )
        origin = source.find_origin()
        if receipt is not None:
            same_inputs += receipt.compare_inputs(origin)
            known = receipt.headers
            if known is not None and _tells_of(known, sample, receipt, origin):
                headers[sample.sample_id] = known
        if sample.sample_id in found.chosen and sample.volume is not None:
            task = _make_task(found, source, origin, keeps_info=edited is not None)
            todo = ToDo(Reason.FORCED) if settings.force else find_todo(task, receipt, origin)
            planned.append(Planned(sample, task, todo))
        elif sample.sample_id in found.chosen and source.has_earlier_output:
            missing.append(source.missing_file("scan"))
    return Plan(tuple(planned), headers, tuple(same_inputs), tuple(missing))


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


def _tells_of(known: HeaderCheck, sample: Sample, receipt: Receipt, origin: Origin) -> bool:
    """Return whether a receipt's headers are what those of a sample's files would say."""
    return (
        known.version == RESULT_VERSION
        and origin.inputs == receipt.origin.inputs
        and UNKNOWN not in origin.inputs.values()
        and [file.file_path for file in known.files] == [ref.path for _, ref in sample.files]
    )


def describe_reasons(reasons: Mapping[str, int]) -> str:
    """Return such as ``12 samples: 10 complete, 2 changed``."""
    ordered = [f"{reasons[reason]} {reason}" for reason in Reason if reasons.get(reason)]
    return f"{number_of(sum(reasons.values()), 'sample')}: {', '.join(ordered)}"


def read_headers(
    session: Session, archive: Discovery, known: Mapping[str, HeaderCheck] | None = None
) -> tuple[dict[str, HeaderCheck], list[Issue]]:
    """Read all headers that are not known from files that are still the same.

    Returns
    -------
    headers : dict of str to HeaderCheck
        What the headers of every sample say.
    issues : list of Issue
        Of names, metadata and headers.
    """
    headers, issues = dict(known or {}), list(archive.issues)
    for issue in issues:
        is_of_dataset = issue.severity == "warning" and not issue.sample
        if is_of_dataset or issue.code == "mr_metadata_offset":
            session.listener(Notice(issue.message, issue.severity))
    unread = [sample for sample in archive.samples if sample.sample_id not in headers]
    for outcome in session.map("headers", check_headers, unread):
        if outcome.value is None:
            issues.append(failure_issue(outcome))
        else:
            headers[outcome.name] = outcome.value
    issues += [issue for check in headers.values() for issue in check.issues]
    samples = archive.samples
    return {s.sample_id: headers.get(s.sample_id) or unchecked_headers(s) for s in samples}, issues
