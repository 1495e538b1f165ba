"""The columns of every manifest, what they mean, and the frames made from records."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import pandas as pd

from amos_dask import geometry
from amos_dask.datasets import METADATA_FIELDS
from amos_dask.issues import SEVERITIES, Issue
from amos_dask.labels import LabelMap
from amos_dask.records import (
    FileHeader,
    HeaderCheck,
    LabelChange,
    Overlap,
    Region,
    Sample,
    SampleFiles,
)
from amos_dask.root.layout import channel_columns
from amos_dask.tables.cells import LARGEST_CELL

_GEOMETRY_COLUMNS = (
    *("szx", "szy", "szz", "spx", "spy", "spz"),
    *("orientation_from", "orientation_to"),
)
ARCHIVE_COLUMNS = (
    *("file_path", "subset", "seq", "type"),
    *_GEOMETRY_COLUMNS,
    *("dtype", "transform", "diff_trans_f_norm"),
    *METADATA_FIELDS,
)
ISSUE_COLUMNS = ("code", "severity", "sample", "file", "message", "action")
REGION_COLUMNS = ("ID", "label_index", "label_name", "x", "y", "z", "n_voxels", "volume_mm3")
CHANGE_COLUMNS = (
    *("ID", "label_from", "label_from_name", "label_to", "label_to_name"),
    *("n_voxels", "volume_mm3"),
)
OVERLAP_COLUMNS = (
    *("ID", "label_index", "label_name", "other_index", "other_name"),
    *("n_voxels", "volume_mm3"),
)
FILE_TYPES = {"volume": "v3d", "mask": "m3d"}
_BETWEEN_REGIONS = "; "


def archive_frame(samples: Iterable[Sample], headers: Iterable[HeaderCheck]) -> pd.DataFrame:
    """Return the archive manifest: a row a file, by number, the volume before the mask.

    Parameters
    ----------
    samples : iterable of Sample
        By number.
    headers : iterable of HeaderCheck
        What the headers of each of them say.
    """
    rows = (
        _archive_row(sample, file)
        for sample, check in zip(samples, headers, strict=True)
        for file in check.files
    )
    return _frame(rows, ARCHIVE_COLUMNS)


def _archive_row(sample: Sample, file: FileHeader) -> dict[str, Any]:
    return {
        "file_path": file.file_path,
        "subset": sample.subset,
        "seq": sample.seq,
        "type": FILE_TYPES[file.kind],
        **_geometry_cells(file, file.pixdim_mm),
        "dtype": file.dtype,
        "transform": file.affine_json,
        "diff_trans_f_norm": file.diff_trans_f_norm,
        **asdict(sample.metadata),
    }


def _geometry_cells(
    file: FileHeader | SampleFiles, spacing_mm: tuple[float, float, float] | None
) -> dict[str, Any]:
    """Return shape, spacing and orientation; blank where they are not known."""
    blank = (None, None, None)
    spacing = map(geometry.shortest_decimal, spacing_mm) if spacing_mm is not None else blank
    cells = (*(file.shape or blank), *spacing, file.orientation_from, file.orientation_to)
    return dict(zip(_GEOMETRY_COLUMNS, cells, strict=True))


def region_frames(
    found: Iterable[tuple[str, Sequence[Region]]], label_map: LabelMap
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return worksheets ``Manifest`` (a row a sample) and ``Regions`` (a row a region).

    Parameters
    ----------
    found : iterable of (str, sequence of Region)
        Sample id and its regions by label, by number; samples without any are there too, with
        blank cells.
    label_map : LabelMap
        Labels and their names.
    """
    columns, names = label_map.columns(), label_map.names()
    cells, rows = [], []
    for sample_id, regions in found:
        by_label = groupby(regions, key=lambda region: region.label)
        row = {columns[label]: region_cell(group) for label, group in by_label}
        cells.append({"ID": sample_id, **row})
        rows += [
            (sample_id, r.label, names[r.label], r.x, r.y, r.z, r.n_voxels, r.volume_mm3)
            for r in regions
        ]
    return _frame(cells, ["ID", *columns.values()]), _frame(rows, REGION_COLUMNS)


def region_cell(regions: Iterable[Region]) -> str | None:
    """Return a cell's ``(x,y,z,mm3); …``; whole entries only, within what Excel can hold."""
    entries = [f"({r.x},{r.y},{r.z},{r.volume_mm3:.2f})" for r in regions]

    def shortened(n_shown: int) -> str:
        shown = _BETWEEN_REGIONS.join(entries[:n_shown])
        return f"{shown} … ({len(entries) - n_shown} more; see Regions)"

    whole = _BETWEEN_REGIONS.join(entries)
    if len(whole) <= LARGEST_CELL:
        return whole or None
    room = LARGEST_CELL - len(_BETWEEN_REGIONS)
    lengths = range(len(entries))
    return shortened(bisect_right(lengths, room, key=lambda n: len(shortened(n))) - 1)


def changes_frame(
    found: Iterable[tuple[str, tuple[float, float, float], Sequence[LabelChange]]],
    label_map: LabelMap,
) -> pd.DataFrame:
    """Return what denoising changed: a row for each label before and label after.

    Parameters
    ----------
    found : iterable of (str, (float, float, float), sequence of LabelChange)
        Sample id, spacing in mm and changes, by number.
    label_map : LabelMap
        Labels and their names; a label that it lacks has none.
    """
    return _pair_frame(found, label_map, CHANGE_COLUMNS)


def overlaps_frame(
    found: Iterable[tuple[str, tuple[float, float, float], Sequence[Overlap]]],
    label_map: LabelMap,
) -> pd.DataFrame:
    """Return what binary masks share: a row for each two labels of a sample.

    Parameters
    ----------
    found : iterable of (str, (float, float, float), sequence of Overlap)
        Sample id, spacing in mm and overlaps, by number.
    label_map : LabelMap
        Labels and their names; a label that it lacks has none.
    """
    return _pair_frame(found, label_map, OVERLAP_COLUMNS)


def _pair_frame(
    found: Iterable[tuple[str, tuple[float, float, float], Sequence[LabelChange | Overlap]]],
    label_map: LabelMap,
    columns: Sequence[str],
) -> pd.DataFrame:
    """Return a row for each two labels: id, index and name of both, voxels, mm3."""
    names = label_map.names()
    rows = []
    for sample_id, (sx, sy, sz), pairs in found:
        for label, other, n_voxels in pairs:
            labels = (label, names.get(label), other, names.get(other))
            rows.append((sample_id, *labels, n_voxels, n_voxels * sx * sy * sz))
    return _frame(rows, columns)


def dataset_columns(label_map: LabelMap, channels: Sequence[str] = ()) -> list[str]:
    """Return the dataset manifest's columns in order; channels are names, none for only one."""
    masks = label_map.columns().values()
    return [
        *("ID", "seq", "sex", "subset", "manufacturer_model_name", "manufacturer"),
        *("birth_date", "age", "acquisition_date", "site", "valid_labels"),
        *("info", "volume", *channel_columns(channels), "mask"),
        *masks,
        *(f"{column}_existence" for column in masks),
        *_GEOMETRY_COLUMNS,
        *("vol_dtype", "mask_dtype", "transform"),
    ]


def dataset_frame(
    rows: Iterable[SampleFiles], label_map: LabelMap, channels: Sequence[str] = ()
) -> pd.DataFrame:
    """Return the dataset manifest: a row a sample.

    Parameters
    ----------
    rows : iterable of SampleFiles
        By number.
    label_map : LabelMap
        Labels and their names.
    channels : sequence of str
        Names of the channels; none where there is but one.
    """
    columns = label_map.columns()
    cells = (_dataset_row(row, columns) for row in rows)
    return _frame(cells, dataset_columns(label_map, channels))


def rows_below(manifest: pd.DataFrame, folder: str) -> pd.DataFrame:
    """Return the rows of a dataset manifest of what lies in a folder, with paths relative to it.

    Parameters
    ----------
    manifest : DataFrame
        As of `dataset_frame`.
    folder : str
        Such as ``AMOS-CT/``.
    """
    columns = list(manifest.columns)
    first, after = columns.index("info"), columns.index(_GEOMETRY_COLUMNS[0])
    rows = [list(row) for row in manifest.to_numpy(object) if row[first].startswith(folder)]
    for row in rows:
        paths = row[first:after]
        row[first:after] = [p.removeprefix(folder) if isinstance(p, str) else p for p in paths]
    return _frame(rows, columns)


def _dataset_row(row: SampleFiles, columns: Mapping[int, str]) -> dict[str, Any]:
    volumes = channel_columns(row.channels)  # of which the manifest may lack one that is no more
    stem = f"{row.folder}/{row.sample_id}"
    cells = {
        "ID": row.sample_id,
        "seq": row.seq,
        "subset": row.subset,
        **asdict(row.metadata),
        "info": f"{stem}_info.yaml",
        "volume": f"{stem}_{(*volumes, 'volume')[0]}.nii.gz",
        **{column: f"{stem}_{column}.nii.gz" for column in volumes},
        **{
            column: f"{stem}_{column}.nii.gz"
            for label, column in columns.items()
            if label in row.binary_labels
        },
        **_geometry_cells(row, row.spacing_mm),
        "vol_dtype": row.vol_dtype,
        "mask_dtype": row.mask_dtype,
        "transform": row.affine_json,
    }
    present = row.labels_present
    if present is not None:
        cells["mask"] = f"{stem}_mask.nii.gz"
        cells["valid_labels"] = ",".join(map(str, present))
        for label, column in columns.items():
            cells[f"{column}_existence"] = int(label in present)
    return cells


def issues_frame(issues: Iterable[Issue]) -> pd.DataFrame:
    """Return the issues worksheet: a row an issue, errors first, else in the order given."""
    ordered = sorted(issues, key=lambda issue: SEVERITIES.index(issue.severity))
    return _frame([asdict(issue) for issue in ordered], ISSUE_COLUMNS)


def _frame(rows: Iterable[Any], columns: Sequence[str]) -> pd.DataFrame:
    """Return rows, mappings by column or sequences, as a frame of objects, None where blank."""
    # A list of mappings takes five times the memory of what is in them.
    cells = [[row.get(c) for c in columns] if isinstance(row, dict) else row for row in rows]
    frame = pd.DataFrame(cells, columns=list(columns), dtype=object)
    return frame.where(frame.notna(), None)
