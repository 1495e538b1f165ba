"""Every manifest of a ROOT_DIR, from the records of its samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import ManifestError
from amos_dask.issues import Issue, make_issue
from amos_dask.params import Params
from amos_dask.records import HeaderCheck, Sample, SampleRecord
from amos_dask.root.layout import (
    CHANGES_SHEET,
    MANIFEST_SHEET,
    REGIONS_SHEET,
    SPLIT_NAME,
    Layout,
)
from amos_dask.root.table_state import TableCounts
from amos_dask.tables.manifests import archive_frame, changes_frame, dataset_frame, region_frames
from amos_dask.tables.splits import (
    STANDARD_SUBSETS,
    available_subsets,
    index_frames,
    missing_subsets,
    official_split,
)
from amos_dask.tables.workbook import update_workbook, write_workbook

# Raised when a manifest made from the same records would be another.
RESULT_VERSION = 2


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
    layout: Layout,
    params: Params,
    samples: Sequence[Sample],
    headers: Mapping[str, HeaderCheck],
    records: Iterable[SampleRecord],
) -> Tables:
    """Write every manifest of ROOT.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    params : Params
        Label map and thresholds.
    samples, headers
        The archive, for its manifest.
    records : iterable of SampleRecord
        All organised samples, by number.
    """
    archive = archive_frame(samples, headers)
    write_workbook(layout.archive_manifest, {MANIFEST_SHEET: archive})
    outputs = [layout.archive_manifest]
    records = list(records)
    n_regions = []
    for threshold in params.region_volume_thresh:
        n_before, n_after = (
            _write_regions(layout, params, records, threshold, after=after)
            for after in (False, True)
        )
        n_regions.append((threshold, n_before, n_after))
        outputs += [layout.regions_manifest(threshold, after=after) for after in (False, True)]
    write_workbook(layout.denoise_changes, {CHANGES_SHEET: _changes(params, records)})
    outputs.append(layout.denoise_changes)
    issues: list[Issue] = []
    n_samples = 0
    for modality in (None, *layout.groups):
        frame, written = _write_dataset(layout, params, records, modality)
        n_samples = len(frame) if modality is None else n_samples
        issues += _missing(layout, frame, modality)
        outputs += written
    counts = TableCounts(len(archive), n_samples, tuple(n_regions))
    return Tables(counts, tuple(issues), tuple(outputs))


def _write_regions(
    layout: Layout,
    params: Params,
    records: Sequence[SampleRecord],
    threshold: float,
    *,
    after: bool,
) -> int:
    """Write one manifest of small regions; return how many it lists."""
    found = [
        (record.sample_id, regions)
        for record in records
        for at, regions in (record.after if after else record.before)
        if at == threshold
    ]
    manifest, frame = region_frames(found, params.label_map)
    path = layout.regions_manifest(threshold, after=after)
    write_workbook(path, {MANIFEST_SHEET: manifest, REGIONS_SHEET: frame})
    return len(frame)


def _changes(params: Params, records: Iterable[SampleRecord]) -> pd.DataFrame:
    found = (
        (record.sample_id, record.files.spacing_mm, record.changes)
        for record in records
        if record.files is not None
    )
    return changes_frame(found, params.label_map)


def _write_dataset(
    layout: Layout, params: Params, records: Sequence[SampleRecord], modality: str | None
) -> tuple[pd.DataFrame, list[Path]]:
    """Write the manifest, split and index manifests of everything or of one modality."""
    below = "" if modality is None else f"{layout.groups[modality]}/"
    rows = [r.files for r in records if r.files is not None and r.files.folder.startswith(below)]
    frame = dataset_frame(rows, params.label_map, below)
    path = layout.dataset_manifest(modality)
    _remove_outdated(layout, modality, available_subsets(frame))
    if frame.empty:
        return frame, []
    split = official_split(frame, SPLIT_NAME, path)
    sheets = {MANIFEST_SHEET: frame, SPLIT_NAME: split}
    try:
        update_workbook(path, sheets)
    except ManifestError:  # damaged: there are no worksheets of others to keep
        write_workbook(path, sheets)
    outputs = [path]
    indexes = index_frames(split, SPLIT_NAME, available_subsets(split), path)
    for stem, index in indexes.items():
        outputs.append(layout.splits(modality) / f"{stem}.xlsx")
        write_workbook(outputs[-1], {MANIFEST_SHEET: index})
    return frame, outputs


def _remove_outdated(
    layout: Layout, modality: str | None, available: Sequence[Sequence[str]]
) -> None:
    """Remove manifests of an earlier run for which there are no samples any more."""
    for combination in STANDARD_SUBSETS:
        if combination not in available:
            stem = f"{SPLIT_NAME}_{'_'.join(combination)}"
            (layout.splits(modality) / f"{stem}.xlsx").unlink(missing_ok=True)
    if not available:
        layout.dataset_manifest(modality).unlink(missing_ok=True)


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
    return [
        make_issue(
            "no_samples",
            f"{PurePosixPath(group).name} has no {subset} samples",
            file=group,
            action="no index manifest for it",
        )
        for subset in missing_subsets(manifest)
        if subset in definition.subsets
    ]
