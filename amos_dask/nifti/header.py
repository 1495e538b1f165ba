"""The NIfTI header, of version 1 or 2: what it says of an image, and the one we write."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.archive.recognise import find_substitute
from amos_dask.errors import UnreadableImageError

HEADER_BYTES = 348
DATA_OFFSET = 352
_KINDS: dict[int, type[Nifti1Header]] = {HEADER_BYTES: Nifti1Header, 540: Nifti2Header}
# sizeof_hdr, the first four bytes, in both byte orders.
_SIZES = {struct.pack(f"{order}i", size): (size, order) for size in _KINDS for order in "<>"}
# Where there is no magic of NIfTI-1: what may tell Analyze 7.5, of which it is an extension.
_MAGIC, _REGULAR = slice(344, 348), slice(38, 39)
_MAGIC_NIFTI2, _LINE_ENDS = slice(4, 8), slice(8, 12)
_GZIP_MAGIC = b"\x1f\x8b"
_LARGEST_DIM = 32767  # of NIfTI-1, which is what we write
_LARGEST_OFFSET = 1 << 30
# nibabel repairs headers when it loads an image (codes, negative sizes) and logs that.
_UNHEARD = logging.Logger("nibabel repairs")
_UNHEARD.addHandler(logging.NullHandler())  # without any, logging writes to stderr
_NEVER = 1000
# xyzt_units, of which three bits are space: its code -> name and millimetres. Others are taken
# for mm.
_SPACE = 7
_UNITS = {1: ("metre", 1e3), 3: ("micron", 1e-3)}
# Voxel sizes in mm that a scan may have; units that lead out of them are not believed.
_BELIEVED_MM = (0.01, 100.0)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the header of an image says.

    Parameters
    ----------
    shape : (int, int, int)
        Voxels along x, y, z.
    affine : (4, 4) float64
        Voxel index to RAS+ mm: nibabel's best affine, but the qform where the sform is a
        placeholder; NaN where the header holds no valid one.
    affine_code : int
        NIfTI code of the form the affine came from (0 for the base affine).
    form : str
        That form: ``sform``, ``qform``, or ``none`` for the base affine; ``itk`` of what
        SimpleITK has read.
    other_affine : (4, 4) float64 or None
        What the other form says, in a header with both; NaN where that is not valid.
    unit : str
        What the header says its lengths are in: ``mm`` (also where it says nothing), ``micron``
        or ``metre``.
    mm_per_unit : float
        What the lengths above were multiplied by; 1 where the unit was not believed.
    spacing_mm : (float, float, float)
        Voxel size along x, y, z in mm from the affine.
    pixdim_mm : (float, float, float)
        ``pixdim[1:4]``; float32 values where a NIfTI-1 header says mm.
    stored_dtype : dtype
        As in the file, with its byte order.
    slope, inter : float
        Scaling; 1 and 0 when there is none.
    data_offset : int
        Bytes before the first voxel, in the file that holds the voxels.
    description : str
        The header's ``descrip``.
    n_axes : int
        Axes that the header tells of; those after the third have length 1, but for channels.
    n_channels : int
        Length of the fourth axis.
    is_pair : bool
        Whether the voxels are in another file, such as the ``.img`` of this ``.hdr``.

    Attributes
    ----------
    n_voxels : int
        Number of voxels, of one channel.
    n_bytes : int
        Bytes of the voxels in the file, unpacked, of all channels.
    is_scaled : bool
        Whether values differ from what is stored.
    dtype : str
        Name of ``numpy.asanyarray(image.dataobj).dtype`` in nibabel.
    """

    shape: tuple[int, int, int]
    affine: geometry.Affine
    affine_code: int
    form: str
    other_affine: geometry.Affine | None
    unit: str
    mm_per_unit: float
    spacing_mm: tuple[float, float, float]
    pixdim_mm: tuple[float, float, float]
    stored_dtype: np.dtype[Any]
    slope: float
    inter: float
    data_offset: int
    description: str
    n_axes: int = 3
    n_channels: int = 1
    is_pair: bool = False
    n_voxels: int = field(init=False, repr=False, compare=False)
    n_bytes: int = field(init=False, repr=False, compare=False)
    is_scaled: bool = field(init=False, repr=False, compare=False)
    dtype: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        n_voxels, stored = math.prod(self.shape), self.stored_dtype
        is_scaled = (self.slope, self.inter) != (1.0, 0.0)
        set_field = partial(object.__setattr__, self)
        set_field("n_voxels", n_voxels)
        set_field("n_bytes", n_voxels * self.n_channels * stored.itemsize)
        set_field("is_scaled", is_scaled)
        set_field("dtype", "float64" if is_scaled else stored.name)


class Header(NamedTuple):
    """A header, and what else has been read of its file."""

    info: ImageInfo
    data: bytes  # the beginning of what holds the voxels: a file, or the stream that is in it
    packing: str = ""  # what that stream is: ``gzip`` or ``zlib``


def require_content(begin: bytes) -> None:
    """Raise where an image should begin that is not packed, and something else does."""
    if not begin:
        raise UnreadableImageError("the file is empty")
    what = find_substitute(begin)
    if begin.startswith(_GZIP_MAGIC):
        what = "a gzip file whose name does not end in .gz; rename it"
    if what:
        raise UnreadableImageError(f"not an image but {what}")


def header_bytes(begin: bytes) -> int:
    """Return how long the NIfTI header is that begins so; 0 where it is none."""
    return _SIZES.get(begin[:4], (0, ""))[0]


def parse_header(block: bytes, n_channels: int | None = 1) -> ImageInfo:
    """Interpret a NIfTI header.

    Parameters
    ----------
    block : bytes
        Begins with it: 348 bytes of NIfTI-1, 540 of NIfTI-2.
    n_channels : int or None
        How long the fourth axis is to be; None for any length.

    Raises
    ------
    UnreadableImageError
        When they are not the header of a supported image, or it has other channels.
    """
    if len(block) < max(HEADER_BYTES, header_bytes(block)):
        raise UnreadableImageError("too short for a NIfTI header")
    is_pair = _find_is_pair(block)
    size, order = _SIZES[block[:4]]
    try:
        # nibabel would guess the byte order from dim[0], which may be wrong itself.
        header = _KINDS[size](block[:size], endianness=order, check=False)
        repaired = header.copy()
        repaired.check_fix(logger=_UNHEARD, error_level=_NEVER)
        dtype = header.get_data_dtype()
        slope, inter = header.get_slope_inter()
    except (HeaderDataError, KeyError, ValueError) as error:
        raise UnreadableImageError(f"the header is not valid ({error})") from error
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UnreadableImageError(f"voxels of type {dtype.name} are not supported")
    if np.isinf(header["scl_slope"]):  # nibabel takes it for no scaling; zero and NaN are that
        raise UnreadableImageError("the header's scl_slope is infinite")
    offset = float(header["vox_offset"])
    # Four bytes that tell of extensions stand between header and voxels in one file.
    if not (0 if is_pair else size + 4) <= offset <= _LARGEST_OFFSET:
        raise UnreadableImageError(f"the header's vox_offset is {offset:g}")
    n_axes = int(header["dim"][0])
    if not 1 <= n_axes <= 7:
        raise UnreadableImageError(f"the header claims {n_axes} axes")
    shape, n_found = require_shape(map(int, header["dim"][1 : n_axes + 1]), n_channels)
    return ImageInfo(
        shape=shape,
        **_geometry(header, repaired),
        stored_dtype=dtype,
        slope=1.0 if slope is None else float(slope),
        inter=0.0 if inter is None else float(inter),
        data_offset=int(offset),
        description=bytes(header["descrip"].item()).decode("latin-1"),
        n_axes=n_axes,
        n_channels=n_found,
        is_pair=is_pair,
    )


def _find_is_pair(block: bytes) -> bool:
    """Return whether a header is one of a pair; raises where it is none of NIfTI."""
    if block[:4] not in _SIZES:
        raise UnreadableImageError("not a NIfTI file")
    version, magic = b"1", block[_MAGIC]
    if header_bytes(block) != HEADER_BYTES:
        version, magic = b"2", block[_MAGIC_NIFTI2]
        if block[_LINE_ENDS] not in (b"\r\n\x1a\n", bytes(4)):
            raise UnreadableImageError("was damaged when it was copied as text; copy it again")
    elif magic == bytes(4) or (block[_REGULAR] == b"r" and magic[:1] != b"n"):
        raise UnreadableImageError("an Analyze 7.5 header (no magic); convert it to NIfTI")
    if magic not in (b"n+%b\0" % version, b"ni%b\0" % version):
        raise UnreadableImageError("not a NIfTI file (wrong magic)")
    return magic[1:2] == b"i"


def require_shape(
    claimed: Iterable[int], n_channels: int | None
) -> tuple[tuple[int, int, int], int]:
    """Return the voxels along x, y, z, and the channels, of a header that claims these sizes.

    Raises `UnreadableImageError` where they are none that can be used, or not so many channels.
    """
    sizes = list(claimed)
    if min(sizes) < 1:
        raise UnreadableImageError(f"the header claims the shape {sizes}")
    if max(sizes) > _LARGEST_DIM:
        raise UnreadableImageError(
            f"the header claims the shape {sizes}; more than {_LARGEST_DIM} cannot be written"
        )
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    n_found = sizes.pop() if len(sizes) == 4 and n_channels != 1 else 1
    if len(sizes) != 3:
        raise UnreadableImageError(f"has {len(sizes)} axes {sizes} where three are expected")
    if n_channels not in (None, n_found):
        word = "channel" if n_found == 1 else "channels"
        raise UnreadableImageError(f"has {n_found} {word} where {n_channels} are expected")
    return (sizes[0], sizes[1], sizes[2]), n_found


def _geometry(header: Nifti1Header, repaired: Nifti1Header) -> dict[str, Any]:
    """Return the fields of `ImageInfo` that tell where the voxels are."""
    pixdim = np.array([float(size) for size in header["pixdim"][1:4]])
    codes = {"sform": int(repaired["sform_code"]), "qform": int(repaired["qform_code"])}
    form = "sform" if codes["sform"] > 0 else "qform" if codes["qform"] > 0 else "none"
    affine, other = _affine(repaired.get_best_affine), None
    if min(codes.values()) > 0:
        other = _affine(repaired.get_qform)
        if _is_placeholder(affine, other, pixdim):
            form, affine, other = "qform", other, affine
    unit, factor = _UNITS.get(int(header["xyzt_units"]) & _SPACE, ("mm", 1.0))
    if factor != 1 and _is_believed(affine, 1.0) and not _is_believed(affine, factor):
        factor = 1.0
    if factor != 1:
        affine, pixdim = _in_mm(affine, factor), _in_mm(pixdim, factor)
        other = None if other is None else _in_mm(other, factor)
    return {
        "affine": affine,
        "affine_code": codes.get(form, 0),
        "form": form,
        "other_affine": other,
        "unit": unit,
        "mm_per_unit": factor,
        "spacing_mm": geometry.spacing_mm(affine),
        "pixdim_mm": tuple(pixdim.tolist()),
    }


def _affine(read: Callable[[], geometry.Affine]) -> geometry.Affine:
    try:
        with np.errstate(all="ignore"):
            return np.asarray(read(), dtype=np.float64)
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        return np.full((4, 4), np.nan)


def _is_placeholder(
    sform: geometry.Affine, qform: geometry.Affine, pixdim: NDArray[np.float64]
) -> bool:
    """Return whether the sform only fills its place, so that the qform is right.

    ACDC's files are such: voxels of 1 mm in the sform, the true ones in qform and pixdim.
    """
    is_unit = [np.array_equal(np.abs(form[:3, :3]), np.eye(3)) for form in (sform, qform)]
    return is_unit == [True, False] and geometry.is_usable(qform) and bool((pixdim != 1).any())


def _is_believed(affine: geometry.Affine, mm_per_unit: float) -> bool:
    lowest, highest = _BELIEVED_MM
    sizes = np.array(geometry.spacing_mm(affine)) * mm_per_unit
    return bool(((lowest <= sizes) & (sizes <= highest)).all())


def _in_mm(lengths: NDArray[np.float64], mm_per_unit: float) -> NDArray[np.float64]:
    """Return lengths, or an affine, in mm.

    The shortest decimals of their float32 are scaled: 0.0008 m are 0.8 mm, not 0.79999998.
    """
    with np.errstate(all="ignore"):
        found = np.vectorize(geometry.shortest_decimal, otypes=[np.float64])(lengths) * mm_per_unit
    if found.shape == (4, 4):
        found[3] = lengths[3]
    return np.asarray(found)


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
    header.set_qform(affine, code)  # and pixdim
    header.set_sform(affine, code)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = DATA_OFFSET
    header["magic"] = b"n+1"
    header["descrip"] = description.encode("ascii")
    return bytes(header.binaryblock) + bytes(DATA_OFFSET - HEADER_BYTES)
