"""Datasets: what is particular about each, in a YAML file, and the record made of it."""

from __future__ import annotations

from amos_dask.datasets.definition import DatasetDefinition, MetadataFile, PublishedFile
from amos_dask.datasets.forms import (
    METADATA_FIELDS,
    MODALITIES,
    SUBSETS,
    SUBSETS_AS_WRITTEN,
    MaskGeometry,
)
from amos_dask.datasets.places import Kind, ScanFile, fits, number_seq
from amos_dask.datasets.reading import (
    DEFAULT,
    PACKAGED,
    find_definition,
    make_definition,
    read_definition,
)

AMOS22 = find_definition("amos22")

__all__ = [
    "AMOS22",
    "DEFAULT",
    "METADATA_FIELDS",
    "MODALITIES",
    "PACKAGED",
    "SUBSETS",
    "SUBSETS_AS_WRITTEN",
    "DatasetDefinition",
    "Kind",
    "MaskGeometry",
    "MetadataFile",
    "PublishedFile",
    "ScanFile",
    "find_definition",
    "fits",
    "make_definition",
    "number_seq",
    "read_definition",
]
