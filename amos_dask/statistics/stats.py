"""``stats``: statistics.xlsx and .json of the organised dataset, and the tasks that count."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amos_dask.card import write_card
from amos_dask.engine.events import Listener
from amos_dask.engine.session import Reduction, Session, open_session
from amos_dask.errors import AmosDaskError, number_of
from amos_dask.issues import Issue
from amos_dask.labels import BACKGROUND, LabelMap
from amos_dask.records import SampleFiles, StepResult
from amos_dask.results import CommandResult, all_issues, describe_samples, step_results
from amos_dask.root.choices import find_label_map, require_sample_folders
from amos_dask.root.layout import Layout, absolute
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.working import working_on
from amos_dask.sample.describe import INCONSISTENT
from amos_dask.sample.source import FolderSource
from amos_dask.statistics.pools import add_pools, count_sample, describe_pool, read_pool
from amos_dask.tables.own_workbooks import put_workbook


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
        with open_session(cluster, progress) as session:
            records = describe_samples(session, layout, label_map, folders)
            rows = [record.files for record in records if record.files is not None]
            with OwnFiles(layout, adopt=adopt) as own:
                found = write_statistics(session, own, label_map, rows)
    issues = [told.issue for record in records for told in record.issues]
    issues = [issue for issue in issues if issue.code != INCONSISTENT]
    issues += [*found.issues, *own.issues()]
    return CommandResult(
        found.outputs,
        len(folders),
        f"statistics of {number_of(len(rows), 'sample')}",
        tuple(dict.fromkeys(issues)),
        found.sheets["Intensities"],
    )


def write_statistics(
    session: Session, own: OwnFiles, label_map: LabelMap, rows: Sequence[SampleFiles]
) -> Statistics:
    """Count what is not counted yet, describe each group, and write workbook and JSON file.

    A card, which tells of the same, is written anew where there is one.

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
    channels = layout.dataset.channel_names
    groups = group_samples((layout.modality_of(row.folder) or "und", row) for row in rows)
    pools = {
        group: [sources[row.sample_id] for row in samples if row.sample_id in sources]
        for group, samples in groups.items()
    }
    results = list[StepResult[dict[int, int]]]()
    # What is not counted is seen when all is read; where that is nothing, as after a run, reading
    # once is enough.
    described, voxels = _describe(session, pools)
    todo = [source for name, source in sources.items() if voxels[name] is None]
    if todo:
        session.prepare_kernels()
        results = step_results(session.map("count", count_sample, todo))
        described, voxels = _describe(session, pools)
    counted = {name: n for name in sources if (n := voxels[name]) is not None}
    sheets = {
        "Intensities": intensity_frame(described, label_map, channels),
        "Organs": organ_frame(groups, counted, label_map),
        "Geometry": geometry_frame(groups),
    }
    book, text = layout.statistics_workbook, layout.statistics_text
    content = {title.lower(): frame.to_dict("records") for title, frame in sheets.items()}
    told = json.dumps(content, ensure_ascii=False, indent=1, default=float) + "\n"
    put_workbook(own, book, sheets)
    with own.trying():
        own.write_content(text, told.encode())
    if own.find_there(layout.card, layout.croissant) and not own.failed:
        with own.trying():
            write_card(own)
    return Statistics(sheets, (book, text), tuple(all_issues(results)), counted)


def _describe(
    session: Session, pools: Mapping[Group, Sequence[FolderSource]]
) -> tuple[dict[Group, list[dict[int, dict[str, float]]]], dict[str, dict[int, int] | None]]:
    """Return, for each group and channel, label -> statistics; and sample -> label -> voxels."""
    try:
        found = session.reduce("statistics", pools, Reduction(read_pool, add_pools, describe_pool))
    except AmosDaskError:
        raise
    except Exception as error:
        raise AmosDaskError(f"statistics cannot be added up ({error}); run it again.") from error
    described = {group: of_channels for group, (of_channels, _) in found.items()}
    return described, {name: n for _, voxels in found.values() for name, n in voxels.items()}


# ---------------------------------------------------------------- worksheets, by groups of samples

GROUPINGS = ("modality", "scanner", "site", "subset")
_SPREAD = ("min", "median", "mean", "max")
_MM3_IN_CM3 = 1000.0


class Group(NamedTuple):
    """Samples of one modality with something in common; the first columns of each worksheet."""

    modality: str  # of all of them
    grouped_by: str  # one of `GROUPINGS`: what they have in common
    group: str  # its name; a scanner's is the model's full name


Groups = Mapping[Group, Sequence[SampleFiles]]
_LABEL_COLUMNS = (*Group._fields, "label_index", "label_name")
INTENSITY_COLUMNS = (
    *(*_LABEL_COLUMNS, "n_samples", "n_voxels", "n_not_finite"),
    *("min", "p0.5", "median", "mean", "std", "p99.5", "max"),
)
ORGAN_COLUMNS = (
    *(*_LABEL_COLUMNS, "n_instances"),
    *(f"{quantity}_{name}" for quantity in ("voxel_ratio", "volume_cm3") for name in _SPREAD),
)
GEOMETRY_COLUMNS = (*Group._fields, "n_samples", "quantity", "unit", "min", "median", "max")


def group_samples(samples: Iterable[tuple[str, SampleFiles]]) -> dict[Group, list[SampleFiles]]:
    """Return the samples of each group: by modality, then as in `GROUPINGS`, then by name.

    Parameters
    ----------
    samples : iterable of (str, SampleFiles)
        Modality, and files.
    """
    found: dict[tuple[str, int, str], list[SampleFiles]] = {}
    for modality, files in samples:
        scanner, site = files.metadata.manufacturer_model_name, files.metadata.site
        for place, name in enumerate((modality, scanner, site, files.subset)):
            found.setdefault((modality, place, name), []).append(files)
    return {
        Group(modality, GROUPINGS[place], name): found[modality, place, name]
        for modality, place, name in sorted(found)
    }


def intensity_frame(
    described: Mapping[Group, Sequence[Mapping[int, Mapping[str, float]]]],
    label_map: LabelMap,
    channels: Sequence[str] = (),
) -> pd.DataFrame:
    """Return a row for each group, channel and label: statistics of all values together.

    Parameters
    ----------
    described : mapping of Group to sequence of mapping of int to mapping of str to float
        Group -> of each channel, label -> column -> number.
    label_map : LabelMap
        The labels that are told.
    channels : sequence of str
        Names of the channels; none where there is but one, which then has no column.
    """
    rows = [
        {"channel": channel, **_of_label(group, label, name), **labels[label]}
        for group, of_channels in described.items()
        for channel, labels in zip(channels or ("",), of_channels, strict=True)
        for label, name in label_map.entries
        if label in labels
    ]
    n, more = len(Group._fields), ("channel",) if channels else ()
    return _frame(rows, (*INTENSITY_COLUMNS[:n], *more, *INTENSITY_COLUMNS[n:]))


def organ_frame(
    groups: Groups, label_voxels: Mapping[str, Mapping[int, int]], label_map: LabelMap
) -> pd.DataFrame:
    """Return a row for each group and label: share of the scan, volume in cm3, how many have it.

    Only samples that have the label count, as in the data card.

    Parameters
    ----------
    groups : mapping of Group to sequence of SampleFiles
        The samples of each group.
    label_voxels : mapping of str to mapping of int to int
        Sample -> label -> voxels, as far as they were counted.
    label_map : LabelMap
        The labels that are told.
    """
    rows = []
    for group, samples in groups.items():
        for label, name in label_map.entries:
            counts = (
                (files, label_voxels.get(files.sample_id, {}).get(label)) for files in samples
            )
            found = [(files, n) for files, n in counts if n]
            if label == BACKGROUND or not found:
                continue
            row = {**_of_label(group, label, name), "n_instances": len(found)}
            ratios = [n / math.prod(files.shape) for files, n in found]
            volumes = [n * math.prod(files.spacing_mm) / _MM3_IN_CM3 for files, n in found]
            for quantity, numbers in (("voxel_ratio", ratios), ("volume_cm3", volumes)):
                row |= {f"{quantity}_{key}": n for key, n in describe_numbers(numbers).items()}
            rows.append(row)
    return _frame(rows, ORGAN_COLUMNS)


def geometry_frame(groups: Groups) -> pd.DataFrame:
    """Return rows for each group: spacing and size along x, y, z."""
    rows = []
    for group, samples in groups.items():
        for quantity, unit, sizes in (
            ("spacing", "mm", [files.spacing_mm for files in samples]),
            ("size", "voxels", [files.shape for files in samples]),
        ):
            for axis, numbers in zip("xyz", zip(*sizes, strict=True), strict=True):
                row = {**group._asdict(), "n_samples": len(samples), "unit": unit}
                spread = describe_numbers([float(number) for number in numbers])
                rows.append({**row, "quantity": f"{quantity}_{axis}", **spread})
    return _frame(rows, GEOMETRY_COLUMNS)


def _of_label(group: Group, label: int, name: str) -> dict[str, Any]:
    return {**group._asdict(), "label_index": label, "label_name": name}


def _frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns), dtype=object)


def describe_numbers(numbers: Sequence[float]) -> dict[str, float]:
    """Return ``min``, ``median``, ``mean`` and ``max`` of one number a sample, at least one."""
    mean = math.fsum(numbers) / len(numbers)
    median = float(np.median(np.array(numbers, np.float64)))
    return {"min": min(numbers), "median": median, "mean": mean, "max": max(numbers)}
