"""The worksheets of statistics.xlsx: intensities, organs, geometry."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from math import prod

import pandas as pd

from amos_dask.labels import LabelMap
from amos_dask.records import SampleFiles
from amos_dask.statistics.describe_values import Intensities, describe_samples

GROUPINGS = ("modality", "scanner", "site", "subset")
_GROUP = ("modality", "grouped_by", "group")
_LABEL = ("label_index", "label_name")
INTENSITY_COLUMNS = (
    *(*_GROUP, *_LABEL, "n_samples", "n_voxels", "n_not_finite"),
    *("min", "p0.5", "median", "mean", "std", "p99.5", "max"),
)
_SPREAD = ("min", "median", "mean", "max")
ORGAN_COLUMNS = (
    *(*_GROUP, *_LABEL, "n_instances"),
    *(f"voxel_ratio_{name}" for name in _SPREAD),
    *(f"volume_cm3_{name}" for name in _SPREAD),
)
GEOMETRY_COLUMNS = (*_GROUP, "n_samples", "quantity", "unit", "min", "median", "max")
_MM3_IN_CM3 = 1000.0


@dataclass(frozen=True, slots=True)
class Member:
    """A sample as a member of groups.

    Parameters
    ----------
    modality, scanner, site, subset : str
        Its groups; scanner is the model's full name.
    files : SampleFiles
        Geometry.
    label_voxels : mapping of int to int
        Voxels of each label; empty without a mask.
    """

    modality: str
    scanner: str
    site: str
    subset: str
    files: SampleFiles
    label_voxels: Mapping[int, int]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What decides every group that the sample belongs to."""
        return (self.modality, self.scanner, self.site, self.subset)


Group = tuple[str, str, str]


def groups_of(key: tuple[str, str, str, str]) -> Iterator[Group]:
    """Yield the groups of a member's key: modality, how it is grouped, and the group's name."""
    for grouping, name in zip(GROUPINGS, key, strict=True):
        yield (key[0], grouping, name)


def organ_frame(members: Sequence[Member], label_map: LabelMap) -> pd.DataFrame:
    """Return a row for each group and label: share of the scan, volume in cm3, how many have it.

    Only samples that have the label count, as in the data card.
    """
    rows = []
    names = label_map.names()
    for group, found in _grouped(members):
        for label in label_map.columns():
            having = [member for member in found if member.label_voxels.get(label)]
            if label == 0 or not having:
                continue
            ratios = [m.label_voxels[label] / prod(m.files.shape) for m in having]
            volumes = [
                m.label_voxels[label] * prod(m.files.spacing_mm) / _MM3_IN_CM3 for m in having
            ]
            spread = (describe_samples(ratios), describe_samples(volumes))
            numbers = [n for part in spread if part is not None for n in astuple(part)]
            rows.append((*group, label, names[label], len(having), *numbers))
    return _frame(rows, ORGAN_COLUMNS)


def geometry_frame(members: Sequence[Member]) -> pd.DataFrame:
    """Return rows for each group: spacing and size along x, y, z."""
    quantities: list[tuple[str, str, Callable[[SampleFiles], float]]] = []
    for axis, name in enumerate("xyz"):
        quantities.append((f"spacing_{name}", "mm", lambda f, axis=axis: f.spacing_mm[axis]))  # type: ignore[misc]
    for axis, name in enumerate("xyz"):
        quantities.append((f"size_{name}", "voxels", lambda f, axis=axis: f.shape[axis]))  # type: ignore[misc]
    rows = []
    for group, found in _grouped(members):
        for quantity, unit, measure in quantities:
            spread = describe_samples([float(measure(member.files)) for member in found])
            if spread is not None:
                values = (spread.minimum, spread.median, spread.maximum)
                rows.append((*group, len(found), quantity, unit, *values))
    return _frame(rows, GEOMETRY_COLUMNS)


def intensity_row(
    group: Group, label: int, name: str, n_samples: int, n_not_finite: int, found: Intensities
) -> tuple[object, ...]:
    """Return a row of the worksheet of intensities."""
    numbers = asdict(found)
    n_voxels = numbers.pop("n_voxels")
    order = ("minimum", "low", "median", "mean", "std", "high", "maximum")
    values = [numbers[key] for key in order]
    return (*group, label, name, n_samples, n_voxels, n_not_finite, *values)


def intensity_frame(rows: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    """Return the worksheet of intensities."""
    return _frame(list(rows), INTENSITY_COLUMNS)


def _grouped(members: Sequence[Member]) -> list[tuple[Group, list[Member]]]:
    found: dict[Group, list[Member]] = {}
    for member in members:
        for group in groups_of(member.key):
            found.setdefault(group, []).append(member)
    return sorted(found.items(), key=lambda item: group_order(item[0]))


def group_order(group: Group) -> tuple[str, int, str]:
    """Return what groups are sorted by: modality, then as in `GROUPINGS`, then by name."""
    return (group[0], GROUPINGS.index(group[1]), group[2])


def _frame(rows: Sequence[tuple[object, ...]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns), dtype=object)
