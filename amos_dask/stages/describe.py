"""Describe: the row of the dataset manifest, from headers; and the sample's info file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import yaml

from amos_dask import geometry
from amos_dask.nifti import ImageInfo
from amos_dask.records import UNDEFINED, Metadata, Sample, SampleFiles

_METADATA_FIELDS = tuple(Metadata.__dataclass_fields__)


def info_yaml(sample: Sample) -> str:
    """Return the text of ``amos_{seq}_info.yaml``: all values are strings."""
    metadata = asdict(sample.metadata)
    content = {
        "seq": sample.seq,
        "subset": sample.subset,
        **{
            name: metadata[name]
            for name in (
                "sex",
                "age",
                "birth_date",
                "acquisition_date",
                "manufacturer",
                "manufacturer_model_name",
                "site",
            )
        },
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def parse_info_yaml(text: str) -> tuple[str, str, Metadata]:
    """Return seq, subset and metadata of an info file.

    Raises
    ------
    ValueError
        When the text is not such a file.
    """
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not {"seq", "subset"} <= content.keys():
        raise ValueError("seq or subset is missing")
    values = {name: str(content.get(name, UNDEFINED)) for name in _METADATA_FIELDS}
    return str(content["seq"]), str(content["subset"]), Metadata(**values)


def describe_files(
    *,
    seq: str,
    subset: str,
    metadata: Metadata,
    folder: str,
    volume: ImageInfo,
    mask_dtype: str | None,
    labels_present: tuple[int, ...] | None,
    binary_labels: tuple[int, ...],
) -> SampleFiles:
    """Return the dataset manifest's row of a sample from its written headers.

    Parameters
    ----------
    seq, subset, metadata : str, str, Metadata
        From the sample or its info file.
    folder : str
        POSIX path of the sample's folder relative to the manifest's root.
    volume : ImageInfo
        Header of the written volume.
    mask_dtype : str or None
        Type of the masks; None without one.
    labels_present : tuple of int or None
        Labels that occur in the mask.
    binary_labels : tuple of int
        Labels that have a binary mask.
    """
    return SampleFiles(
        sample_id=f"amos_{seq}",
        seq=seq,
        subset=subset,
        metadata=metadata,
        folder=folder,
        labels_present=labels_present,
        binary_labels=binary_labels,
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        orientation_from=geometry.orientation_from(volume.affine),
        orientation_to=geometry.orientation_to(volume.affine),
        vol_dtype=volume.dtype,
        mask_dtype=mask_dtype,
        affine_json=geometry.to_json(volume.affine),
    )
