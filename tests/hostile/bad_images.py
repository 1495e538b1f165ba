"""Image files as they should not be, by name: what is wrong with each, and what is said of it."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from numpy.typing import NDArray

Array = NDArray[Any]

SHAPE = (8, 7, 5)
AFFINE = np.array([[-1.0, 0, 0, 10], [0, 2.0, 0, -20], [0, 0, 5.0, 30], [0, 0, 0, 1]])
_BOMB_MEMBER = gzip.compress(bytes(1 << 24), 9, mtime=0)
N_BOMB_MEMBERS = 65  # 16 MiB each: more than 1 GiB


class Bad(NamedTuple):
    """An image that is not used, or not without saying something.

    `says` is a part of the message of its only issue, whose code is `code`.
    """

    content: bytes
    code: str
    says: str


def volume_voxels() -> Array:
    """Return the voxels of a good scan, int16."""
    return np.random.default_rng(5).integers(-1000, 1000, SHAPE).astype("<i2")


def mask_voxels() -> Array:
    """Return the voxels of a good mask, uint8: two organs and nothing that denoising removes."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[:4], mask[4:] = 1, 6
    return mask


def header(voxels: Array, version: int = 1, **fields: Any) -> Nifti1Header:
    """Return the header of the voxels, in their byte order, with fields set as given."""
    made = (Nifti1Header if version == 1 else Nifti2Header)(
        endianness=">" if voxels.dtype.byteorder == ">" else "<"
    )
    made.set_data_dtype(voxels.dtype)
    made.set_data_shape(voxels.shape)
    made.set_sform(AFFINE, 1)
    made.set_qform(AFFINE, 1)
    made["vox_offset"], made["scl_slope"], made["scl_inter"] = made.single_vox_offset, 1, 0
    for name, value in fields.items():
        made[name] = value
    return made


def raw(voxels: Array, **fields: Any) -> bytes:
    """Return an image before compression, with fields as of `header`."""
    return bytes(header(voxels, **fields).binaryblock) + bytes(4) + in_file(voxels)


def in_file(voxels: Array) -> bytes:
    """Return the voxels alone as a file holds them."""
    return voxels.tobytes(order="F")


def image(voxels: Array, **fields: Any) -> bytes:
    """Return an image file, ``.nii.gz``."""
    return gzip.compress(raw(voxels, **fields), 6, mtime=0)


def flip(content: bytes, place: int) -> bytes:
    """Return the bytes with one bit changed."""
    damaged = bytearray(content)
    damaged[place] ^= 0x10
    return bytes(damaged)


def bomb(voxels: Array) -> bytes:
    """Return an image that unpacks to more than 1 GiB after its voxels."""
    return image(voxels) + _BOMB_MEMBER * N_BOMB_MEMBERS


# ---------------------------------------------------------------- forms that cannot be read


def unreadable(voxels: Array) -> Iterator[tuple[str, bytes, str]]:
    """Yield name, content, and a part of what is said, for scans and masks alike."""
    yield from _damaged(voxels)
    yield from _of_other_kinds(voxels)
    yield from _with_impossible_headers(voxels)


def _damaged(voxels: Array) -> Iterator[tuple[str, bytes, str]]:
    good, plain = image(voxels), raw(voxels)
    yield "empty", b"", "empty"
    yield "html", b"<html>404</html>", "web page"
    yield "zeros", bytes(2000), "not a gzip file"
    for n_bytes in (5, 40, len(good) // 2, len(good) - 8, len(good) - 1):
        yield f"cut_at_{n_bytes}", good[:n_bytes], "ends before"
    yield "cut_in_header", gzip.compress(plain[:200]), "too short"
    yield "cut_before_packing", gzip.compress(plain[:-9]), "bytes of voxels"
    yield "flip_magic", flip(good, 0), "not a gzip file"
    yield "flip_crc", flip(good, len(good) - 8), "damaged"
    yield "flip_size", flip(good, len(good) - 2), "damaged"
    stored = gzip.compress(plain, 0, mtime=0)
    yield "flip_voxel", flip(stored, stored.index(plain[352:]) + 30), "damaged"
    yield "bomb", bomb(voxels), "1 GiB"


def _of_other_kinds(voxels: Array) -> Iterator[tuple[str, bytes, str]]:
    plain = raw(voxels)
    yield "nii", plain, "not a gzip file"
    yield "gzip_of_text", gzip.compress(b"amos_id,Site\n" * 99), "not a NIfTI file"
    yield "gzip_of_gzip", gzip.compress(image(voxels) + bytes(348)), "not a NIfTI file"
    yield "gzip_of_zip", gzip.compress(_zip_of(plain)), "not a NIfTI file"
    yield "zip", _zip_of(plain), "not a gzip file"
    for name, (fields, says) in _HEADERS_OF_NIFTI_2.items():
        yield f"nifti_2_{name}", image(voxels, version=2, **fields), says
    yield "nifti_2_cut", gzip.compress(raw(voxels, version=2)[:400]), "too short"
    pair = raw(voxels, magic=b"ni1", vox_offset=0)
    yield "header_of_a_pair", gzip.compress(pair[:348]), ".hdr/.img"
    yield "voxels_of_a_pair", gzip.compress(voxels.tobytes() + bytes(400)), "not a NIfTI file"


def _zip_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("image.nii", content)
    return buffer.getvalue()


_HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "magic": ({"magic": b"n+3"}, "magic"),
    "analyze": ({"magic": b""}, "Analyze"),
    "analyze_with_values": ({"magic": b"\xc8", "regular": b"r"}, "Analyze"),
    "sizeof_hdr": ({"sizeof_hdr": 349}, "not a NIfTI file"),
    "sizeof_hdr_negative": ({"sizeof_hdr": -348}, "not a NIfTI file"),
    "no_axes": ({"dim": [0, 8, 7, 5, 1, 1, 1, 1]}, "0 axes"),
    "many_axes": ({"dim": [99, 8, 7, 5, 1, 1, 1, 1]}, "99 axes"),
    "two_axes": ({"dim": [2, 56, 5, 1, 1, 1, 1, 1]}, "2 axes"),
    "frames": ({"dim": [4, 8, 7, 1, 5, 1, 1, 1]}, "4 axes"),
    "zero_axis": ({"dim": [3, 8, 0, 5, 1, 1, 1, 1]}, "shape"),
    "negative_axis": ({"dim": [3, 8, -7, 5, 1, 1, 1, 1]}, "shape"),
    "more_than_there_is": ({"dim": [3, 8, 7, 99, 1, 1, 1, 1]}, "bytes of voxels"),
    "gigabytes": ({"dim": [3, 32767, 32767, 5, 1, 1, 1, 1]}, "more than the file can hold"),
    "terabytes": ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "more than the file can hold"),
    "more_than_64_bits_count": ({"dim": [7, *[32767] * 7]}, "axes"),
    "no_datatype": ({"datatype": 0}, "not supported"),
    "unknown_datatype": ({"datatype": 3}, "header"),
    "bits": ({"datatype": 1}, "not supported"),
    "complex": ({"datatype": 32}, "complex64"),
    "rgb": ({"datatype": 128}, "not supported"),
    "float128": ({"datatype": 1536}, "not supported"),
    "offset_in_header": ({"vox_offset": 300}, "vox_offset"),
    "offset_nan": ({"vox_offset": np.nan}, "vox_offset"),
    "offset_huge": ({"vox_offset": 3e38}, "vox_offset"),
    "inter_nan": ({"scl_slope": 2, "scl_inter": np.nan}, "header"),
    "slope_infinite": ({"scl_slope": np.inf}, "scl_slope"),
    "slope_minus_infinite": ({"scl_slope": -np.inf}, "scl_slope"),
}


_HEADERS_OF_NIFTI_2: dict[str, tuple[dict[str, Any], str]] = {
    "pair": ({"magic": b"ni2", "vox_offset": 0}, ".img is missing"),
    "magic": ({"magic": b"n+1"}, "magic"),
    "copied_as_text": ({"eol_check": [10, 26, 10, 0]}, "copied as text"),
    "offset_in_header": ({"vox_offset": 540}, "vox_offset"),
    "offset_negative": ({"vox_offset": -(1 << 63)}, "vox_offset"),
    "offset_huge": ({"vox_offset": (1 << 63) - 1}, "vox_offset"),
    "long_axis": ({"dim": [3, 40000, 7, 5, 1, 1, 1, 1]}, "32767 cannot be written"),
    "longest_axes": ({"dim": [7, *[(1 << 63) - 1] * 7]}, "32767"),
    "negative_axis": ({"dim": [3, 8, -(1 << 63), 5, 1, 1, 1, 1]}, "shape"),
    "many_axes": ({"dim": [1 << 40, 8, 7, 5, 1, 1, 1, 1]}, "axes"),
    "frames": ({"dim": [4, 8, 7, 1, 5, 1, 1, 1]}, "4 axes"),
    "terabytes": ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "more than the file can hold"),
    "complex": ({"datatype": 32}, "complex64"),
    "slope_infinite": ({"scl_slope": np.inf}, "scl_slope"),
}


def _with_impossible_headers(voxels: Array) -> Iterator[tuple[str, bytes, str]]:
    for name, (fields, says) in _HEADERS.items():
        yield name, image(voxels, **fields), says


_NOWHERE: dict[str, dict[str, Any]] = {
    "affine_nan": {"srow_x": [np.nan, 0, 0, 0]},
    "affine_infinite": {"srow_y": [0, np.inf, 0, 0]},
    "origin_infinite": {"srow_z": [0, 0, 5, -np.inf]},
    "affine_zero": {"srow_x": [0, 0, 0, 0]},
    "affine_singular": {"srow_x": [0, 2, 0, 0]},
    "affine_too_large": {"srow_x": [3e38, 0, 0, 0], "srow_y": [3e38, 3e38, 0, 0]},
    "quaternion_impossible": {"sform_code": 0, "quatern_b": 2, "quatern_c": 1},
    "quaternion_nan": {"sform_code": 0, "quatern_b": np.nan},
    "pixdim_nan_is_the_affine": {"sform_code": 0, "pixdim": [1, np.nan, 2, 5, 1, 1, 1, 1]},
    "pixdim_infinite_is_the_affine": {"sform_code": 0, "pixdim": [1, np.inf, 2, 5, 1, 1, 1, 1]},
}


def _with_unusable_affines(voxels: Array) -> Iterator[tuple[str, Bad]]:
    for name, fields in _NOWHERE.items():
        yield name, Bad(image(voxels, **fields), "bad_affine", "affine")


# ---------------------------------------------------------------- tables by name


def _bad_volumes() -> dict[str, Bad]:
    voxels = volume_voxels()
    found = {n: Bad(c, "unreadable_volume", says) for n, c, says in unreadable(voxels)}
    return found | dict(_with_unusable_affines(voxels))


def _bad_masks() -> dict[str, Bad]:
    voxels = mask_voxels()
    found = {n: Bad(c, "unreadable_mask", says) for n, c, says in unreadable(voxels)}
    found |= dict(_with_unusable_affines(voxels))
    for value in (0.5, -1, 256, np.nan, np.inf, -np.inf, 1e300):
        spoilt = voxels.astype("<f8")
        spoilt[1, 2, 3] = value
        found[f"value_{value}"] = Bad(image(spoilt), "bad_mask_values", "1 voxel is")
    found["scaled_to_fractions"] = Bad(
        image(voxels, scl_slope=0.3), "bad_mask_values", "whole numbers"
    )
    found["scaled_out_of_range"] = Bad(
        image(voxels.astype("<f8") * 1e300, scl_slope=1e38), "bad_mask_values", "whole numbers"
    )
    # Its shape is looked at before its voxels are.
    longer = found["more_than_there_is"].content
    found["more_than_there_is"] = Bad(longer, "shape_mismatch", "shape")
    stray = voxels.copy()
    stray[0, 0, 0] = 77
    found["unknown_label"] = Bad(image(stray), "unknown_label", "77")
    found["transposed"] = Bad(image(voxels.T), "shape_mismatch", "shape")
    return found


def _odd_volumes() -> dict[str, Bad]:
    voxels = volume_voxels()
    with_nan, with_inf = voxels.astype("<f4"), voxels.astype("<f8")
    with_nan[0, 0, 0], with_inf[0, 0, 0] = np.nan, -np.inf
    without_form = {"sform_code": 0, "qform_code": 0}
    elsewhere, skewed = AFFINE.copy(), AFFINE.copy()
    elsewhere[0, 3] += 4
    skewed[0, 1] = 0.05
    ends = voxels.copy()
    ends[:, :, 0], ends[:, :, -2:] = 7, -1024
    return {
        "nan": Bad(image(with_nan), "non_finite_voxels", "NaN"),
        "infinite": Bad(image(with_inf), "non_finite_voxels", "infinite"),
        "overflow": Bad(image(voxels, scl_slope=3e38), "non_finite_voxels", "infinite"),
        "pixdim_zero": Bad(
            image(voxels, qform_code=0, pixdim=[1, 0, 2, 5, 1, 1, 1, 1]), "bad_spacing", "pixdim"
        ),
        "pixdim_other": Bad(
            image(voxels, qform_code=0, pixdim=[1, 1, 2, 4, 1, 1, 1, 1]), "bad_spacing", "pixdim"
        ),
        "pixdim_nan": Bad(
            image(voxels, qform_code=0, pixdim=[1, np.nan, 2, 5, 1, 1, 1, 1]), "bad_spacing", "nan"
        ),
        "pixdim_infinite": Bad(
            image(voxels, qform_code=0, pixdim=[1, 1, np.inf, 5, 1, 1, 1, 1]), "bad_spacing", "inf"
        ),
        "pixdim_zero_without_form": Bad(
            image(voxels, **without_form, pixdim=[1, 0, 2, 5, 1, 1, 1, 1]), "bad_spacing", "pixdim"
        ),
        "forms": Bad(image(voxels, srow_x=elsewhere[0]), "forms_disagree", "4 mm apart"),
        "metres": Bad(image(voxels, xyzt_units=1), "units_implausible", "metre"),
        "microns": Bad(image(voxels, xyzt_units=3), "units_implausible", "micron"),
        "skewed": Bad(
            image(voxels, srow_x=skewed[0], qform_code=0), "not_orthonormal", "SimpleITK"
        ),
        "one_value": Bad(image(np.full_like(voxels, -1024)), "constant_volume", "one value"),
        "empty_ends": Bad(image(ends), "empty_slices", "the first slice and the last 2 slices"),
        **_trailed(voxels),
    }


def _odd_masks() -> dict[str, Bad]:
    voxels = mask_voxels()
    elsewhere, flipped = AFFINE.copy(), AFFINE.copy()
    elsewhere[0, 3] += 4
    flipped[0] *= -1
    return {
        "all_zero": Bad(image(np.zeros_like(voxels)), "empty_mask", "background"),
        "elsewhere": Bad(
            image(voxels, srow_x=elsewhere[0], qform_code=0), "affine_repaired", "by 4"
        ),
        "flipped": Bad(
            image(voxels, srow_x=flipped[0], qform_code=0), "affine_repaired", "axis codes"
        ),
        "off_labels": Bad(image(voxels * np.float32(0.999)), "labels_rounded", "off whole"),
        **_trailed(voxels),
    }


def _trailed(voxels: Array) -> dict[str, Bad]:
    garbage = b"\xffgarbage" * 50
    return {
        "garbage": Bad(image(voxels) + garbage, "trailing_bytes", "follow"),
        "one_byte_more": Bad(image(voxels) + b"\xff", "trailing_bytes", "follow"),
        "half_a_member": Bad(image(voxels) + image(voxels)[:50], "trailing_bytes", "follow"),
        "packed_garbage": Bad(gzip.compress(raw(voxels) + garbage), "trailing_bytes", "follow"),
        "small_bomb": Bad(image(voxels) + _BOMB_MEMBER, "trailing_bytes", "follow"),
    }


def valid_forms(voxels: Array) -> dict[str, bytes]:
    """Return unusual files that hold exactly what ``image(voxels)`` holds."""
    plain = raw(voxels)
    big = voxels.astype(voxels.dtype.newbyteorder(">"))
    if voxels.dtype.itemsize == 1:  # has no byte order, so say it another way
        big = voxels.astype(">i2")
    return {
        "plain": image(voxels),
        "two_members": gzip.compress(plain[:100]) + gzip.compress(plain[100:]),
        "empty_member": gzip.compress(b"") + image(voxels) + gzip.compress(b""),
        "zero_padding": image(voxels) + bytes(512),
        "big_endian": image(big),
        "one_frame": image(voxels[..., np.newaxis]),
        "seven_axes": image(voxels.reshape(*SHAPE, 1, 1, 1, 1)),
        "slope_zero": image(voxels, scl_slope=0, scl_inter=7),
        "slope_nan": image(voxels, scl_slope=np.nan, scl_inter=np.nan),
        "extension": gzip.compress(
            bytes(header(voxels, vox_offset=368).binaryblock)
            + b"\1\0\0\0\x10\0\0\0\6\0\0\0comment "
            + voxels.tobytes(order="F")
        ),
        "nifti_2": image(voxels, version=2),
        "nifti_2_big_endian": image(big, version=2),
        "nifti_2_extension": gzip.compress(
            bytes(header(voxels, 2, vox_offset=560).binaryblock)
            + b"\1\0\0\0\x10\0\0\0\6\0\0\0comment "
            + voxels.tobytes(order="F")
        ),
        "nifti_2_without_line_ends": image(voxels, version=2, eol_check=0),
        "int64": image(voxels.astype("<i8")),
        "float64": image(voxels.astype("<f8")),
    }


BAD_VOLUMES = _bad_volumes()
BAD_MASKS = _bad_masks()
ODD_VOLUMES = _odd_volumes()
ODD_MASKS = _odd_masks()
