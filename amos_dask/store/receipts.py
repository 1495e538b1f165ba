"""Receipts: what a finished sample was made from, its files, and what it adds to the tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from amos_dask.issues import Issue
from amos_dask.records import (
    LabelChange,
    Metadata,
    Region,
    SampleFiles,
    SampleRecord,
    SampleRegions,
    Step,
    StepIssue,
)
from amos_dask.store.identity import AlteredFile, Change, find_altered, identity
from amos_dask.store.layout import Layout
from amos_dask.store.staging import write_text

_FORMAT = 3


class Part(StrEnum):
    """The parts of a sample's output that can be made one without the other."""

    VOLUME = "volume"  # and the info file
    MASKS = "masks"  # multi-label and binary, regions, restore data


EVERY_PART = frozenset(Part)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a sample is made from.

    Parameters
    ----------
    row : tuple of str
        Subset, modality, scanner and the metadata row: they decide the folder and the info file.
    inputs : mapping of Part to str or None
        Identity of the archive's volume and mask; None where there is none.
    """

    row: tuple[str, ...]
    inputs: Mapping[Part, str | None]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of a finished sample.

    Parameters
    ----------
    origin : Origin
        What it was made from.
    made_with : mapping of Part to JSON value
        Parameters and versions that the part depends on.
    outputs : mapping of Part to mapping of str to str
        Path relative to ROOT_DIR -> identity of the file.
    record : SampleRecord
        What it adds to the tables.
    digest : str
        Checksum of the receipt as it lies on disk; empty before it is written.
    """

    origin: Origin
    made_with: Mapping[Part, Any]
    outputs: Mapping[Part, Mapping[str, str]]
    record: SampleRecord
    digest: str = field(default="", compare=False)


@dataclass(frozen=True)
class Receipts:
    """The receipts of a ROOT_DIR, one JSON file for each sample, written last.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    """

    layout: Layout

    def write(self, receipt: Receipt) -> str:
        """Keep a finished sample's receipt; return its digest."""
        text = json.dumps({"format": _FORMAT, **_to_json(receipt)}, ensure_ascii=False)
        write_text(self.path_for(receipt.record.sample_id), text)
        return _digest(text.encode())

    def read(self, sample_id: str) -> Receipt | None:
        """Return a sample's receipt; None where there is none or it cannot be understood."""
        try:
            data = self.path_for(sample_id).read_bytes()
            content = json.loads(data)
            if content["format"] != _FORMAT:
                return None
            return _from_json(content, _digest(data))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def sample_ids(self) -> list[str]:
        """Return the samples that have a receipt, be it usable or not."""
        start = f"{self.layout.dataset.prefix}_"
        found = (path.stem for path in self.layout.receipts.glob(f"{start}*.json"))
        return sorted(stem for stem in found if stem.removeprefix(start).isdecimal())

    def forget(self, sample_id: str) -> None:
        """Remove a sample's receipt."""
        self.path_for(sample_id).unlink(missing_ok=True)

    def identities(self, *paths: Path) -> dict[str, str]:
        """Return path relative to ROOT_DIR -> identity of files."""
        return {path.relative_to(self.layout.root).as_posix(): identity(path) for path in paths}

    def find_altered(self, receipt: Receipt) -> frozenset[Part]:
        """Return the parts of which a file is missing, is another, or is too many."""
        return frozenset(part for part, files in self.altered_files(receipt).items() if files)

    def altered_files(self, receipt: Receipt) -> dict[Part, list[AlteredFile]]:
        """Return for each part the files that are missing, are others, or are too many."""
        root = self.layout.root
        altered = {part: find_altered(root, files) for part, files in receipt.outputs.items()}
        known = receipt.outputs.get(Part.MASKS, {})
        paths = (path.relative_to(root).as_posix() for path in self._masks(receipt))
        altered.setdefault(Part.MASKS, []).extend(
            AlteredFile(path, Change.EXTRA, "a mask that was not written with the others")
            for path in paths
            if path not in known
        )
        return altered

    def _masks(self, receipt: Receipt) -> list[Path]:
        files = receipt.record.files
        if files is None:
            return []
        folder = self.layout.folder_of(files)
        try:
            return [*([folder.mask] if folder.mask.exists() else []), *folder.binary_masks()]
        except OSError:  # then none of the files that were written can be read either
            return []

    def path_for(self, sample_id: str) -> Path:
        """Return where a sample's receipt is kept."""
        return self.layout.receipts / f"{sample_id}.json"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _to_json(receipt: Receipt) -> dict[str, Any]:
    record = receipt.record
    return {
        "row": receipt.origin.row,
        "inputs": dict(receipt.origin.inputs),
        "made_with": dict(receipt.made_with),
        "outputs": {part: dict(files) for part, files in receipt.outputs.items()},
        "record": {
            "sample_id": record.sample_id,
            "files": None if record.files is None else asdict(record.files),
            "before": _regions_to_json(record.before),
            "after": _regions_to_json(record.after),
            "changes": record.changes,
            "issues": [{"step": found.step, **asdict(found.issue)} for found in record.issues],
        },
    }


def _from_json(content: dict[str, Any], digest: str) -> Receipt:
    record = content["record"]
    sample_id = record["sample_id"]
    return Receipt(
        origin=Origin(tuple(content["row"]), {part: content["inputs"][part] for part in Part}),
        made_with={part: content["made_with"][part] for part in Part},
        outputs={part: dict(content["outputs"][part]) for part in Part},
        record=SampleRecord(
            sample_id=sample_id,
            files=_files_from_json(record["files"]) if record["files"] else None,
            before=_regions_from_json(sample_id, record["before"]),
            after=_regions_from_json(sample_id, record["after"]),
            changes=tuple(LabelChange(*row) for row in record["changes"]),
            issues=tuple(StepIssue(Step(i.pop("step")), Issue(**i)) for i in record["issues"]),
        ),
        digest=digest,
    )


def _files_from_json(content: dict[str, Any]) -> SampleFiles:
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


def _regions_to_json(found: tuple[tuple[float, SampleRegions], ...]) -> list[Any]:
    return [
        [at, [(r.label, r.x, r.y, r.z, r.n_voxels, r.volume_mm3) for r in regions.regions]]
        for at, regions in found
    ]


def _regions_from_json(
    sample_id: str, content: list[Any]
) -> tuple[tuple[float, SampleRegions], ...]:
    return tuple(
        (at, SampleRegions(sample_id, tuple(Region(*row) for row in rows))) for at, rows in content
    )
