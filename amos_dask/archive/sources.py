"""Bytes of archive files, wherever they lie: a folder, a zip read in place, or a URL of either."""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
import struct
import zipfile
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from isal import isal_zlib
from isal.igzip_lib import IsalError

from amos_dask.archive import remote
from amos_dask.archive.http import shown
from amos_dask.errors import (
    ArchiveError,
    DamagedZipError,
    InaccessibleFileError,
    UnreadableImageError,
)
from amos_dask.records import FileRef, ZipMember

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
# Links can give a folder more names than anyone could list.
_MOST_NAMES_OF_A_FOLDER = 32
# What would break a line, or a worksheet, in which a name is shown.
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def is_url(location: str) -> bool:
    """Return whether the location is a URL rather than a path."""
    return "://" in location


def open_location(location: str) -> BinaryIO:
    """Open a path or URL for reading bytes."""
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


def list_files(location: str) -> list[FileRef]:
    """List every file of an archive, sorted by path.

    Parameters
    ----------
    location : str
        A folder, a zip file, or a URL of either.

    Returns
    -------
    list of FileRef
        With paths relative to the folder, or inside the zip.

    Raises
    ------
    ArchiveError
        When there is nothing at the location or the zip's directory cannot be read.
    """
    if is_zip(location):
        files = _list_zip(location)
    elif is_url(location):
        files = _list_url_folder(location)
    else:
        files = _list_folder(Path(location))
    return sorted(files, key=lambda ref: ref.path)


def is_zip(location: str) -> bool:
    """Return whether the location names a zip file."""
    path = urlsplit(location).path if is_url(location) else location
    return path.lower().endswith(".zip")


def _list_folder(root: Path) -> list[FileRef]:
    if not root.is_dir():
        raise ArchiveError(f"{root}: there is no such folder or zip file.")
    return [
        file_ref(path, path.relative_to(root).as_posix())
        for _, files in walk_folders(root)
        for path in files
    ]


def walk_folders(root: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield a folder and all below it with their files, through symbolic links but not in circles.

    Folders come before the links to them, and under a bounded number of names.

    Raises
    ------
    ArchiveError
        When a folder cannot be listed.
    """
    waiting, links = [(root, frozenset[str]())], deque[tuple[Path, frozenset[str]]]()
    n_names: Counter[str] = Counter()
    while waiting or links:
        folder, above = waiting.pop() if waiting else links.popleft()
        real = os.path.realpath(folder)
        n_names[real] += 1
        if real in above or n_names[real] > _MOST_NAMES_OF_A_FOLDER:
            continue
        try:
            with os.scandir(folder) as entries:
                paths = sorted(folder / entry.name for entry in entries)
        except OSError as error:
            raise ArchiveError(f"{folder}: cannot be listed ({error.strerror}).") from error
        # Unlike Path's, this is_dir does not raise where a link leads out of reach.
        folders = [path for path in paths if os.path.isdir(path)]  # noqa: PTH112
        yield folder, sorted(set(paths) - set(folders))
        for path in reversed(folders):
            (links if path.is_symlink() else waiting).append((path, above | {real}))


def list_beside(location: str) -> list[FileRef]:
    """List the files in the folder that holds an archive; none where that cannot be listed."""
    if not is_url(location):
        folder = Path(location).absolute().parent
        try:
            return [file_ref(path, path.name) for path in sorted(folder.iterdir())]
        except OSError:
            return []
    return [FileRef(name, url, 0) for name, url in remote.list_beside(location)]


def file_ref(path: Path, shown_as: str) -> FileRef:
    """Return the reference to a local file; size 0 where it cannot be examined."""
    try:
        status = path.stat()
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    except OSError:
        size = 0
    # Names that are not UTF-8 stay as they are on disk and are shown as far as they can be.
    shown_as = os.fsencode(shown_as).decode("utf-8", "replace")
    return FileRef(path=_showable(shown_as), location=str(path.absolute()), size=size)


def _showable(name: str) -> str:
    return _UNSHOWABLE.sub("\ufffd", name)


def _list_url_folder(url: str) -> list[FileRef]:
    return [
        FileRef(
            path=_showable(name),
            location=location,
            size=int(entry.get("size") or 0),
            etag=_etag(entry),
        )
        for name, location, entry in remote.list_folder(url)
    ]


def _etag(entry: Mapping[str, Any]) -> str | None:
    """Return what a file system says changes whenever a file does."""
    found = (entry.get(name) for name in ("ETag", "etag", "md5", "LastModified", "mtime"))
    return next((str(value) for value in found if value), None)


def _list_zip(location: str) -> list[FileRef]:
    try:
        with open_location(location) as file, zipfile.ZipFile(file) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except FileNotFoundError as error:
        what = error.strerror if is_url(location) else "there is no such zip file"
        raise ArchiveError(f"{shown(location)}: {what}.") from error
    except OSError as error:
        raise _unreadable_zip(location, error) from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        if isinstance(error.__context__, OSError):  # not known to be a zip as it cannot be read
            raise _unreadable_zip(location, error.__context__) from error
        raise DamagedZipError(
            f"{shown(location)}: the zip's directory cannot be read ({error}); download it again."
        ) from error
    return [
        FileRef(
            path=_showable(entry.filename),
            location=location if is_url(location) else str(Path(location).absolute()),
            size=entry.file_size,
            crc32=entry.CRC,
            member=ZipMember(
                entry.header_offset, entry.compress_size, entry.compress_type, entry.flag_bits
            ),
        )
        for entry in entries
    ]


def _unreadable_zip(location: str, error: OSError) -> ArchiveError:
    return ArchiveError(f"{shown(location)}: cannot be read ({error.strerror or error}).")


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
    """Yield the bytes of a file in blocks of bounded size, unpacked if it is in a zip.

    Raises
    ------
    InaccessibleFileError
        When the file cannot be read.
    UnreadableImageError
        When the zip is damaged there.
    """
    try:
        with open_location(ref.location) as file:
            sizes = _block_sizes(ref.location)
            if ref.member is None:
                while block := file.read(next(sizes)):
                    yield from _cut(block)
            else:
                yield from _checked(_member_blocks(file, ref.member, ref.size, sizes), ref)
    except OSError as error:
        raise InaccessibleFileError(f"cannot be read ({error.strerror or error})") from error


def _block_sizes(location: str) -> Iterator[int]:
    """Yield how much to read at a time: little at first, for often only a header is wanted."""
    yield FIRST_BYTES
    yield BLOCK_BYTES
    # Over a network a request costs time, however little it brings.
    largest = remote.LARGEST_RANGE_BYTES if is_url(location) else BLOCK_BYTES
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
            raise UnreadableImageError("the zip ends before this file does")
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
    is_first = True
    for block in blocks:
        while block:
            if fresh and n_members:
                block = block.lstrip(b"\0")
                if not block:
                    break
            fresh = False
            try:
                yield from _unpack(unpacker, block, is_first=is_first)
            except _DAMAGED as error:
                raise _gzip_error(error, n_members) from error
            is_first = False
            block = unpacker.unused_data
            if unpacker.eof:
                n_members += 1
                fresh = True
                unpacker = isal_zlib.decompressobj(wbits=_GZIP)
    if not fresh and n_members:
        raise TrailingBytesError("the beginning of another gzip stream follows the image")
    if not fresh:
        raise UnreadableImageError("the gzip stream ends before the image does")
    if not n_members:
        raise UnreadableImageError("the file is empty")


def _gzip_error(error: Exception, n_members: int) -> UnreadableImageError:
    if "wrapper" not in str(error):
        return UnreadableImageError(f"the gzip stream is damaged ({error})")
    if n_members:
        return TrailingBytesError("bytes that are not gzip follow the image")
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
