"""What the report tells, as JSON values made from the records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from statistics import median
from typing import Any

import numpy as np

from amos_dask.datasets import DatasetDefinition
from amos_dask.exclusions import EVERY_LABEL, Exclusions
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap
from amos_dask.overlay import label_colour
from amos_dask.records import Regions, SampleFiles, SampleRecord

_MM3_IN_CM3 = 1000.0
# Tukey's fences lie this many interquartile ranges outside the quartiles.
_FENCE = 1.5
# Quartiles of fewer samples than this say little.
_FEWEST_FOR_OUTLIERS = 8


@dataclass(frozen=True)
class ReportSample:
    """A sample as the report tells of it.

    Parameters
    ----------
    record : SampleRecord
        Its row of the manifest, regions and changes.
    files : SampleFiles
        The row itself.
    modality, scanner : str
        As in its folder.
    label_voxels : mapping of int to int, or None
        Voxels of each label; None where they were not counted.
    repair_norm : float or None
        Where the mask's affine was repaired, the Frobenius norm of its difference.
    n_pictures : int
        Slices that are shown.
    """

    record: SampleRecord
    files: SampleFiles
    modality: str
    scanner: str
    label_voxels: Mapping[int, int] | None
    repair_norm: float | None
    n_pictures: int


def make_content(
    program: str,
    root: str,
    dataset: DatasetDefinition,
    samples: Sequence[ReportSample],
    issues: Sequence[Issue],
    label_map: LabelMap,
    exclusions: Exclusions,
    intensities: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return everything but pictures and times.

    Parameters
    ----------
    program, root : str
        Who made the report, and of which folder.
    dataset : DatasetDefinition
        What the folder is made of.
    samples : sequence of ReportSample
        By number.
    issues : sequence of Issue
        All of ROOT's.
    label_map : LabelMap
        Names of the labels.
    exclusions : Exclusions
        What denoising leaves as it was.
    intensities : iterable of mapping
        Rows of the worksheet ``Intensities`` of statistics.xlsx.
    """
    return {
        "program": program,
        "dataset": dataset.name,
        "root": root,
        "counts": _counts(samples, issues),
        "labels": [
            {"index": label, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
            for label, name in label_map.names().items()
            for colour in [label_colour(label)]
        ],
        "exclusions": _exclusions(exclusions, dataset),
        "samples": [_sample(sample) for sample in samples],
        "issues": [asdict(issue) for issue in issues],
        "intensities": [_intensity(row) for row in intensities],
        "outliers": find_outliers(samples),
    }


def _counts(samples: Sequence[ReportSample], issues: Sequence[Issue]) -> dict[str, Any]:
    severities = Counter(issue.severity for issue in issues)
    changed = [sample.record.n_changed for sample in samples if sample.record.n_changed]
    return {
        "samples": len(samples),
        "with_mask": sum(sample.files.labels_present is not None for sample in samples),
        "by_modality": dict(sorted(Counter(sample.modality for sample in samples).items())),
        "errors": severities["error"],
        "warnings": severities["warning"],
        "infos": severities["info"],
        "changed_samples": len(changed),
        "changed_voxels": sum(changed),
        "regions": _region_counts(samples),
    }


def _region_counts(samples: Iterable[ReportSample]) -> list[dict[str, Any]]:
    before: Counter[float] = Counter()
    after: Counter[float] = Counter()
    for sample in samples:
        before.update({at: len(regions) for at, regions in sample.record.before})
        after.update({at: len(regions) for at, regions in sample.record.after})
    return [
        {"threshold_mm3": at, "before": before[at], "after": after[at]}
        for at in sorted({*before, *after})
    ]


def _exclusions(exclusions: Exclusions, dataset: DatasetDefinition) -> list[dict[str, Any]]:
    by_sample = {"*": exclusions.everywhere} | {
        dataset.sample_id(number): labels for number, labels in sorted(exclusions.by_number.items())
    }
    return [
        {"sample": sample, "label": label}
        for sample, labels in by_sample.items()
        for label in ([None] if labels >= EVERY_LABEL else sorted(labels))
    ]


def _sample(sample: ReportSample) -> dict[str, Any]:
    files, record, voxels = sample.files, sample.record, sample.label_voxels
    voxel_mm3 = prod(files.spacing_mm)
    return {
        "id": files.sample_id,
        "subset": files.subset,
        "modality": sample.modality,
        "scanner": sample.scanner,
        "sex": files.metadata.sex,
        "age": files.metadata.age,
        "site": files.metadata.site,
        "manufacturer": files.metadata.manufacturer,
        "folder": f"grouped/{files.folder}",
        "shape": list(files.shape),
        "spacing_mm": [round(spacing, 6) for spacing in files.spacing_mm],
        "orientation": files.orientation_to,
        "labels": None if files.labels_present is None else list(files.labels_present),
        "changes": [list(change) for change in record.changes],
        "changed_voxels": record.n_changed,
        "changed_mm3": round(record.n_changed * voxel_mm3, 3),
        "regions_before": _regions_by_label(record.before),
        "regions_after": _regions_by_label(record.after),
        "volumes_cm3": None
        if voxels is None
        else {str(label): round(_cm3(n, files), 4) for label, n in sorted(voxels.items())},
        "repair_norm": sample.repair_norm,
        "n_pictures": sample.n_pictures,
    }


def _cm3(n_voxels: int, files: SampleFiles) -> float:
    return n_voxels * prod(files.spacing_mm) / _MM3_IN_CM3


def _regions_by_label(found: Regions) -> list[list[int]]:
    """Return label and number of small regions, at the first threshold."""
    regions = found[0][1] if found else ()
    return [[label, n] for label, n in sorted(Counter(r.label for r in regions).items())]


def _intensity(row: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: row[name] for name in ("min", "median", "mean", "std", "max")}
    return {
        "modality": row["modality"],
        "label": int(row["label_index"]),
        "name": row["label_name"],
        "p0_5": float(row["p0.5"]),
        "p99_5": float(row["p99.5"]),
        **{name: float(value) for name, value in values.items()},
    }


def find_outliers(samples: Sequence[ReportSample]) -> list[dict[str, Any]]:
    """Return organ volumes outside Tukey's fences of their modality, farthest first.

    The fences lie 1.5 interquartile ranges below the first and above the third quartile (J. W.
    Tukey, Exploratory Data Analysis, 1977) of the samples that have the organ, at least eight.
    """
    volumes: dict[tuple[str, int], list[tuple[str, float]]] = {}
    for sample in samples:
        for label, n_voxels in (sample.label_voxels or {}).items():
            if label and n_voxels:
                found = (sample.files.sample_id, _cm3(n_voxels, sample.files))
                volumes.setdefault((sample.modality, label), []).append(found)
    outliers = []
    for (modality, label), having in volumes.items():
        if len(having) < _FEWEST_FOR_OUTLIERS:
            continue
        first, third = np.percentile([volume for _, volume in having], (25, 75))
        low, high = (
            float(first - _FENCE * (third - first)),
            float(third + _FENCE * (third - first)),
        )
        for name, volume in having:
            distance = max(low - volume, volume - high) / max(float(third - first), 1e-9)
            if distance > 0:
                told = (name, label, modality, *(round(v, 4) for v in (volume, max(low, 0), high)))
                outliers.append((distance, told))
    keys = ("sample", "label", "modality", "volume_cm3", "low_cm3", "high_cm3")
    outliers.sort(key=lambda found: (-found[0], found[1]))
    return [dict(zip(keys, told, strict=True)) for _, told in outliers]


def make_times(by_sample: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return how long stages and samples took, given sample -> stage -> seconds."""
    by_stage: dict[str, list[float]] = {}
    for stages in by_sample.values():
        for stage, seconds in stages.items():
            by_stage.setdefault(stage, []).append(seconds)
    totals = {name: round(sum(stages.values()), 4) for name, stages in by_sample.items()}
    return {
        "stages": [
            {
                "name": stage,
                "total_s": round(sum(seconds), 3),
                "median_s": round(median(seconds), 4),
                "max_s": round(max(seconds), 4),
            }
            for stage, seconds in by_stage.items()
        ],
        "samples": [list(item) for item in sorted(totals.items(), key=lambda item: -item[1])],
    }
