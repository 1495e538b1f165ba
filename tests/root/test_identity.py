"""Files that are not as they were written."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from amos_dask.archive.listing import list_files
from amos_dask.file_refs import FileRef, TarMember, file_ref
from amos_dask.root.receipts import AlteredFile, Change, find_altered, input_identity, may_be_same
from amos_dask.root.staging import identity

IMAGE, TEXT = "grouped/volume.nii.gz", "grouped/info.yaml"


@pytest.fixture
def known(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "grouped").mkdir()
    (tmp_path / IMAGE).write_bytes(gzip.compress(b"voxels", mtime=0))
    (tmp_path / TEXT).write_text("seq: '0001'\n")
    return {path: identity(tmp_path / path) for path in (IMAGE, TEXT)}


def test_nothing_is_said_of_files_that_are_as_they_were(
    tmp_path: Path, known: dict[str, str]
) -> None:
    assert find_altered(tmp_path, known) == []


@pytest.mark.parametrize("path", [IMAGE, TEXT])
def test_a_file_is_gone(path: str, tmp_path: Path, known: dict[str, str]) -> None:
    (tmp_path / path).unlink()
    assert find_altered(tmp_path, known) == [AlteredFile(path, Change.GONE, "is gone")]


def test_all_files_are_gone_with_their_folder(tmp_path: Path, known: dict[str, str]) -> None:
    (tmp_path / "grouped").rename(tmp_path / "other")
    assert [file.change for file in find_altered(tmp_path, known)] == [Change.GONE] * 2
    (tmp_path / "grouped").write_text("a file where the folder was")
    assert [file.change for file in find_altered(tmp_path, known)] == [Change.GONE] * 2


def test_a_file_has_another_size(tmp_path: Path, known: dict[str, str]) -> None:
    (tmp_path / TEXT).write_text("seq: '00010'\n")
    (found,) = find_altered(tmp_path, known)
    assert (found.path, found.change) == (TEXT, Change.OTHER)
    assert found.message == "has 13 bytes, was written with 12"


@pytest.mark.parametrize(("path", "place"), [(IMAGE, -8), (IMAGE, -1), (TEXT, 3)])
def test_a_file_has_another_checksum(
    path: str, place: int, tmp_path: Path, known: dict[str, str]
) -> None:
    content = bytearray((tmp_path / path).read_bytes())
    content[place] ^= 1
    (tmp_path / path).write_bytes(bytes(content))
    (found,) = find_altered(tmp_path, known)
    assert (found.path, found.change) == (path, Change.OTHER)
    assert "checksum" in found.message


def test_a_folder_in_a_files_place_cannot_be_read(tmp_path: Path, known: dict[str, str]) -> None:
    (tmp_path / TEXT).unlink()
    (tmp_path / TEXT).mkdir()
    (found,) = find_altered(tmp_path, known)
    assert (found.path, found.change) == (TEXT, Change.OTHER)
    assert "cannot be read" in found.message


# ---------------------------------------------------------------- files of several gzip members

# What bgzip ends a file with: an empty member.
EMPTY_MEMBER = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def an_image(value: int, order: str = "<", version: int = 1) -> bytes:
    """A NIfTI image of 20 x 20 x 20 bytes, as far as its length goes."""
    if version == 2:
        header = struct.pack(f"{order}i8s2h8q", 540, b"n+2", 2, 8, 3, 20, 20, 20, 1, 1, 1, 1)
        header += bytes(168 - len(header)) + struct.pack(f"{order}q", 560)
        return header + bytes(560 - len(header)) + bytes([value]) * 8000
    header = bytearray(352)
    header[:4] = struct.pack(f"{order}i", 348)
    header[40:56] = struct.pack(f"{order}8h", 3, 20, 20, 20, 1, 1, 1, 1)
    header[72:74] = struct.pack(f"{order}h", 8)
    header[108:112] = struct.pack(f"{order}f", 352)
    header[148] = value  # of the description
    return bytes(header) + bytes([value]) * 8000


def members(content: bytes, *cuts: int, level: int = 0) -> bytes:
    places = [0, *cuts, len(content)]
    pieces = (content[start:end] for start, end in itertools.pairwise(places))
    return b"".join(gzip.compress(piece, level, mtime=0) for piece in pieces)


def of_input(folder: Path, packed: bytes, form: str, name: str = "amos_0001.nii.gz") -> str | None:
    """What identifies a file of an archive in a folder, a zip or a tar."""
    location = folder / f"amos22.{form}"
    if form == "folder":
        location.mkdir(exist_ok=True)
        (location / name).write_bytes(packed)
    elif form == "tar":
        with tarfile.open(location, "w") as tar:
            info = tarfile.TarInfo(name)
            info.size = len(packed)
            tar.addfile(info, io.BytesIO(packed))
    else:
        with zipfile.ZipFile(location, "w") as archive:
            archive.writestr(name, packed)
    (ref,) = list_files(str(location))
    return input_identity(ref)


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
@pytest.mark.parametrize(
    ("cuts", "after"),
    [
        ((), EMPTY_MEMBER),  # bgzip
        ((), bytes(512)),  # padding
        ((352,), b""),  # the header by itself, which changes
        ((4000,), b""),  # the last is longer than the file is, packed
        ((300,), b""),  # the header in two
        ((8000,), EMPTY_MEMBER),
    ],
)
def test_a_change_in_any_member_is_seen_at_equal_size(
    form: str, cuts: tuple[int, ...], after: bytes, tmp_path: Path
) -> None:
    image = bytearray(an_image(5))
    before = members(bytes(image), *cuts, level=9) + after
    image[148] = 6
    changed = members(bytes(image), *cuts, level=9) + after
    assert len(before) == len(changed)
    first = of_input(tmp_path, before, form)
    assert first == of_input(tmp_path, before, form)
    assert None not in (first, of_input(tmp_path, changed, form))
    assert first != of_input(tmp_path, changed, form)


@pytest.mark.parametrize("form", ["folder", "tar"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("level", [0, 9])
@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_one_member_is_known_by_its_end(
    form: str, order: str, level: int, version: int, tmp_path: Path
) -> None:
    """As receipts of earlier versions know it."""
    packed = members(an_image(1, order, version), level=level)
    assert of_input(tmp_path, packed, form) == f"{len(packed)}-{packed[-8:].hex()}"


def test_an_output_of_several_members_is_known_by_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    one, other = (members(an_image(value)) + EMPTY_MEMBER for value in (1, 2))
    assert len(one) == len(other)
    path.write_bytes(one)
    known = {path.name: identity(path)}
    assert find_altered(tmp_path, known) == []
    path.write_bytes(other)
    assert [file.change for file in find_altered(tmp_path, known)] == [Change.OTHER]


# ---------------------------------------------------------------- files that are not packed, pairs


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_a_file_that_is_not_packed_is_known_by_its_time(form: str, tmp_path: Path) -> None:
    image = an_image(1)
    first = of_input(tmp_path, image, form, "amos_0001.nii")
    path = tmp_path / "amos22.tar" if form == "tar" else tmp_path / "amos22.folder/amos_0001.nii"
    place = "@512" if form == "tar" else ""
    assert first == f"{len(image)}-t{path.stat().st_mtime_ns}{place}"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    (ref,) = list_files(str(tmp_path / f"amos22.{form}"))
    second = input_identity(ref)
    assert second not in (None, first)
    assert may_be_same(first, str(second))  # as far as sizes tell


def test_a_file_that_is_not_packed_is_known_by_its_checksum_in_a_zip(tmp_path: Path) -> None:
    image = an_image(1)
    found = of_input(tmp_path, image, "zip", "amos_0001.nii")
    assert found == f"{len(image)}-{zlib.crc32(image):08x}"
    (ref,) = list_files(str(tmp_path / "amos22.zip"))
    assert input_identity(replace(ref, pair=ref)) == f"{found}+{found}"


def test_a_change_of_either_half_of_a_pair_is_seen(tmp_path: Path) -> None:
    files = [tmp_path / "a.hdr", tmp_path / "a.img.gz"]
    files[0].write_bytes(an_image(1)[:352])
    files[1].write_bytes(gzip.compress(an_image(1)[352:]))

    def pair() -> str | None:
        header, voxels = (file_ref(path, path.name) for path in files)
        return input_identity(replace(header, pair=voxels))

    known = {pair()}
    os.utime(files[0], ns=(0, 0))
    known.add(pair())
    files[1].write_bytes(gzip.compress(an_image(2)[352:]))
    known.add(pair())
    assert len(known - {None}) == 3
    files[1].unlink()
    assert pair() is None


@pytest.mark.parametrize(
    ("now", "then", "expected"),
    [
        ("5-0123abcd", "5-0123abcd", True),
        ("5-0123abcd", "5-0123abce", False),
        ("5-t17", "5-t18", True),
        ("5-t17", "6-t17", False),
        ("5-t17", "5-0123abcd", True),
        ("5-t17@512", "5-t17", True),
        ("5-t17+9-0123abcd", "5-t18+9-0123abcd", True),
        ("5-t17+9-0123abcd", "5-t17+9-0123abce", False),
        ("5-t17+9-t17", "5-t17+8-t17", False),
        ('5-"a+b=="', "5-0123abcd", True),
        ('5-"a+b=="', '6-"a+b=="', False),
        ("unknown", "5-t17+9-t17", True),
    ],
)
def test_what_may_be_the_same(now: str, then: str, expected: bool) -> None:
    assert may_be_same(now, then) == may_be_same(then, now) == expected


@pytest.mark.parametrize("member", [None, TarMember(512)])
def test_nothing_is_known_of_a_file_at_a_url_that_is_not_packed(member: TarMember | None) -> None:
    ref = FileRef("amos_0001.nii", "memory://identity/amos22.tar", 9, member=member)
    assert input_identity(ref) is None
    assert input_identity(replace(ref, etag="abc")) == "9-abc"
