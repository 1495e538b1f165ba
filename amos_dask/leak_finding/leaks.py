"""``leaks``: patients and duplicate scans that cross a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.engine.events import Listener
from amos_dask.engine.session import Session, open_session
from amos_dask.issues import Issue
from amos_dask.leak_finding.frames_of_leaks import Leak, find_crossing, find_same_shape, leaks_frame
from amos_dask.leak_finding.voxel_log import VoxelLog
from amos_dask.leak_finding.voxels import RESULT_VERSION, VolumeTask, checksum_voxels, digest_voxels
from amos_dask.outcomes import all_issues, step_results
from amos_dask.records import SampleRecord, Step, StepResult
from amos_dask.results import CommandResult
from amos_dask.root.issue_log import IssueLog
from amos_dask.root.layout import MANIFEST_SHEET, Layout, absolute
from amos_dask.root.lock import require_unlocked
from amos_dask.root.working import working_where_possible
from amos_dask.tables.issue_files import write_issues
from amos_dask.tables.manifests import dataset_frame
from amos_dask.tables.patients import PATIENT_COLUMNS, find_patients
from amos_dask.tables.workbook import read_sheet, require_columns

_COLUMNS = ("ID", "volume", "szx", "szy", "szz", *PATIENT_COLUMNS)


@dataclass(frozen=True)
class Leaks:
    """What crosses a split.

    Parameters
    ----------
    found : tuple of Leak
        Patients, then duplicate scans.
    issues : tuple of Issue
        One for each of them, for information, and errors of volumes that could not be compared.
    """

    found: tuple[Leak, ...]
    issues: tuple[Issue, ...]

    @property
    def is_complete(self) -> bool:
        """Whether all scans could be compared."""
        return not any(issue.severity == "error" for issue in self.issues)


def leaks(
    root_dir: str | Path,
    *,
    split_name: str | None = None,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """List patients and scans with the same voxels that are in several parts of a split.

    No voxels are unpacked but those of scans whose checksums agree.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR, with ``grouped/dataset_manifest.xlsx``.
    split_name : str, optional
        Worksheet of another split than the official one.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster, started when there are scans of one shape.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        ``frame`` has a row for each scan in a leak. Those of the official split are kept among
        the issues of ROOT_DIR as well.

    Raises
    ------
    AmosDaskError
        When the manifest or the split cannot be read, or a run is at work there.
    """
    layout = Layout.of(absolute(root_dir))
    path = layout.dataset_manifest()
    require_unlocked(layout)
    manifest = read_sheet(path, split_name or MANIFEST_SHEET)
    column = split_name or "subset"
    require_columns(manifest, (*_COLUMNS, column), path)
    with working_where_possible(layout):
        with open_session(cluster, progress) as session:
            found = find_leaks(session, layout, manifest, column)
        outputs = _keep_issues(layout, found.issues) if split_name is None else ()
    return CommandResult(
        outputs,
        len(manifest),
        _describe(found, split_name),
        found.issues,
        leaks_frame(found.found),
    )


def find_leaks_of(session: Session, layout: Layout, records: Iterable[SampleRecord]) -> Leaks:
    """Find what crosses the official split among the records of ROOT's samples."""
    rows = [record.files for record in records if record.files is not None]
    return find_leaks(session, layout, dataset_frame(rows, layout.dataset.label_map))


def find_leaks(
    session: Session, layout: Layout, manifest: pd.DataFrame, column: str = "subset"
) -> Leaks:
    """Find what crosses a split of ROOT's dataset manifest.

    Parameters
    ----------
    session : Session
        Where scans of one shape are compared; not asked when all is known of them from before.
    layout : Layout
        ROOT_DIR.
    manifest : DataFrame
        The dataset manifest of everything.
    column : str
        Its column that tells the part of the split.
    """
    rows = manifest[manifest[column].notna()].drop_duplicates("ID")
    parts = {str(i): str(part) for i, part in zip(rows["ID"], rows[column], strict=True)}
    files = dict(zip(rows["ID"].astype(str), rows["volume"], strict=True))
    tasks = [_task(layout, sample_id, files[sample_id]) for sample_id in find_same_shape(rows)]
    log = VoxelLog(layout.voxels, layout.root, RESULT_VERSION)
    voxels, issues = _find_same_voxels(session, tasks, log)
    log.save({_shown(layout, file) for file in manifest["volume"].dropna()})
    patients = find_crossing("patient_crosses_split", find_patients(rows), parts)
    duplicates = find_crossing("duplicate_scan", voxels, parts)
    issues += [leak.to_issue() for leak in patients]
    shown = {task.sample_id: task.shown_as for task in tasks}
    issues += [leak.to_issue(shown[leak.members[0][0]]) for leak in duplicates]
    issues.sort(key=lambda issue: issue.sort_key)
    return Leaks((*patients, *duplicates), tuple(issues))


def _task(layout: Layout, sample_id: str, file: str) -> VolumeTask:
    return VolumeTask(sample_id, layout.grouped / file, _shown(layout, file))


def _shown(layout: Layout, file: str) -> str:
    return f"{layout.grouped.name}/{file}"


def _find_same_voxels(
    session: Session, tasks: list[VolumeTask], log: VoxelLog
) -> tuple[dict[str, str], list[Issue]]:
    """Return ID -> what only scans with the same voxels have, and what could not be compared."""
    checksums, issues = _ask(session, "checksum", checksum_voxels, tasks, log)
    alike = pd.Series(checksums, dtype=object)
    candidates = set(alike[alike.duplicated(keep=False)].index)
    left = [task for task in tasks if task.sample_id in candidates]
    digests, unreadable = _ask(session, "compare", digest_voxels, left, log)
    return digests, [*issues, *unreadable]


def _ask(
    session: Session,
    phase: str,
    function: Callable[[VolumeTask], StepResult[str]],
    tasks: list[VolumeTask],
    log: VoxelLog,
) -> tuple[dict[str, str], list[Issue]]:
    """Return ID -> answer, from before where the volume is the same, and what went wrong."""
    known = {task.sample_id: log.known(task.shown_as, phase) for task in tasks}
    new = {task.sample_id: task for task in tasks if known[task.sample_id] is None}
    results = step_results(session.map(phase, function, list(new.values())))
    for result in results:
        if result.value is not None:
            log.keep(new[result.sample_id].shown_as, phase, result.value)
    answers = known | {result.sample_id: result.value for result in results}
    issues = all_issues(results)
    return {name: answer for name, answer in answers.items() if answer is not None}, issues


def _keep_issues(layout: Layout, issues: Iterable[Issue]) -> tuple[Path, ...]:
    """Write ROOT's issues, unless they say the same already; return the files."""
    log = IssueLog(layout.issue_log)
    before = log.all()
    log.replace(Step.LEAKS, issues)
    return () if log.all() == before else write_issues(layout, log)


def _describe(found: Leaks, split_name: str | None) -> str:
    codes = [leak.code for leak in found.found]
    n_patients, n_scans = codes.count("patient_crosses_split"), codes.count("duplicate_scan")
    name = f"split {split_name!r}" if split_name is not None else "the official split"
    n_errors = sum(issue.severity == "error" for issue in found.issues)
    rest = f"; {n_errors} scans could not be compared" if n_errors else ""
    return f"{n_patients} patients and {n_scans} groups of duplicate scans cross {name}{rest}."
