"""What the ends of a file tell without unpacking it: its place in the zip, its gzip trailer."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass
from typing import BinaryIO

from amos_dask.archive.sources import open_location
from amos_dask.errors import InaccessibleFileError
from amos_dask.records import FileRef, ZipMember

_LOCAL_HEADER = struct.Struct("<4s2xHH4xLLLHH")
_SIGNATURE = b"PK\x03\x04"
_SIZES_FOLLOW = 0x8  # behind the data; in front of it are zeros
_IN_EXTRA_FIELD = 0xFFFFFFFF
_LENGTH_BYTES = 4
_MODULUS = 1 << 32  # of the length in a gzip trailer


@dataclass(frozen=True, slots=True)
class Ends:
    """What was found at the ends of a file.

    Parameters
    ----------
    zip_fault : str
        What is wrong with its place in the zip; empty when nothing is, and outside zips.
    length : int or None
        What its last four bytes say, in gzip the unpacked length modulo 2**32. None where they
        cannot be had without unpacking all that is before them.
    """

    zip_fault: str = ""
    length: int | None = None

    def agree_with(self, n_bytes: int) -> bool:
        """Return whether a gzip file that unpacks to so many bytes may end like this.

        Files that end in another way may be sound too: several gzip members, padding, bytes after
        the image. Only unpacking tells those from a damaged file. Where nothing can be told, that
        is taken for good.
        """
        return self.length is None or self.length == n_bytes % _MODULUS


def is_packed(ref: FileRef) -> bool:
    """Return whether a zip has compressed a file: its end is had by unpacking all of it."""
    return ref.member is not None and ref.member.method != zipfile.ZIP_STORED


def read_ends(ref: FileRef) -> Ends:
    """Look at the ends of a file, and at what a zip says just before it.

    Raises
    ------
    InaccessibleFileError
        When the file cannot be read.
    """
    try:
        with open_location(ref.location) as file:
            if ref.member is not None:
                return _member_ends(file, ref, ref.member)
            return Ends(length=_last_number(file, file.seek(0, io.SEEK_END)))
    except ValueError:  # a server that sends files from the beginning only
        return Ends()
    except OSError as error:
        raise InaccessibleFileError(f"cannot be read ({error.strerror or error})") from error


def _member_ends(file: BinaryIO, ref: FileRef, member: ZipMember) -> Ends:
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_SIGNATURE):
        return Ends("the zip is damaged where this file should begin")
    _, flags, method, crc32, n_packed, n_bytes, n_name, n_extra = _LOCAL_HEADER.unpack(header)
    # Names beyond ASCII are encoded in several ways, and shown otherwise than they are.
    is_same_name = file.read(n_name) == ref.path.encode() or not ref.path.isascii()
    is_told_later = bool(flags & _SIZES_FOLLOW)
    agreements = {
        "name": is_same_name,
        "method": method == member.method,
        "checksum": is_told_later or crc32 == ref.crc32,
        "packed size": is_told_later or n_packed in (member.compressed_size, _IN_EXTRA_FIELD),
        "size": is_told_later or n_bytes in (ref.size, _IN_EXTRA_FIELD),
    }
    wrong = ", ".join(what for what, agrees in agreements.items() if not agrees)
    if wrong:
        return Ends(f"the zip's directory and the file's own entry differ in {wrong}")
    start = member.header_offset + _LOCAL_HEADER.size + n_name + n_extra
    length = _last_number(file, start + member.compressed_size)
    if length is None:
        return Ends("the zip ends before this file does")
    return Ends(length=None if is_packed(ref) else length)


def _last_number(file: BinaryIO, end: int) -> int | None:
    """Return the four bytes before a place as a number; None where they are not there."""
    file.seek(max(0, end - _LENGTH_BYTES))
    content = file.read(_LENGTH_BYTES)
    return int.from_bytes(content, "little") if len(content) == _LENGTH_BYTES else None
