"""Bytes of archive files, wherever they lie: in a folder, in a zip or tar in place, or at a URL.

Also what the ends of a file tell without unpacking it: its place in the zip, its length. Functions
here that take a `FileRef` raise `InaccessibleFileError` where the file cannot be read, and
`UnreadableImageError` where the zip or tar is damaged there, or holds no content of it. A whole zip
or tar is held against the published one: its size, its MD5.
"""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import math
import os
import stat
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, NamedTuple, cast

from amos_dask.archive import remote
from amos_dask.archive.packed import (
    FIRST_BYTES,
    begin_gunzip,
    find_member_fault,
    find_start,
    is_packed,
    unpack_member,
)
from amos_dask.archive.recognise import find_annex_link, find_substitute
from amos_dask.datasets import PublishedFile
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef, ZipMember, file_name, is_url, is_zip, shown
from amos_dask.issues import Issue, make_issue

BLOCK_BYTES = 1 << 18
MD5_BLOCK_BYTES = 1 << 24
_LENGTH_BYTES = 4
_TRAILER_BYTES = 8
_MODULUS = 1 << 32  # of the length in a gzip trailer
# sizeof_hdr of NIfTI -> places and types of dim, bitpix and vox_offset, as nifti1.h and nifti2.h of
# https://nifti.nimh.nih.gov tell.
_FIELDS = {348: ((40, "8h"), (72, "h"), (108, "f")), 540: ((16, "8q"), (14, "h"), (168, "q"))}
_BEGINNINGS = {struct.pack(f"{order}i", n): (n, order) for n in _FIELDS for order in "<>"}


def open_location(location: str) -> BinaryIO:
    """Open a path or URL for reading bytes.

    Raises `OSError` when it cannot be opened, or the path is that of a pipe, a device or a folder,
    and `ArchiveError` when there is no driver for this kind of URL, or the URL holds a password.
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


@contextmanager
def open_archive(location: str) -> Iterator[BinaryIO]:
    """Open an archive that is one file, a zip or a tar.

    Raises `ArchiveError` when it is not there, or cannot be read, in the ``with`` block as well.
    """
    try:
        with open_location(location) as file:
            yield file
    except FileNotFoundError as error:
        form = "zip" if is_zip(location) else "tar"
        absent = error.strerror if is_url(location) else f"there is no such {form} file"
        raise ArchiveError(f"{shown(location)}: {find_annex_link(location) or absent}.") from error
    except OSError as error:
        reason = error.strerror or error
        raise ArchiveError(f"{shown(location)}: cannot be read ({reason}).") from error


def count_bytes(file: BinaryIO) -> int | None:
    """Return the size of an open file; None where a server sends it from its beginning only."""
    try:
        n_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
    except ValueError:
        return None
    return n_bytes


@contextmanager
def _opened(ref: FileRef) -> Iterator[BinaryIO]:
    """Open the file, or the zip or tar that holds it."""
    try:
        with open_location(ref.location) as file:
            yield file
    except OSError as error:
        reason = f"cannot be read ({error.strerror or error})"
        raise InaccessibleFileError(find_annex_link(ref.location) or reason) from error


def _find_place(file: BinaryIO, ref: FileRef) -> tuple[int, int | None]:
    """Return where the file's bytes begin, and how many there are; None for all that follow."""
    if isinstance(ref.member, ZipMember):
        return find_start(file, ref, ref.member), ref.member.compressed_size
    if ref.member is None:
        return 0, None
    if ref.member.fault:
        raise UnreadableImageError(ref.member.fault)
    return ref.member.offset, ref.size


def read_bytes(ref: FileRef, limit: int) -> bytes:
    """Read a small file whole, refusing more than ``limit`` bytes, and such as a web page."""
    content = b""
    for block in read_blocks(ref):
        content += block
        if len(content) > limit:
            raise UnreadableImageError(f"larger than {limit} bytes")
    if what := find_substitute(content):
        raise UnreadableImageError(what)
    return content


def read_blocks(ref: FileRef) -> Generator[bytes, None, None]:
    """Yield the bytes of a file in blocks of bounded size; a zip's checksum of it is verified."""
    with _opened(ref) as file:
        start, n_bytes = _find_place(file, ref)
        if start:
            file.seek(start)
        blocks = _read_stored(file, n_bytes)
        yield from unpack_member(blocks, ref) if isinstance(ref.member, ZipMember) else blocks


def _read_stored(file: BinaryIO, n_bytes: int | None) -> Iterator[bytes]:
    """Yield so many bytes; little at first, for often only a header is wanted."""
    # Over a network a request costs time, however little it brings.
    is_remote = isinstance(file, remote.RemoteFile)
    largest = remote.LARGEST_READ_BYTES if is_remote else BLOCK_BYTES
    left = math.inf if n_bytes is None else n_bytes
    for size in itertools.chain((FIRST_BYTES, BLOCK_BYTES), itertools.repeat(largest)):
        block = file.read(int(min(left, size))) if left else b""
        if not block:
            break
        left -= len(block)
        yield block
    if left and n_bytes is not None:
        raise UnreadableImageError("the archive ends before this file does")


class Ends(NamedTuple):
    """What was found at the ends of a file."""

    zip_fault: str = ""  # what is wrong with its place in the zip
    # Its unpacked length modulo 2**32, of a gzip file as its last four bytes say; of a pair that of
    # the ``.img``. None where only unpacking would tell.
    length: int | None = None

    def agree_with(self, n_bytes: int) -> bool:
        """Return whether a file that unpacks to so many bytes may end like this, if that is told.

        Gzip files that end otherwise may be sound too: several gzip members, padding, bytes after
        the image. Only unpacking tells those from a damaged file.
        """
        return self.length is None or self.length == n_bytes % _MODULUS


def read_ends(ref: FileRef) -> Ends:
    """Look at the ends of a file, or of both of a pair, and at what a zip says just before it."""
    member = ref.member
    with _opened(ref) as file:
        if isinstance(member, ZipMember) and (fault := find_member_fault(file, ref, member)):
            return Ends(fault)
        if ref.pair is not None:
            return read_ends(ref.pair)
        start, n_bytes = _find_place(file, ref)
        if n_bytes is None and (n_bytes := count_bytes(file)) is None:
            return Ends()
        file.seek(max(0, start + n_bytes - _LENGTH_BYTES))
        last = file.read(_LENGTH_BYTES)
    if len(last) < _LENGTH_BYTES:
        is_cut = isinstance(member, ZipMember)
        # No image is so short, so that its header will not agree with that.
        return Ends("the zip ends before this file does" if is_cut else "", length=-1)
    if is_packed(ref):
        return Ends()
    return Ends(length=int.from_bytes(last, "little") if ref.is_gzip else n_bytes % _MODULUS)


def read_gzip_identity(ref: FileRef) -> str:
    """Return size and last bytes of a gzip file outside zips: checksum and length of its content.

    They are those of its last gzip member. Where that is not the whole of an image, as its header
    tells, a digest of the whole file is added; only then is all of it read.
    """
    with _opened(ref) as file:
        start, n_bytes = _find_place(file, ref)
        if n_bytes is None:
            n_bytes = file.seek(0, io.SEEK_END)
        n_last = min(n_bytes, _TRAILER_BYTES)
        file.seek(start + n_bytes - n_last)
        trailer = file.read(n_last)
        file.seek(start)
        head = file.read(min(n_bytes, FIRST_BYTES))
    told = f"{n_bytes}-{trailer.hex()}"
    if _told_length(head) == int.from_bytes(trailer[_LENGTH_BYTES:], "little"):
        return told
    # Not a CRC: what is followed by its own CRC, as in gzip, has the same one whatever it is.
    digest = hashlib.blake2b(digest_size=8)
    for block in read_blocks(ref):
        digest.update(block)
    return f"{told}-{digest.hexdigest()}"


def _told_length(head: bytes) -> int | None:
    """Return the length, modulo 2**32, of the image that begins so; None where it is none."""
    header = begin_gunzip(head, max(_FIELDS))
    n_bytes, order = _BEGINNINGS.get(header[:4], (0, ""))
    if not n_bytes or len(header) < n_bytes:
        return None
    (n_axes, *sizes), (n_bits,), (offset,) = (
        struct.unpack_from(f"{order}{kind}", header, place) for place, kind in _FIELDS[n_bytes]
    )
    if not (1 <= n_axes <= len(sizes) and 0 <= offset < _MODULUS):
        return None
    length: int = int(offset) + math.prod(sizes[:n_axes]) * n_bits // 8
    return length % _MODULUS


def compare_with_published(
    location: str, published: PublishedFile, tell: Callable[[int, int | None], None]
) -> Issue | None:
    """Return in what a zip or tar differs from the published one: in its size, else in its MD5.

    Raises `ArchiveError` when it cannot be read.
    """
    issue = partial(make_issue, file=file_name(location))
    if progress := describe_progress(location, published):
        return issue("incomplete_download", progress)
    with open_archive(location) as file:
        md5 = read_md5(file, tell)
    if md5 == published.md5:
        return None
    wrong = f"its MD5 is {md5}, published is {published.md5} at {published.where}"
    return issue("wrong_checksum", wrong)


def describe_progress(location: str, published: PublishedFile) -> str:
    """Return how far the download of a zip or tar is, for people; empty where it may be complete.

    Raises `ArchiveError` when it cannot be read.
    """
    with open_archive(location) as file:
        n_bytes = count_bytes(file)
    if n_bytes is None or n_bytes >= published.n_bytes - published.n_bytes_uncertain:
        return ""
    share = 100 * n_bytes // published.n_bytes
    return (
        f"holds {n_bytes / 1e9:.2f} of the published {published.n_bytes / 1e9:.1f} GB ({share} %); "
        f"let the download from {published.where} go on"
    )


def read_md5(file: BinaryIO, tell: Callable[[int, int | None], None]) -> str:
    """Return the MD5 of an open file.

    After each block ``tell`` is told how many bytes were read, and of how many if that is known.
    """
    digest = hashlib.md5(usedforsecurity=False)  # what the publishers chose
    n_read, n_bytes = 0, count_bytes(file)
    while block := file.read(MD5_BLOCK_BYTES):
        digest.update(block)
        n_read += len(block)
        tell(n_read, n_bytes)
    return digest.hexdigest()
