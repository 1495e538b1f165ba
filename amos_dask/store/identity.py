"""What identifies a file's content without reading all of it."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

from amos_dask.archive.sources import is_url
from amos_dask.records import FileRef

_TRAILER_BYTES = 8


def gzip_trailer(path: Path) -> str:
    """Return the last eight bytes of a gzip file, its content's checksum and length, as hex."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - _TRAILER_BYTES))
        return file.read().hex()


def identity(path: Path) -> str:
    """Return size and checksum of a file; of a gzip file without reading its content."""
    is_gzip = path.suffix == ".gz"
    checksum = gzip_trailer(path) if is_gzip else f"{zlib.crc32(path.read_bytes()):08x}"
    return f"{path.stat().st_size}-{checksum}"


def input_identity(ref: FileRef) -> str | None:
    """Return what identifies a file of the archive.

    The zip's directory or the server tells it without opening the file; of a gzip file in a folder
    the last eight bytes are read. None where nothing can be told: then the file counts as changed.
    """
    if ref.crc32 is not None:
        return f"{ref.size}-{ref.crc32:08x}"
    if ref.etag is not None:
        return f"{ref.size}-{ref.etag}"
    if is_url(ref.location):
        return None
    try:
        return identity(Path(ref.location))
    except OSError:
        return None
