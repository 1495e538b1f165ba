"""Receipts: what each finished sample contributed, kept so that manifests cover all of ROOT_DIR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from amos_dask.issues import Issue
from amos_dask.records import (
    Metadata,
    Region,
    SampleFiles,
    SampleRecord,
    SampleRegions,
    Step,
    StepIssue,
)
from amos_dask.store.staging import write_text

_FORMAT = 1


@dataclass(frozen=True)
class Receipts:
    """The folder of receipts, one JSON file for each sample.

    Parameters
    ----------
    folder : Path
        ``.amos-dask/receipts`` under ROOT_DIR.
    """

    folder: Path

    def write(self, record: SampleRecord) -> None:
        """Keep a sample's record."""
        content = {"format": _FORMAT, **asdict(record)}
        write_text(self._path(record.sample_id), json.dumps(content, ensure_ascii=False))

    def read(self, sample_id: str) -> SampleRecord | None:
        """Return a sample's record, or None without a usable one."""
        try:
            content = json.loads(self._path(sample_id).read_text(encoding="utf-8"))
            return _record(content) if content["format"] == _FORMAT else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def sample_ids(self) -> Iterator[str]:
        """Yield the samples that have a receipt."""
        return (path.stem for path in sorted(self.folder.glob("amos_*.json")))

    def forget(self, sample_id: str) -> None:
        """Remove a sample's receipt."""
        self._path(sample_id).unlink(missing_ok=True)

    def _path(self, sample_id: str) -> Path:
        return self.folder / f"{sample_id}.json"


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
