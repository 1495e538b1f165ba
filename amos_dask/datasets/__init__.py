"""Datasets: what is particular about each, in a YAML file, and the record made of it."""

from __future__ import annotations

from pathlib import Path

from amos_dask.datasets.definition import (
    METADATA_FIELDS,
    MODALITIES,
    SUBSETS,
    DatasetDefinition,
    MetadataCsv,
    PublishedZip,
    ScanFile,
)
from amos_dask.datasets.reading import make_definition, read_definition, read_packaged
from amos_dask.errors import DatasetError

AMOS22 = read_packaged("amos22.yaml")
PACKAGED = {"amos22": "amos22.yaml", "ct-org": "ct_org.yaml", "decathlon": "decathlon.yaml"}

__all__ = [
    "AMOS22",
    "METADATA_FIELDS",
    "MODALITIES",
    "PACKAGED",
    "SUBSETS",
    "DatasetDefinition",
    "MetadataCsv",
    "PublishedZip",
    "ScanFile",
    "find_definition",
    "make_definition",
    "read_definition",
]


def find_definition(dataset: str | Path) -> DatasetDefinition:
    """Return a dataset's definition.

    Parameters
    ----------
    dataset : str or Path
        ``amos22``, ``ct-org``, ``decathlon``, or the path of a YAML file.

    Raises
    ------
    DatasetError
        When there is no such dataset, or its file is not usable.
    """
    name = str(dataset)
    if name == "amos22":
        return AMOS22
    if name in PACKAGED:
        return read_packaged(PACKAGED[name])
    if not name.lower().endswith((".yaml", ".yml")):
        raise DatasetError(
            f"dataset {name!r} is not known; choose from {', '.join(PACKAGED)}, or name a file of "
            "your own (.yaml)."
        )
    return read_definition(Path(dataset))
