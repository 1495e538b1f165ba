"""What identifies a file's content without reading all of it."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from amos_dask.archive.listing import file_ref
from amos_dask.archive.locations import is_url
from amos_dask.archive.sources import read_gzip_identity
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef, TarMember

_TRAILER_BYTES = 8
_LINK = "-> "
_CHECKSUM = re.compile(r"[0-9a-f]{8,}")
# Between the identities of a pair; what a server says of a file may hold a plus as well.
_PLUS = re.compile(r"\+(?=\d+-)")


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


def gzip_trailer(path: Path) -> str:
    """Return the last eight bytes of a gzip file, its content's checksum and length, as hex."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _TRAILER_BYTES))
        return file.read().hex()


def identity(path: Path, name: str = "") -> str:
    """Return size and checksum of a file; of most gzip files without reading their content.

    A file under a temporary name is given the name that it is going to have.
    """
    is_gzip = (name or path.name).endswith(".gz")
    checksum = gzip_trailer(path) if is_gzip else f"{zlib.crc32(path.read_bytes()):08x}"
    n_bytes = path.stat().st_size
    if is_gzip and int.from_bytes(bytes.fromhex(checksum)[4:], "little") < n_bytes:
        # Packing makes hardly anything longer: this may be the end of the last of several members.
        return read_gzip_identity(file_ref(path, path.name))
    return f"{n_bytes}-{checksum}"


def link_identity(target: Path) -> str:
    """Return the identity of a link to a path."""
    return f"{_LINK}{target}"


def is_link_identity(told: str) -> bool:
    """Return whether an identity is that of a link."""
    return told.startswith(_LINK)


def look_at(path: Path) -> str:
    """Return the identity of what has a name: a file, or a link that is not followed."""
    return link_identity(path.readlink()) if path.is_symlink() else identity(path)


def find_altered(root: Path, known: Mapping[str, str]) -> list[AlteredFile]:
    """Return the files of ROOT_DIR that are not as they were written: path -> identity then."""
    altered = []
    for path, then in known.items():
        change = Change.OTHER
        try:
            now = identity(root / path)
            if now == then:
                continue
            n_bytes, n_written = now.partition("-")[0], str(then).partition("-")[0]
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


def join_identities(files: Mapping[str, str]) -> str | None:
    """Return what identifies all files of an input: channels, or masks of labels.

    They are given by the name of the channel or label, empty of a file that holds all, whose
    identity it then is. None without any.
    """
    each = (f"{name}\t{known}" if name else known for name, known in files.items())
    return "\n".join(each) or None


def split_identities(told: str | None) -> dict[str, str]:
    """Return the mapping that was joined by `join_identities`."""
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
