"""What the report tells, as JSON values made from the records."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import prod
from statistics import median
from typing import Any

import numpy as np

from amos_dask.file_refs import is_url
from amos_dask.issues import Issue
from amos_dask.labels import LabelMap, label_colour
from amos_dask.params import EVERY_LABEL, Exclusions
from amos_dask.records import Regions, SampleFiles, SampleRecord
from amos_dask.root.choices import read_remembered
from amos_dask.root.layout import Layout
from amos_dask.statistics.stats import Statistics
from amos_dask.version import __version__

_MM3_IN_CM3 = 1000.0
# Tukey's fences lie this many interquartile ranges outside the quartiles.
_FENCE = 1.5
# Quartiles of fewer samples than this say little.
_FEWEST_FOR_OUTLIERS = 8
_MOST_OVERLAPS = 20


@dataclass(frozen=True)
class Findings:
    """What the report tells of."""

    records: Sequence[SampleRecord]  # of all organised samples, by number
    label_map: LabelMap
    exclusions: Exclusions
    statistics: Statistics | None  # where voxels were counted
    n_pictures: Mapping[str, int]  # sample -> slices that are shown, in the order of the page
    issues: Sequence[Issue]  # all of ROOT's
    # Sample -> Frobenius norm of the difference of its mask's affine, where it was repaired.
    repair_norms: Mapping[str, float]

    @property
    def files(self) -> dict[str, SampleFiles]:
        """Sample -> its row of the dataset manifest."""
        return {r.sample_id: r.files for r in self.records if r.files is not None}


def make_content(layout: Layout, findings: Findings) -> dict[str, Any]:
    """Return everything but pictures and times.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    findings : Findings
        What is told of it.
    """
    volumes = _volumes_cm3(findings)
    samples = [
        {
            **_sample(record, record.files),
            "modality": layout.modality_of(record.files.folder) or "und",
            **_file_names(layout, record.files),
            "volumes_cm3": _rounded(volumes.get(record.sample_id)),
            "repair_norm": findings.repair_norms.get(record.sample_id),
            "n_pictures": findings.n_pictures.get(record.sample_id, 0),
        }
        for record in findings.records
        if record.files is not None
    ]
    modalities = {sample["id"]: sample["modality"] for sample in samples}
    dataset, label_map = layout.dataset, findings.label_map
    channels = dict(enumerate(dataset.channel_names))
    return {
        "program": f"amos-dask {__version__}",
        **_made_from(layout),
        "dataset": dataset.name,
        "about": {"licence": dataset.licence, "cite": dataset.cite, "url": dataset.url},
        "root": layout.root.name,
        "counts": {**_counts(samples, findings.issues), "regions": _region_counts(findings)},
        "labels": [
            {"index": label, "name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour)}
            for label, name in label_map.entries
            for colour in [label_colour(label)]
        ],
        "not_denoised": [n for n in label_map if n in findings.exclusions.of_dataset and n],
        "exclusions": _exclusions(findings.exclusions),
        "reviews": read_reviews(findings.exclusions.text),
        "pictured_channel": channels.get(dataset.pictured_channel, ""),
        "samples": samples,
        "issues": [asdict(issue) for issue in findings.issues],
        "intensities": _intensities(findings.statistics),
        "outliers": find_outliers(modalities, volumes),
        "overlaps": find_overlaps(findings.records),
    }


def _made_from(layout: Layout) -> dict[str, Any]:
    """Return the archive and the parameters of denoising, as far as ROOT_DIR remembers them.

    A place outside ROOT_DIR is told by its last name: the page is sent to others, and is the same
    wherever an archive of this name lies.
    """
    before = read_remembered(layout)
    return {
        "archive": [
            place if is_url(place) else layout.shown(layout.root / place)
            for place in before.archives
        ],
        "denoising": None if before.denoise is None else asdict(before.denoise),
    }


def _file_names(layout: Layout, files: SampleFiles) -> dict[str, Any]:
    """Return the names of the scan that pictures show, and of the mask where there is one."""
    folder = layout.folder_of(files)
    volume = folder.volumes[min(layout.dataset.pictured_channel, len(folder.volumes) - 1)]
    has_mask = files.labels_present is not None
    return {"volume": volume.name, "mask": folder.mask.name if has_mask else None}


def _volumes_cm3(findings: Findings) -> dict[str, dict[int, float]]:
    """Return sample -> label -> volume in cm3 of samples whose voxels were counted."""
    counted = {} if findings.statistics is None else findings.statistics.label_voxels
    return {
        sample_id: {label: n * prod(files.spacing_mm) / _MM3_IN_CM3 for label, n in found.items()}
        for sample_id, files in findings.files.items()
        if (found := counted.get(sample_id)) is not None
    }


def _counts(samples: Sequence[Mapping[str, Any]], issues: Sequence[Issue]) -> dict[str, Any]:
    severities = Counter(issue.severity for issue in issues)
    changed = [sample["changed_voxels"] for sample in samples if sample["changed_voxels"]]
    return {
        "samples": len(samples),
        "with_mask": sum(sample["labels"] is not None for sample in samples),
        "by_modality": dict(sorted(Counter(sample["modality"] for sample in samples).items())),
        "errors": severities["error"],
        "warnings": severities["warning"],
        "infos": severities["info"],
        "changed_samples": len(changed),
        "changed_voxels": sum(changed),
    }


def _region_counts(findings: Findings) -> list[dict[str, Any]]:
    before, after = Counter[float](), Counter[float]()
    for record in findings.records:
        if record.files is not None:
            before.update({at: len(regions) for at, regions in record.before})
            after.update({at: len(regions) for at, regions in record.after})
    return [
        {"threshold_mm3": at, "before": before[at], "after": after[at]}
        for at in sorted({*before, *after})
    ]


def _exclusions(exclusions: Exclusions) -> list[dict[str, Any]]:
    by_sample = {"*": exclusions.everywhere} | dict(sorted(exclusions.by_sample.items()))
    return [
        {"sample": sample, "label": label}
        for sample, labels in by_sample.items()
        for label in ([None] if labels >= EVERY_LABEL else sorted(labels))
    ]


def _sample(record: SampleRecord, files: SampleFiles) -> dict[str, Any]:
    return {
        "id": files.sample_id,
        "subset": files.subset,
        "scanner": files.folder.split("/")[2],
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
        "changed_mm3": round(record.n_changed * prod(files.spacing_mm), 3),
        "regions_before": _regions_by_label(record.before),
        "regions_after": _regions_by_label(record.after),
    }


def _rounded(volumes_cm3: Mapping[int, float] | None) -> dict[str, float] | None:
    if volumes_cm3 is None:
        return None
    return {str(label): round(volume, 4) for label, volume in sorted(volumes_cm3.items())}


def _regions_by_label(found: Regions) -> list[list[int]]:
    """Return label and number of small regions, at the first threshold."""
    regions = found[0][1] if found else ()
    return [[label, n] for label, n in sorted(Counter(r.label for r in regions).items())]


def _intensities(statistics: Statistics | None) -> list[dict[str, Any]]:
    """Return the rows of the worksheet of intensities that are of a modality as a whole."""
    rows = [] if statistics is None else statistics.sheets["Intensities"].to_dict("records")
    return [
        {
            "modality": row["modality"],
            "label": int(row["label_index"]),
            "name": row["label_name"],
            **({"channel": row["channel"]} if "channel" in row else {}),
            "p0_5": float(row["p0.5"]),
            "p99_5": float(row["p99.5"]),
            **{name: float(row[name]) for name in ("min", "median", "mean", "std", "max")},
        }
        for row in rows
        if row["grouped_by"] == "modality"
    ]


def find_outliers(
    modalities: Mapping[str, str], volumes_cm3: Mapping[str, Mapping[int, float]]
) -> list[dict[str, Any]]:
    """Return organ volumes outside Tukey's fences of their modality, farthest first.

    The fences lie 1.5 interquartile ranges below the first and above the third quartile (J. W.
    Tukey, Exploratory Data Analysis, 1977) of the samples that have the organ, at least eight.

    Parameters
    ----------
    modalities : mapping of str to str
        Sample -> modality.
    volumes_cm3 : mapping of str to mapping of int to float
        Sample -> label -> volume.
    """
    volumes: dict[tuple[str, int], list[tuple[str, float]]] = {}
    for sample_id, found in volumes_cm3.items():
        for label, volume in found.items():
            volumes.setdefault((modalities[sample_id], label), []).append((sample_id, volume))
    outliers = []
    for (modality, label), having in volumes.items():
        if len(having) < _FEWEST_FOR_OUTLIERS:
            continue
        first, third = np.percentile([volume for _, volume in having], (25, 75))
        reach = float(third - first)
        low, high = float(first) - _FENCE * reach, float(third) + _FENCE * reach
        for name, volume in having:
            distance = max(low - volume, volume - high) / max(reach, 1e-9)
            if distance > 0:
                told = (name, label, modality, *(round(v, 4) for v in (volume, max(low, 0), high)))
                outliers.append((distance, told))
    keys = ("sample", "label", "modality", "volume_cm3", "low_cm3", "high_cm3")
    outliers.sort(key=lambda found: (-found[0], found[1]))
    return [dict(zip(keys, told, strict=True)) for _, told in outliers]


def find_overlaps(records: Iterable[SampleRecord]) -> list[dict[str, Any]]:
    """Return the pairs of labels whose masks share most voxels, in all samples together.

    Parameters
    ----------
    records : iterable of SampleRecord
        All organised samples.
    """
    shared: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for record in records:
        voxel_mm3 = prod(record.files.spacing_mm) if record.files is not None else 0.0
        for label, other, n in record.overlaps:
            shared.setdefault((label, other), []).append((n, n * voxel_mm3))
    rows: list[dict[str, Any]] = [
        {
            "label": label,
            "other": other,
            "n_voxels": sum(n for n, _ in found),
            "mm3": round(sum(mm3 for _, mm3 in found), 3),
            "n_samples": len(found),
        }
        for (label, other), found in sorted(shared.items())
    ]
    return sorted(rows, key=lambda row: -row["n_voxels"])[:_MOST_OVERLAPS]


def make_times(by_sample: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return how long steps and samples took, given sample -> step -> seconds."""
    by_step: dict[str, list[float]] = {}
    for steps in by_sample.values():
        for step, seconds in steps.items():
            by_step.setdefault(step, []).append(seconds)
    totals = {name: round(sum(steps.values()), 4) for name, steps in by_sample.items()}
    return {
        "steps": [
            {
                "name": step,
                "total_s": round(sum(seconds), 3),
                "median_s": round(median(seconds), 4),
                "max_s": round(max(seconds), 4),
            }
            for step, seconds in by_step.items()
        ],
        "samples": [list(item) for item in sorted(totals.items(), key=lambda item: -item[1])],
    }


# ---------------------------------------------------------------- what reviewers said

# A comment to whoever reads exclusions. The page writes such lines: `assets/choices.js`.
_START = "# review:"
_VERDICTS = ("", "accepted", "seen")


def read_reviews(text: str) -> list[dict[str, Any]]:
    r"""Return what an exclusion file tells of reviews; other lines are left aside.

    A line is ``# review: amos_0004,accepted,1234,"a note"``: the sample, what was said of it, how
    many changed voxels it had then, and a note. Of several lines of a sample the last counts.

    Parameters
    ----------
    text : str
        The file, such as the page saves it.

    Returns
    -------
    list of dict
        By sample: ``sample``, ``verdict`` (``accepted``, ``seen`` or nothing), ``changed_voxels``
        and ``note``.

    Examples
    --------
    >>> read_reviews("sample,label\n# review: amos_0004,seen,12,small\n")
    [{'sample': 'amos_0004', 'verdict': 'seen', 'changed_voxels': 12, 'note': 'small'}]
    """
    found: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        if not line.startswith(_START):
            continue
        with suppress(ValueError, csv.Error):
            cells = next(csv.reader([line.removeprefix(_START).strip()], strict=True))
            sample, verdict, n_changed, note = cells
            if sample and verdict in _VERDICTS and n_changed.isascii() and n_changed.isdecimal():
                found[sample] = {
                    "sample": sample,
                    "verdict": verdict,
                    "changed_voxels": int(n_changed),
                    "note": note,
                }
    return [found[sample] for sample in sorted(found)]
