"""Receipts: what a finished sample was made from, its files, and what it adds to the tables."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from itertools import chain
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
from amos_dask.root.identity import AlteredFile, find_altered, identity
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.staging import remove_if_empty, write_text

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
        """Return the parts of which a file is missing or is another."""
        return frozenset(part for part, files in self.altered_files(receipt).items() if files)

    def altered_files(self, receipt: Receipt) -> dict[Part, list[AlteredFile]]:
        """Return for each part the files that are missing or are others."""
        root = self.layout.root
        return {part: find_altered(root, files) for part, files in receipt.outputs.items()}

    def remove_listed(self, sample_id: str, keep: Collection[Path]) -> None:
        """Remove what a sample's receipt lists under ``grouped``, except some files.

        Everything else is somebody's own, whatever it is called: no other file is removed, none
        is reached through a link, and a folder goes when nothing is left in it.
        """
        receipt = self.read(sample_id)
        listed = () if receipt is None else chain.from_iterable(receipt.outputs.values())
        for path in sorted(self.layout.root / name for name in listed):
            if path not in keep and self._is_reached_without_links(path):
                path.unlink(missing_ok=True)
                above = path.relative_to(self.layout.grouped).parents
                remove_if_empty(*(self.layout.grouped / folder for folder in above if folder.name))

    def leave_out_copies(self, folders: Iterable[SampleFolder]) -> list[SampleFolder]:
        """Return the folders but those that copy, under another name or place, what is listed."""
        found = list(folders)
        count = Counter(folder.sample_id for folder in found)
        copied = {name for name, n in count.items() if n > 1}
        ours = {name: self._listed_folder(name) for name in copied}
        ours = {name: path for name, path in ours.items() if path in {f.path for f in found}}
        return [f for f in found if ours.get(f.sample_id, f.path) == f.path]

    def _listed_folder(self, sample_id: str) -> Path | None:
        receipt = self.read(sample_id)
        files = None if receipt is None else receipt.record.files
        return None if files is None else self.layout.folder_of(files).path

    def _is_reached_without_links(self, path: Path) -> bool:
        """Return whether a file is one of ``grouped`` itself."""
        grouped = self.layout.grouped
        if not path.is_relative_to(grouped) or ".." in path.parts:
            return False
        above = path.relative_to(grouped).parents
        return not any((grouped / folder).is_symlink() for folder in above if folder.name)

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
