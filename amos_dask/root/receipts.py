"""Receipts: what a finished sample was made from, its files, and what it adds to the tables.

Files of ROOT_DIR and of the archive are known again by their identities.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from amos_dask.archive.sources import read_gzip_identity
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef, TarMember, is_url
from amos_dask.records import HeaderCheck, SampleRecord, by_number
from amos_dask.root.kept import KeptFiles, ToKeep
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.staging import Staging, identity, write_text

# Identity of what files of the archive make when of one nothing can be told: it is a changed one.
UNKNOWN = "unknown"
_FORMAT = 4
# Binary masks are made of the mask.
_NO_OTHER_SOURCE = re.compile(r"_(?:volume|volume_\d\d_[^/]+|mask)\.nii\.gz")
_CHECKSUM = re.compile(r"[0-9a-f]{8,}")
# Between the identities of a pair; what a server says of a file may hold a plus as well.
_PLUS = re.compile(r"\+(?=\d+-)")


class Output(StrEnum):
    """What of a sample can be made one without the other."""

    VOLUME = "volume"  # and the info file
    MASKS = "masks"  # multi-label and binary, regions, what undoes denoising


EVERY_OUTPUT = frozenset(Output)


class Edit(StrEnum):
    """What of a sample was corrected by hand, and is kept as it is."""

    MASK = "mask"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Origin:
    """What a sample is made from."""

    # Subset, modality, scanner and the metadata row: they decide the folder and the info file.
    row: tuple[str, ...] = ()
    # Identity of the archive's volume and mask; None where there is none.
    inputs: Mapping[Output, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What is known of a finished sample."""

    origin: Origin  # what it was made from
    # Parameters and versions that an output depends on; None where single steps made it.
    made_with: Mapping[Output, Any]
    outputs: Mapping[Output, Mapping[str, str]]  # path relative to ROOT_DIR -> identity
    record: SampleRecord  # what it adds to the tables
    headers: HeaderCheck | None = None  # what the headers of the archive's files said
    # Wall time by what was done, of the last time the sample was made as a whole.
    seconds: Mapping[str, float] = field(default_factory=dict)
    edited: tuple[Edit, ...] = ()  # what was corrected by hand

    @property
    def digest(self) -> str:
        """Checksum of what the sample adds to the tables, and of what it was made from and how."""
        told = (_ORIGIN.dump_json(self.origin), json.dumps(self.made_with, sort_keys=True).encode())
        return hashlib.sha256(b"".join((*told, _RECORD.dump_json(self.record)))).hexdigest()

    @property
    def is_made_from_archive(self) -> bool:
        """Whether there is an output of a file of the archive."""
        return any(files and self.origin.inputs[output] for output, files in self.outputs.items())

    def compare_inputs(self, origin: Origin) -> list[bool]:
        """Return of each file of the archive that outputs were made from whether it is the same.

        Of those that are there, as far as size and checksum tell.
        """
        same = []
        for output, files in self.outputs.items():
            now, then = (split_identities(of.inputs[output]) for of in (origin, self.origin))
            if files:
                same += [may_be_same(now[name], then[name]) for name in now if name in then]
        return same

    def has_no_other_source(self, path: Path) -> bool:
        """Return whether a file is a volume, a mask, or an info file that was edited by hand."""
        is_edited = Edit.INFO in self.edited and path.name.endswith("_info.yaml")
        what = path.name.removeprefix(self.record.sample_id)
        return is_edited or _NO_OTHER_SOURCE.fullmatch(what) is not None

    def identities(self) -> dict[str, str]:
        """Return path relative to ROOT_DIR -> identity, of all outputs."""
        return {path: known for files in self.outputs.values() for path, known in files.items()}


_RECEIPT, _RECORD = TypeAdapter(Receipt), TypeAdapter(SampleRecord)
_ORIGIN = TypeAdapter(Origin)


@dataclass(frozen=True)
class Receipts:
    """The receipts of a ROOT_DIR, one JSON file for each sample, written last."""

    layout: Layout

    def write(self, receipt: Receipt) -> None:
        """Keep a finished sample's receipt."""
        content = {"format": _FORMAT, **_RECEIPT.dump_python(receipt, mode="json")}
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        write_text(self.path_for(receipt.record.sample_id), text)

    def read(self, sample_id: str) -> Receipt | None:
        """Return a sample's receipt; None where there is none or it cannot be understood."""
        try:
            content = json.loads(self.path_for(sample_id).read_bytes())
            content = _UPGRADES[content.pop("format")](content)
            receipt = _RECEIPT.validate_python(content)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        told = (receipt.origin.inputs, receipt.made_with, receipt.outputs)
        return receipt if all(of.keys() == EVERY_OUTPUT for of in told) else None

    def read_for(self, folder: SampleFolder) -> Receipt | None:
        """Return the receipt that speaks for a folder; None where it speaks for another one."""
        receipt = self.read(folder.sample_id)
        if receipt is None or receipt.record.files is None:
            return None
        is_here = self.layout.folder_of(receipt.record.files).path == folder.path
        return receipt if is_here else None

    def sample_ids(self) -> list[str]:
        """Return the samples that have a receipt, be it usable or not."""
        dataset = self.layout.dataset
        start = f"{dataset.prefix}_"
        seqs = (p.stem.removeprefix(start) for p in self.layout.receipts.glob(f"{start}*.json"))
        names = ((dataset.sample_id(seq), seq) for seq in seqs)
        return sorted((name for name, seq in names if dataset.find_seq(name) == seq), key=by_number)

    def keep_headers(self, headers: HeaderCheck) -> None:
        """Add what headers say to the receipt of a sample that is complete."""
        receipt = self.read(headers.sample_id)
        if receipt is not None:
            self.write(replace(receipt, headers=headers))

    def keep_of_volume(self, folder: SampleFolder, arrays: ToKeep) -> None:
        """Keep what was found by looking at a sample's volume under its mask.

        A receipt that speaks for the masks as they are does so afterwards.
        """
        kept, receipt = KeptFiles(self.layout.restore), self.read_for(folder)
        is_intact = receipt is not None and Output.MASKS not in self.find_altered(receipt)
        with Staging() as staging:
            path = kept.add(staging, folder.sample_id, folder.mask, folder.volumes, arrays)
            staging.publish()
        if receipt is not None and is_intact:
            masks = {**receipt.outputs[Output.MASKS], **self.identities(path)}
            self.write(replace(receipt, outputs={**receipt.outputs, Output.MASKS: masks}))

    def forget(self, sample_id: str) -> None:
        """Remove a sample's receipt."""
        self.path_for(sample_id).unlink(missing_ok=True)

    def path_for(self, sample_id: str) -> Path:
        """Return where a sample's receipt is kept."""
        return self.layout.receipts / f"{sample_id}.json"

    def identities(
        self, *paths: Path, published: Mapping[Path, str] = MappingProxyType({})
    ) -> dict[str, str]:
        """Return path relative to ROOT_DIR -> identity of files, some just ``published``."""
        told = (published.get(path) or identity(path) for path in paths)
        return dict(zip(self.layout.keys(paths), told, strict=True))

    def find_altered(self, receipt: Receipt) -> frozenset[Output]:
        """Return the outputs of which a file is missing or is another."""
        return frozenset(output for output, files in self.altered_files(receipt).items() if files)

    def altered_files(self, receipt: Receipt) -> dict[Output, list[AlteredFile]]:
        """Return for each output the files that are missing or are others."""
        root = self.layout.root
        return {output: find_altered(root, files) for output, files in receipt.outputs.items()}

    def leave_out_copies(self, folders: Iterable[SampleFolder]) -> list[SampleFolder]:
        """Return the folders but those that copy, under another name or place, what is listed."""
        found = list(folders)
        count = Counter(folder.sample_id for folder in found)
        several = (folder for folder in found if count[folder.sample_id] > 1)
        ours = {folder.sample_id: folder.path for folder in several if self.read_for(folder)}
        return [f for f in found if ours.get(f.sample_id, f.path) == f.path]


def _from_format_3(content: dict[str, Any]) -> dict[str, Any]:
    """Return a receipt of version 0.1.0 in today's form."""
    row, inputs, record = (content.pop(name) for name in ("row", "inputs", "record"))
    issues = [{"step": issue.pop("step"), "issue": issue} for issue in record["issues"]]
    origin = {"row": row, "inputs": inputs}
    return {**content, "origin": origin, "record": {**record, "issues": issues}}


_UPGRADES = {_FORMAT: lambda content: content, 3: _from_format_3}


class Change(StrEnum):
    """What became of a file that was written."""

    GONE = "gone"
    OTHER = "other"  # its content, as far as it can be read
    EXTRA = "extra"  # it was not written


@dataclass(frozen=True, slots=True)
class AlteredFile:
    """A file that is not as it was written, and what became of it; the message is for people."""

    path: str  # POSIX, relative to ROOT_DIR
    change: Change
    message: str  # without the file's name


def find_altered(root: Path, known: Mapping[str, str]) -> list[AlteredFile]:
    """Return the files of ROOT_DIR that are not as they were written: path -> identity then."""
    altered = []
    for path, then in known.items():
        change = Change.OTHER
        try:
            now = identity(root / path)
            if now == then:
                continue
            n_bytes, n_written = now.partition("-")[0], then.partition("-")[0]
            message = "has another checksum than when it was written"
            if n_bytes != n_written:
                message = f"has {n_bytes} bytes, was written with {n_written}"
        except (FileNotFoundError, NotADirectoryError):
            change, message = Change.GONE, "is gone"
        except (OSError, InaccessibleFileError) as error:
            message = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        altered.append(AlteredFile(path, change, message))
    return altered


def input_identity(ref: FileRef) -> str | None:
    """Return what identifies a file of the archive.

    The zip's directory or the server tells it without opening the file; of a gzip file in a folder
    or tar the header and the last eight bytes are read, where those tell all of it. A file that is
    not packed carries no checksum, and reading all of an archive takes minutes: it is the same as
    long as it, or the tar that holds it, has the same time. Both identities of a pair are joined by
    ``+``. None where nothing can be told: then the file counts as changed.
    """
    if ref.pair is not None:
        both = [input_identity(replace(ref, pair=None)), input_identity(ref.pair)]
        return None if None in both else "+".join(map(str, both))
    if ref.crc32 is not None:
        return f"{ref.size}-{ref.crc32:08x}"
    if ref.etag is not None:
        return f"{ref.size}-{ref.etag}"
    if is_url(ref.location) and ref.member is None:
        return None
    try:
        return read_gzip_identity(ref) if ref.is_gzip else _time_identity(ref)
    except (OSError, InaccessibleFileError, UnreadableImageError):
        return None


def identify_files(files: Mapping[str, FileRef | None]) -> str | None:
    """Return what identifies all files of an input: channels, or masks of labels.

    They are given by the name of the channel or label, empty of a file that holds all, whose
    identity it then is. None without any; `UNKNOWN` where nothing can be told of one.
    """
    known = {name: input_identity(ref) for name, ref in files.items() if ref is not None}
    if None in known.values():
        return UNKNOWN
    return (
        "\n".join(f"{name}\t{told}" if name else str(told) for name, told in known.items()) or None
    )


def split_identities(told: str | None) -> dict[str, str]:
    """Return the mapping that was joined by `identify_files`."""
    each = (line.rpartition("\t") for line in (told or "").splitlines())
    return {name: known for name, _, known in each}


def _time_identity(ref: FileRef) -> str | None:
    path = Path(ref.location)
    if is_url(ref.location) or not path.is_file():  # no pipe
        return None
    place = f"@{ref.member.offset}" if isinstance(ref.member, TarMember) else ""
    status = path.stat()
    return f"{ref.size if place else status.st_size}-t{status.st_mtime_ns}{place}"


def may_be_same(now: str, then: str) -> bool:
    """Return whether two identities may be of one file of an archive, or of one pair.

    Checksums of one kind are compared; of a zip against a folder or a server, sizes are, and of a
    file that is not packed. What is not known may be anything.
    """
    for one, other in zip(_PLUS.split(now), _PLUS.split(then), strict=False):
        (size, _, told), (other_size, _, other_told) = one.partition("-"), other.partition("-")
        are_checksums = all(map(_CHECKSUM.fullmatch, (told, other_told)))
        is_one_kind = are_checksums and len(told) == len(other_told)
        is_other = size != other_size or (is_one_kind and told != other_told)
        if told and other_told and is_other:
            return False
    return True
