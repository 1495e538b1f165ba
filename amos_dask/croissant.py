"""The dataset told to programs: Croissant, JSON-LD of MLCommons, beside the dataset's files.

The form is that of https://docs.mlcommons.org/croissant/docs/croissant-spec.html.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amos_dask.datasets import DatasetDefinition
from amos_dask.tables.cells import Cells

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
    kinds = {
        column: _data_type(row[index] for row in table.rows)
        for index, column in enumerate(table.columns)
    }
    told = {"url": definition.url, "license": definition.licence, "citeAs": definition.cite}
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
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "samples",
                "name": "samples",
                "key": {"@id": "samples/ID"},
                "field": [
                    {
                        "@type": "cr:Field",
                        "@id": f"samples/{column}",
                        "name": f"samples/{column}",
                        "dataType": kind,
                    }
                    for column, kind in kinds.items()
                ],
                "data": [
                    {
                        f"samples/{column}": _as_type(value, kind)
                        for (column, kind), value in zip(kinds.items(), row, strict=True)
                    }
                    for row in table.rows
                ],
            }
        ],
    }


def _as_type(value: Any, kind: str) -> Any:
    return "" if value is None and kind == "sc:Text" else value


def _images(name: str, pattern: str) -> dict[str, Any]:
    kind = {"@type": "cr:FileSet", "encodingFormat": _GZIP}
    return {**kind, "@id": name, "name": name, "includes": pattern}


def _data_type(values: Iterable[Any]) -> str:
    """Return the type of a column; whole numbers with a blank among them are read as floats."""
    types = {type(value) for value in values}
    if types == {int}:
        return "sc:Integer"
    return "sc:Float" if types - {type(None)} and types <= {int, float, type(None)} else "sc:Text"
