"""``card``: the dataset told to people and programs, as ``dataset_card.md`` and Croissant."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.datasets import SUBSETS, DatasetDefinition
from amos_dask.errors import ManifestError, number_of
from amos_dask.results import CommandResult
from amos_dask.root.layout import MANIFEST_SHEET, Layout, absolute
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.working import working_on
from amos_dask.tables.cells import Cells, cells_of
from amos_dask.tables.workbook import read_sheet, require_columns

_SPREAD = ("min", "median", "max")
# Column of a table -> what it is called in the statistics, where they have it.
_INTENSITIES = {
    "Structure": "label_name",
    **{name: name for name in ("channel", "min")},
    "0.5%": "p0.5",
    **{name: name for name in ("median", "mean", "std")},
    "99.5%": "p99.5",
    "max": "max",
}
_OF_ORGANS = ("min", "median", "mean", "max")
_ORGANS = {
    "Structure": "label_name",
    **{f"Share of voxels ({name})": f"voxel_ratio_{name}" for name in _OF_ORGANS},
    **{f"Volume in cm³ ({name})": f"volume_cm3_{name}" for name in _OF_ORGANS},
    "Scans": "n_instances",
}
# Dates, which need not be published; binary masks are made of the mask.
_NOT_IN_CROISSANT = re.compile(r"\w+_date|mask_\d+_.*")
_NAMES = {"ct": "CT", "mri": "MR", "und": "unknown modality"}
_FRONT = """---
pretty_name: {name}
license: other
license_name: {licence}
task_categories: [image-segmentation]
---"""
_FILES = """`grouped/dataset_manifest.xlsx` lists each sample: its metadata, files and geometry.
A volume is float32, its mask uint8 on the same grid; `descriptor/label_map.yaml` names labels.
`croissant.json` says the same to programs."""
Rows = Sequence[Mapping[str, Any]]


def card(root_dir: str | Path, *, adopt: bool = False, no_lock: bool = False) -> CommandResult:
    """Write ``dataset_card.md`` and ``croissant.json`` into ROOT_DIR.

    The card has the tables of AMOS22's own data card, of this dataset: its figures are those of
    ``descriptor/statistics.json``. Croissant lists the images, and of each sample what the dataset
    manifest says but for dates and binary masks. What writes the statistics keeps both up to date
    once they are there.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR, with statistics.
    adopt : bool
        A file in the way that is not ours goes to ``root_dir/replaced/``.
    no_lock : bool
        Take no lock, for a file system that has none; see `amos_dask.run`.

    Returns
    -------
    CommandResult
        With both files as its outputs.

    Raises
    ------
    AmosDaskError
        When there are no statistics or no dataset manifest, or a file that is not ours is in the
        way.

    Examples
    --------
    >>> result = amos_dask.card("data/AMOS22")
    >>> [path.name for path in result.outputs]
    ['dataset_card.md', 'croissant.json']
    """
    root = absolute(root_dir)
    with (
        working_on(Layout(root), no_lock=no_lock),
        OwnFiles(Layout.of(root), adopt=adopt) as own,
    ):
        n_samples = write_card(own)
    outputs = (own.layout.card, own.layout.croissant)
    summary = f"card of {number_of(n_samples, 'sample')}"
    return CommandResult(outputs, n_samples, summary, tuple(own.issues()))


def write_card(own: OwnFiles) -> int:
    """Write both files; return how many samples they speak of."""
    layout = own.layout
    statistics, frame = _read_statistics(layout), _read_manifest(own)
    own.write_content(layout.card, _card(layout, frame, statistics).encode())
    left_out = [name for name in frame.columns if _NOT_IN_CROISSANT.fullmatch(name)]
    told = make_croissant(layout.dataset, cells_of(frame.drop(columns=left_out)))
    content = json.dumps(told, ensure_ascii=False, indent=1) + "\n"
    own.write_content(layout.croissant, content.encode())
    return len(frame)


def _read_statistics(layout: Layout) -> Mapping[str, Rows]:
    path = layout.statistics_text
    try:
        content = json.loads(path.read_bytes())
        return {name: content[name] for name in ("geometry", "intensities", "organs")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ManifestError(f"{path}: cannot be read; 'amos-dask stats' writes it.") from error


def _read_manifest(own: OwnFiles) -> pd.DataFrame:
    """Return the dataset manifest, without columns that others have added."""
    path = own.layout.dataset_manifest()
    frame, known = read_sheet(path, MANIFEST_SHEET), own.find(path)
    require_columns(frame, ("ID", "subset", "volume"), path)
    sheet = None if known is None else known.sheets.get(MANIFEST_SHEET)
    if sheet is None:
        return frame
    return frame[[column for column in sheet.columns if column in frame.columns]]


# ---------------------------------------------------------------- Markdown


def _card(layout: Layout, manifest: pd.DataFrame, statistics: Mapping[str, Rows]) -> str:
    dataset = layout.dataset
    by_modality = {
        name: [row for row in rows if row["grouped_by"] == "modality"]
        for name, rows in statistics.items()
    }
    modalities = list(dict.fromkeys(row["modality"] for row in by_modality["geometry"]))
    told = [text for text in (dataset.licence, dataset.cite, dataset.url) if text]
    parts = [
        _FRONT.format(name=json.dumps(dataset.name), licence=json.dumps(dataset.licence)),
        f"# {dataset.name}",
        "Cleaned and organised by amos-dask; figures are those of `descriptor/statistics.json`.",
        "## Dataset",
        _about(layout, manifest, modalities, by_modality["organs"]),
        "## Resolution",
        _resolution(by_modality["geometry"], modalities),
        "## Intensities",
        *_for_each(modalities, by_modality["intensities"], _INTENSITIES),
        "## Labels",
        *_for_each(modalities, by_modality["organs"], _ORGANS),
        "## Files",
        _FILES,
        "## Licence and citation",
        "\n".join(f"- {_text(each)}" for each in told),
    ]
    return "\n\n".join(parts) + "\n"


def _about(layout: Layout, manifest: pd.DataFrame, modalities: list[str], organs: Rows) -> str:
    subsets = Counter(manifest["subset"].astype(str))
    structures = list(dict.fromkeys(str(row["label_name"]) for row in organs))
    n_channels = max(1, len(layout.dataset.channel_names))
    told = {
        "Dimensions": "3D" if n_channels == 1 else f"3D, {n_channels} channels",
        "Modality": ", ".join(_NAMES[name] for name in modalities),
        "Task": "Segmentation",
        "Structures": ", ".join(structures),
        "Labels": str(len(structures)),
        "Scans": ", ".join(f"{subsets[name]} {name}" for name in SUBSETS if subsets[name]),
        "Format": ".nii.gz",
    }
    return _table(list(told), [list(told.values())])


def _resolution(rows: Rows, modalities: list[str]) -> str:
    found = {(row["modality"], row["quantity"]): row for row in rows}
    lines = []
    for modality, name in product(modalities, _SPREAD):
        spacing, size = (
            ", ".join(_cell(name, found[modality, f"{what}_{axis}"][name]) for axis in "xyz")
            for what in ("spacing", "size")
        )
        lines.append([_NAMES[modality], name, f"({spacing})", f"({size})"])
    return _table(["Modality", "", "Spacing (mm)", "Size (voxels)"], lines)


def _for_each(modalities: Iterable[str], rows: Rows, columns: Mapping[str, str]) -> list[str]:
    """Return a heading and a table for each modality of which there are rows."""
    parts = []
    for modality in modalities:
        found = [row for row in rows if row["modality"] == modality]
        if found:
            there = {title: name for title, name in columns.items() if name in found[0]}
            lines = [[_cell(name, row[name]) for name in there.values()] for row in found]
            parts += [f"### {_NAMES[modality]}", _table(list(there), lines)]
    return parts


def _cell(name: str, value: Any) -> str:
    """Return a value of the statistics as a cell shows it."""
    if value is None:
        return ""
    if name.startswith("voxel_ratio"):
        return f"{100 * value:.4g}%"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_text, cells))} |" for cells in lines)


def _text(text: str) -> str:
    """Return a text as Markdown shows it in a cell."""
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


# ---------------------------------------------------------------- Croissant, JSON-LD of MLCommons

# https://docs.mlcommons.org/croissant/docs/croissant-spec.html
_VERSION = "http://mlcommons.org/croissant/1.0"
_GZIP = "application/gzip"
# Terms and what they stand for, as every Croissant file has them.
_TERMS = (
    *("citeAs", "column", "conformsTo", "equivalentProperty", "extract", "field", "fileObject"),
    *("fileProperty", "fileSet", "format", "includes", "isLiveDataset", "jsonPath", "key", "md5"),
    *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace"),
    *("samplingRate", "separator", "source", "subField", "transform"),
)
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    **{term: f"cr:{term}" for term in _TERMS},
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
}


def make_croissant(definition: DatasetDefinition, table: Cells) -> dict[str, Any]:
    """Return what `croissant.json` says, for a file that lies in ROOT_DIR.

    Parameters
    ----------
    definition : DatasetDefinition
        What the dataset is.
    table : Cells
        A row a sample: what is told of it.

    Returns
    -------
    dict
        JSON-LD: the sets of images, and the records of the samples themselves: of a csv file
        readers would take ``0001`` for a number.
    """
    names = [f"samples/{column}" for column in table.columns]
    kinds = [_data_type(row[n] for row in table.rows) for n in range(len(names))]
    told = {"url": definition.url, "license": definition.licence, "citeAs": definition.cite}
    samples = {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "key": {"@id": "samples/ID"},
        "field": [
            {"@type": "cr:Field", "@id": name, "name": name, "dataType": kind}
            for name, kind in zip(names, kinds, strict=True)
        ],
        "data": [
            {
                name: "" if value is None and kind == "sc:Text" else value
                for name, kind, value in zip(names, kinds, row, strict=True)
            }
            for row in table.rows
        ],
    }
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": definition.name,
        "description": f"{definition.name}, cleaned and organised: {len(table.rows)} scans, their "
        "masks and metadata.",
        "conformsTo": _VERSION,
        **{name: text for name, text in told.items() if text},
        "distribution": [
            _images("volumes", "grouped/**/*_volume*.nii.gz"),
            _images("masks", "grouped/**/*_mask.nii.gz"),
        ],
        "recordSet": [samples],
    }


def _images(name: str, pattern: str) -> dict[str, Any]:
    kind = {"@type": "cr:FileSet", "encodingFormat": _GZIP}
    return {**kind, "@id": name, "name": name, "includes": pattern}


def _data_type(values: Iterable[Any]) -> str:
    """Return the type of a column; whole numbers with a blank among them are read as floats."""
    types = {type(value) for value in values}
    if types == {int}:
        return "sc:Integer"
    return "sc:Float" if types - {type(None)} and types <= {int, float, type(None)} else "sc:Text"
