"""MetaImage and NRRD: where SimpleITK says that voxels lie, and how they are stored in the file.

SimpleITK is given the fields of a header that tell of the grid, each of the right form, and nothing
else: it would read all voxels into memory, does not say when those of a packed MetaImage are
damaged, and some headers end the process. The voxels are read as those of NIfTI are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple

import numpy as np

from amos_dask import geometry
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import NEEDS_SIMPLEITK, FileRef
from amos_dask.nifti.header import Header, ImageInfo, require_content, require_shape

_LARGEST_HEADER = 1 << 20
_WHOLE, _WORD = r"[+-]?\d{1,9}", r"[\w ?-]{1,40}"
_NUMBER = r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,2})?"
_VECTOR = rf"none|\({_NUMBER},{_NUMBER},{_NUMBER}\)"
# Fields that tell of the grid, in the order in which they are passed on -> what each of their
# values is, and how many there are: the number of axes to this power.
_FIELDS: Mapping[str, tuple[str, int]] = {
    **dict.fromkeys(("NDims", "dimension"), ("[1-9]", 0)),
    **dict.fromkeys(("ElementSpacing", "ElementSize", "Offset", "Position"), (_NUMBER, 1)),
    **dict.fromkeys(("Origin", "spacings", "axis mins", "axis maxs"), (_NUMBER, 1)),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), (_NUMBER, 2)),
    **dict.fromkeys(("DimSize", "sizes"), (_WHOLE, 1)),
    **dict.fromkeys(("ElementNumberOfChannels", "space dimension"), (_WHOLE, 0)),
    **dict.fromkeys(("ElementType", "type", "space"), (_WORD, 0)),
    **dict.fromkeys(("kinds", "centers", "centerings"), (_WORD, 1)),
    "space directions": (_VECTOR, 1),
    "space origin": (_VECTOR, 0),
}
# A line of NRRD that tells nothing here, or a field and its value.
_NRRD_LINE = (
    r"\s*|NRRD000.\s*|#.*|[^:]+:=.*|(?:content|number|block size|thicknesses|labels|units|min|max|"
    r"old min|old max|space units|sample units|measurement frame):.*|"
    rf"(encoding|endian|line skip|byte skip|data file|{'|'.join(_FIELDS)}):\s*(.*?)\s*"
)
_META_ORDERS = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
_NRRD_PACKING = {"raw": "", "gzip": "gzip", "gz": "gzip"}
_EARLIEST = (2, 5, 6)  # earlier ones mirror the wrong axis of NRRD's left-anterior-superior
# As SimpleITK names types: bits and kind.
_TYPE = re.compile(r"(\d+)-bit (signed|unsigned|float)\b.*")
# What every such image has; the code is that of the forms which SimpleITK writes.
_COMMON: dict[str, Any] = {"affine_code": 1, "form": "itk", "other_affine": None, "unit": "mm"}
_COMMON |= {"mm_per_unit": 1.0, "slope": 1.0, "inter": 0.0, "description": ""}


class _Form(NamedTuple):
    """A form of headers, which are lines of a field and a value."""

    name: str
    image_io: str  # what SimpleITK calls its reader
    needed: tuple[str, str, str]  # fields, the number of axes first
    end: re.Pattern[bytes]  # what ends a header
    line: re.Pattern[str]  # with groups for field and value; empty where a line tells nothing
    written: tuple[str, str, str]  # of a header with nothing but `_FIELDS`: begin, separator, end
    # How voxels are stored: packing as in `Header`, "<", ">" or nothing as the order of bytes, and
    # whether they are in the other file of a pair.
    find_stored: Callable[[Mapping[str, str], FileRef], tuple[str, str, bool]]


def read_itk_header(ref: FileRef, pieces: Iterator[bytes], n_channels: int | None) -> Header:
    """Read the header of a MetaImage or NRRD from the first of its bytes.

    The file's name tells the form; ``n_channels`` is how long the fourth axis is to be, None for
    any length.

    Raises
    ------
    UnreadableImageError
        When it is not the header of a supported image, or that has other channels.
    InaccessibleFileError
        Where SimpleITK is not installed.
    """
    form, data, end = _NRRD if ref.path.endswith(".nrrd") else _META, b"", None
    for piece in pieces:
        data += piece
        if (end := form.end.search(data)) or len(data) > _LARGEST_HEADER:
            break
    if not (end := end or form.end.search(data + b"\n")):
        require_content(data)
        raise UnreadableImageError(f"not {form.name} file, or its header is damaged")
    fields = dict[str, str]()
    for line in data[: end.end()].decode("latin-1").split("\n"):
        match = form.line.fullmatch(line)
        if match is None or match[1] in fields:  # it may be a misspelt field
            raise UnreadableImageError(f"the header's line {line[:50]!r} is not valid")
        if match[1]:
            fields[match[1]] = match[2]
    packing, order, is_pair = form.find_stored(fields, ref)
    n_before = 0 if packing or is_pair else end.end()
    grid = _read_grid(form, fields, order, n_channels)
    info = ImageInfo(**_COMMON, **grid, data_offset=n_before, is_pair=is_pair)
    return Header(info, data if n_before else data[end.end() :], packing)


def _read_grid(
    form: _Form, fields: Mapping[str, str], order: str, n_channels: int | None
) -> dict[str, Any]:
    """Return the fields of `ImageInfo` that tell of the grid."""
    reader, said = _ask_simpleitk(form, _header_of_grid(form, fields))
    if reader.GetNumberOfComponents() != 1 or not (match := _TYPE.fullmatch(said)):
        raise UnreadableImageError(f"voxels of type {said} are not supported")
    dtype = np.dtype(f"{order}{match[2][0].replace('s', 'i')}{int(match[1]) // 8}")
    if dtype.itemsize > 1 and not order:
        raise UnreadableImageError("the header does not tell the order of bytes")
    shape, n_found = require_shape(reader.GetSize(), n_channels)
    spacing = reader.GetSpacing()
    affine = geometry.from_lps(reader.GetDirection(), spacing, reader.GetOrigin())
    with np.errstate(over="ignore"):
        pixdim = tuple(float(np.float32(size)) for size in spacing[:3])
    found = {"affine": affine, "spacing_mm": geometry.spacing_mm(affine), "pixdim_mm": pixdim}
    found |= {"shape": shape, "n_axes": reader.GetDimension(), "n_channels": n_found}
    return {**found, "stored_dtype": dtype}


def _header_of_grid(form: _Form, fields: Mapping[str, str]) -> str:
    """Return a header of what tells of the grid; raise where it is not as it should be."""
    for name in form.needed:
        if name not in fields:
            raise UnreadableImageError(f"the header has no {name}")
    (header, separator, end), n_axes = form.written, fields[form.needed[0]]
    for name, (pattern, power) in _FIELDS.items():
        if name not in fields:
            continue
        value = fields[name].replace(", ", ",")
        values = [value] if name == "type" else value.split()
        is_whole = n_axes.isdecimal() and len(values) == int(n_axes[:9]) ** power
        if not is_whole or not all(re.fullmatch(pattern, each, re.ASCII) for each in values):
            raise UnreadableImageError(f"the header's {name} is not valid: {fields[name][:50]!r}")
        header += f"{name}{separator}{fields[name]}\n"
    return header + end


def _ask_simpleitk(form: _Form, header: str) -> tuple[Any, str]:
    """Return SimpleITK's reader after it has read a header, and what it calls the voxels' type."""
    try:
        import SimpleITK
    except ImportError as error:
        raise InaccessibleFileError(NEEDS_SIMPLEITK) from error
    if tuple(map(int, re.findall(r"\d+", SimpleITK.__version__)[:3])) < _EARLIEST:
        raise InaccessibleFileError(NEEDS_SIMPLEITK)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(form.image_io)
    try:
        with NamedTemporaryFile() as file:  # it reads nothing but files
            file.write(header.encode())
            file.flush()
            reader.SetFileName(file.name)
            reader.ReadImageInformation()
        return reader, SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    except OSError as error:
        reason = error.strerror or error
        raise InaccessibleFileError(f"no temporary file for its header ({reason})") from error
    except RuntimeError as error:  # which names the temporary file
        raise UnreadableImageError("SimpleITK cannot make sense of the header") from error


def _meta_stored(fields: Mapping[str, str], ref: FileRef) -> tuple[str, str, bool]:
    def is_true(name: str) -> bool:
        return fields.get(name, "")[:1] in ("T", "t", "1")

    if not is_true("BinaryData"):
        raise UnreadableImageError("voxels that are written as text are not supported")
    if fields.get("HeaderSize", "0") != "0":
        raise UnreadableImageError("a HeaderSize is not supported")
    file = fields["ElementDataFile"]
    is_pair = file.upper() != "LOCAL"
    if is_pair and (ref.pair is None or file != PurePosixPath(ref.pair.path).name):
        raise UnreadableImageError(
            f"its voxels are in {file[:200]!r}; beside it is no .raw or .zraw that has this name "
            "and that of the header"
        )
    orders = {is_true(name) for name in _META_ORDERS if name in fields}
    if len(orders) > 1:
        raise UnreadableImageError("the header tells two orders of bytes")
    return "zlib" if is_true("CompressedData") else "", ">" if True in orders else "<", is_pair


def _nrrd_stored(fields: Mapping[str, str], _: FileRef) -> tuple[str, str, bool]:
    for name in ("data file", "line skip", "byte skip"):
        if fields.get(name, "0") != "0":
            raise UnreadableImageError(f"a header with a {name} is not supported")
    encoding = fields.get("encoding", "").lower()
    if encoding not in _NRRD_PACKING:
        raise UnreadableImageError(f"the encoding {encoding[:20]!r} is not supported")
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower(), "")
    return _NRRD_PACKING[encoding], order, False


_META = _Form(
    "a MetaImage",
    "MetaImageIO",
    ("NDims", "DimSize", "ElementType"),
    re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:].*\n", re.MULTILINE),
    re.compile(r"\s*|\s*([^=:\s][^=:]*?)\s*[=:]\s*(.*?)\s*", re.ASCII),
    ("ObjectType = Image\n", " = ", "ElementDataFile = LOCAL\n"),
    _meta_stored,
)
_NRRD = _Form(
    "an NRRD",
    "NrrdImageIO",
    ("dimension", "sizes", "type"),
    re.compile(rb"\ANRRD000[1-5]\r?\n(?s:.*?\n)?\r?\n"),
    re.compile(_NRRD_LINE),
    ("NRRD0005\n", ": ", "encoding: raw\nendian: little\n\n"),
    _nrrd_stored,
)
