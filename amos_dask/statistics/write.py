"""``stats``: intensities, organs and geometry of the organised dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.engine.events import Listener
from amos_dask.engine.session import Session, open_session
from amos_dask.errors import AmosDaskError, ManifestError
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.outcomes import all_issues, step_results
from amos_dask.records import SampleFiles
from amos_dask.results import CommandResult
from amos_dask.root.choices import find_label_map, require_sample_folders
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.staging import write_text
from amos_dask.root.working import require_unlocked, working_on
from amos_dask.sample.describe import DescribeTask, describe_sample
from amos_dask.sample.source import FolderSource
from amos_dask.statistics.counting import (
    LabelVoxels,
    MergeTask,
    Part,
    add_up,
    count_sample,
    count_voxels,
    merge_files,
    read_counts,
)
from amos_dask.statistics.describe_values import describe_values
from amos_dask.statistics.frames import (
    Group,
    Member,
    geometry_frame,
    group_order,
    groups_of,
    intensity_frame,
    intensity_row,
    organ_frame,
)
from amos_dask.steps.count_values import ValueCounts, merge_counts
from amos_dask.tables.workbook import read_sheet, sheet_names, write_workbook

# Files that one task adds up: about a megabyte each.
_FAN_IN = 16
_FEW = 32
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Statistics:
    """What was written.

    Parameters
    ----------
    sheets : mapping of str to DataFrame
        ``Intensities``, ``Organs``, ``Geometry``.
    outputs : tuple of Path
        The workbook, and the same as JSON.
    issues : tuple of Issue
        Samples that could not be counted.
    label_voxels : mapping of str to mapping of int to int
        Sample -> label -> voxels, the background left out.
    """

    sheets: Mapping[str, pd.DataFrame]
    outputs: tuple[Path, ...]
    issues: tuple[Issue, ...]
    label_voxels: Mapping[str, Mapping[int, int]]


def stats(
    root_dir: str | Path,
    *,
    label_explanation: str | Path | None = None,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Write ``descriptor/statistics.xlsx`` and ``.json`` of an organised dataset.

    Exact: what is said of intensities is what numpy says of all voxels of all samples together,
    as float64. `run` has counted the values already; what is missing is counted from the files.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR, with ``grouped``.
    label_explanation : str or Path, optional
        Label map; by default ROOT's ``descriptor/label_map.yaml``, else the dataset's.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        ``frame`` is the worksheet of intensities.

    Raises
    ------
    AmosDaskError
        When there are no samples.
    """
    layout = Layout.of(absolute(root_dir))
    require_unlocked(layout)
    label_map = find_label_map(layout, label_explanation)
    folders = require_sample_folders(layout.grouped, layout)
    sources = (FolderSource(folder, layout, label_map) for folder in folders)
    tasks = [DescribeTask(source, layout.grouped) for source in sources]
    with working_on(layout), open_session(cluster, progress) as session:
        results = step_results(session.map("describe", describe_sample, tasks))
        records = [result.value.record for result in results if result.value is not None]
        rows = [record.files for record in records if record.files is not None]
        found = write_statistics(session, layout, label_map, rows)
    issues = (*all_issues(results), *found.issues)
    return CommandResult(
        found.outputs,
        len(folders),
        f"statistics of {len(rows)} samples",
        tuple(dict.fromkeys(issues)),
        found.sheets["Intensities"],
    )


def write_statistics(
    session: Session, layout: Layout, label_map: LabelMap, rows: Sequence[SampleFiles]
) -> Statistics:
    """Count what is not counted yet, add up, and write the workbook and the JSON file.

    Parameters
    ----------
    session : Session
        Where to count and add up.
    layout : Layout
        ROOT_DIR.
    label_map : LabelMap
        Labels and names.
    rows : sequence of SampleFiles
        The samples.
    """
    sources = {
        row.sample_id: FolderSource(layout.folder_of(row), layout, label_map)
        for row in rows
        if row.labels_present is not None
    }
    counted, issues = _count(session, sources)
    members = [_member(layout, row, counted.get(row.sample_id)) for row in rows]
    level: dict[Key, list[Part]] = {}
    for member in members:
        if member.files.sample_id in counted:
            level.setdefault(member.key, []).append(sources[member.files.sample_id])
    by_key = _add_up(session, layout, level)
    sheets = {
        "Intensities": intensity_frame(_intensities(by_key, members, label_map)),
        "Organs": organ_frame(members, label_map),
        "Geometry": geometry_frame(members),
    }
    book, text = statistics_files(layout)
    content = {title.lower(): frame.to_dict("records") for title, frame in sheets.items()}
    told = json.dumps(content, ensure_ascii=False, indent=1, default=float) + "\n"
    # A workbook holds the time of its writing: what says the same stays the file it was.
    if not _says(book, sheets):
        write_workbook(book, sheets)
    if not text.exists() or text.read_text(encoding="utf-8") != told:
        write_text(text, told)
    return Statistics(sheets, (book, text), tuple(issues), counted)


def _says(book: Path, sheets: Mapping[str, pd.DataFrame]) -> bool:
    """Return whether a workbook holds just these worksheets."""
    try:
        return sheet_names(book) == list(sheets) and all(
            read_sheet(book, title).to_dict("records") == frame.to_dict("records")
            for title, frame in sheets.items()
        )
    except ManifestError:  # there is none, or it is damaged
        return False


def statistics_files(layout: Layout) -> tuple[Path, Path]:
    """Return where the workbook and the JSON file are."""
    return layout.descriptor / "statistics.xlsx", layout.descriptor / "statistics.json"


def _count(
    session: Session, sources: Mapping[str, FolderSource]
) -> tuple[dict[str, LabelVoxels], list[Issue]]:
    """Return the voxels of each label by sample, counted now where that was not done."""
    known = {name: read_counts(source) for name, source in sources.items()}
    found = {name: count_voxels(counts) for name, counts in known.items() if counts is not None}
    unknown = [source for name, source in sources.items() if name not in found]
    if unknown:
        session.prepare_kernels()
    results = step_results(session.map("count", count_sample, unknown))
    found |= {r.sample_id: r.value for r in results if r.value is not None}
    return found, all_issues(results)


def _member(layout: Layout, row: SampleFiles, counted: LabelVoxels | None) -> Member:
    return Member(
        layout.modality_of(row.folder) or "und",
        row.metadata.manufacturer_model_name,
        row.metadata.site,
        row.subset,
        row,
        counted or {},
    )


def _add_up(
    session: Session, layout: Layout, level: dict[Key, list[Part]]
) -> dict[Key, dict[int, ValueCounts]]:
    """Add up the counts of samples that are in the same groups, as a tree of tasks."""
    if sum(map(len, level.values())) <= _FEW:  # not worth starting a cluster
        return {key: add_up(parts) for key, parts in level.items()}
    folder = layout.state / "sums"
    try:
        while any(len(parts) > 1 for parts in level.values()):
            level = _next_level(session, level, folder)
        return {key: add_up(parts) for key, parts in level.items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _next_level(
    session: Session, level: Mapping[Key, list[Part]], folder: Path
) -> dict[Key, list[Part]]:
    tasks: list[MergeTask] = []
    following: dict[Key, list[Part]] = {}
    depth = len(list(folder.glob("*"))) if folder.exists() else 0
    for key, parts in level.items():
        for start in range(0, len(parts), _FAN_IN):
            few = tuple(parts[start : start + _FAN_IN])
            target = few[0]
            if len(few) > 1:
                name = f"sum_{depth + len(tasks):05d}"
                target = folder / f"{name}.npz"
                tasks.append(MergeTask(name, few, target))
            following.setdefault(key, []).append(target)
    for outcome in session.map("sum", merge_files, tasks):
        if outcome.value is None:
            raise AmosDaskError(f"statistics cannot be added up: {outcome.failure}; run it again.")
    return following


def _intensities(
    by_key: Mapping[Key, Mapping[int, ValueCounts]],
    members: Sequence[Member],
    label_map: LabelMap,
) -> Iterator[tuple[object, ...]]:
    parts: dict[Group, list[Mapping[int, ValueCounts]]] = {}
    for key, counts in by_key.items():
        for group in groups_of(key):
            parts.setdefault(group, []).append(counts)
    names = label_map.names()
    for group in sorted(parts, key=group_order):
        for label in label_map.columns():
            having = [counts[label] for counts in parts[group] if label in counts]
            if not having:
                continue
            pooled = merge_counts(having)
            found = describe_values(pooled.values, pooled.counts)
            if found is not None:
                n_samples = sum(
                    label in m.label_voxels and group in set(groups_of(m.key)) for m in members
                )
                yield intensity_row(
                    group, label, names[label], n_samples, pooled.n_not_finite, found
                )
