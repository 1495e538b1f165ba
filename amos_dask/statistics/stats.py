"""``stats``: statistics.xlsx and .json of the organised dataset, and the tasks that count."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amos_dask.engine.events import Listener
from amos_dask.engine.session import FEW, Session, open_session
from amos_dask.errors import AmosDaskError
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.records import SampleFiles, StepResult
from amos_dask.results import CommandResult, all_issues, step_results
from amos_dask.root.choices import find_label_map, require_sample_folders
from amos_dask.root.kept import KeptFiles
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.receipts import Receipts
from amos_dask.root.working import working_on
from amos_dask.sample.describe import describe_sample
from amos_dask.sample.source import FolderSource
from amos_dask.statistics.describing import describe_blocks, describe_values
from amos_dask.statistics.worksheets import (
    Group,
    geometry_frame,
    group_samples,
    intensity_frame,
    organ_frame,
)
from amos_dask.steps.count_values import (
    NO_COUNTS,
    ValueCounter,
    ValueCounts,
    add_counts,
    count_voxels,
    of_channel,
)
from amos_dask.steps.mask_labels import labels_present
from amos_dask.tables.own_workbooks import put_workbook

# So many rows of counts are held before they are added to the sum, and so many of the sum: more
# than all usual whole numbers under each label of AMOS22.
_HELD_ROWS = 1 << 19
_MOST_ROWS = 1 << 21


@dataclass(frozen=True)
class Statistics:
    """What was written."""

    sheets: Mapping[str, pd.DataFrame]  # ``Intensities``, ``Organs``, ``Geometry``
    outputs: tuple[Path, ...]  # the workbook, and the same as JSON
    issues: tuple[Issue, ...]  # samples that could not be counted
    label_voxels: Mapping[str, Mapping[int, int]]  # sample -> label -> voxels, no background


def stats(
    root_dir: str | Path,
    *,
    label_explanation: str | Path | None = None,
    adopt: bool = False,
    no_lock: bool = False,
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
    adopt : bool
        A file in the way that is not ours goes to ``root_dir/replaced/``.
    no_lock : bool
        Take no lock, for a file system that has none; see `amos_dask.run`.
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
    root = absolute(root_dir)
    with working_on(Layout(root), no_lock=no_lock):
        layout = Layout.of(root)
        label_map = find_label_map(layout, label_explanation)
        folders = require_sample_folders(layout.grouped, layout)
        sources = [FolderSource(folder, layout, label_map) for folder in folders]
        describe = partial(describe_sample, below=layout.grouped)
        with open_session(cluster, progress) as session:
            results = step_results(session.map("describe", describe, sources))
            records = [result.value for result in results if result.value is not None]
            rows = [record.files for record in records if record.files is not None]
            with OwnFiles(layout, adopt=adopt) as own:
                found = write_statistics(session, own, label_map, rows)
    issues = (*all_issues(results), *found.issues, *own.issues())
    return CommandResult(
        found.outputs,
        len(folders),
        f"statistics of {len(rows)} samples",
        tuple(dict.fromkeys(issues)),
        found.sheets["Intensities"],
    )


def write_statistics(
    session: Session, own: OwnFiles, label_map: LabelMap, rows: Sequence[SampleFiles]
) -> Statistics:
    """Count what is not counted yet, describe each group, and write workbook and JSON file.

    Parameters
    ----------
    session : Session
        Where to count and to describe.
    own : OwnFiles
        The files of ROOT_DIR.
    label_map : LabelMap
        Labels and names.
    rows : sequence of SampleFiles
        The samples.
    """
    layout = own.layout
    sources = {
        row.sample_id: FolderSource(layout.current_folder_of(row), layout, label_map)
        for row in rows
        if row.labels_present is not None
    }
    known = session.look("known", known_voxels, list(sources.values()))
    counted = {name: n for name, n in zip(sources, known, strict=True) if n is not None}
    todo = [source for name, source in sources.items() if name not in counted]
    if todo:
        session.prepare_kernels()
    results = step_results(session.map("count", count_sample, todo))
    counted |= {r.sample_id: r.value for r in results if r.value is not None}
    channels = layout.dataset.channel_names
    groups = group_samples((layout.modality_of(row.folder) or "und", row) for row in rows)
    pools = {
        group: tuple(sources[row.sample_id] for row in samples if row.sample_id in counted)
        for group, samples in groups.items()
    }
    sheets = {
        "Intensities": intensity_frame(_describe(session, pools, channels), label_map, channels),
        "Organs": organ_frame(groups, counted, label_map),
        "Geometry": geometry_frame(groups),
    }
    book, text = statistics_files(layout)
    content = {title.lower(): frame.to_dict("records") for title, frame in sheets.items()}
    told = json.dumps(content, ensure_ascii=False, indent=1, default=float) + "\n"
    put_workbook(own, book, sheets)
    with own.trying():
        own.write_text(text, told)
    return Statistics(sheets, (book, text), tuple(all_issues(results)), counted)


def statistics_files(layout: Layout) -> tuple[Path, Path]:
    """Return where the workbook and the JSON file are."""
    return layout.descriptor / "statistics.xlsx", layout.descriptor / "statistics.json"


def _describe(
    session: Session, pools: Mapping[Group, tuple[FolderSource, ...]], channels: Sequence[str]
) -> dict[Group, list[Mapping[int, Mapping[str, float]]]]:
    """Return, for each group and channel, label -> statistics of the values; a task each."""
    tasks = {
        group: [
            PoolTask("-".join((*group, *([str(k)] if channels else ()))), sources, k)
            for k in range(max(1, len(channels)))
        ]
        for group, sources in pools.items()
    }
    every = list(chain.from_iterable(tasks.values()))
    found: dict[str, Mapping[int, Mapping[str, float]]] = {}
    if len({source.name for sources in pools.values() for source in sources}) <= FEW:
        found = {task.name: describe_pool(task).value or {} for task in every}
    else:
        for outcome in session.map("sum", describe_pool, every):
            if outcome.value is None:
                why = outcome.failure
                raise AmosDaskError(f"statistics cannot be added up: {why}; run it again.")
            found[outcome.name] = outcome.value.value or {}
    return {group: [found[task.name] for task in of] for group, of in tasks.items()}


# ---------------------------------------------------------------- on workers


def read_counts(source: FolderSource, channel: int = 0) -> Iterator[ValueCounts]:
    """Yield the rows of the counts of one of a sample's channels, a block at a time.

    Raises
    ------
    OSError
        When its files are gone.
    LookupError
        When its files, as they are now, have not been counted, or what is kept of it is damaged.
    """
    folder, kept = source.folder, KeptFiles(source.layout.restore)
    names = of_channel(NO_COUNTS._asdict(), channel)
    rows = kept.rows_of_volume(source.name, folder.mask, folder.volumes, names)
    return (ValueCounts(*columns) for columns in rows)


def known_voxels(source: FolderSource) -> dict[int, int] | None:
    """Return the voxels of each label of a sample; None where values of it are not counted."""
    channels = range(len(source.folder.volumes))
    try:
        n_voxels, *_ = [count_voxels(read_counts(source, channel)) for channel in channels]
    except (OSError, LookupError):
        return None
    return n_voxels


def count_sample(source: FolderSource) -> StepResult[dict[int, int]]:
    """Return the voxels of each label of a sample, and count its values if that is not done.

    Returns
    -------
    StepResult of dict
        Label -> voxels, the background left out; None when volume or mask cannot be read.
    """
    known = known_voxels(source)
    if known is not None:
        return StepResult(source.name, known)
    opened, issues = source.open_mask()
    if opened is None:
        return StepResult(source.name, None, tuple(issues))
    present, columns = labels_present(opened.labels), dict[str, Any]()
    for channel in range(len(source.folder.volumes)):
        counter = ValueCounter(opened.labels, present)
        issues = source.show_volume(opened.labels.shape, counter.add, channel)
        if issues:
            return StepResult(source.name, None, tuple(issues))
        counts = counter.result()
        columns |= of_channel(counts.columns(), channel)
    Receipts(source.layout).keep_of_volume(source.folder, columns)
    return StepResult(source.name, count_voxels(counts))


@dataclass(frozen=True, slots=True)
class PoolTask:
    """A channel of a group of samples, described together."""

    name: str  # the group's and the channel's, for the task
    sources: tuple[FolderSource, ...]  # the samples, counted
    channel: int = 0


def describe_pool(task: PoolTask) -> StepResult[dict[int, dict[str, float]]]:
    """Describe the values of all voxels of a group of samples, label by label.

    Returns
    -------
    StepResult of dict
        Label -> ``n_samples`` that have it, ``n_not_finite`` voxels, and as `describe_values`.

    Raises
    ------
    AmosDaskError
        When what is kept of a sample that was counted cannot be read any more.
    """
    n_samples = Counter[int]()
    read = partial(read_counts, channel=task.channel)
    try:
        held = _hold(task, n_samples)
        if held is None:
            described = describe_blocks(lambda: chain.from_iterable(map(read, task.sources)))
        else:
            described = {
                label: {"n_not_finite": n_not_finite, **describe_values(values, times)}
                for label, (values, times, n_not_finite) in held.by_label().items()
                if values.size
            }
    except (OSError, LookupError) as error:
        raise AmosDaskError(f"counted values cannot be read ({error}); run it again.") from error
    labels = {label: {"n_samples": n_samples[label], **found} for label, found in described.items()}
    return StepResult(task.name, labels)


def _hold(task: PoolTask, n_samples: Counter[int]) -> ValueCounts | None:
    """Return the counts of a group together, None where they are too many to be held.

    Fills in, label by label, how many samples have it.
    """
    held, n_rows, is_whole = [NO_COUNTS], 0, True  # the sum, and what is to be added to it
    for source in task.sources:
        labels = set[int]()
        for rows in read_counts(source, task.channel):
            labels.update(np.unique(rows.counted_labels).tolist())
            held, n_rows = [*held, rows], n_rows + rows.counts.size
            if n_rows > _HELD_ROWS or not is_whole:
                held, n_rows = [add_counts(held) if is_whole else NO_COUNTS], 0
                is_whole = held[0].counts.size <= _MOST_ROWS and is_whole
        n_samples.update(labels)
    return add_counts(held) if is_whole else None
