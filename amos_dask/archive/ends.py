"""What the ends of a file tell without unpacking it: its place in the zip, its gzip trailer."""

from __future__ import annotations

import hashlib
import io
import math
import struct
import zipfile
from dataclasses import dataclass
from typing import BinaryIO, cast

from isal import isal_zlib
from isal.igzip_lib import IsalError

from amos_dask.archive.sources import FIRST_BYTES, inaccessible, open_location, read_blocks
from amos_dask.records import FileRef, TarMember, ZipMember

_LOCAL_HEADER = struct.Struct("<4s2xHH4xLLLHH")
_SIGNATURE = b"PK\x03\x04"
_SIZES_FOLLOW = 0x8  # behind the data; in front of it are zeros
_IN_EXTRA_FIELD = 0xFFFFFFFF
_LENGTH_BYTES = 4
_TRAILER_BYTES = 8
_MODULUS = 1 << 32  # of the length in a gzip trailer
_GZIP = 31
# Of NIfTI-1, https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
_HEADER_BYTES, _DIM, _BITPIX, _VOX_OFFSET = 348, 40, 72, 108
_BYTE_ORDERS = {struct.pack(f"{order}i", _HEADER_BYTES): order for order in "<>"}


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
    return isinstance(ref.member, ZipMember) and ref.member.method != zipfile.ZIP_STORED


def read_ends(ref: FileRef) -> Ends:
    """Look at the ends of a file, and at what a zip says just before it.

    Raises
    ------
    InaccessibleFileError
        When the file cannot be read.
    """
    try:
        with open_location(ref.location) as file:
            if isinstance(ref.member, ZipMember):
                return _member_ends(file, ref, ref.member)
            return Ends(length=_last_number(file, _place(file, ref)[1]))
    except ValueError:  # a server that sends files from the beginning only
        return Ends()
    except OSError as error:
        raise inaccessible(ref, error) from error


def read_gzip_identity(ref: FileRef) -> str:
    """Return size and last bytes of a gzip file outside zips: checksum and length of its content.

    They are those of its last gzip member. Where that is not the whole of an image, as its header
    tells, a digest of the whole file is added; only then is all of it read.

    Raises
    ------
    InaccessibleFileError
        When the file cannot be read.
    UnreadableImageError
        When the tar does not hold it.
    """
    try:
        with open_location(ref.location) as file:
            start, end = _place(file, ref)
            file.seek(max(start, end - _TRAILER_BYTES))
            trailer = file.read(min(end - start, _TRAILER_BYTES))
            file.seek(start)
            head = file.read(min(end - start, FIRST_BYTES))
    except OSError as error:
        raise inaccessible(ref, error) from error
    told = f"{end - start}-{trailer.hex()}"
    if _told_length(head) == int.from_bytes(trailer[_LENGTH_BYTES:], "little"):
        return told
    # Not a CRC: what is followed by its own CRC, as in gzip, has the same one whatever it is.
    digest = hashlib.blake2b(digest_size=8)
    for block in read_blocks(ref):
        digest.update(block)
    return f"{told}-{digest.hexdigest()}"


def _place(file: BinaryIO, ref: FileRef) -> tuple[int, int]:
    """Return the first byte of a file that is not packed, and the one after its last."""
    if isinstance(ref.member, TarMember):
        return ref.member.offset, ref.member.offset + ref.size
    return 0, file.seek(0, io.SEEK_END)


def _told_length(head: bytes) -> int | None:
    """Return the length, modulo 2**32, of the image that begins so; None where it is none."""
    try:
        header: bytes = isal_zlib.decompressobj(wbits=_GZIP).decompress(head, _HEADER_BYTES)
    except cast(type[Exception], IsalError):
        return None
    order = _BYTE_ORDERS.get(header[:4])
    if order is None or len(header) < _HEADER_BYTES:
        return None
    n_axes, *sizes = struct.unpack_from(f"{order}8h", header, _DIM)
    n_bits: int = struct.unpack_from(f"{order}h", header, _BITPIX)[0]
    offset: float = struct.unpack_from(f"{order}f", header, _VOX_OFFSET)[0]
    if not (1 <= n_axes <= len(sizes) and 0 <= offset < _MODULUS):
        return None
    length: int = int(offset) + math.prod(sizes[:n_axes]) * n_bits // 8
    return length % _MODULUS


def _member_ends(file: BinaryIO, ref: FileRef, member: ZipMember) -> Ends:
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_SIGNATURE):
        return Ends("the zip is damaged where this file should begin")
    _, flags, method, crc32, n_packed, n_bytes, n_name, n_extra = _LOCAL_HEADER.unpack(header)
    # Names beyond ASCII are encoded in several ways, and shown otherwise than they are.
    name = file.read(n_name).replace(b"\\", b"/")
    is_same_name = name == ref.path.encode() or not ref.path.isascii()
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
