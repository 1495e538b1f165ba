"""Images that are not packed, pairs and channels: what is said of bad ones, and in archives."""

from __future__ import annotations

import gzip
import os
import tarfile
import tracemalloc
import zipfile
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
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray
from samples import amos_sample
from test_nifti import (
    KINDS,
    PLACES,
    header_of,
    headers,
    load,
    raw_image,
    read,
    refusal,
    voxels_of,
    write_form,
)

from amos_dask.archive import sources
from amos_dask.archive.listing import list_files
from amos_dask.errors import InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef, file_ref
from amos_dask.leaks import voxel_sha256
from amos_dask.nifti import ImageInfo, ImageReader, open_image, read_info
from amos_dask.phantom import Archive
from amos_dask.records import Metadata
from amos_dask.sample.soundness import verify_sample

REAL_SCANS = os.environ.get("AMOS_DASK_REAL_SCANS", "")
Array = NDArray[Any]

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
every_place = pytest.mark.parametrize("endings", PLACES, ids="+".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("forms")


def a_file(folder: Path, name: str, content: bytes) -> FileRef:
    path = folder / name
    path.write_bytes(content)
    return file_ref(path, name)


def parts(ref: FileRef) -> list[Path]:
    """The files of an image."""
    return [Path(each.location) for each in (ref, ref.pair) if each is not None]


def listed_anew(ref: FileRef) -> FileRef:
    """The same files, as they are now."""
    one, *other = (file_ref(path, path.name) for path in parts(ref))
    return replace(one, pair=other[0] if other else None)


# ---------------------------------------------------------------- channels


def in_order(image: ImageReader) -> list[Array]:
    """The voxels of each channel as (x, y, z)."""
    found = []
    for channel in image.channels():
        assert channel.info.n_channels == 1
        voxels = np.concatenate(list(channel.chunks()))
        found.append(voxels.reshape(channel.info.shape, order="F"))
    return found


@quick
@given(
    data=st.data(),
    kind=st.sampled_from(KINDS),
    n_channels=st.integers(1, 5),
    n_bytes=st.sampled_from([1, 3, 7, 50, 1 << 18]),
    tail=st.sampled_from([b"", b"x", b"x" * 999]),
)
@every_place
def test_channels_are_nibabels_fourth_axis(
    folder: Path,
    data: st.DataObject,
    kind: type[Nifti1Header],
    n_channels: int,
    n_bytes: int,
    tail: bytes,
    endings: tuple[str, ...],
) -> None:
    header = data.draw(headers(kind, n_channels))
    voxels = voxels_of(header.get_data_shape(), header.get_data_dtype().str)
    ref = write_form(folder, header, voxels, *endings)
    expected = np.asanyarray(load(ref).dataobj.get_unscaled())
    last = parts(ref)[-1]
    with last.open("ab") as file:
        file.write(gzip.compress(tail) if last.suffix == ".gz" else tail)
    ref = listed_anew(ref)
    with (
        patch.multiple(sources, FIRST_BYTES=n_bytes, BLOCK_BYTES=n_bytes),
        open_image(ref, n_channels) as image,
    ):
        found = in_order(image)
    assert image.info.n_bytes == voxels.nbytes
    assert image.info.n_voxels * n_channels == voxels.size
    assert image.has_trailing_bytes == bool(tail)
    together = np.stack(found, axis=-1)
    np.testing.assert_array_equal(together, expected.reshape(together.shape))


def an_image(folder: Path, shape: tuple[int, ...], *endings: str) -> tuple[FileRef, Array]:
    voxels = voxels_of(shape)
    return write_form(folder, header_of(shape), voxels, *endings), voxels


@every_place
def test_a_channel_that_is_not_read_is_passed_over(
    tmp_path: Path, endings: tuple[str, ...]
) -> None:
    ref, voxels = an_image(tmp_path, (60, 50, 70, 4), *endings)
    with open_image(ref, 4) as image:
        for number, channel in enumerate(image.channels()):
            if number == 1:
                next(channel.chunks())  # a part of it
            if number in (0, 2):
                found = np.concatenate(list(channel.chunks()))
                np.testing.assert_array_equal(found, voxels[..., number].ravel(order="F"))
    assert not image.has_trailing_bytes


@every_place
def test_all_channels_together_are_the_voxels_of_the_image(
    tmp_path: Path, endings: tuple[str, ...]
) -> None:
    ref, voxels = an_image(tmp_path, (3, 4, 5, 2), *endings)
    with open_image(ref, None) as image:
        found = np.concatenate(list(image.chunks()))
    np.testing.assert_array_equal(found, voxels.ravel(order="F"))


def test_channels_take_no_memory(tmp_path: Path) -> None:
    shape = (128, 128, 64, 6)
    ref = write_form(tmp_path, header_of(shape), np.zeros(shape, "<i2"), "nii.gz")
    tracemalloc.start()
    try:
        with open_image(ref, 6) as image:
            n_found = sum(chunk.size for each in image.channels() for chunk in each.chunks())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_found == np.prod(shape)
    assert peak < 6 << 20


@pytest.mark.parametrize(
    ("shape", "n_channels", "says"),
    [
        ((2, 3, 4, 3), 1, "has 4 axes [2, 3, 4, 3] where three are expected"),
        ((2, 3, 4, 3), 4, "has 3 channels where 4 are expected"),
        ((2, 3, 4), 4, "has 1 channel where 4 are expected"),
        ((2, 3, 4, 1, 1), 2, "has 1 channel where 2 are expected"),
        ((2, 3, 4, 1, 3), None, "has 5 axes"),
        ((2, 3, 4, 3, 2), 3, "has 5 axes"),
        ((2, 3), None, "has 2 axes"),
    ],
)
def test_other_channels_than_expected_are_refused(
    tmp_path: Path, shape: tuple[int, ...], n_channels: int | None, says: str
) -> None:
    ref, _ = an_image(tmp_path, shape, "nii.gz")
    assert says in refusal(ref, lambda ref: read_info(ref, n_channels))


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (2, 3, 4), (2, 3, 4, 1)])
def test_any_number_of_channels_is_read_where_none_is_told(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    ref, _ = an_image(tmp_path, shape, "nii")
    info = read_info(ref, None)
    assert (info.shape, info.n_channels) == ((2, 3, 4), (*shape, 1)[3])


@every_place
def test_voxels_missing_of_the_last_channel_are_missed(
    tmp_path: Path, endings: tuple[str, ...]
) -> None:
    ref, _ = an_image(tmp_path, (40, 30, 20, 3), *endings)
    last = parts(ref)[-1]
    last.write_bytes(last.read_bytes()[:-20])
    with pytest.raises(UnreadableImageError), open_image(listed_anew(ref), 3) as image:
        in_order(image)


# ---------------------------------------------------------------- bad files


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("endings", PLACES[1:], ids="+".join)
def test_a_truncated_file_is_never_read_whole(
    tmp_path: Path, endings: tuple[str, ...], kind: type[Nifti1Header]
) -> None:
    ref = write_form(tmp_path, header_of(kind=kind), voxels_of(), *endings)
    for path in parts(ref):
        content = path.read_bytes()
        n_needed = len(content)
        if path.suffix == ".hdr":  # four bytes follow that tell nothing
            n_needed -= 4
        for n_bytes in range(n_needed):
            path.write_bytes(content[:n_bytes])
            refusal(listed_anew(ref), read)
        path.write_bytes(content)
    read(listed_anew(ref))


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_in_a_packed_header_is_noticed(
    tmp_path: Path, kind: type[Nifti1Header]
) -> None:
    ref = write_form(tmp_path, header_of(kind=kind), voxels_of(), "hdr.gz", "img.gz")
    content = Path(ref.location).read_bytes()
    for place in range(10, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        try:
            is_intact = gzip.decompress(damaged) == gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            is_intact = False
        Path(ref.location).write_bytes(damaged)
        if not is_intact:
            refusal(ref, read_info)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("endings", [("nii",), ("hdr", "img")], ids="+".join)
def test_a_flipped_bit_in_a_header_is_an_error_or_a_readable_image(
    tmp_path: Path, endings: tuple[str, ...], kind: type[Nifti1Header]
) -> None:
    ref = write_form(tmp_path, header_of(kind=kind), voxels_of(), *endings)
    content = Path(ref.location).read_bytes()
    for place in range(kind.sizeof_hdr):
        for bit in (0, 7):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            Path(ref.location).write_bytes(damaged)
            try:
                info, voxels, _ = read(ref)
            except UnreadableImageError:
                continue
            assert voxels.shape == info.shape


def without_pair(ref: FileRef) -> FileRef:
    return replace(ref, pair=None)


def voxels_alone(ref: FileRef) -> FileRef:
    assert ref.pair is not None
    return ref.pair


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("endings", PLACES[2:], ids="+".join)
@pytest.mark.parametrize(
    ("half", "says"), [(without_pair, ".img is missing"), (voxels_alone, ".hdr is missing")]
)
def test_half_a_pair_is_refused(
    tmp_path: Path,
    endings: tuple[str, ...],
    kind: type[Nifti1Header],
    half: Callable[[FileRef], FileRef],
    says: str,
) -> None:
    shape = (9, 9, 9)
    ref = write_form(tmp_path, header_of(shape, kind=kind), voxels_of(shape), *endings)
    assert says in refusal(half(ref), read_info)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"
RAW = raw_image(header_of(), voxels_of())
NOT_IMAGES = [
    (b"", "the file is empty"),
    (gzip.compress(RAW), "a gzip file whose name does not end in .gz"),
    (LFS, "git lfs pull"),
    (PAGE, "a web page"),
]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        *NOT_IMAGES,
        (b"amos_id,Site\n" * 99, "not a NIfTI file"),
        (bytes(9), "too short"),
        (RAW[:340], "too short"),
        (RAW[:-9], "holds 39 of 48 bytes of voxels"),
        (RAW[:350], "holds 0 of 48 bytes of voxels"),
    ],
)
@pytest.mark.parametrize("where", ["folder", "tar", "zip"])
def test_what_lies_in_the_place_of_an_image_is_named(
    tmp_path: Path, content: bytes, says: str, where: str
) -> None:
    path = tmp_path / "amos_0001.nii"
    path.write_bytes(content)
    (ref,) = archived(tmp_path, [path], where)
    assert says in refusal(ref, read_info)


@pytest.mark.parametrize(("content", "says"), NOT_IMAGES)
def test_what_lies_in_the_place_of_voxels_is_named(
    tmp_path: Path, content: bytes, says: str
) -> None:
    ref, _ = an_image(tmp_path, (20, 20, 20), "hdr", "img")
    parts(ref)[1].write_bytes(content)
    assert says in refusal(listed_anew(ref), read_info)


def test_voxels_that_cannot_be_opened_are_said_to_be(tmp_path: Path) -> None:
    for endings in PLACES[2:]:
        ref, _ = an_image(tmp_path, (20, 20, 20), *endings)
        parts(ref)[1].unlink()
        with pytest.raises(InaccessibleFileError, match="cannot be read"):
            read(listed_anew(ref))


def test_voxels_may_begin_as_gzip_does(tmp_path: Path) -> None:
    voxels = np.full((5, 5, 5), 0x8B1F, "<u2")
    ref = write_form(tmp_path, header_of((5, 5, 5), "<u2"), voxels, "hdr", "img")
    np.testing.assert_array_equal(read(ref)[1], voxels)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_in_one_file_does_not_look_at_another(
    tmp_path: Path, kind: type[Nifti1Header]
) -> None:
    """Content tells, though the name is that of a pair's header."""
    image = a_file(tmp_path, "a.hdr", raw_image(header_of(kind=kind), voxels_of()))
    other = a_file(tmp_path, "a.img", b"")
    np.testing.assert_array_equal(read(replace(image, pair=other))[1], voxels_of())


@pytest.mark.parametrize("endings", PLACES[1:], ids="+".join)
def test_a_claim_of_terabytes_is_refused_without_asking_for_memory(
    tmp_path: Path, endings: tuple[str, ...]
) -> None:
    for kind in KINDS:
        header = header_of(kind=kind, dim=[4, 32767, 32767, 32767, 1000, 1, 1, 1])
        ref = write_form(tmp_path, header, voxels_of(), *endings)
        tracemalloc.start()
        try:
            message = refusal(ref, lambda ref: read_info(ref, 1000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert str(2000 * 32767**3) in message
        assert peak < 16 << 20


def test_a_header_that_unpacks_to_more_than_a_gib_is_refused(tmp_path: Path) -> None:
    ref, _ = an_image(tmp_path, (2, 3, 4), "hdr.gz", "img")
    with Path(ref.location).open("ab") as file:
        file.write(gzip.compress(bytes(1 << 24)) * 65)
    assert "1 GiB" in refusal(ref, read_info)


def test_bytes_after_a_packed_header_are_reported(tmp_path: Path) -> None:
    ref, voxels = an_image(tmp_path, (2, 3, 4), "hdr.gz", "img")
    with Path(ref.location).open("ab") as file:
        file.write(b"garbage")
    _, found, has_trailing_bytes = read(ref)
    np.testing.assert_array_equal(found, voxels)
    assert has_trailing_bytes


# ---------------------------------------------------------------- in archives


def archived(folder: Path, paths: list[Path], where: str) -> list[FileRef]:
    """The files in a folder, a tar or a zip, packed once more there or not."""
    if where == "folder":
        return [file_ref(path, path.name) for path in paths]
    location = folder / f"archive.{where.removeprefix('deflated ')}"
    if where == "tar":
        with tarfile.open(location, "w") as tar:
            for path in paths:
                tar.add(path, path.name)
    else:
        how = zipfile.ZIP_STORED if where == "zip" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(location, "w", how) as archive:
            for path in paths:
                archive.write(path, path.name)
    listed = {ref.path: ref for ref in list_files(str(location))}
    return [listed[path.name] for path in paths]


@pytest.fixture(scope="module")
def scans(phantom: Archive) -> list[Path]:
    archive = Path(REAL_SCANS) if REAL_SCANS else phantom.path
    images = [
        sorted(archive.rglob(f"{name}/amos_*.nii.gz"))[:2] for name in ("imagesTr", "labelsTr")
    ]
    return [path for paths in images for path in paths]


def as_form(path: Path, folder: Path, kind: type[Nifti1Header], *endings: str) -> FileRef:
    """Write a scan in another form."""
    image = nib.load(path)
    header = kind()
    fields = set(header.keys()) & set(image.header.keys()) - {"sizeof_hdr", "magic", "vox_offset"}
    for name in fields:
        header[name] = image.header[name]
    header["scl_slope"], header["scl_inter"] = image.dataobj.slope, image.dataobj.inter
    header["vox_offset"] = kind.single_vox_offset
    voxels = np.asanyarray(image.dataobj.get_unscaled())
    return write_form(folder, header, voxels.astype(header.get_data_dtype()), *endings)


def seen(ref: FileRef) -> tuple[ImageInfo, str]:
    with open_image(ref) as image:
        return image.info, voxel_sha256(image)


@pytest.mark.parametrize("where", ["folder", "tar", "zip", "deflated zip"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("endings", [("nii",), ("hdr", "img")], ids="+".join)
def test_scans_in_another_form_are_the_same(
    tmp_path: Path,
    scans: list[Path],
    endings: tuple[str, ...],
    kind: type[Nifti1Header],
    where: str,
) -> None:
    assert len(scans) == 4
    for path in scans:
        info, digest = seen(file_ref(path, path.name))
        ref, *other = archived(tmp_path, parts(as_form(path, tmp_path, kind, *endings)), where)
        found, found_digest = seen(replace(ref, pair=other[0] if other else None))
        assert found_digest == digest
        np.testing.assert_array_equal(found.affine, info.affine)
        for name in ("shape", "pixdim_mm", "spacing_mm", "stored_dtype", "slope", "inter"):
            assert getattr(found, name) == getattr(info, name), name


def verified(ref: FileRef, *, full: bool = False) -> list[str]:
    sample = amos_sample("0001", "train", "ct", "UND", Metadata(), ref, None)
    return [issue.code for issue in verify_sample(sample, full=full).issues]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("where", ["folder", "tar", "zip"])
@pytest.mark.parametrize("endings", PLACES[1:], ids="+".join)
def test_verify_looks_at_how_long_a_file_is(
    tmp_path: Path, endings: tuple[str, ...], where: str, full: bool
) -> None:
    for change, expected in ((0, []), (-1, ["unreadable_volume"]), (1, ["trailing_bytes"])):
        ref, _ = an_image(tmp_path, (20, 30, 40), *endings)
        *_, last = parts(ref)
        content = last.read_bytes()
        last.write_bytes(content[:change] if change < 0 else content + b"x" * change)
        one, *other = archived(tmp_path, parts(ref), where)
        ref = replace(one, pair=other[0] if other else None)
        assert verified(ref, full=full) == expected


def test_verify_sees_a_zip_that_differs_at_the_voxels(tmp_path: Path) -> None:
    ref, _ = an_image(tmp_path, (20, 30, 40), "hdr", "img")
    one, other = archived(tmp_path, parts(ref), "zip")
    content = bytearray(Path(one.location).read_bytes())
    content[other.member.header_offset + 14] ^= 1  # type: ignore[union-attr]
    Path(one.location).write_bytes(content)
    assert verified(replace(one, pair=other)) == ["damaged_zip"]
