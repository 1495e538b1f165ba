"""Every manifest of a ROOT_DIR, from the records of its samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

import pandas as pd

from amos_dask.datasets import DatasetDefinition
from amos_dask.issues import Issue, make_issue
from amos_dask.labels import LabelMap
from amos_dask.params import Params
from amos_dask.records import HeaderCheck, Sample, SampleRecord
from amos_dask.root.layout import (
    CHANGES_SHEET,
    MANIFEST_SHEET,
    OVERLAPS_SHEET,
    REGIONS_SHEET,
    SPLIT_NAME,
    Layout,
)
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.table_state import TableCounts
from amos_dask.tables.manifests import (
    archive_frame,
    changes_frame,
    dataset_frame,
    overlaps_frame,
    region_frames,
)
from amos_dask.tables.own_splits import put_manifest
from amos_dask.tables.own_workbooks import put_workbook
from amos_dask.tables.splits import (
    STANDARD_SUBSETS,
    available_subsets,
    index_frames,
    index_stem,
    official_split,
)

# Raised when a manifest made from the same records would be another.
RESULT_VERSION = 2

# Path of a workbook -> its worksheets by title.
Workbooks = dict[Path, dict[str, pd.DataFrame]]


@dataclass(frozen=True)
class Tables:
    """What was written.

    Parameters
    ----------
    counts : TableCounts
        Rows.
    issues : tuple of Issue
        Samples and modalities that are missing.
    outputs : tuple of Path
        The workbooks.
    """

    counts: TableCounts
    issues: tuple[Issue, ...]
    outputs: tuple[Path, ...]


def fingerprint(*sources: object) -> str:
    """Return a checksum of what the tables are made from, from its representation."""
    digest = hashlib.sha256(f"{RESULT_VERSION}".encode())
    for source in sources:
        digest.update(repr(source).encode())
    return digest.hexdigest()


def write_tables(
    own: OwnFiles,
    params: Params,
    samples: Sequence[Sample],
    headers: Mapping[str, HeaderCheck],
    records: Iterable[SampleRecord],
) -> Tables:
    """Write every manifest of ROOT, and remove those for which there are no samples any more.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR.
    params : Params
        Label map and thresholds.
    samples, headers
        The archive, for its manifest.
    records : iterable of SampleRecord
        All organised samples, by number.
    """
    records, label_map, layout = list(records), params.label_map, own.layout
    archive = archive_frame(samples, headers)
    books: Workbooks = {layout.archive_manifest: {MANIFEST_SHEET: archive}}
    n_regions = []
    for threshold, after in product(params.region_volume_thresh, (False, True)):
        sheets = _region_sheets(records, label_map, threshold, after=after)
        books[layout.regions_manifest(threshold, after=after)] = sheets
        n_regions.append(len(sheets[REGIONS_SHEET]))
    books[layout.denoise_changes] = {CHANGES_SHEET: _changes(records, label_map)}
    if layout.dataset.has_label_files:
        books[layout.overlaps] = {OVERLAPS_SHEET: _overlaps(records, label_map)}
    else:
        own.remove(layout.overlaps)
    files = [record.files for record in records if record.files is not None]
    issues: list[Issue] = []
    for modality in (None, *layout.groups):
        below = "" if modality is None else f"{layout.groups[modality]}/"
        rows = [row for row in files if row.folder.startswith(below)]
        frame = dataset_frame(rows, label_map, below, layout.dataset.channel_names)
        issues += _missing(layout, frame, modality)
        books |= _dataset_books(layout, frame, modality)
    issues += _write(own, books)
    by_threshold = zip(params.region_volume_thresh, n_regions[::2], n_regions[1::2], strict=True)
    counts = TableCounts(len(archive), len(files), tuple(by_threshold))
    return Tables(counts, tuple(issues), tuple(books))


def _region_sheets(
    records: Iterable[SampleRecord], label_map: LabelMap, threshold: float, *, after: bool
) -> dict[str, pd.DataFrame]:
    found = [
        (record.sample_id, regions)
        for record in records
        for at, regions in (record.after if after else record.before)
        if at == threshold
    ]
    return dict(zip((MANIFEST_SHEET, REGIONS_SHEET), region_frames(found, label_map), strict=True))


def _changes(records: Iterable[SampleRecord], label_map: LabelMap) -> pd.DataFrame:
    rows = [(r.sample_id, r.files.spacing_mm, r.changes) for r in records if r.files is not None]
    return changes_frame(rows, label_map)


def _overlaps(records: Iterable[SampleRecord], label_map: LabelMap) -> pd.DataFrame:
    rows = [(r.sample_id, r.files.spacing_mm, r.overlaps) for r in records if r.files is not None]
    return overlaps_frame(rows, label_map)


def _dataset_books(layout: Layout, frame: pd.DataFrame, modality: str | None) -> Workbooks:
    """Return the manifest with its split, and the index manifests, of one group of samples."""
    if frame.empty:
        return {}
    path = layout.dataset_manifest(modality)
    split = official_split(frame, SPLIT_NAME, path)
    indexes = index_frames(split, SPLIT_NAME, available_subsets(split), path)
    return {
        path: {MANIFEST_SHEET: frame, SPLIT_NAME: split},
        **{
            layout.splits(modality) / f"{stem}.xlsx": {MANIFEST_SHEET: index}
            for stem, index in indexes.items()
        },
    }


def _write(own: OwnFiles, books: Workbooks) -> list[Issue]:
    """Write workbooks; those of earlier runs that are not among them go."""
    layout, issues = own.layout, list[Issue]()
    names = [f"{index_stem(SPLIT_NAME, subsets)}.xlsx" for subsets in STANDARD_SUBSETS]
    for modality in (None, *layout.groups):
        folder = layout.splits(modality)
        indexes = (folder / name for name in names)
        for path in (layout.dataset_manifest(modality), *indexes):
            if path not in books:
                own.remove(path)
    with own.together(books):
        for path, sheets in books.items():
            if SPLIT_NAME in sheets:
                issues += put_manifest(own, path, sheets.pop(MANIFEST_SHEET), sheets)
            else:
                put_workbook(own, path, sheets)
    return issues


def _missing(layout: Layout, frame: pd.DataFrame, modality: str | None) -> list[Issue]:
    group = layout.grouped if modality is None else layout.group(modality)
    shown = layout.shown(group)
    if not frame.empty:
        return missing_subset_issues(frame, shown, layout.dataset)
    if modality not in (None, *layout.dataset.modalities):  # no such samples are expected
        return []
    message = f"{group.name} has no samples"
    return [make_issue("no_samples", message, file=shown, action="no manifests for it")]


def missing_subset_issues(
    manifest: pd.DataFrame, group: str, definition: DatasetDefinition
) -> list[Issue]:
    """Return ``no_samples`` for each subset of the dataset that a dataset manifest lacks."""
    name, action = PurePosixPath(group).name, "no index manifest for it"
    return [
        make_issue("no_samples", f"{name} has no {subset} samples", file=group, action=action)
        for subset in definition.subsets
        if subset not in set(manifest["subset"])
    ]
