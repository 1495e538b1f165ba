"""Packed bytes: gzip streams, and deflated members of zips, unpacked in bounded pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from isal import isal_zlib
from isal.igzip_lib import IsalError

from amos_dask.archive.recognise import find_substitute
from amos_dask.errors import UnreadableImageError

# Read and unpacked first: enough for a header, so that an audit touches nothing more.
FIRST_BYTES = 1 << 12
UNPACKED_BYTES = 1 << 20
# Deflate cannot pack more than 1032 bytes into one; who claims more is lying.
LARGEST_RATIO = 1040
# What zlib calls the kinds of streams. MetaImage's is called zlib, and may be gzip all the same.
_STREAMS = {"gzip": 31, "zlib": 47}
_RAW_DEFLATE = -15
_DAMAGED = cast(type[Exception], IsalError)


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
