"""Packed bytes: gzip streams, zips with what stands in front of each member, and tars."""

from __future__ import annotations

import posixpath
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO, cast

from isal import isal_zlib
from isal.igzip_lib import IsalError

from amos_dask.archive.recognise import describe_link, describe_part, find_substitute
from amos_dask.errors import ArchiveError, UnreadableImageError
from amos_dask.file_refs import FileRef, TarMember, ZipMember, shown

# Read and unpacked first: enough for a header, so that an audit touches nothing more.
FIRST_BYTES = 1 << 12
UNPACKED_BYTES = 1 << 20
# Deflate cannot pack more than 1032 bytes into one; who claims more is lying.
LARGEST_RATIO = 1040
# What zlib calls the kinds of streams. MetaImage's is called zlib, and may be gzip all the same.
_STREAMS = {"gzip": 31, "zlib": 47}
_RAW_DEFLATE = -15
_DAMAGED = cast(type[Exception], IsalError)
_END = struct.Struct("<4sHHHHLLH")
_END_SIGNATURE = b"PK\x05\x06"
_LARGEST_COMMENT = 0xFFFF
_IN_ZIP64_RECORD = 0xFFFF
_LOCAL_HEADER = struct.Struct("<4s2xHH4xLLLHH")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENCRYPTED = 0x1
_SIZES_FOLLOW = 0x8  # behind the data; in front of it are zeros
_IN_EXTRA_FIELD = 0xFFFFFFFF
# Of one member, extended headers and long names included.
_LARGEST_HEADER = 1 << 20
_MOST_MEMBERS = 1 << 20
_MOST_LINKS_IN_A_ROW = 32
_UNUSABLE = (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError)


class TrailingBytesError(UnreadableImageError):
    """Bytes that do not belong to the image follow its complete gzip stream."""


def inflate(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the unpacked bytes of a zip's deflated member, in bounded pieces.

    Raises `UnreadableImageError` when they are damaged, or end early.
    """
    unpacker = isal_zlib.decompressobj(wbits=_RAW_DEFLATE)
    try:
        for number, block in enumerate(blocks):
            yield from _unpack(unpacker, block, is_first=number == 0)
    except _DAMAGED as error:
        raise UnreadableImageError(f"damaged in the zip ({error})") from error
    if not unpacker.eof:
        raise UnreadableImageError("the zip ends before this file does")


def gunzip(blocks: Iterator[bytes], form: str = "gzip") -> Iterator[bytes]:
    """Yield the unpacked bytes of a gzip stream of one or more members, in bounded pieces.

    Checksums are verified; zero padding after the last member is accepted. The ``form`` may be
    ``zlib`` too, which has one member.

    Raises
    ------
    UnreadableImageError
        When the stream is not of that form, is damaged, or ends early.
    """
    unpacker, n_members, head = isal_zlib.decompressobj(wbits=_STREAMS[form]), 0, b""
    is_begun = False  # something of the current member has been seen
    for block in blocks:
        is_first, head = not head, head or block
        while block:
            if n_members and not is_begun:
                block = block.lstrip(b"\0")
                if not block:
                    break
                if form == "zlib":
                    raise TrailingBytesError("bytes follow the image")
            is_begun = True
            try:
                yield from _unpack(unpacker, block, is_first=is_first)
            except _DAMAGED as error:
                raise _gzip_error(error, n_members, head, form) from error
            is_first = False
            block = unpacker.unused_data
            if unpacker.eof:
                n_members += 1
                is_begun = False
                unpacker = isal_zlib.decompressobj(wbits=_STREAMS[form])
    if is_begun and n_members:
        raise TrailingBytesError("the beginning of another gzip stream follows the image")
    if is_begun and (what := find_substitute(head)):
        raise UnreadableImageError(f"not a gzip file but {what}")
    if is_begun:
        raise UnreadableImageError(f"the {form} stream ends before the image does")
    if not n_members:
        raise UnreadableImageError("the file is empty")


def _gzip_error(error: Exception, n_members: int, head: bytes, form: str) -> UnreadableImageError:
    if "wrapper" not in str(error):
        return UnreadableImageError(f"the {form} stream is damaged ({error})")
    if n_members:
        return TrailingBytesError("bytes that are not gzip follow the image")
    if what := find_substitute(head):
        return UnreadableImageError(f"not a gzip file but {what}")
    return UnreadableImageError(f"not a {form} file, though its name or header says so")


def begin_gunzip(head: bytes, n_bytes: int) -> bytes:
    """Return up to so many of the first unpacked bytes of a gzip stream; none of other files."""
    try:
        begun: bytes = isal_zlib.decompressobj(wbits=_STREAMS["gzip"]).decompress(head, n_bytes)
    except _DAMAGED:
        return b""
    return begun


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


def list_tar(file: BinaryIO, location: str) -> list[FileRef]:
    """Return the files of a tar, links inside it followed; of two of one name the later counts.

    Raises `ValueError` when it is damaged, or none.
    """
    files: dict[str, FileRef] = {}
    links: dict[str, str] = {}  # name -> target, as paths in the tar or out of it
    try:
        for member in _walk(file):
            path = _plain(member.name)
            if member.isdir():
                continue
            files.pop(path, None)
            links.pop(path, None)
            if member.issym():
                links[path] = member.linkname
                continue
            place = TarMember(member.offset_data, _fault(member))
            found: FileRef | None = FileRef(path, location, member.size, member=place)
            if member.islnk():
                found = files.get(_plain(member.linkname))
            files[path] = _link(path, found, member.linkname, location)
        _follow_links(files, links, location)
    except _UNUSABLE as error:
        raise ValueError(" ".join(str(error).split()) or "a header is damaged") from error
    return list(files.values())


def _walk(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar; what their headers claim is not believed."""
    file.seek(0)
    headers = _Headers(file)
    with tarfile.TarFile(fileobj=headers, mode="r", errorlevel=2) as archive:  # type: ignore[arg-type]
        last = -1
        for _ in range(_MOST_MEMBERS):
            headers.left = _LARGEST_HEADER
            member = archive.next()
            if member is None:
                break
            if member.offset <= last or member.size < 0:
                raise ValueError("a header claims a size below 0")
            last = member.offset
            archive.members = []  # type: ignore[attr-defined]  # they would all be kept
            yield member
        else:
            raise ValueError(f"it holds more than {_MOST_MEMBERS} files")
        file.seek(archive.offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise ValueError(f"what stands at byte {archive.offset} is no header of a file")


class _Headers:
    """A tar file of which no more is read than headers may take."""

    def __init__(self, file: BinaryIO) -> None:
        self.left = _LARGEST_HEADER
        self.seek, self.tell, self._read = file.seek, file.tell, file.read

    def read(self, n_bytes: int = -1) -> bytes:
        """Return that many bytes."""
        if not 0 <= n_bytes <= self.left:
            raise tarfile.ReadError(f"a header takes more than {_LARGEST_HEADER} bytes")
        self.left -= n_bytes
        return self._read(n_bytes)


def _follow_links(files: dict[str, FileRef], links: dict[str, str], location: str) -> None:
    """Put in the place of symbolic links what they lead to, files or folders."""
    real = dict(files)
    for path, target in links.items():
        end = _end_of(path, links)
        below = [] if end in real else [name for name in real if name.startswith(f"{end}/")]
        for name in below:
            linked = path + name.removeprefix(end)
            files[linked] = _link(linked, real[name], target, location)
        if not below:
            files[path] = _link(path, real.get(end), target, location)
        if len(files) > _MOST_MEMBERS:
            raise ValueError(f"it holds more than {_MOST_MEMBERS} files")


def _end_of(path: str, links: dict[str, str]) -> str:
    for _ in range(_MOST_LINKS_IN_A_ROW):
        if path not in links:
            break
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), links[path]))
    return path


def _link(path: str, end: FileRef | None, target: str, location: str) -> FileRef:
    """Return another name of a file, or of nothing, which cannot be read."""
    if end is not None:
        return replace(end, path=path)
    return FileRef(path, location, 0, member=TarMember(0, describe_link(target)))


def _plain(name: str) -> str:
    """Return a member's name without what stands for the folder itself."""
    pieces = "/".join(piece for piece in name.split("/") if piece not in ("", "."))
    return f"/{pieces}" if name.startswith("/") else pieces or "."


def _fault(member: tarfile.TarInfo) -> str:
    if member.issparse():
        return "a sparse file in the tar, which is not read; unpack the tar and name the folder"
    if not member.isreg():
        return f"not a regular file in the tar (type {member.type.decode('latin-1')!r})"
    return ""
