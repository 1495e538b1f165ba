"""The dataset told to programs: Croissant, JSON-LD of MLCommons, beside the dataset's files.

The form is that of https://docs.mlcommons.org/croissant/docs/croissant-spec.html.
"""

from __future__ import annotations

import hashlib
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


def make_croissant(
    definition: DatasetDefinition, manifest: str, content: bytes, table: Cells
) -> dict[str, Any]:
    """Return what `croissant.json` says, for a file that lies in ROOT_DIR.

    Parameters
    ----------
    definition : DatasetDefinition
        What the dataset is.
    manifest : str
        The dataset manifest as csv, POSIX and relative to ROOT_DIR.
    content : bytes
        What that file holds.
    table : Cells
        What it says: a row a sample.

    Returns
    -------
    dict
        JSON-LD: the csv file, the sets of images, and a record a sample.
    """
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"samples/{column}",
            "name": f"samples/{column}",
            "dataType": _data_type(row[index] for row in table.rows),
            "source": {"fileObject": {"@id": "manifest"}, "extract": {"column": column}},
        }
        for index, column in enumerate(table.columns)
    ]
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
            {
                "@type": "cr:FileObject",
                "@id": "manifest",
                "name": "manifest",
                "contentUrl": manifest,
                "encodingFormat": "text/csv",
                "sha256": hashlib.sha256(content).hexdigest(),
            },
            _images("volumes", "grouped/**/*_volume*.nii.gz"),
            _images("masks", "grouped/**/*_mask.nii.gz"),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "samples",
                "name": "samples",
                "key": {"@id": "samples/ID"},
                "field": fields,
            }
        ],
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
