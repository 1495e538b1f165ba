"""The worksheets of statistics.xlsx: intensities, organs and geometry, by groups of samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from amos_dask.labels import BACKGROUND, LabelMap
from amos_dask.records import SampleFiles

GROUPINGS = ("modality", "scanner", "site", "subset")
_SPREAD = ("min", "median", "mean", "max")
_MM3_IN_CM3 = 1000.0


class Group(NamedTuple):
    """Samples of one modality with something in common; the first columns of each worksheet."""

    modality: str  # of all of them
    grouped_by: str  # one of `GROUPINGS`: what they have in common
    group: str  # its name; a scanner's is the model's full name


Groups = Mapping[Group, Sequence[SampleFiles]]
_LABEL_COLUMNS = (*Group._fields, "label_index", "label_name")
INTENSITY_COLUMNS = (
    *(*_LABEL_COLUMNS, "n_samples", "n_voxels", "n_not_finite"),
    *("min", "p0.5", "median", "mean", "std", "p99.5", "max"),
)
ORGAN_COLUMNS = (
    *(*_LABEL_COLUMNS, "n_instances"),
    *(f"{quantity}_{name}" for quantity in ("voxel_ratio", "volume_cm3") for name in _SPREAD),
)
GEOMETRY_COLUMNS = (*Group._fields, "n_samples", "quantity", "unit", "min", "median", "max")


def group_samples(samples: Iterable[tuple[str, SampleFiles]]) -> dict[Group, list[SampleFiles]]:
    """Return the samples of each group: by modality, then as in `GROUPINGS`, then by name.

    Parameters
    ----------
    samples : iterable of (str, SampleFiles)
        Modality, and files.
    """
    found: dict[tuple[str, int, str], list[SampleFiles]] = {}
    for modality, files in samples:
        scanner, site = files.metadata.manufacturer_model_name, files.metadata.site
        for place, name in enumerate((modality, scanner, site, files.subset)):
            found.setdefault((modality, place, name), []).append(files)
    return {
        Group(modality, GROUPINGS[place], name): found[modality, place, name]
        for modality, place, name in sorted(found)
    }


def intensity_frame(
    described: Mapping[Group, Sequence[Mapping[int, Mapping[str, float]]]],
    label_map: LabelMap,
    channels: Sequence[str] = (),
) -> pd.DataFrame:
    """Return a row for each group, channel and label: statistics of all values together.

    Parameters
    ----------
    described : mapping of Group to sequence of mapping of int to mapping of str to float
        Group -> of each channel, label -> column -> number.
    label_map : LabelMap
        The labels that are told.
    channels : sequence of str
        Names of the channels; none where there is but one, which then has no column.
    """
    rows = [
        {"channel": channel, **_of_label(group, label, name), **labels[label]}
        for group, of_channels in described.items()
        for channel, labels in zip(channels or ("",), of_channels, strict=True)
        for label, name in label_map.entries
        if label in labels
    ]
    n, more = len(Group._fields), ("channel",) if channels else ()
    return _frame(rows, (*INTENSITY_COLUMNS[:n], *more, *INTENSITY_COLUMNS[n:]))


def organ_frame(
    groups: Groups, label_voxels: Mapping[str, Mapping[int, int]], label_map: LabelMap
) -> pd.DataFrame:
    """Return a row for each group and label: share of the scan, volume in cm3, how many have it.

    Only samples that have the label count, as in the data card.

    Parameters
    ----------
    groups : mapping of Group to sequence of SampleFiles
        The samples of each group.
    label_voxels : mapping of str to mapping of int to int
        Sample -> label -> voxels, as far as they were counted.
    label_map : LabelMap
        The labels that are told.
    """
    rows = []
    for group, samples in groups.items():
        for label, name in label_map.entries:
            counts = (
                (files, label_voxels.get(files.sample_id, {}).get(label)) for files in samples
            )
            found = [(files, n) for files, n in counts if n]
            if label == BACKGROUND or not found:
                continue
            row = {**_of_label(group, label, name), "n_instances": len(found)}
            ratios = [n / math.prod(files.shape) for files, n in found]
            volumes = [n * math.prod(files.spacing_mm) / _MM3_IN_CM3 for files, n in found]
            for quantity, numbers in (("voxel_ratio", ratios), ("volume_cm3", volumes)):
                row |= {f"{quantity}_{key}": n for key, n in describe_samples(numbers).items()}
            rows.append(row)
    return _frame(rows, ORGAN_COLUMNS)


def geometry_frame(groups: Groups) -> pd.DataFrame:
    """Return rows for each group: spacing and size along x, y, z."""
    rows = []
    for group, samples in groups.items():
        for quantity, unit, sizes in (
            ("spacing", "mm", [files.spacing_mm for files in samples]),
            ("size", "voxels", [files.shape for files in samples]),
        ):
            for axis, numbers in zip("xyz", zip(*sizes, strict=True), strict=True):
                row = {**group._asdict(), "n_samples": len(samples), "unit": unit}
                spread = describe_samples([float(number) for number in numbers])
                rows.append({**row, "quantity": f"{quantity}_{axis}", **spread})
    return _frame(rows, GEOMETRY_COLUMNS)


def _of_label(group: Group, label: int, name: str) -> dict[str, Any]:
    return {**group._asdict(), "label_index": label, "label_name": name}


def _frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns), dtype=object)


def describe_samples(numbers: Sequence[float]) -> dict[str, float]:
    """Return ``min``, ``median``, ``mean`` and ``max`` of one number a sample, at least one."""
    mean = math.fsum(numbers) / len(numbers)
    median = float(np.median(np.array(numbers, np.float64)))
    return {"min": min(numbers), "median": median, "mean": mean, "max": max(numbers)}
