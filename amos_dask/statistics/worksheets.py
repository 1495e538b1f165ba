"""The worksheets of statistics.xlsx: intensities, organs and geometry, by groups of samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import pandas as pd

from amos_dask.labels import BACKGROUND, LabelMap
from amos_dask.records import SampleFiles
from amos_dask.statistics.describe_values import describe_samples

GROUPINGS = ("modality", "scanner", "site", "subset")
_SPREAD = ("min", "median", "mean", "max")
_MM3_IN_CM3 = 1000.0


class Group(NamedTuple):
    """Samples of one modality that have something in common; the first columns of each worksheet.

    Parameters
    ----------
    modality : str
        Of all of them.
    grouped_by : {"modality", "scanner", "site", "subset"}
        What they have in common.
    group : str
        Its name; a scanner's is the model's full name.
    """

    modality: str
    grouped_by: str
    group: str


@dataclass(frozen=True, slots=True)
class Member:
    """A sample as a member of groups.

    Parameters
    ----------
    modality : str
        As in its folder.
    files : SampleFiles
        Scanner, site, subset and geometry.
    label_voxels : mapping of int to int
        Voxels of each label; empty where they were not counted.
    """

    modality: str
    files: SampleFiles
    label_voxels: Mapping[int, int]


Groups = Mapping[Group, Sequence[Member]]
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


def group_members(members: Iterable[Member]) -> dict[Group, list[Member]]:
    """Return the members of each group: by modality, then as in `GROUPINGS`, then by name."""
    found: dict[tuple[str, int, str], list[Member]] = {}
    for member in members:
        files = member.files
        scanner, site = files.metadata.manufacturer_model_name, files.metadata.site
        for place, name in enumerate((member.modality, scanner, site, files.subset)):
            found.setdefault((member.modality, place, name), []).append(member)
    return {
        Group(modality, GROUPINGS[place], name): found[modality, place, name]
        for modality, place, name in sorted(found)
    }


def intensity_frame(
    described: Mapping[Group, Mapping[int, Mapping[str, float]]], label_map: LabelMap
) -> pd.DataFrame:
    """Return a row for each group and label: statistics of the values of all voxels together.

    Parameters
    ----------
    described : mapping of Group to mapping of int to mapping of str to float
        Group -> label -> column -> number.
    label_map : LabelMap
        The labels that are told.
    """
    rows = [
        {**_of_label(group, label, name), **labels[label]}
        for group, labels in described.items()
        for label, name in label_map.entries
        if label in labels
    ]
    return _frame(rows, INTENSITY_COLUMNS)


def organ_frame(groups: Groups, label_map: LabelMap) -> pd.DataFrame:
    """Return a row for each group and label: share of the scan, volume in cm3, how many have it.

    Only samples that have the label count, as in the data card.
    """
    rows = []
    for group, members in groups.items():
        for label, name in label_map.entries:
            found = [(m.files, m.label_voxels[label]) for m in members if label in m.label_voxels]
            if label == BACKGROUND or not found:
                continue
            row = {**_of_label(group, label, name), "n_instances": len(found)}
            ratios = [n / prod(files.shape) for files, n in found]
            volumes = [n * prod(files.spacing_mm) / _MM3_IN_CM3 for files, n in found]
            for quantity, numbers in (("voxel_ratio", ratios), ("volume_cm3", volumes)):
                row |= {f"{quantity}_{key}": n for key, n in describe_samples(numbers).items()}
            rows.append(row)
    return _frame(rows, ORGAN_COLUMNS)


def geometry_frame(groups: Groups) -> pd.DataFrame:
    """Return rows for each group: spacing and size along x, y, z."""
    rows = []
    for group, members in groups.items():
        for quantity, unit, sizes in (
            ("spacing", "mm", [member.files.spacing_mm for member in members]),
            ("size", "voxels", [member.files.shape for member in members]),
        ):
            for axis, numbers in zip("xyz", zip(*sizes, strict=True), strict=True):
                row = {**group._asdict(), "n_samples": len(members), "unit": unit}
                spread = describe_samples([float(number) for number in numbers])
                rows.append({**row, "quantity": f"{quantity}_{axis}", **spread})
    return _frame(rows, GEOMETRY_COLUMNS)


def _of_label(group: Group, label: int, name: str) -> dict[str, Any]:
    return {**group._asdict(), "label_index": label, "label_name": name}


def _frame(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns), dtype=object)
