"""Receipts: what each finished sample contributed, kept so that manifests cover all of ROOT_DIR."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amos_dask.issues import Issue
from amos_dask.records import (
    Metadata,
    Params,
    Region,
    SampleFiles,
    SampleRecord,
    SampleRegions,
    Step,
    StepIssue,
)
from amos_dask.store.identity import identity
from amos_dask.store.layout import SampleFolder
from amos_dask.store.staging import write_text

_FORMAT = 1


@dataclass(frozen=True)
class Receipts:
    """The folder of receipts, one JSON file for each sample.

    A receipt holds what the sample contributes to the tables, the parameters it was made with,
    and the identity of every file, so that it never speaks for files that have changed since.

    Parameters
    ----------
    folder : Path
        ``.amos-dask/receipts`` under ROOT_DIR.
    """

    folder: Path

    def write(self, record: SampleRecord, params: Params, files: SampleFolder) -> None:
        """Keep a finished sample's record."""
        content = {
            "format": _FORMAT,
            "made_with": _made_with(params),
            "outputs": _identities(files),
            "record": asdict(record),
        }
        write_text(self._path(record.sample_id), json.dumps(content, ensure_ascii=False))

    def read(self, params: Params, files: SampleFolder) -> SampleRecord | None:
        """Return a sample's record if its files and the parameters are those of the receipt."""
        try:
            content = json.loads(self._path(files.sample_id).read_text(encoding="utf-8"))
            if content["format"] != _FORMAT or content["made_with"] != _made_with(params):
                return None
            record = _record(content["record"])
            is_current = content["outputs"] == _identities(files)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        thresholds = {threshold for threshold, _ in record.before}
        is_complete = not record.before or thresholds.issuperset(params.region_volume_thresh)
        return record if is_current and is_complete else None

    def forget(self, sample_id: str) -> None:
        """Remove a sample's receipt."""
        self._path(sample_id).unlink(missing_ok=True)

    def _path(self, sample_id: str) -> Path:
        return self.folder / f"{sample_id}.json"


def _made_with(params: Params) -> list[Any]:
    """Return the parameters that all of a record depends on, as JSON restores them."""
    denoise = params.denoise
    return [
        [list(entry) for entry in params.label_map.entries],
        [*denoise.kernel_size, denoise.filter_halfedge, float(denoise.region_area_thresh)],
    ]


def _identities(files: SampleFolder) -> dict[str, str]:
    """Return size and checksum of each file of a sample folder."""
    paths = sorted(files.path.glob(f"{files.sample_id}_*"))
    return {path.name: identity(path) for path in paths}


def _record(content: dict[str, Any]) -> SampleRecord:
    return SampleRecord(
        sample_id=content["sample_id"],
        files=_files(content["files"]) if content["files"] else None,
        before=_regions(content["before"]),
        after=_regions(content["after"]),
        n_changed=content["n_changed"],
        issues=tuple(StepIssue(Step(i["step"]), Issue(**i["issue"])) for i in content["issues"]),
    )


def _files(content: dict[str, Any]) -> SampleFiles:
    labels = content["labels_present"]
    return SampleFiles(
        **{
            **content,
            "metadata": Metadata(**content["metadata"]),
            "labels_present": None if labels is None else tuple(labels),
            "binary_labels": tuple(content["binary_labels"]),
            "shape": tuple(content["shape"]),
            "spacing_mm": tuple(content["spacing_mm"]),
        }
    )


def _regions(content: list[Any]) -> tuple[tuple[float, SampleRegions], ...]:
    return tuple(
        (
            threshold,
            SampleRegions(found["sample_id"], tuple(Region(**r) for r in found["regions"])),
        )
        for threshold, found in content
    )
