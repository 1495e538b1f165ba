"""The form of a zip: its directory, what stands in front of each member, and how that is packed."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from isal import isal_zlib

from amos_dask.archive.locations import shown
from amos_dask.archive.recognise import describe_part
from amos_dask.archive.unpacking import LARGEST_RATIO, inflate
from amos_dask.errors import ArchiveError, UnreadableImageError
from amos_dask.file_refs import FileRef, ZipMember

_END = struct.Struct("<4sHHHHLLH")
_END_SIGNATURE = b"PK\x05\x06"
_LARGEST_COMMENT = 0xFFFF
_IN_ZIP64_RECORD = 0xFFFF
_LOCAL_HEADER = struct.Struct("<4s2xHH4xLLLHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_SIZES_FOLLOW = 0x8  # behind the data; in front of it are zeros
_IN_EXTRA_FIELD = 0xFFFFFFFF


def list_zip(file: BinaryIO, location: str) -> list[FileRef]:
    r"""Return the files of a zip; ``\`` in their names, which some programs write, is ``/``.

    Raises `ArchiveError` when it is one part of a zip, and as zipfile does.
    """
    if _is_part(file):
        raise ArchiveError(f"{shown(location)}: {describe_part()}.")
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    refs = (
        FileRef(
            path=entry.filename.replace("\\", "/"),
            location=location,
            size=entry.file_size,
            crc32=entry.CRC,
            member=ZipMember(
                entry.header_offset, entry.compress_size, entry.compress_type, entry.flag_bits
            ),
        )
        for entry in entries
    )
    return [ref for ref in refs if not ref.path.endswith("/")]


def _is_part(file: BinaryIO) -> bool:
    """Return whether the end of a zip says that it is not the only part."""
    n_bytes = file.seek(0, 2)
    for n_tail in (_END.size, _END.size + _LARGEST_COMMENT):
        file.seek(max(0, n_bytes - n_tail))
        tail = file.read(n_tail)
        start = tail.rfind(_END_SIGNATURE)
        if 0 <= start <= len(tail) - _END.size:
            disk = _END.unpack_from(tail, start)[1]
            return disk not in (0, _IN_ZIP64_RECORD)
    return False


def find_start(file: BinaryIO, ref: FileRef, member: ZipMember) -> int:
    """Return where a member's packed bytes begin; `UnreadableImageError` where none can be had."""
    if member.flags & _ENCRYPTED:
        raise UnreadableImageError("encrypted in the zip")
    if ref.size > member.compressed_size * LARGEST_RATIO:
        raise UnreadableImageError(f"the zip claims {ref.size} bytes of it, more than it can hold")
    if member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableImageError(f"packed in the zip with unsupported method {member.method}")
    *_, n_name, n_extra = _read_local_header(file, member)
    return member.header_offset + _LOCAL_HEADER.size + n_name + n_extra


def _read_local_header(file: BinaryIO, member: ZipMember) -> tuple[int, ...]:
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_LOCAL_SIGNATURE):
        raise UnreadableImageError("the zip is damaged where this file should begin")
    return _LOCAL_HEADER.unpack(header)[1:]


def is_packed(ref: FileRef) -> bool:
    """Return whether a zip has compressed a file: its end is had by unpacking all of it."""
    return isinstance(ref.member, ZipMember) and ref.member.method != zipfile.ZIP_STORED


def unpack_member(blocks: Iterator[bytes], ref: FileRef) -> Iterator[bytes]:
    """Yield what a member's packed bytes hold; size and checksum are held against the directory."""
    n_bytes = found = 0
    for block in inflate(blocks) if is_packed(ref) else blocks:
        n_bytes += len(block)
        if n_bytes > ref.size:
            raise UnreadableImageError("is longer than the zip's directory tells")
        found = isal_zlib.crc32(block, found)
        yield block
    if (n_bytes, found) != (ref.size, ref.crc32):
        raise UnreadableImageError("does not have the checksum that the zip's directory tells")


def find_member_fault(file: BinaryIO, ref: FileRef, member: ZipMember) -> str:
    """Return in what a member's own entry differs from the directory's; empty where in nothing."""
    try:
        flags, method, crc32, n_packed, n_bytes, n_name, _ = _read_local_header(file, member)
    except UnreadableImageError as error:
        return str(error)
    # Names beyond ASCII are encoded in several ways, and shown otherwise than they are.
    name = file.read(n_name).replace(b"\\", b"/")
    is_told_later = bool(flags & _SIZES_FOLLOW)
    agreements = {
        "name": name == ref.path.encode() or not ref.path.isascii(),
        "method": method == member.method,
        "checksum": is_told_later or crc32 == ref.crc32,
        "packed size": is_told_later or n_packed in (member.compressed_size, _IN_EXTRA_FIELD),
        "size": is_told_later or n_bytes in (ref.size, _IN_EXTRA_FIELD),
    }
    wrong = ", ".join(what for what, agrees in agreements.items() if not agrees)
    return wrong and f"the zip's directory and the file's own entry differ in {wrong}"
