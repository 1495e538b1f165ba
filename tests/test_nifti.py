"""NIfTI reading and writing, with nibabel and gzip as judges."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import igzip, isal_zlib
from nibabel.affines import from_matvec, voxel_sizes
from nibabel.eulerangles import euler2mat
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef, file_ref
from amos_dask.nifti import (
    ImageInfo,
    ImageWriter,
    make_header,
    open_image,
    parse_header,
    read_info,
    write_image,
    write_mask,
)
from amos_dask.nifti import write as nifti_write

Array = NDArray[Any]

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
LAS = from_matvec(np.diag([-0.8, 0.8, 5.0]), [100, -120, -300])
GARBAGE = b"\xffnot gzip\n"


# ---------------------------------------------------------------- files to read


def header_of(
    shape: tuple[int, ...] = (2, 3, 4),
    dtype: str = "<i2",
    affine: NDArray[np.float64] = LAS,
    sform: int = 1,
    qform: int = 1,
    kind: type[Nifti1Header] = Nifti1Header,
    **fields: Any,
) -> Nifti1Header:
    """A header in the byte order of ``dtype`` (``<`` or ``>``), with fields set as given."""
    header = kind(endianness=dtype[0])
    header.set_data_dtype(dtype[1:])
    header.set_data_shape(shape)
    header.set_sform(affine, sform)
    header.set_qform(affine, qform)
    header["vox_offset"] = kind.single_vox_offset
    for name, value in fields.items():
        header[name] = value
    return header


def voxels_of(shape: tuple[int, ...] = (2, 3, 4), dtype: str = "<i2", seed: int = 0) -> Array:
    """Random voxels over the type's whole range; finite for floating point."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (rng.normal(size=shape) * 1000).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind.newbyteorder("="), True).astype(kind)


def raw_image(header: Nifti1Header, voxels: Array, extension: bytes = b"\0\0\0\0") -> bytes:
    """The unpacked bytes of a single-file image."""
    return bytes(header.binaryblock) + extension + voxels.tobytes(order="F")


def raw_default(**fields: Any) -> bytes:
    return raw_image(header_of(**fields), voxels_of())


def write(folder: Path, content: bytes) -> FileRef:
    path = folder / "amos_0001.nii.gz"
    path.write_bytes(content)
    return file_ref(path, "imagesTr/amos_0001.nii.gz")


def read(ref: FileRef) -> tuple[ImageInfo, Array, bool]:
    """Header, stored voxels as (x, y, z), and whether bytes trailed."""
    with open_image(ref) as image:
        chunks = list(image.chunks())
        flat = np.concatenate(chunks) if chunks else np.empty(0)
        return image.info, flat.reshape(image.info.shape, order="F"), image.has_trailing_bytes


def refusal(ref: FileRef, action: Callable[[FileRef], object]) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        action(ref)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nifti")


# ---------------------------------------------------------------- against nibabel


@st.composite
def affines(draw: st.DrawFn, shear: bool = False) -> NDArray[np.float64]:
    angle = st.floats(-3.0, 3.0)
    rotation = euler2mat(draw(angle), draw(angle), draw(angle))
    zooms = draw(st.tuples(*[st.floats(0.1, 10.0)] * 3))
    flip = np.diag([draw(st.sampled_from([-1.0, 1.0])), 1.0, 1.0])
    matrix = rotation @ flip @ np.diag(zooms)
    if shear:
        matrix = matrix @ np.array([[1, draw(st.floats(-0.4, 0.4)), 0], [0, 1, 0], [0, 0, 1]])
    return from_matvec(matrix, draw(st.tuples(*[st.floats(-1000, 1000)] * 3)))


@st.composite
def headers(
    draw: st.DrawFn, kind: type[Nifti1Header] = Nifti1Header, n_channels: int = 1
) -> Nifti1Header:
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    header = header_of(
        (shape if n_channels == 1 else (*shape, n_channels)) + (1,) * draw(st.integers(0, 3)),
        draw(st.sampled_from("<>")) + draw(st.sampled_from(DTYPES)),
        draw(affines(shear=True)),
        sform=draw(st.sampled_from([0, 0, 1, 2, 3, 4, 5])),
        qform=draw(st.sampled_from([0, 0, 1, 2, 3, 4, 5])),
        kind=kind,
        descrip=draw(st.sampled_from([b"", b"FSL5.0", b"r\xe9sum\xe9", b"x" * 79])),
    )
    header["scl_slope"] = draw(st.sampled_from([np.nan, 0, 1, 1, 2, -0.5, 0.1, 1e-3]))
    inters = [0, 0, -1024, 0.25, 7]
    valid = np.isfinite(header["scl_slope"]) and header["scl_slope"] != 0
    header["scl_inter"] = draw(st.sampled_from(inters if valid else [*inters, np.nan, np.inf]))
    if draw(st.booleans()):
        header["pixdim"][1:4] = draw(st.tuples(*[st.floats(0.125, 9, width=32)] * 3))
    return header


KINDS = [Nifti1Header, Nifti2Header]
PLACES = [("nii.gz",), ("nii",), ("hdr", "img"), ("hdr.gz", "img.gz"), ("hdr", "img.gz")]


def write_form(folder: Path, header: Nifti1Header, voxels: Array, *endings: str) -> FileRef:
    """One file, or a pair, for which the header is changed."""
    contents = [raw_image(header, voxels)]
    if len(endings) == 2:
        header["magic"], header["vox_offset"] = header.pair_magic, voxels.size % 2 * 24
        before = b"\xff" * int(header["vox_offset"])
        contents = [bytes(header.binaryblock) + bytes(4), before + voxels.tobytes(order="F")]
    refs = []
    for ending, content in zip(endings, contents, strict=True):
        path = folder / f"amos_0001.{ending}"
        path.write_bytes(gzip.compress(content, 1) if ending.endswith("gz") else content)
        refs.append(file_ref(path, path.name))
    return replace(refs[0], pair=refs[1] if len(refs) == 2 else None)


def load(ref: FileRef) -> Any:
    """What nibabel makes of it, whose names of a pair are packed both or neither."""
    if ref.pair is None or ref.is_gzip == ref.pair.is_gzip:
        return nib.load(ref.location)
    kind = nib.Nifti1Pair if Path(ref.location).stat().st_size < 540 else nib.Nifti2Pair
    holders = {"header": ref.location, "image": ref.pair.location}
    return kind.from_file_map({name: nib.FileHolder(path) for name, path in holders.items()})


@quick
@given(data=st.data(), kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
@pytest.mark.parametrize("endings", PLACES, ids="+".join)
def test_header_and_voxels_are_nibabels(
    folder: Path, data: st.DataObject, kind: type[Nifti1Header], seed: int, endings: tuple[str, ...]
) -> None:
    header = data.draw(headers(kind))
    voxels = voxels_of(header.get_data_shape(), header.get_data_dtype().str, seed)
    ref = write_form(folder, header, voxels, *endings)
    info, voxels, trailing = read(ref)
    image = load(ref)
    stored = np.asanyarray(image.dataobj.get_unscaled())
    scaled = np.asanyarray(image.dataobj)

    assert info.shape == image.shape[:3]
    assert info.affine.dtype == np.float64
    np.testing.assert_array_equal(info.affine, image.affine)
    assert info.pixdim_mm == tuple(float(size) for size in image.header["pixdim"][1:4])
    assert info.dtype == scaled.dtype.name
    assert info.stored_dtype.name == stored.dtype.name
    assert (info.slope, info.inter) == (image.dataobj.slope, image.dataobj.inter)
    assert info.is_scaled == (scaled.dtype != stored.dtype or not np.array_equal(scaled, stored))
    assert info.spacing_mm == pytest.approx(tuple(voxel_sizes(image.affine)), rel=2e-7)
    assert info.description == bytes(image.header["descrip"].item()).decode("latin-1")
    assert voxels.dtype.isnative
    np.testing.assert_array_equal(voxels, stored.reshape(info.shape))
    assert not trailing


@pytest.mark.parametrize(
    "fields",
    [
        {"sform": 0, "pixdim": [0, 0.8, 0.8, 5, 1, 1, 1, 1]},
        {"sform": 0, "pixdim": [3, 0.8, 0.8, 5, 1, 1, 1, 1]},
        {"sform": 0, "pixdim": [1, -0.8, 0.8, 5, 1, 1, 1, 1]},
        {"sform": 0, "qform": 0, "pixdim": [1, -0.8, 0.8, 5, 1, 1, 1, 1]},
        {"sform": 0, "qform": 0, "pixdim": [1, 0, 0.8, 5, 1, 1, 1, 1]},
        {"sform": 0, "pixdim": [1, 0, 0.8, 5, 1, 1, 1, 1]},
        {"sform_code": 7, "qform": 0},
        {"sform_code": -1},
        {"sform": 0, "qform_code": 9},
    ],
    ids=[
        "qfac zero",
        "qfac three",
        "negative pixdim with qform",
        "negative pixdim without form",
        "zero pixdim without form",
        "zero pixdim with qform",
        "unknown sform code",
        "negative sform code",
        "unknown qform code",
    ],
)
def test_affine_of_a_sloppy_header_is_what_nibabel_loads(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    info = read_info(write(tmp_path, gzip.compress(raw_default(**fields))))
    loaded = nib.load(tmp_path / "amos_0001.nii.gz")
    np.testing.assert_array_equal(info.affine, loaded.affine)


@pytest.mark.parametrize("form", ["sform_code", "qform_code"])
def test_a_scan_with_a_form_code_unknown_to_nifti_can_be_written(form: str) -> None:
    info = parse_header(bytes(header_of(**{form: 7}).binaryblock))
    header = make_header(info.shape, np.float32, info.affine, info.affine_code)
    written = Nifti1Header(header[:348])
    assert int(written["sform_code"]) in range(1, 6)
    assert int(written["qform_code"]) in range(1, 6)


def test_pixdim_is_the_headers_own_even_when_wrong(tmp_path: Path) -> None:
    fields = {"pixdim": [1, -0.7, 0, 5.5, 1, 1, 1, 1]}
    info = read_info(write(tmp_path, gzip.compress(raw_default(**fields))))
    assert info.pixdim_mm == (float(np.float32(-0.7)), 0.0, 5.5)
    assert info.spacing_mm == pytest.approx((0.8, 0.8, 5.0))


def test_a_non_finite_sform_gives_a_non_finite_affine(tmp_path: Path) -> None:
    raw = raw_default(srow_x=[np.nan, 0, 0, 0])
    assert not np.isfinite(read_info(write(tmp_path, gzip.compress(raw))).affine).all()


def test_an_impossible_quaternion_gives_a_non_finite_affine(tmp_path: Path) -> None:
    raw = raw_default(sform=0, quatern_b=2, quatern_c=1)
    assert not np.isfinite(read_info(write(tmp_path, gzip.compress(raw))).affine).all()


@pytest.mark.parametrize("offset", [352, 353, 368, 400, 4096, 70_000, 1_500_000])
def test_extensions_before_the_voxels_are_skipped(tmp_path: Path, offset: int) -> None:
    voxels = voxels_of()
    extension = np.random.default_rng(1).bytes(offset - 348)
    content = gzip.compress(raw_image(header_of(vox_offset=offset), voxels, extension), 1)
    info, found, trailing = read(write(tmp_path, content))
    assert info.data_offset == offset
    np.testing.assert_array_equal(found, voxels)
    assert not trailing


@pytest.mark.parametrize("dtype", ["<i2", ">i2", ">f8"])
def test_voxels_that_straddle_blocks_are_put_together(tmp_path: Path, dtype: str) -> None:
    shape = (113, 127, 61)
    voxels = voxels_of(shape, dtype)
    raw = raw_image(header_of(shape, dtype, vox_offset=355), voxels, b"\1\2\3\4\5\6\7")
    with open_image(write(tmp_path, gzip.compress(raw, 1))) as image:
        chunks = list(image.chunks())
    assert len(chunks) > 1
    assert max(chunk.nbytes for chunk in chunks) <= 2 << 20
    np.testing.assert_array_equal(np.concatenate(chunks), voxels.ravel(order="F"))


# ---------------------------------------------------------------- gzip forms


@pytest.mark.parametrize("cut", [1, 10, 100, 347, 348, 352, 360, 399])
def test_a_stream_of_several_members_is_one_image(tmp_path: Path, cut: int) -> None:
    raw = raw_default()
    content = gzip.compress(raw[:cut]) + gzip.compress(b"") + gzip.compress(raw[cut:])
    assert gzip.decompress(content) == raw
    _, voxels, trailing = read(write(tmp_path, content))
    np.testing.assert_array_equal(voxels, voxels_of())
    assert not trailing


def test_hundreds_of_tiny_members_are_one_image(tmp_path: Path) -> None:
    raw = raw_default()
    content = b"".join(gzip.compress(raw[i : i + 1]) for i in range(len(raw)))
    np.testing.assert_array_equal(read(write(tmp_path, content))[1], voxels_of())


def test_a_gzip_header_may_hold_name_comment_and_extra(tmp_path: Path) -> None:
    plain = gzip.compress(raw_default(), mtime=123)
    extra = b"\5\0hello" + b"amos.nii\0" + b"a comment\0"
    content = plain[:3] + bytes([0x04 | 0x08 | 0x10]) + plain[4:10] + extra + plain[10:]
    assert gzip.decompress(content) == raw_default()
    np.testing.assert_array_equal(read(write(tmp_path, content))[1], voxels_of())


@pytest.mark.parametrize("n_zeros", [1, 511, 600_000])
def test_zero_padding_after_the_stream_is_nothing_special(tmp_path: Path, n_zeros: int) -> None:
    _, voxels, trailing = read(write(tmp_path, gzip.compress(raw_default()) + bytes(n_zeros)))
    np.testing.assert_array_equal(voxels, voxels_of())
    assert not trailing


@pytest.mark.parametrize("n_bytes", [10, 100, 700_000])
def test_garbage_after_the_stream_is_reported_and_ignored(tmp_path: Path, n_bytes: int) -> None:
    garbage = (GARBAGE * (n_bytes // len(GARBAGE) + 1))[:n_bytes]
    _, voxels, trailing = read(write(tmp_path, gzip.compress(raw_default()) + garbage))
    np.testing.assert_array_equal(voxels, voxels_of())
    assert trailing


@pytest.mark.parametrize("n_bytes", [1, 2, 5, 9])
def test_a_few_bytes_of_garbage_after_the_stream_are_ignored_too(
    tmp_path: Path, n_bytes: int
) -> None:
    content = gzip.compress(raw_default()) + GARBAGE[:n_bytes]
    _, voxels, trailing = read(write(tmp_path, content))
    np.testing.assert_array_equal(voxels, voxels_of())
    assert trailing


@pytest.mark.parametrize("n_bytes", [1, 7, 100, 3_000_000])
def test_unpacked_bytes_after_the_voxels_are_reported_and_ignored(
    tmp_path: Path, n_bytes: int
) -> None:
    _, voxels, trailing = read(write(tmp_path, gzip.compress(raw_default() + b"x" * n_bytes, 1)))
    np.testing.assert_array_equal(voxels, voxels_of())
    assert trailing


def test_a_damaged_voxel_is_found_even_when_bytes_follow_the_voxels(tmp_path: Path) -> None:
    stored = bytearray(gzip.compress(raw_default() + bytes(3_000_000), 0))
    at = stored.index(voxels_of().tobytes(order="F"))
    stored[at] ^= 1
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(stored)
    refusal(write(tmp_path, bytes(stored)), read)


# ---------------------------------------------------------------- damage


def test_a_truncated_file_is_never_read_whole(tmp_path: Path) -> None:
    content = gzip.compress(raw_default())
    for n_bytes in range(len(content)):
        ref = write(tmp_path, content[:n_bytes])
        refusal(ref, read)


def test_a_larger_truncated_file_is_never_read_whole(tmp_path: Path) -> None:
    shape = (100, 100, 100)
    content = gzip.compress(raw_image(header_of(shape), voxels_of(shape)), 1)
    places = [1 << 18, (1 << 18) + 1, 1 << 20, *range(10_000, len(content), len(content) // 15)]
    for n_bytes in [*places, len(content) - 9, len(content) - 8, len(content) - 1]:
        ref = write(tmp_path, content[:n_bytes])
        refusal(ref, read)


def test_voxels_missing_from_an_intact_stream_are_missed(tmp_path: Path) -> None:
    for n_missing in (1, 2, 40, 48, 52):
        content = gzip.compress(raw_default()[:-n_missing])
        assert "48" in refusal(write(tmp_path, content), read)


@pytest.mark.parametrize("level", [0, 6])
def test_a_flipped_bit_never_changes_a_voxel_unnoticed(tmp_path: Path, level: int) -> None:
    content = gzip.compress(raw_default(), level)
    n_noticed = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        try:
            intact = gzip.decompress(damaged) == raw_default()
        except (OSError, EOFError, zlib.error):
            intact = False
        try:
            _, voxels, _ = read(write(tmp_path, bytes(damaged)))
        except UnreadableImageError:
            n_noticed += 1
            continue
        assert intact, f"byte {place}"
        np.testing.assert_array_equal(voxels, voxels_of())
    assert n_noticed >= len(content) - 10  # the gzip header holds a few idle bytes


def test_a_flipped_bit_in_a_header_is_an_error_or_a_readable_image(tmp_path: Path) -> None:
    raw = raw_default()
    for place in range(348):
        for bit in (0, 7):
            damaged = bytearray(raw)
            damaged[place] ^= 1 << bit
            ref = write(tmp_path, gzip.compress(bytes(damaged), 1))
            try:
                info, voxels, _ = read(ref)
            except UnreadableImageError:
                continue
            assert voxels.shape == info.shape
            assert voxels.dtype == info.stored_dtype.newbyteorder("=")


@pytest.mark.parametrize(
    "content",
    [b"", bytes(1000), b"\x1f", b"\x1f\x8b", b"PK\x03\x04" * 200, raw_default()],
    ids=["empty", "zeros", "one byte", "magic only", "zip", "not compressed"],
)
def test_a_file_that_is_not_gzip_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(write(tmp_path, content), read_info)


@pytest.mark.parametrize("n_bytes", [0, 1, 4, 347])
def test_a_stream_too_short_for_a_header_is_refused(tmp_path: Path, n_bytes: int) -> None:
    content = gzip.compress(raw_default()[:n_bytes])
    refusal(write(tmp_path, content), read_info)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    absent = tmp_path / "absent.nii.gz"
    refs = (
        FileRef("absent.nii.gz", str(absent), 100),
        file_ref(absent, "absent.nii.gz"),
        file_ref(tmp_path, "a folder"),
    )
    for ref in refs:
        with pytest.raises(InaccessibleFileError, match="cannot be read"):
            read_info(ref)


# ---------------------------------------------------------------- headers that are refused


def test_the_header_of_a_pair_is_named_as_such(tmp_path: Path) -> None:
    ref = write(tmp_path, gzip.compress(raw_default(magic=b"ni1", vox_offset=0)))
    assert ".hdr/.img" in refusal(ref, read_info)


REFUSED: dict[str, dict[str, Any]] = {
    "no axes": {"dim": [0, 2, 3, 4, 1, 1, 1, 1]},
    "negative number of axes": {"dim": [-3, 2, 3, 4, 1, 1, 1, 1]},
    "eight axes": {"dim": [8, 2, 3, 4, 1, 1, 1, 1]},
    "zero axis": {"dim": [3, 2, 0, 4, 1, 1, 1, 1]},
    "negative axis": {"dim": [3, 2, -3, 4, 1, 1, 1, 1]},
    "negative trailing axis": {"dim": [4, 2, 3, 4, -1, 1, 1, 1]},
    "two axes": {"dim": [2, 6, 4, 1, 1, 1, 1, 1]},
    "one axis": {"dim": [1, 24, 1, 1, 1, 1, 1, 1]},
    "frames": {"dim": [4, 2, 3, 2, 2, 1, 1, 1]},
    "vectors": {"dim": [5, 2, 3, 2, 1, 2, 1, 1]},
    "no type": {"datatype": 0},
    "bits": {"datatype": 1},
    "complex64": {"datatype": 32},
    "complex128": {"datatype": 1792},
    "RGB": {"datatype": 128},
    "RGBA": {"datatype": 2304},
    "float128": {"datatype": 1536},
    "type that does not exist": {"datatype": 3},
    "magic": {"magic": b"n+3"},
    "no magic": {"magic": b""},
    "voxels inside the header": {"vox_offset": 300},
    "negative offset": {"vox_offset": -352},
    "offset that is no number": {"vox_offset": np.nan},
    "infinite offset": {"vox_offset": np.inf},
    "slope without intercept": {"scl_slope": 2, "scl_inter": np.nan},
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("order", "<>")
def test_an_unsupported_header_is_refused(tmp_path: Path, kind: str, order: str) -> None:
    header = header_of(dtype=order + "i2", **REFUSED[kind])
    ref = write(tmp_path, gzip.compress(raw_image(header, voxels_of(dtype=order + "i2"))))
    refusal(ref, read)


@pytest.mark.parametrize("sizes", [[32767, 32767, 32767], [32767, 32767, 1]])
def test_a_claim_of_terabytes_is_refused_without_asking_for_memory(
    tmp_path: Path, sizes: list[int]
) -> None:
    raw = raw_image(header_of(dtype="<f8", dim=[3, *sizes, 1, 1, 1, 1]), voxels_of())
    ref = write(tmp_path, gzip.compress(raw))
    tracemalloc.start()
    try:
        message = refusal(ref, read_info)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(8 * int(np.prod(sizes, dtype=np.int64))) in message
    assert peak < 16 << 20


def test_an_image_that_packs_as_well_as_deflate_can_is_not_a_false_claim(tmp_path: Path) -> None:
    shape = (1000, 1000, 4)
    raw = raw_image(header_of(shape, "<u1"), np.zeros(shape, np.uint8))
    info, voxels, _ = read(write(tmp_path, gzip.compress(raw, 9)))
    assert info.shape == shape
    assert not voxels.any()


def test_the_header_is_read_without_the_voxels_behind_it(tmp_path: Path) -> None:
    shape = (128, 128, 64)
    content = gzip.compress(raw_image(header_of(shape), voxels_of(shape)), 1)
    whole = write(tmp_path, content[: len(content) // 2])
    assert read_info(whole).shape == shape
    barely = FileRef("short.nii.gz", str(tmp_path / "short.nii.gz"), len(content))
    Path(barely.location).write_bytes(content[:2000])
    assert read_info(barely).shape == shape


def test_reading_the_header_decodes_only_a_part_of_the_voxels(tmp_path: Path) -> None:
    shape = (256, 256, 200)
    raw = raw_image(header_of(shape, "<u1"), np.zeros(shape, np.uint8))
    ref = write(tmp_path, gzip.compress(raw, 1))
    tracemalloc.start()
    try:
        read_info(ref)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 << 20


# ---------------------------------------------------------------- writing


def info_of(affine: NDArray[np.float64] = LAS, **fields: Any) -> ImageInfo:
    return parse_header(bytes(header_of(affine=affine, **fields).binaryblock))


@quick
@given(
    affine=affines(),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    code=st.integers(0, 5),
    dtype=st.sampled_from([np.float32, np.uint8]),
    seed=st.integers(0, 99),
)
def test_a_written_image_is_read_by_nibabel_exactly(
    folder: Path,
    affine: NDArray[np.float64],
    shape: tuple[int, int, int],
    code: int,
    dtype: type[np.generic],
    seed: int,
) -> None:
    voxels = voxels_of(shape, np.dtype(dtype).str, seed)
    path = folder / "written.nii.gz"
    write_image(path, make_header(shape, dtype, affine, code), voxels)
    image = nib.load(path)
    found = np.asanyarray(image.dataobj)
    header = image.header

    np.testing.assert_array_equal(found, voxels, strict=True)
    assert image.dataobj.slope == 1
    assert image.dataobj.inter == 0
    stored = Nifti1Header(gzip.decompress(path.read_bytes())[:348])
    assert float(stored["scl_slope"]) in (0, 1)
    assert float(stored["scl_inter"]) == 0
    np.testing.assert_array_equal(image.affine, affine.astype(np.float32).astype(np.float64))
    np.testing.assert_array_equal(header.get_sform(), image.affine)
    np.testing.assert_allclose(header.get_qform(), image.affine, atol=5e-3)
    assert int(header["sform_code"]) == int(header["qform_code"]) == (code or 1)
    assert header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(header["pixdim"][1:4], voxel_sizes(image.affine).astype("f4"))
    assert header["pixdim"][0] in (-1, 1)
    assert float(stored["vox_offset"]) == 352
    assert len(gzip.decompress(path.read_bytes())) == 352 + voxels.nbytes


@quick
@given(affine=affines(shear=True))
def test_a_sheared_affine_is_kept_in_the_sform(affine: NDArray[np.float64]) -> None:
    header = Nifti1Header(make_header((2, 3, 4), np.uint8, affine, 2)[:348])
    kept = affine.astype(np.float32).astype(np.float64)
    np.testing.assert_array_equal(header.get_best_affine(), kept)
    np.testing.assert_array_equal(header["pixdim"][1:4], voxel_sizes(kept).astype("f4"))


@quick
@given(affine=affines(shear=True), code=st.integers(0, 5), seed=st.integers(0, 99))
def test_reading_and_writing_again_gives_the_same_bytes(
    folder: Path, affine: NDArray[np.float64], code: int, seed: int
) -> None:
    first, second = folder / "first.nii.gz", folder / "second.nii.gz"
    voxels = voxels_of(dtype="<f4", seed=seed)
    write_image(first, make_header((2, 3, 4), np.float32, affine, code, "a step"), voxels)
    info, found, _ = read(file_ref(first, "first.nii.gz"))
    header = make_header(info.shape, np.float32, info.affine, info.affine_code, info.description)
    write_image(second, header, found)
    assert first.read_bytes() == second.read_bytes()


def test_a_written_file_does_not_depend_on_name_time_or_memory_layout(tmp_path: Path) -> None:
    voxels = voxels_of((40, 30, 20), "<f4")
    header = make_header((40, 30, 20), np.float32, LAS, 1)
    layouts = [voxels, np.asfortranarray(voxels), voxels[::-1][::-1]]
    contents = set()
    for number, layout in enumerate(layouts):
        path = tmp_path / f"{number}.nii.gz"
        write_image(path, header, layout)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    (content,) = contents
    assert content[:3] == b"\x1f\x8b\x08"
    assert content[3] == 0  # no name, no comment
    assert content[4:8] == bytes(4)  # no time


def test_pieces_written_one_by_one_give_the_same_file_content(tmp_path: Path) -> None:
    voxels = voxels_of((90, 80, 70), "<f4")
    header = make_header((90, 80, 70), np.float32, LAS, 1)
    write_image(tmp_path / "whole.nii.gz", header, voxels)
    flat = voxels.ravel(order="F")
    with ImageWriter(tmp_path / "pieces.nii.gz", header) as writer:
        for start in range(0, flat.size, 9973):
            writer.write(flat[start : start + 9973])
    unpacked = gzip.decompress((tmp_path / "pieces.nii.gz").read_bytes())
    assert unpacked == gzip.decompress((tmp_path / "whole.nii.gz").read_bytes())
    assert unpacked == header + flat.tobytes()


PATTERNS = [bytes(n) for n in (1, 7, 99)] + [
    np.random.default_rng(n).integers(0, 3, n, dtype=np.uint8).tobytes()
    for n in (1, 40, 300, 70_000)
]


@quick
@given(
    zeros_at_once=st.sampled_from([16, 300, 40_000, 1 << 19]),
    parts=st.lists(st.sampled_from(PATTERNS) | st.integers(0, 100_000), max_size=8),
)
def test_zeros_and_voxels_in_any_sequence_are_read_back(
    folder: Path, zeros_at_once: int, parts: list[bytes | int]
) -> None:
    header = make_header((2, 3, 4), np.uint8, LAS, 1)
    expected = header + b"".join(bytes(part) for part in parts)
    contents = []
    with patch.object(nifti_write, "_ZEROS_BYTES", zeros_at_once):
        for name in ("first.nii.gz", "second.nii.gz"):
            with ImageWriter(folder / name, header) as writer:
                for part in parts:
                    if isinstance(part, int):
                        writer.write_zeros(part)
                    else:
                        writer.write(np.frombuffer(part, np.uint8))
            contents.append((folder / name).read_bytes())
    assert contents[0] == contents[1]
    assert gzip.decompress(contents[0]) == expected
    assert igzip.decompress(contents[0]) == expected
    single = zlib.decompressobj(wbits=31)
    assert single.decompress(contents[0]) == expected
    assert single.eof
    assert single.unused_data == b""


def test_zeros_in_an_image_are_read_back_and_take_no_room(tmp_path: Path) -> None:
    shape = (128, 128, 200)
    voxels = np.zeros(shape, np.uint8, order="F")
    voxels[:, :, 0] = voxels[:, :, -1] = 1 + np.arange(128) % 3
    flat = voxels.ravel(order="F")
    path = tmp_path / "a.nii.gz"
    with ImageWriter(path, make_header(shape, np.uint8, LAS, 1)) as writer:
        writer.write(flat[: 128 * 128])
        writer.write_zeros(128 * 128 * 198)
        writer.write(flat[-128 * 128 :])
    np.testing.assert_array_equal(np.asanyarray(nib.load(path).dataobj), voxels)
    info, found, has_trailing_bytes = read(file_ref(path, "a.nii.gz"))
    np.testing.assert_array_equal(found, voxels)
    assert info.shape == shape
    assert not has_trailing_bytes
    write_image(tmp_path / "b.nii.gz", make_header(shape, np.uint8, LAS, 1), voxels)
    assert path.stat().st_size < 1.05 * (tmp_path / "b.nii.gz").stat().st_size


def test_the_length_of_a_large_file_is_told_modulo_4_gib(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    header = make_header((1 << 14, 1 << 14, 16), np.uint8, LAS, 1)
    with ImageWriter(path, header) as writer:
        writer.write_zeros(1 << 32)
    crc32 = zlib.crc32(header)
    zeros = bytes(1 << 24)
    for _ in range(1 << 8):
        crc32 = isal_zlib.crc32(zeros, crc32)
    assert path.read_bytes()[-8:] == struct.pack("<II", crc32, len(header))


def test_nan_and_infinity_are_written_as_they_are(tmp_path: Path) -> None:
    voxels = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32).reshape(4, 1, 1)
    write_image(tmp_path / "a.nii.gz", make_header((4, 1, 1), np.float32, LAS, 1), voxels)
    found = np.asanyarray(nib.load(tmp_path / "a.nii.gz").dataobj)
    assert found.tobytes() == voxels.tobytes()


def test_a_writer_that_fails_does_not_finish_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    header = make_header((2, 3, 4), np.uint8, LAS, 1)
    with pytest.raises(RuntimeError), ImageWriter(path, header) as writer:  # noqa: PT012
        writer.write(np.zeros(24, np.uint8))
        raise RuntimeError
    refusal(file_ref(path, "a.nii.gz"), read_info)


def test_a_mask_has_the_geometry_of_its_volume_and_the_description(tmp_path: Path) -> None:
    mask = voxels_of(dtype="|u1")
    volume = info_of(sform=2)
    write_mask(tmp_path / "mask.nii.gz", volume, mask, "amos-dask denoise v1")
    image = nib.load(tmp_path / "mask.nii.gz")
    found = np.asanyarray(image.dataobj)
    np.testing.assert_array_equal(found, mask, strict=True)
    np.testing.assert_array_equal(image.affine, volume.affine)
    assert int(image.header["sform_code"]) == 2
    assert image.header["descrip"].item() == b"amos-dask denoise v1"
