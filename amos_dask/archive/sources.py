"""Bytes of archive files, wherever they lie: in a folder, in a zip or tar in place, or at a URL."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import struct
import zipfile
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO, cast

from isal import isal_zlib
from isal.igzip_lib import IsalError

from amos_dask.archive import remote
from amos_dask.archive.locations import is_url
from amos_dask.archive.recognise import find_annex_link, find_substitute
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.records import FileRef, TarMember, ZipMember

BLOCK_BYTES = 1 << 18
# Read and unpacked first: enough for a header, so that an audit touches nothing more.
FIRST_BYTES = 1 << 12
UNPACKED_BYTES = 1 << 20
# Deflate cannot pack more than 1032 bytes into one; who claims more is lying.
LARGEST_RATIO = 1040
_GZIP = 31
_RAW_DEFLATE = -15
_DAMAGED = cast(type[Exception], IsalError)
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 0x1


def open_location(location: str) -> BinaryIO:
    """Open a path or URL for reading bytes.

    Raises
    ------
    ArchiveError
        When there is no driver for this kind of URL, or the URL holds a password.
    OSError
        When it cannot be opened, or the path is that of a pipe, a device or a folder.
    """
    if not is_url(location):
        return cast(BinaryIO, open(location, "rb", 0, opener=_open_file))
    return cast(BinaryIO, remote.RemoteFile(location))


def _open_file(path: str, flags: int) -> int:
    """Open a file, and nothing that only looks like one: a pipe would be waited for forever."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file", path)


def read_bytes(ref: FileRef, limit: int) -> bytes:
    """Read a small file whole, refusing more than ``limit`` bytes.

    Raises
    ------
    UnreadableImageError
        When the file is larger than the limit or cannot be read.
    """
    content = b""
    for block in read_blocks(ref):
        content += block
        if len(content) > limit:
            raise UnreadableImageError(f"larger than {limit} bytes")
    return content


def read_blocks(ref: FileRef) -> Generator[bytes, None, None]:
    """Yield the bytes of a file in blocks of bounded size, unpacked if a zip has packed it.

    Raises
    ------
    InaccessibleFileError
        When the file cannot be read.
    UnreadableImageError
        When the zip or tar is damaged there, or holds no content of the file.
    """
    try:
        with open_location(ref.location) as file:
            sizes = _block_sizes(ref.location)
            if ref.member is None:
                while block := file.read(next(sizes)):
                    yield from _cut(block)
            elif isinstance(ref.member, TarMember):
                if ref.member.fault:
                    raise UnreadableImageError(ref.member.fault)
                file.seek(ref.member.offset)
                yield from _limited_blocks(file, ref.size, sizes)
            else:
                yield from _checked(_member_blocks(file, ref.member, ref.size, sizes), ref)
    except OSError as error:
        raise inaccessible(ref, error) from error


def inaccessible(ref: FileRef, error: OSError) -> InaccessibleFileError:
    """Return the error that says why a file cannot be read."""
    reason = error.strerror or error
    return InaccessibleFileError(find_annex_link(ref.location) or f"cannot be read ({reason})")


def _block_sizes(location: str) -> Iterator[int]:
    """Yield how much to read at a time: little at first, for often only a header is wanted."""
    yield FIRST_BYTES
    yield BLOCK_BYTES
    # Over a network a request costs time, however little it brings.
    largest = remote.LARGEST_READ_BYTES if is_url(location) else BLOCK_BYTES
    yield from itertools.repeat(largest)


def _cut(block: bytes) -> Iterator[bytes]:
    if len(block) <= BLOCK_BYTES:
        yield block
        return
    for start in range(0, len(block), BLOCK_BYTES):
        yield block[start : start + BLOCK_BYTES]


def _member_blocks(
    file: BinaryIO, member: ZipMember, n_bytes: int, sizes: Iterator[int]
) -> Iterator[bytes]:
    if member.flags & _ENCRYPTED:
        raise UnreadableImageError("encrypted in the zip")
    if n_bytes > member.compressed_size * LARGEST_RATIO:
        raise UnreadableImageError(f"the zip claims {n_bytes} bytes of it, more than it can hold")
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(b"PK\x03\x04"):
        raise UnreadableImageError("the zip is damaged where this file should begin")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    file.seek(member.header_offset + _LOCAL_HEADER.size + name_length + extra_length)
    packed = _limited_blocks(file, member.compressed_size, sizes)
    if member.method == zipfile.ZIP_STORED:
        yield from packed
    elif member.method == zipfile.ZIP_DEFLATED:
        yield from _inflate(packed)
    else:
        raise UnreadableImageError(f"packed in the zip with unsupported method {member.method}")


def _checked(blocks: Iterator[bytes], ref: FileRef) -> Iterator[bytes]:
    """Pass blocks on; hold their size and checksum against the zip directory's."""
    n_bytes = found = 0
    for block in blocks:
        n_bytes += len(block)
        if n_bytes > ref.size:
            raise UnreadableImageError("is longer than the zip's directory tells")
        found = isal_zlib.crc32(block, found)
        yield block
    if (n_bytes, found) != (ref.size, ref.crc32):
        raise UnreadableImageError("does not have the checksum that the zip's directory tells")


def _limited_blocks(file: BinaryIO, n_bytes: int, sizes: Iterator[int]) -> Iterator[bytes]:
    while n_bytes:
        block = file.read(min(n_bytes, next(sizes)))
        if not block:
            raise UnreadableImageError("the archive ends before this file does")
        n_bytes -= len(block)
        yield from _cut(block)


def _inflate(blocks: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = isal_zlib.decompressobj(wbits=_RAW_DEFLATE)
    try:
        for number, block in enumerate(blocks):
            yield from _unpack(unpacker, block, is_first=number == 0)
    except _DAMAGED as error:
        raise UnreadableImageError(f"damaged in the zip ({error})") from error
    if not unpacker.eof:
        raise UnreadableImageError("the zip ends before this file does")


def gunzip(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the unpacked bytes of a gzip stream of one or more members, in bounded pieces.

    Checksums are verified; zero padding after the last member is accepted.

    Raises
    ------
    UnreadableImageError
        When the stream is not gzip, is damaged, or ends early.
    """
    unpacker = isal_zlib.decompressobj(wbits=_GZIP)
    n_members = 0
    fresh = True  # nothing of the current member has been seen
    head = b""
    for block in blocks:
        is_first, head = not head, head or block
        while block:
            if fresh and n_members:
                block = block.lstrip(b"\0")
                if not block:
                    break
            fresh = False
            try:
                yield from _unpack(unpacker, block, is_first=is_first)
            except _DAMAGED as error:
                raise _gzip_error(error, n_members, head) from error
            is_first = False
            block = unpacker.unused_data
            if unpacker.eof:
                n_members += 1
                fresh = True
                unpacker = isal_zlib.decompressobj(wbits=_GZIP)
    if not fresh and n_members:
        raise TrailingBytesError("the beginning of another gzip stream follows the image")
    if not fresh:
        if what := find_substitute(head):
            raise UnreadableImageError(f"not a gzip file but {what}")
        raise UnreadableImageError("the gzip stream ends before the image does")
    if not n_members:
        raise UnreadableImageError("the file is empty")


def _gzip_error(error: Exception, n_members: int, head: bytes) -> UnreadableImageError:
    if "wrapper" not in str(error):
        return UnreadableImageError(f"the gzip stream is damaged ({error})")
    if n_members:
        return TrailingBytesError("bytes that are not gzip follow the image")
    if what := find_substitute(head):
        return UnreadableImageError(f"not a gzip file but {what}")
    return UnreadableImageError("not a gzip file; only gzip-compressed NIfTI-1 is supported")


class TrailingBytesError(UnreadableImageError):
    """Bytes that do not belong to the image follow its complete gzip stream."""


def _unpack(unpacker: Any, block: bytes, *, is_first: bool) -> Iterator[bytes]:
    limit = FIRST_BYTES if is_first else UNPACKED_BYTES
    while True:
        piece = unpacker.decompress(block, limit)
        if piece:
            yield piece
        block = unpacker.unconsumed_tail
        # A full piece may leave output waiting inside even when the input is used up.
        if unpacker.eof or (not block and len(piece) < limit):
            return
        limit = UNPACKED_BYTES
