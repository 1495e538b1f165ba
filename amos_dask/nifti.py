"""The only NIfTI reading and writing: header alone, streamed voxels, reproducible gzip.

Voxels are handled in file order, which is Fortran order of the (x, y, z) array: nothing is ever
transposed. Supported are gzip-compressed single-file NIfTI-1 images (``.nii.gz``) of whole or
floating-point numbers, either byte order, with three axes (further axes of length 1 are dropped).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from isal import isal_zlib
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.archive.sources import TrailingBytesError, gunzip, read_blocks
from amos_dask.errors import UnreadableImageError
from amos_dask.records import FileRef

Mask = NDArray[np.uint8]

HEADER_BYTES = 348
DATA_OFFSET = 352
# Deflate cannot pack more than 1032 bytes into one; a header that claims more is lying.
_LARGEST_RATIO = 1040
_GZIP_LEVEL = 1
_GZIP = 31
_CHUNK_BYTES = 1 << 20
_LARGEST_TAIL = 1 << 30
# nibabel repairs headers when it loads an image (codes, negative sizes) and logs that.
_UNHEARD = logging.Logger("nibabel repairs")
_NEVER = 1000


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What a NIfTI header says.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along x, y, z.
    affine : (4, 4) float64
        nibabel's best affine: voxel index to RAS+ mm; NaN where the header holds no valid one.
    affine_code : int
        NIfTI code of the form the affine came from (0 for the base affine).
    pixdim_mm : (float, float, float)
        ``pixdim[1:4]`` as float32 values.
    stored_dtype : dtype
        As in the file, with its byte order.
    slope, inter : float
        Scaling; 1 and 0 when there is none.
    data_offset : int
        Bytes before the first voxel.
    description : str
        The header's ``descrip``.
    """

    shape: tuple[int, int, int]
    affine: geometry.Affine
    affine_code: int
    pixdim_mm: tuple[float, float, float]
    stored_dtype: np.dtype[Any]
    slope: float
    inter: float
    data_offset: int
    description: str

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def n_bytes(self) -> int:
        """Bytes of the voxels in the file, unpacked."""
        return self.n_voxels * self.stored_dtype.itemsize

    @property
    def is_scaled(self) -> bool:
        """Whether values differ from what is stored."""
        return (self.slope, self.inter) != (1.0, 0.0)

    @property
    def dtype(self) -> str:
        """Name of ``numpy.asanyarray(image.dataobj).dtype`` in nibabel."""
        return "float64" if self.is_scaled else self.stored_dtype.name

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along x, y, z in mm from the affine."""
        return geometry.spacing_mm(self.affine)


def read_info(ref: FileRef) -> ImageInfo:
    """Read a header without decoding the voxels behind it.

    Raises
    ------
    UnreadableImageError
        When the file is not a supported NIfTI image.
    """
    with open_image(ref) as image:
        return image.info


@contextmanager
def open_image(ref: FileRef) -> Iterator[ImageReader]:
    """Open an image and read its header; closes the file at the end.

    Raises
    ------
    UnreadableImageError
        When the file is not a supported NIfTI image.
    """
    with closing(read_blocks(ref)) as blocks:
        pieces = gunzip(blocks)
        data = b""
        while len(data) < HEADER_BYTES:
            piece = next(pieces, None)
            if piece is None:
                raise UnreadableImageError("too short for a NIfTI header")
            data += piece
        info = parse_header(data)
        if 0 < ref.size * _LARGEST_RATIO < info.n_bytes:  # the size of a URL may be unknown
            raise UnreadableImageError(
                f"the header claims {info.n_bytes} bytes of voxels, more than the file can hold"
            )
        yield ImageReader(info, data, pieces)


def parse_header(block: bytes) -> ImageInfo:
    """Interpret a NIfTI-1 header, the first 348 bytes of the block.

    Raises
    ------
    UnreadableImageError
        When they are not the header of a supported image.
    """
    block = block[:HEADER_BYTES]
    _require_nifti1(block)
    try:
        header = Nifti1Header(block, check=False)
        repaired = header.copy()
        repaired.check_fix(logger=_UNHEARD, error_level=_NEVER)
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
    except (HeaderDataError, KeyError, ValueError) as error:
        raise UnreadableImageError(f"the header is not valid ({error})") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnreadableImageError(f"voxels of type {dtype.name} are not supported")
    offset = float(header["vox_offset"])
    if not DATA_OFFSET <= offset <= 1 << 30:
        raise UnreadableImageError(f"the header's vox_offset is {offset:g}")
    pixdim = [float(size) for size in header["pixdim"][1:4]]
    return ImageInfo(
        shape=_shape(header),
        affine=_best_affine(repaired),
        affine_code=int(repaired["sform_code"]) or int(repaired["qform_code"]),
        pixdim_mm=(pixdim[0], pixdim[1], pixdim[2]),
        stored_dtype=dtype,
        slope=1.0 if slope is None else float(slope),
        inter=0.0 if inter is None else float(inter),
        data_offset=int(offset),
        description=bytes(header["descrip"].item()).decode("latin-1"),
    )


def _require_nifti1(block: bytes) -> None:
    size = block[:4]
    if size in (b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
        raise UnreadableImageError("NIfTI-2 is not supported; convert the file to NIfTI-1")
    if size not in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        raise UnreadableImageError("not a NIfTI-1 file")
    magic = block[344:348]
    if magic == b"ni1\0":
        raise UnreadableImageError("a header of an .hdr/.img pair, which is not supported")
    if magic != b"n+1\0":
        raise UnreadableImageError("not a NIfTI-1 file (wrong magic)")


def _shape(header: Nifti1Header) -> tuple[int, int, int]:
    n_axes = int(header["dim"][0])
    if not 1 <= n_axes <= 7:
        raise UnreadableImageError(f"the header claims {n_axes} axes")
    sizes = [int(size) for size in header["dim"][1 : n_axes + 1]]
    if min(sizes) < 1:
        raise UnreadableImageError(f"the header claims the shape {sizes}")
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) != 3:
        raise UnreadableImageError(f"has {len(sizes)} axes {sizes} where three are expected")
    return (sizes[0], sizes[1], sizes[2])


def _best_affine(header: Nifti1Header) -> geometry.Affine:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(header.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        return np.full((4, 4), np.nan)


class ImageReader:
    """An open image whose voxels can be read once.

    Parameters
    ----------
    info : ImageInfo
        Its header.
    data : bytes
        The first unpacked bytes of the file, header included.
    pieces : iterator of bytes
        The unpacked bytes that follow.
    """

    def __init__(self, info: ImageInfo, data: bytes, pieces: Iterator[bytes]) -> None:
        self.info = info
        self.has_trailing_bytes = False
        self._n_tail = 0
        self._data = data
        self._pieces = pieces

    def chunks(self) -> Iterator[NDArray[Any]]:
        """Yield all stored voxels in file order: 1-D arrays of the stored dtype, native order.

        The file is read to its end, so that the checksum of every voxel is verified;
        ``has_trailing_bytes`` is set when more follows than the header promises.

        Raises
        ------
        UnreadableImageError
            When the file is damaged or ends early.
        """
        dtype = self.info.stored_dtype
        left = self.info.n_bytes
        rest = b""
        for piece in self._voxel_bytes():
            block = rest + piece if rest else piece
            n_extra = len(block) - left
            if n_extra > 0:
                self._count_tail(n_extra)
                block = block[:left]
            n_items = len(block) // dtype.itemsize
            if n_items:
                values = np.frombuffer(block, dtype, n_items)
                yield values.astype(dtype.newbyteorder("="), copy=False)
            rest = block[n_items * dtype.itemsize :]
            left -= n_items * dtype.itemsize
        if left:
            raise UnreadableImageError(
                f"holds {self.info.n_bytes - left} of {self.info.n_bytes} bytes of voxels"
            )

    def _count_tail(self, n_bytes: int) -> None:
        self.has_trailing_bytes = True
        self._n_tail += n_bytes
        if self._n_tail > _LARGEST_TAIL:
            raise UnreadableImageError("more than 1 GiB follows the image in the file")

    def _voxel_bytes(self) -> Iterator[bytes]:
        skip = self.info.data_offset
        for piece in self._all_bytes():
            if skip < len(piece):
                yield piece[skip:] if skip else piece
            skip = max(0, skip - len(piece))

    def _all_bytes(self) -> Iterator[bytes]:
        yield self._data
        self._data = b""
        try:
            yield from self._pieces
        except TrailingBytesError:  # only met after the image's own stream has ended well
            self.has_trailing_bytes = True


def make_header(
    shape: tuple[int, int, int],
    dtype: type[np.generic],
    affine: geometry.Affine,
    affine_code: int,
    description: str = "",
) -> bytes:
    """Return the 352 bytes before the voxels of an image we write.

    Both forms hold the affine (the qform as far as a quaternion can), pixdim is consistent with
    it, units are mm, values are not scaled.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along x, y, z.
    dtype : numpy scalar type
        ``numpy.float32`` or ``numpy.uint8``.
    affine : (4, 4) float64
        Voxel index to RAS+ mm; stored as float32.
    affine_code : int
        NIfTI code for both forms; 0 (unknown) is written as 1 (scanner) so that readers use it.
    description : str
        At most 79 ASCII characters.
    """
    # Rounded first: an image that is read and written again gets the same bytes.
    affine = affine.astype(np.float32).astype(np.float64)
    header = Nifti1Header(endianness="<")
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    code = affine_code if affine_code > 0 else 1
    header.set_qform(affine, code)
    header.set_sform(affine, code)
    header["pixdim"][1:4] = geometry.spacing_mm(affine)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = DATA_OFFSET
    header["magic"] = b"n+1"
    header["descrip"] = description.encode("ascii")
    return bytes(header.binaryblock) + bytes(DATA_OFFSET - HEADER_BYTES)


class ImageWriter:
    """Writes one ``.nii.gz`` as a stream; the same content gives the same bytes.

    Parameters
    ----------
    path : Path
        A temporary name: whoever publishes the file renames it when it is complete.
    header : bytes
        From `make_header`.
    """

    def __init__(self, path: Path, header: bytes) -> None:
        self._file = path.open("wb", buffering=0)
        self._packer = isal_zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP)
        self._file.write(self._packer.compress(header))

    def write(self, voxels: NDArray[Any]) -> None:
        """Append voxels in file order: a 1-D contiguous array of the header's dtype."""
        data = voxels.view(np.uint8).data
        for start in range(0, len(data), _CHUNK_BYTES):
            self._write(self._packer.compress(data[start : start + _CHUNK_BYTES]))

    def _write(self, packed: bytes) -> None:
        view = memoryview(packed)
        while view:  # an unbuffered write may take less than it was given
            view = view[self._file.write(view) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None:
                self._write(self._packer.flush())
        finally:
            self._file.close()


def in_file_order(array: NDArray[Any]) -> NDArray[Any]:
    """Return the (x, y, z) array as 1-D in file order, without a copy when Fortran-ordered."""
    return array.ravel(order="F")


def write_image(path: Path, header: bytes, array: NDArray[Any]) -> None:
    """Write an (x, y, z) array under a header from `make_header`."""
    with ImageWriter(path, header) as writer:
        writer.write(in_file_order(array))


def write_mask(path: Path, geometry_of: ImageInfo, mask: Mask, description: str = "") -> None:
    """Write an (x, y, z) uint8 mask, multi-label or binary, with the geometry of its volume."""
    header = make_header(
        geometry_of.shape, np.uint8, geometry_of.affine, geometry_of.affine_code, description
    )
    write_image(path, header, mask)
