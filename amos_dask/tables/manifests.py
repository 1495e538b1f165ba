"""The columns of every manifest, and the frames made from records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from amos_dask import geometry
from amos_dask.datasets import METADATA_FIELDS
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.records import (
    FileHeader,
    HeaderCheck,
    LabelChange,
    Region,
    Sample,
    SampleFiles,
)
from amos_dask.tables.workbook import LARGEST_CELL

ARCHIVE_COLUMNS = (
    "file_path",
    "subset",
    "seq",
    "type",
    "szx",
    "szy",
    "szz",
    "spx",
    "spy",
    "spz",
    "orientation_from",
    "orientation_to",
    "dtype",
    "transform",
    "diff_trans_f_norm",
    *METADATA_FIELDS,
)
ISSUE_COLUMNS = ("code", "severity", "sample", "file", "message", "action")
REGION_COLUMNS = ("ID", "label_index", "label_name", "x", "y", "z", "n_voxels", "volume_mm3")
CHANGE_COLUMNS = (
    "ID",
    "label_from",
    "label_from_name",
    "label_to",
    "label_to_name",
    "n_voxels",
    "volume_mm3",
)
FILE_TYPES = {"volume": "v3d", "mask": "m3d"}


def archive_frame(samples: Iterable[Sample], headers: Mapping[str, HeaderCheck]) -> pd.DataFrame:
    """Return the archive manifest: a row a file, by number, the volume before the mask.

    Parameters
    ----------
    samples : iterable of Sample
        By number.
    headers : mapping of str to HeaderCheck
        Sample id -> what its headers say.
    """
    rows = [
        _archive_row(sample, file)
        for sample in samples
        if sample.sample_id in headers
        for file in headers[sample.sample_id].files
    ]
    return pd.DataFrame(rows, columns=list(ARCHIVE_COLUMNS), dtype=object)


def _archive_row(sample: Sample, file: FileHeader) -> dict[str, Any]:
    size = file.shape or (None, None, None)
    spacing = _shortest(file.pixdim_mm)
    return {
        "file_path": file.file_path,
        "subset": sample.subset,
        "seq": sample.seq,
        "type": FILE_TYPES[file.kind],
        **dict(zip(("szx", "szy", "szz"), size, strict=True)),
        **dict(zip(("spx", "spy", "spz"), spacing, strict=True)),
        "orientation_from": file.orientation_from,
        "orientation_to": file.orientation_to,
        "dtype": file.dtype,
        "transform": file.affine_json,
        "diff_trans_f_norm": file.diff_trans_f_norm,
        **asdict(sample.metadata),
    }


def _shortest(
    spacing_mm: tuple[float, float, float] | None,
) -> tuple[float | None, float | None, float | None]:
    if spacing_mm is None:
        return (None, None, None)
    x, y, z = (geometry.shortest_decimal(value) for value in spacing_mm)
    return (x, y, z)


def region_frames(
    found: Iterable[tuple[str, Sequence[Region]]], label_map: LabelMap
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return worksheets ``Manifest`` (a row a sample) and ``Regions`` (a row a region).

    Parameters
    ----------
    found : iterable of (str, sequence of Region)
        Sample id and its regions, by number; samples without any are there too, with blank cells.
    label_map : LabelMap
        Labels and their names.
    """
    columns = label_map.columns()
    names = label_map.names()
    cells, rows = [], []
    for sample_id, regions in found:
        by_label: dict[int, list[Region]] = {}
        for region in regions:
            by_label.setdefault(region.label, []).append(region)
        row: dict[str, str | None] = {"ID": sample_id}
        row |= {column: region_cell(by_label.get(label, ())) for label, column in columns.items()}
        cells.append(row)
        rows += [
            (sample_id, r.label, names[r.label], r.x, r.y, r.z, r.n_voxels, r.volume_mm3)
            for r in regions
        ]
    return (
        pd.DataFrame(cells, columns=["ID", *columns.values()], dtype=object),
        pd.DataFrame(rows, columns=list(REGION_COLUMNS), dtype=object),
    )


def region_cell(regions: Iterable[Region]) -> str | None:
    """Return a cell's ``(x,y,z,mm3); …``; whole entries only, within what Excel can hold."""
    entries = [f"({r.x},{r.y},{r.z},{r.volume_mm3:.2f})" for r in regions]
    if not entries:
        return None
    cell = "; ".join(entries)
    if len(cell) <= LARGEST_CELL:
        return cell
    n_kept, length = 0, 0
    for n_kept, entry in enumerate(entries):
        length += len(entry) + len("; ")
        if length + len(_more(len(entries) - n_kept - 1)) > LARGEST_CELL:
            break
    return "; ".join(entries[:n_kept]) + _more(len(entries) - n_kept)


def _more(n_regions: int) -> str:
    return f" … ({n_regions} more; see Regions)"


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
    names = label_map.names()
    rows = []
    for sample_id, (sx, sy, sz), changes in found:
        for old, new, n_voxels in changes:
            labels = (old, names.get(old), new, names.get(new))
            rows.append((sample_id, *labels, n_voxels, n_voxels * sx * sy * sz))
    return pd.DataFrame(rows, columns=list(CHANGE_COLUMNS), dtype=object)


def dataset_columns(label_map: LabelMap) -> list[str]:
    """Return the dataset manifest's columns in order."""
    masks = label_map.columns().values()
    return [
        *("ID", "seq", "sex", "subset", "manufacturer_model_name", "manufacturer"),
        *("birth_date", "age", "acquisition_date", "site", "valid_labels"),
        *("info", "volume", "mask"),
        *masks,
        *(f"{column}_existence" for column in masks),
        *("szx", "szy", "szz", "spx", "spy", "spz"),
        *("orientation_from", "orientation_to", "vol_dtype", "mask_dtype", "transform"),
    ]


def dataset_frame(
    rows: Iterable[SampleFiles], label_map: LabelMap, below: str = ""
) -> pd.DataFrame:
    """Return the dataset manifest: a row a sample.

    Parameters
    ----------
    rows : iterable of SampleFiles
        By number.
    label_map : LabelMap
        Labels and their names.
    below : str
        Folder, such as ``AMOS-CT/``, to which paths are to be relative.
    """
    return pd.DataFrame(
        [_dataset_row(row, label_map, below) for row in rows],
        columns=dataset_columns(label_map),
        dtype=object,
    )


def _dataset_row(row: SampleFiles, label_map: LabelMap, below: str) -> dict[str, Any]:
    stem = f"{row.folder.removeprefix(below)}/{row.sample_id}"
    present = row.labels_present
    columns = label_map.columns()
    mask = None if present is None else f"{stem}_mask.nii.gz"
    return {
        "ID": row.sample_id,
        "seq": row.seq,
        "subset": row.subset,
        **asdict(row.metadata),
        "valid_labels": None if present is None else ",".join(map(str, present)),
        "info": f"{stem}_info.yaml",
        "volume": f"{stem}_volume.nii.gz",
        "mask": mask,
        **{
            column: f"{stem}_{column}.nii.gz" if label in row.binary_labels else None
            for label, column in columns.items()
        },
        **{
            f"{column}_existence": None if present is None else int(label in present)
            for label, column in columns.items()
        },
        **dict(zip(("szx", "szy", "szz"), row.shape, strict=True)),
        **dict(zip(("spx", "spy", "spz"), _shortest(row.spacing_mm), strict=True)),
        "orientation_from": row.orientation_from,
        "orientation_to": row.orientation_to,
        "vol_dtype": row.vol_dtype,
        "mask_dtype": row.mask_dtype,
        "transform": row.affine_json,
    }


def issues_frame(issues: Iterable[Issue]) -> pd.DataFrame:
    """Return the issues worksheet: a row an issue, in the order given."""
    return pd.DataFrame(
        [asdict(issue) for issue in issues], columns=list(ISSUE_COLUMNS), dtype=object
    )
