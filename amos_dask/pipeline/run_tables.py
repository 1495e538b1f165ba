"""The workbooks that `run` writes from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from amos_dask.issues import Issue, make_issue
from amos_dask.pipeline.manifests import missing_subset_issues
from amos_dask.records import Audit, Params, Sample, SampleRecord
from amos_dask.store.layout import GROUPS, MANIFEST_SHEET, REGIONS_SHEET, SPLIT_NAME, Layout
from amos_dask.tables.manifests import archive_frame, dataset_frame, region_frames
from amos_dask.tables.splits import (
    STANDARD_SUBSETS,
    available_subsets,
    index_frames,
    official_split,
)
from amos_dask.tables.workbook import update_workbook, write_workbook


@dataclass
class Tables:
    """Frames and files of a run."""

    archive: pd.DataFrame
    dataset: pd.DataFrame
    regions_before: dict[float, pd.DataFrame] = field(default_factory=dict)
    regions_after: dict[float, pd.DataFrame] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)
    outputs: tuple[Path, ...] = ()


def write_tables(
    layout: Layout,
    params: Params,
    samples: Sequence[Sample],
    audits: Mapping[str, Audit],
    records: Sequence[SampleRecord],
) -> Tables:
    """Write every manifest of ROOT.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    params : Params
        Label map and thresholds.
    samples, audits
        The archive, for its manifest.
    records : sequence of SampleRecord
        All organised samples, by number.

    Returns
    -------
    Tables
        The frames and the files written.
    """
    archive = archive_frame(samples, audits)
    write_workbook(layout.archive_manifest, {MANIFEST_SHEET: archive})
    tables = Tables(archive, dataset_frame((), params.label_map))
    outputs = [layout.archive_manifest]
    outputs += _write_regions(layout, params, records, tables)
    for modality in (None, *GROUPS):
        frame, written = _write_dataset(layout, params, records, modality)
        tables.dataset = frame if modality is None else tables.dataset
        tables.issues += _missing(layout, frame, modality)
        outputs += written
    tables.outputs = tuple(outputs)
    return tables


def _write_regions(
    layout: Layout, params: Params, records: Sequence[SampleRecord], tables: Tables
) -> list[Path]:
    outputs = []
    for threshold in params.region_volume_thresh:
        for after, frames in ((False, tables.regions_before), (True, tables.regions_after)):
            found = [
                regions
                for record in records
                for at, regions in (record.after if after else record.before)
                if at == threshold
            ]
            manifest, frames[threshold] = region_frames(found, params.label_map)
            path = layout.regions_manifest(threshold, after=after)
            write_workbook(path, {MANIFEST_SHEET: manifest, REGIONS_SHEET: frames[threshold]})
            outputs.append(path)
    return outputs


def _write_dataset(
    layout: Layout, params: Params, records: Sequence[SampleRecord], modality: str | None
) -> tuple[pd.DataFrame, list[Path]]:
    """Write the manifest, split and index manifests of everything or of one modality."""
    below = "" if modality is None else f"{GROUPS[modality]}/"
    rows = [r.files for r in records if r.files is not None and r.files.folder.startswith(below)]
    frame = dataset_frame(rows, params.label_map, below)
    path = layout.dataset_manifest(modality)
    _remove_outdated(layout, modality, available_subsets(frame))
    if frame.empty:
        return frame, []
    split = official_split(frame, SPLIT_NAME, path)
    update_workbook(path, {MANIFEST_SHEET: frame, SPLIT_NAME: split})
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
    shown = group.relative_to(layout.root).as_posix()
    if not frame.empty:
        return missing_subset_issues(frame, shown)
    if modality == "und":  # no such samples are expected
        return []
    message = f"{group.name} has no samples"
    return [make_issue("no_samples", message, file=shown, action="no manifests for it")]
