"""Reading an image: its header alone, or its voxels as a stream in file order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import cache
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.archive.packed import LARGEST_RATIO, TrailingBytesError, gunzip
from amos_dask.archive.sources import read_blocks
from amos_dask.errors import UnreadableImageError
from amos_dask.file_refs import FileRef, is_url
from amos_dask.kernels.voxelwise import cast_to_labels
from amos_dask.nifti.header import (
    HEADER_BYTES,
    Header,
    ImageInfo,
    header_bytes,
    parse_header,
    require_content,
)
from amos_dask.nifti.itk_header import read_itk_header

Mask = NDArray[np.uint8]

_LARGEST_TAIL = 1 << 30


def read_info(ref: FileRef, n_channels: int | None = 1) -> ImageInfo:
    """Read a header without decoding the voxels behind it.

    Parameters
    ----------
    ref : FileRef
        The image, or the header of a pair.
    n_channels : int or None
        How many channels it is to have; None for any number.

    Raises
    ------
    UnreadableImageError
        When the file is not a supported image.
    """
    with open_image(ref, n_channels) as image:
        return image.info


@contextmanager
def open_image(ref: FileRef, n_channels: int | None = 1) -> Iterator[ImageReader]:
    """Open an image and read its header; closes the file at the end.

    Names tell what is packed (``.gz``), content tells the rest.

    Parameters
    ----------
    ref : FileRef
        The image, or the header of a pair.
    n_channels : int or None
        How many channels it is to have; None for any number.

    Raises
    ------
    UnreadableImageError
        When the file is not a supported image.
    InaccessibleFileError
        When it cannot be read, or not without SimpleITK, which is not there.
    """
    with ExitStack() as files:
        pieces, is_packed = _open(ref, files)
        read_header = read_itk_header if ref.is_itk else _read_nifti_header
        info, data, packing = read_header(ref, pieces, n_channels)
        has_trailing_bytes = False
        if info.is_pair:
            if ref.pair is None:
                raise UnreadableImageError("the header of an .hdr/.img pair whose .img is missing")
            has_trailing_bytes = _read_to_end(pieces)
            ref, data = ref.pair, b""
            pieces, is_packed = _open(ref, files)
        if packing:
            pieces, data, is_packed = gunzip(chain((data,), pieces), packing), b"", True
        _require_to_hold(ref, info, pieces, is_packed=is_packed)
        image = ImageReader(info, data, pieces)
        image.has_trailing_bytes = has_trailing_bytes
        yield image


def _open(ref: FileRef, files: ExitStack) -> tuple[Iterator[bytes], bool]:
    """Return a file's bytes, unpacked where its name says that they are packed, and whether."""
    blocks, is_packed = files.enter_context(closing(read_blocks(ref))), ref.is_gzip
    return (gunzip(blocks) if is_packed else blocks), is_packed


def _read_nifti_header(ref: FileRef, pieces: Iterator[bytes], n_channels: int | None) -> Header:
    """Read the first bytes of a file, at least a header where there are so many."""
    data = next(pieces, b"")
    while len(data) < max(HEADER_BYTES, header_bytes(data)) and (piece := next(pieces, b"")):
        data += piece
    if not header_bytes(data):
        if not ref.is_gzip:
            require_content(data)
        if ref.path.endswith((".img", ".img.gz")):
            raise UnreadableImageError("the voxels of an .hdr/.img pair whose .hdr is missing")
    return Header(parse_header(data, n_channels), data)


def _read_to_end(pieces: Iterator[bytes]) -> bool:
    """Read what follows a header in its own file; return whether bytes follow that."""
    n_bytes = 0
    try:
        for piece in pieces:
            n_bytes += len(piece)
            if n_bytes > _LARGEST_TAIL:
                raise UnreadableImageError("more than 1 GiB follows the header in the file")
    except TrailingBytesError:
        return True
    return False


def _require_to_hold(
    ref: FileRef, info: ImageInfo, pieces: Iterator[bytes], *, is_packed: bool
) -> None:
    """Raise where a file cannot hold the voxels that a header claims."""
    if not ref.size and is_url(ref.location):
        return  # a server need not tell it
    if is_packed and 0 < ref.size * LARGEST_RATIO < info.n_bytes:
        raise UnreadableImageError(
            f"the header claims {info.n_bytes} bytes of voxels, more than the file can hold"
        )
    n_bytes = ref.size - info.data_offset
    if not is_packed and n_bytes < info.n_bytes:
        if info.is_pair:
            require_content(next(pieces, b""))
        raise UnreadableImageError(f"holds {max(0, n_bytes)} of {info.n_bytes} bytes of voxels")


class ImageReader:
    """An open image whose voxels can be read once.

    Parameters
    ----------
    info : ImageInfo
        Its header.
    data : bytes
        The first unpacked bytes of the file that holds the voxels, a header in it included.
    pieces : iterator of bytes
        The unpacked bytes that follow.
    """

    def __init__(self, info: ImageInfo, data: bytes, pieces: Iterator[bytes]) -> None:
        self.info = info
        self.has_trailing_bytes = False
        self._data = data
        self._pieces = pieces

    @property
    def preamble(self) -> bytes | None:
        """The bytes before the first voxel; None where not all of them are at hand."""
        offset = self.info.data_offset
        return self._data[:offset] if offset <= len(self._data) else None

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield all stored voxels in file order: 1-D arrays of the stored dtype, native order.

        The file is read to its end, so that the checksum of every voxel is verified;
        ``has_trailing_bytes`` is set when more follows than the header promises.

        Raises
        ------
        UnreadableImageError
            When the file is damaged or ends early.
        """
        dtype, n_bytes = self.info.stored_dtype, self.info.n_bytes
        skip, left, n_tail, rest = self.info.data_offset, n_bytes, 0, b""
        try:
            for piece in chain((self._data,), self._pieces):
                block = rest + piece[skip:]
                skip = max(0, skip - len(piece))
                if len(block) > left:
                    self.has_trailing_bytes = True
                    n_tail += len(block) - left
                    if n_tail > _LARGEST_TAIL:
                        raise UnreadableImageError("more than 1 GiB follows the image in the file")
                    block = block[:left]
                n_items = len(block) // dtype.itemsize
                if n_items:
                    values = np.frombuffer(block, dtype, n_items)
                    yield values.astype(dtype.newbyteorder("="), copy=False)
                rest = block[n_items * dtype.itemsize :]
                left -= n_items * dtype.itemsize
        except TrailingBytesError:  # only met after the image's own stream has ended well
            self.has_trailing_bytes = True
        if left:
            raise UnreadableImageError(f"holds {n_bytes - left} of {n_bytes} bytes of voxels")

    def channels(self) -> Iterator[ImageReader]:
        """Yield each channel as an image of its own, to be read before the next one is asked for.

        What is left unread of one is passed over. In a file they follow each other, so that
        nothing is kept; the last one is read to the file's end, as by `chunks`.

        Raises
        ------
        UnreadableImageError
            As `chunks`, here or in those of a channel.
        """
        if self.info.n_channels == 1:
            yield self
            return
        info = replace(self.info, n_channels=1)
        for _, parts in groupby(self._parts(), itemgetter(0)):
            yield _Channel(info, (values for _, values in parts))

    def _parts(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the number of a channel and some of its voxels."""
        n_before = 0
        for values in self.chunks():
            while values.size:
                number, n_seen = divmod(n_before, self.info.n_voxels)
                part = values[: self.info.n_voxels - n_seen]
                yield number, part
                n_before += part.size
                values = values[part.size :]


class _Channel(ImageReader):
    """One of several channels of an open image."""

    def __init__(self, info: ImageInfo, chunks: Iterator[NDArray[Any]]) -> None:
        super().__init__(info, b"", iter(()))
        self._chunks = chunks

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield its stored voxels in file order, as those of an image."""
        yield from self._chunks


# How far from a whole number a value may be that is rounded to it; 255.05 in float32 is.
_NEAR = 0.05 + 1e-5
_N_SHOWN = 5


class LabelReader:
    """Reads labels, and remembers values that were near one or stand for none.

    Parameters
    ----------
    label_values : mapping of int to int, optional
        Value in the file -> label. A value that is not listed stands for itself, unless a listed
        one stands for that label; 0 stands for itself all the same.

    Attributes
    ----------
    n_rounded : int
        How many values were no whole numbers, but within 0.05 of one.
    deviation : float
        How far from one they were at most.
    n_bad : int
        How many values stand for no label.
    """

    def __init__(self, label_values: Mapping[int, int] | None = None) -> None:
        self.n_rounded = self.n_bad = 0
        self.deviation = 0.0
        self._bad = np.empty(0)  # some of them
        self._is_plain = not label_values
        self._values, self._labels = _what_stands_for(tuple((label_values or {}).items()))

    def chunks(self, image: ImageReader) -> Iterator[Mask]:
        """Yield all labels in file order: 1-D arrays, 0 where a value stands for no label.

        Raises
        ------
        UnreadableImageError
            When the file is damaged.
        """
        info = image.info
        if self._is_plain and not info.is_scaled and info.stored_dtype == np.uint8:
            yield from image.chunks()
            return
        for chunk in image.chunks():
            values = _scale(chunk, info)
            labels = np.empty(values.size, np.uint8)
            if not self._is_plain or cast_to_labels(values, labels):
                self._find_labels(values, labels)
            yield labels

    def refuse(self, values: NDArray[Any]) -> None:
        """Count values as bad."""
        self.n_bad += values.size
        self._bad = np.unique(np.concatenate([self._bad, values]))[:_N_SHOWN]

    @property
    def shown(self) -> str:
        """Up to five of the bad values, for people."""
        return ", ".join(f"{value:.7g}" for value in self._bad)

    def _find_labels(self, values: NDArray[Any], labels: Mask) -> None:
        """Fill in the labels that values stand for; 0 where they stand for none."""
        labels[:] = self._labels[np.searchsorted(self._values, 0.0)]
        at = np.flatnonzero(values)  # most are background
        with np.errstate(all="ignore"):
            values = values[at].astype(np.float64)
            nearest = np.rint(values)
            deviation = np.abs(values - nearest)
            place = np.searchsorted(self._values, nearest).clip(max=self._values.size - 1)
            is_label = (deviation <= _NEAR) & (self._values[place] == nearest)
        labels[at] = np.where(is_label, self._labels[place], 0)
        near = deviation[is_label]
        self.n_rounded += int(np.count_nonzero(near))
        self.deviation = max(self.deviation, float(near.max(initial=0.0)))
        self.refuse(values[~is_label])


@cache
def _what_stands_for(listed: tuple[tuple[int, int], ...]) -> tuple[NDArray[np.float64], Mask]:
    """Return all values that stand for labels, ascending, and the labels."""
    targets = {label for _, label in listed if label}
    stands_for = {i: i for i in range(256) if i not in targets} | dict(listed)
    values, labels = zip(*sorted(stands_for.items()), strict=True)
    return np.array(values, np.float64), np.array(labels, np.uint8)


def _scale(chunk: NDArray[Any], info: ImageInfo) -> NDArray[Any]:
    """Return the values that stored ones stand for, in float64 as nibabel does."""
    if not info.is_scaled:  # masks rarely are
        return chunk
    with np.errstate(all="ignore"):  # what overflows is no label and is counted as such
        return chunk.astype(np.float64) * info.slope + info.inter
