"""A ROOT_DIR against what `run` keeps of it: receipts, the record of manifests, nothing besides."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from amos_dask.engine.session import Session
from amos_dask.issues import Issue, make_issue
from amos_dask.outcomes import all_issues, step_results
from amos_dask.records import StepResult, sample_number
from amos_dask.results import CommandResult
from amos_dask.root.layout import Layout, SampleFolder, find_samples_of
from amos_dask.root.lock import require_unlocked
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import is_leftover
from amos_dask.root.table_state import TableState, read_table_state
from amos_dask.sample.selection import Selection
from amos_dask.verification.of_outputs import CODES, OutputCheck, Receipted, verify_outputs


def verify_root(
    session: Session, layout: Layout, selection: Selection, *, full: bool
) -> CommandResult:
    """Verify a ROOT_DIR; as `verify`.

    Raises
    ------
    AmosDaskError
        When a run may be at work there: what it has not finished is not wrong.
    """
    require_unlocked(layout)
    checks = _checks(layout, selection, full=full)
    results = step_results(session.map("verify", verify_outputs, checks))
    issues = all_issues(results)
    if selection.is_everything:
        issues += _verify_manifests(layout, results)
        issues += _find_leftovers(layout)
    require_unlocked(layout)  # a run that began meanwhile would be blamed for what it is doing
    n_files = sum(result.value.n_files for result in results if result.value is not None)
    how = "all images decoded" if full else "sizes and checksums; --full decodes all images"
    state = f"sound: {len(results)} samples, {n_files} files as they were written ({how})."
    n_errors = sum(issue.severity == "error" for issue in issues)
    if n_errors:
        state = (
            f"not as it was written, {count_findings(n_errors)}; running the same command "
            "('amos-dask run') again repairs it."
        )
    issues.sort(key=lambda issue: issue.sort_key)
    return CommandResult((), len(results), f"{layout.root}: {state}", tuple(issues))


def count_findings(n_errors: int) -> str:
    """Return such as ``2 findings (see above)``."""
    return f"{n_errors} finding{'s' if n_errors > 1 else ''} (see above)"


def _checks(layout: Layout, selection: Selection, *, full: bool) -> list[OutputCheck]:
    """Return a check for each sample that has a folder, a receipt, or both."""
    receipts = Receipts(layout)
    found = find_samples_of(layout)
    ids = set(receipts.sample_ids()) - {folder.sample_id for folder in found}
    lost = [_expected_folder(receipts, sample_id) for sample_id in ids]
    folders: dict[str, list[SampleFolder]] = {}
    for folder in selection.choose_folders([*found, *lost]):
        folders.setdefault(folder.sample_id, []).append(folder)
    return [
        OutputCheck(layout, sample_id, tuple(folders[sample_id]), full)
        for sample_id in sorted(folders, key=sample_number)
    ]


def _expected_folder(receipts: Receipts, sample_id: str) -> SampleFolder:
    """Return the folder that a receipt speaks of, and that is not there."""
    receipt = receipts.read(sample_id)
    if receipt is None or receipt.record.files is None:
        return SampleFolder.of(receipts.layout.grouped, sample_id)
    return receipts.layout.folder_of(receipt.record.files)


def _verify_manifests(layout: Layout, results: Sequence[StepResult[Receipted]]) -> Iterator[Issue]:
    state = read_table_state(layout)
    if state is None:
        file = layout.tables.relative_to(layout.root).as_posix()
        yield make_issue("incomplete_run", "there is no record of the manifests", file=file)
        return
    for altered in state.altered_files(layout):
        yield make_issue(CODES[altered.change], altered.message, file=altered.path)
    if all(result.value is not None for result in results):
        yield from _verify_counts(state, [r.value for r in results if r.value is not None])


def _verify_counts(state: TableState, samples: Sequence[Receipted]) -> Iterator[Issue]:
    """Yield an issue where the manifests were made from other samples than there are now."""
    if state.counts.n_samples != len(samples):
        message = f"the manifests list {state.counts.n_samples} samples, there are {len(samples)}"
        yield make_issue("incomplete_run", message)
    with_masks = [dict(sample.n_regions) for sample in samples if sample.n_regions]
    for threshold, *listed in state.counts.n_regions:
        if not all(threshold in counts for counts in with_masks):
            continue  # an earlier run did not count below it
        found = [sum(both) for both in zip(*(c[threshold] for c in with_masks), strict=True)]
        if with_masks and found != listed:
            message = (
                f"the manifests list {listed[0]} and {listed[1]} regions below {threshold:g} mm3 "
                f"before and after denoising, the samples have {found[0]} and {found[1]}"
            )
            yield make_issue("incomplete_run", message)


def _find_leftovers(layout: Layout) -> Iterator[Issue]:
    for top in (layout.descriptor, layout.grouped, layout.state):
        for folder, _, names in os.walk(top):
            for name in filter(is_leftover, names):
                file = Path(folder, name).relative_to(layout.root).as_posix()
                yield make_issue("leftover", "a temporary file of a run that was killed", file=file)
    if layout.lock.exists():
        file = layout.lock.relative_to(layout.root).as_posix()
        yield make_issue("leftover", "the lock of a run that was killed", file=file)
