"""Datasets: what is particular about each, in a YAML file, and the record made of it."""

from __future__ import annotations

from amos_dask.datasets.definition import (
    DatasetDefinition,
    MetadataCsv,
    PublishedFile,
    ScanFile,
)
from amos_dask.datasets.forms import METADATA_FIELDS, MODALITIES, SUBSETS, MaskGeometry
from amos_dask.datasets.reading import PACKAGED, find_definition, make_definition, read_definition

AMOS22 = find_definition("amos22")

__all__ = [
    "AMOS22",
    "METADATA_FIELDS",
    "MODALITIES",
    "PACKAGED",
    "SUBSETS",
    "DatasetDefinition",
    "MaskGeometry",
    "MetadataCsv",
    "PublishedFile",
    "ScanFile",
    "find_definition",
    "make_definition",
    "read_definition",
]
