"""Describe: the row of the dataset manifest, from headers; and the sample's info file."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import yaml

from amos_dask import geometry
from amos_dask.nifti import ImageInfo
from amos_dask.records import UNDEFINED, Metadata, Sample, SampleFiles

# Raised when what this step makes changes: samples made with an older one are made again.
RESULT_VERSION = 1
_INFO_ORDER = (
    "sex",
    "age",
    "birth_date",
    "acquisition_date",
    "manufacturer",
    "manufacturer_model_name",
    "site",
)


class _Quoted(str):
    """Text that stays text for every YAML reader, whatever it looks like."""


class _Dumper(yaml.SafeDumper):
    """Writes the values in quotes and the keys plain."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="'")
)


def info_yaml(sample: Sample) -> str:
    """Return the text of such as ``amos_{seq}_info.yaml``: all values are strings."""
    metadata = asdict(sample.metadata)
    content = {"seq": sample.seq, "subset": sample.subset}
    content |= {name: metadata[name] for name in _INFO_ORDER}
    quoted = {name: _Quoted(value) for name, value in content.items()}
    return yaml.dump(quoted, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


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
    found = {name: content.get(name) for name in _INFO_ORDER}
    if any(isinstance(value, (dict, list, set)) for value in (*found.values(), content["seq"])):
        raise ValueError("a value is not text")  # as text, aliases of lists would be endless
    values = {name: UNDEFINED if v is None else str(v) for name, v in found.items()}
    return str(content["seq"]), str(content["subset"]), Metadata(**values)


def describe_files(
    *,
    sample_id: str,
    seq: str,
    subset: str,
    metadata: Metadata,
    folder: str,
    volume: ImageInfo,
    mask_dtype: str | None,
    labels_present: tuple[int, ...] | None,
    binary_labels: tuple[int, ...],
    channels: tuple[str, ...] = (),
) -> SampleFiles:
    """Return the dataset manifest's row of a sample from its written headers.

    Parameters
    ----------
    sample_id, seq, subset, metadata : str, str, str, Metadata
        From the sample or its folder and info file.
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
    channels : tuple of str
        Names of the channels; none where there is but one.
    """
    return SampleFiles(
        sample_id=sample_id,
        seq=seq,
        subset=subset,
        metadata=metadata,
        folder=folder,
        labels_present=labels_present,
        binary_labels=binary_labels,
        shape=volume.shape,
        spacing_mm=volume.spacing_mm,
        vol_dtype=volume.dtype,
        mask_dtype=mask_dtype,
        channels=channels,
        **geometry.describe(volume.affine),
    )
