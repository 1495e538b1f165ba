"""Samples of AMOS22 for tests: found in one archive, or made of two files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amos_dask.archive.discover import Discovery, discover
from amos_dask.datasets import AMOS22, DatasetDefinition
from amos_dask.file_refs import FileRef
from amos_dask.records import Metadata, Sample


def discover_one(
    location: str,
    labeled_data_meta: str | None = None,
    mr_metadata_offset: str = "auto",
    definition: DatasetDefinition = AMOS22,
    **how: Any,
) -> Discovery:
    """Return what is in one archive."""
    return discover([location], definition, labeled_data_meta, mr_metadata_offset, **how)


def with_files(sample: Sample, **refs: FileRef | None) -> Sample:
    """Return a sample with another ``volume`` or ``mask``, or without."""
    changed: dict[str, Any] = {}
    if "volume" in refs:
        changed["volumes"] = () if refs["volume"] is None else (refs["volume"],)
    if "mask" in refs:
        changed["masks"] = () if refs["mask"] is None else ((0, refs["mask"]),)
    return replace(sample, **changed)


def amos_sample(
    seq: str,
    subset: str,
    modality: str,
    scanner: str,
    metadata: Metadata,
    volume: FileRef | None,
    mask: FileRef | None,
) -> Sample:
    """Return a sample of AMOS22."""
    volumes = () if volume is None else (volume,)
    masks = () if mask is None else ((0, mask),)
    return Sample(seq, AMOS22.prefix, subset, modality, scanner, metadata, volumes, masks)
