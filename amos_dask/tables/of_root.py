"""Every manifest of a ROOT_DIR, from the records of its samples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest
from pathlib import Path, PurePosixPath

import pandas as pd

from amos_dask.compact import Compact
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
from amos_dask.tables.cells import cells_of_sheets
from amos_dask.tables.drafts import Draft, Drafted
from amos_dask.tables.manifests import (
    archive_frame,
    changes_frame,
    overlaps_frame,
    region_frames,
    rows_below,
)
from amos_dask.tables.own_workbooks import put_workbook
from amos_dask.tables.splits import (
    STANDARD_SUBSETS,
    available_subsets,
    index_frames,
    index_stem,
    official_split,
    renew_indexes,
    renew_splits,
)

# Raised when a manifest made from the same records would be another.
RESULT_VERSION = 3

# Path of a workbook -> its worksheets by title.
Workbooks = dict[Path, dict[str, pd.DataFrame]]
Drafting = Callable[[list[Draft]], Mapping[str, Drafted]]


@dataclass(frozen=True)
class Tables:
    """What was written."""

    counts: TableCounts
    issues: tuple[Issue, ...]  # samples and modalities that are missing, or in no part of a split
    outputs: tuple[Path, ...]  # the workbooks


def fingerprint(*sources: Iterable[object]) -> str:
    """Return a checksum of what the tables are made from, from its representation."""
    digest = hashlib.sha256(f"{RESULT_VERSION}".encode())
    for source in sources:
        digest.update(b"\n")
        for item in source:
            digest.update(f"{item!r}\n".encode())
    return digest.hexdigest()


def write_tables(
    own: OwnFiles,
    params: Params,
    samples: Sequence[Sample],
    headers: Sequence[HeaderCheck],
    records: Sequence[SampleRecord],
    manifest: pd.DataFrame,
    draft: Drafting | None = None,
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
    records : sequence of SampleRecord
        All organised samples, by number.
    manifest : DataFrame
        The dataset manifest of them, as of `dataset_frame`.
    draft : callable, optional
        Has workbooks written by workers, as many as it likes; gives them by the drafts' names.
    """
    label_map, layout = params.label_map, own.layout
    archive = archive_frame(samples, headers)
    books: Workbooks = {layout.archive_manifest: {MANIFEST_SHEET: archive}}
    n_regions = []
    for threshold, after in product(params.region_volume_thresh, (False, True)):
        sheets = _region_sheets(records, label_map, threshold, after=after)
        books[layout.regions_manifest(threshold, after=after)] = sheets
        n_regions.append(len(sheets[REGIONS_SHEET]))
    books |= _pair_books(layout, records, label_map)
    issues: list[Issue] = []
    for modality in (None, *layout.groups):
        frame = manifest
        if modality is not None:
            frame = rows_below(manifest, f"{layout.groups[modality]}/")
        issues += _missing(layout, frame, modality)
        if not frame.empty:
            of_group, unassigned = _dataset_books(own, frame, modality)
            books |= of_group
            issues += unassigned
    _write(own, books, draft)
    by_threshold = zip(params.region_volume_thresh, n_regions[::2], n_regions[1::2], strict=True)
    counts = TableCounts(len(archive), len(manifest), tuple(by_threshold))
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


def _pair_books(layout: Layout, records: Iterable[SampleRecord], label_map: LabelMap) -> Workbooks:
    """Return what denoising changed, and what masks of labels share where there are such masks."""
    found = [(r.sample_id, r.files.spacing_mm, r) for r in records if r.files is not None]
    changes = changes_frame([(name, mm, r.changes) for name, mm, r in found], label_map)
    books = {layout.denoise_changes: {CHANGES_SHEET: changes}}
    if layout.dataset.has_label_files:
        overlaps = overlaps_frame([(name, mm, r.overlaps) for name, mm, r in found], label_map)
        books[layout.overlaps] = {OVERLAPS_SHEET: overlaps}
    return books


def _dataset_books(
    own: OwnFiles, frame: pd.DataFrame, modality: str | None
) -> tuple[Workbooks, list[Issue]]:
    """Return the manifest of one group of samples with its splits, and the index manifests."""
    layout = own.layout
    path, folder = layout.dataset_manifest(modality), layout.splits(modality)
    split = official_split(frame, SPLIT_NAME, path)
    indexes = index_frames(split, SPLIT_NAME, available_subsets(split), path)
    renewed = renew_splits(own, path, frame)
    books: Workbooks = {path: {MANIFEST_SHEET: frame, SPLIT_NAME: split, **renewed.sheets}}
    books |= {folder / f"{stem}.xlsx": {MANIFEST_SHEET: rows} for stem, rows in indexes.items()}
    return books, renewed.issues


def _write(own: OwnFiles, books: Workbooks, draft: Drafting | None) -> None:
    """Write workbooks; those of earlier runs that are not among them go."""
    layout = own.layout
    names = [f"{index_stem(SPLIT_NAME, subsets)}.xlsx" for subsets in STANDARD_SUBSETS]
    manifests = [layout.dataset_manifest(modality) for modality in (None, *layout.groups)]
    folders = [layout.splits(modality) for modality in (None, *layout.groups)]
    for path in (layout.overlaps, *manifests, *(f / name for f in folders for name in names)):
        if path not in books:
            own.remove(path)
    drafts = [_make_draft(own, path, books[path]) for path in (books if draft else ())]
    drafted = draft(drafts) if draft else {}
    for (path, sheets), made in zip_longest(books.items(), drafts):
        if made is None:
            put_workbook(own, path, sheets)
        else:
            put_workbook(own, path, sheets, cells=made.sheets, drafted=drafted.get(made.name))
        if path in manifests:
            renew_indexes(own, path, sheets)
    for path in (found.path for found in drafted.values() if found.path is not None):
        path.unlink(missing_ok=True)


def _make_draft(own: OwnFiles, path: Path, sheets: Mapping[str, pd.DataFrame]) -> Draft:
    cells = cells_of_sheets(own.layout.root, path, sheets)
    # Compact, for all of them are sent, and held, at once.
    cells = {title: table._replace(rows=Compact(table.rows)) for title, table in cells.items()}
    return Draft(own.layout.key(path), cells, own.find_written(path), own.layout.state)


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
