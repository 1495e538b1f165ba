"""The ends of files: gzip trailers, and what a zip says in front of a member."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from amos_dask.archive.listing import list_files
from amos_dask.archive.packed import is_packed
from amos_dask.archive.sources import Ends, read_ends
from amos_dask.errors import InaccessibleFileError
from amos_dask.file_refs import FileRef, file_ref

CONTENT = bytes(range(256)) * 40
PACKED = gzip.compress(CONTENT, mtime=0)
NAME = "imagesTr/amos_0001.nii.gz"
# Places in a local header.
METHOD, CRC, PACKED_SIZE, SIZE, FIRST_OF_NAME = 8, 14, 18, 22, 30


def a_file(folder: Path, content: bytes) -> FileRef:
    path = folder / "amos_0001.nii.gz"
    path.write_bytes(content)
    return file_ref(path, path.name)


def a_zip(folder: Path, method: int = zipfile.ZIP_STORED, name: str = NAME) -> Path:
    path = folder / "amos22.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("dataset.json", "{}")
        archive.writestr(name, PACKED)
    return path


def member(path: Path, name: str = NAME) -> FileRef:
    (ref,) = (ref for ref in list_files(str(path)) if ref.path == name)
    return ref


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))


def test_a_gzip_file_tells_its_unpacked_length(tmp_path: Path) -> None:
    assert read_ends(a_file(tmp_path, PACKED)) == Ends("", len(CONTENT))


def test_a_file_that_is_not_packed_is_as_long_as_it_is(tmp_path: Path) -> None:
    image = tmp_path / "amos_0001.nii"
    image.write_bytes(CONTENT)
    ref = file_ref(image, image.name)
    assert read_ends(ref) == Ends("", len(CONTENT))
    packed = replace(a_file(tmp_path, PACKED), pair=ref)
    assert read_ends(packed) == Ends("", len(CONTENT))
    assert read_ends(replace(ref, pair=a_file(tmp_path, PACKED[:-4]))).length != len(CONTENT)


@pytest.mark.parametrize("n_bytes", range(4))
def test_a_file_that_is_too_short_agrees_with_no_image(n_bytes: int, tmp_path: Path) -> None:
    ends = read_ends(a_file(tmp_path, PACKED[:n_bytes]))
    assert not ends.zip_fault
    assert not any(map(ends.agree_with, (0, n_bytes, len(CONTENT), 1 << 32)))


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    ref = a_file(tmp_path, PACKED)
    Path(ref.location).unlink()
    with pytest.raises(InaccessibleFileError, match="No such file"):
        read_ends(ref)


def test_a_stored_member_tells_its_length_and_a_packed_one_does_not(tmp_path: Path) -> None:
    stored = member(a_zip(tmp_path))
    assert (is_packed(stored), read_ends(stored)) == (False, Ends("", len(CONTENT)))
    packed = member(a_zip(tmp_path, zipfile.ZIP_DEFLATED))
    assert (is_packed(packed), read_ends(packed)) == (True, Ends("", None))


def test_a_member_written_as_a_stream_tells_its_sizes_behind_it(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def write(self, content: Any) -> int:
            written.extend(content)
            return len(content)

    written, path = bytearray(), tmp_path / "amos22.zip"
    with zipfile.ZipFile(Pipe(), "w") as archive:
        archive.writestr(NAME, PACKED)
    path.write_bytes(written)
    assert struct.unpack_from("<H", path.read_bytes(), 6)[0] & 8
    assert read_ends(member(path)) == Ends("", len(CONTENT))


def test_sizes_of_a_large_member_may_stand_in_an_extra_field(tmp_path: Path) -> None:
    path = tmp_path / "amos22.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open(NAME, "w", force_zip64=True) as file:
        file.write(PACKED)
    if struct.unpack_from("<L", path.read_bytes(), SIZE)[0] != 0xFFFFFFFF:
        pytest.skip("this Python writes the sizes into the header all the same")
    assert read_ends(member(path)) == Ends("", len(CONTENT))


def test_names_beyond_ascii_are_not_compared(tmp_path: Path) -> None:
    name = "größer/imagesTr/amos_0001.nii.gz"
    assert read_ends(member(a_zip(tmp_path, name=name), name)).zip_fault == ""


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (0, "where this file should begin"),
        (METHOD, "differ in method"),
        (CRC, "differ in checksum"),
        (PACKED_SIZE, "differ in packed size"),
        (SIZE, "differ in size"),
        (FIRST_OF_NAME, "differ in name"),
    ],
)
def test_a_local_header_that_differs_from_the_directory(
    place: int, says: str, tmp_path: Path
) -> None:
    path = a_zip(tmp_path)
    ref = member(path)
    assert ref.member is not None
    flip(path, ref.member.header_offset + place)
    assert says in read_ends(ref).zip_fault
    others = [r for r in list_files(str(path)) if r.path != NAME]
    assert [read_ends(other).zip_fault for other in others] == [""]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_ends_within_a_member(method: int, tmp_path: Path) -> None:
    path = a_zip(tmp_path, method)
    ref = member(path)
    assert ref.member is not None
    end = ref.member.header_offset + 30 + len(NAME) + ref.member.compressed_size
    path.write_bytes(path.read_bytes()[: end - 1])
    assert read_ends(ref).zip_fault == "the zip ends before this file does"


def test_a_file_at_a_url() -> None:
    with fsspec.open("memory://ends/amos_0001.nii.gz", "wb") as file:
        file.write(PACKED)
    ref = FileRef("amos_0001.nii.gz", "memory://ends/amos_0001.nii.gz", 0)
    assert read_ends(ref).length == len(CONTENT)


def test_a_server_that_sends_from_the_beginning_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *error: object) -> None: ...

        def seek(self, *place: int) -> int:
            raise ValueError("Cannot seek streaming HTTP file")

    monkeypatch.setattr("amos_dask.archive.sources.open_location", lambda location: Stream())
    assert read_ends(FileRef("amos_0001.nii.gz", "https://host/amos_0001.nii.gz", 0)) == Ends()


def test_the_end_of_a_gzip_file_agrees_with_what_it_unpacks_to() -> None:
    ends = Ends(length=len(CONTENT))
    assert ends.agree_with(len(CONTENT))
    assert not ends.agree_with(len(CONTENT) - 1)
    assert not ends.agree_with(0)
    assert Ends().agree_with(len(CONTENT))  # nothing told is nothing wrong


def test_gzip_counts_modulo_4_gib() -> None:
    n_bytes = (1 << 32) + 352
    assert Ends(length=352).agree_with(n_bytes)
    assert not Ends(length=353).agree_with(n_bytes)
