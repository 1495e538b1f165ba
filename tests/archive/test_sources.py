"""Listing and reading folders, zips and URLs, with zipfile as the judge."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import nibabel as nib
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.archive.listing import list_files
from amos_dask.archive.packed import UNPACKED_BYTES
from amos_dask.archive.sources import BLOCK_BYTES, read_blocks, read_bytes
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef, file_ref
from amos_dask.nifti import read_info

quick = settings(max_examples=40, deadline=None, derandomize=True, database=None)
FILES = {
    "amos22/dataset.json": b'{"training": []}',
    "amos22/imagesTr/amos_0001.nii.gz": b"not an image, but " * 50,
    "amos22/imagesTr/amos_0002.nii.gz": b"",
    "amos22/readme.md": "größer".encode(),
}
METHODS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def noise(n_bytes: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(n_bytes)


def zip_of(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write_zip(folder: Path, content: bytes) -> str:
    path = folder / "amos22.zip"
    path.write_bytes(content)
    return str(path)


def write_folder(root: Path, files: dict[str, bytes] = FILES) -> str:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(root)


def content_of(refs: list[FileRef]) -> dict[str, bytes]:
    return {ref.path: b"".join(read_blocks(ref)) for ref in refs}


def refusal(ref: FileRef) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        b"".join(read_blocks(ref))
    return str(caught.value)


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    filesystem = fsspec.filesystem("memory")
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]
    yield filesystem
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


# ---------------------------------------------------------------- everywhere alike


@pytest.mark.parametrize(
    "form", ["folder", "zip", "memory-folder", "memory-zip", "file-folder", "file-zip"]
)
def test_names_sizes_and_bytes_are_the_same_wherever_they_lie(
    tmp_path: Path, memory: MemoryFileSystem, form: str
) -> None:
    where, _, kind = form.rpartition("-")
    if where == "memory":
        location = "memory://bucket/data" + (".zip" if kind == "zip" else "")
        contents = (
            {"/bucket/data.zip": zip_of(FILES)}
            if kind == "zip"
            else {f"/bucket/data/{name}": content for name, content in FILES.items()}
        )
        for name, content in contents.items():
            memory.pipe(name, content)
    else:
        local = (
            write_zip(tmp_path, zip_of(FILES)) if kind == "zip" else write_folder(tmp_path / "a")
        )
        location = f"file://{local}" if where == "file" else local
    refs = list_files(location)
    assert [ref.path for ref in refs] == sorted(FILES)
    assert [ref.size for ref in refs] == [len(FILES[name]) for name in sorted(FILES)]
    assert content_of(refs) == FILES


def test_a_url_with_a_trailing_slash_is_the_same_folder(memory: MemoryFileSystem) -> None:
    memory.pipe("/bucket/data/imagesTr/a.nii.gz", b"x")
    for url in ("memory://bucket/data", "memory://bucket/data/"):
        assert [ref.path for ref in list_files(url)] == ["imagesTr/a.nii.gz"]


class SizelessFileSystem(MemoryFileSystem):
    """Lists names without sizes, as web servers do."""

    protocol = ("sizeless",)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("sizeless://", "memory://")))

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        found = super().ls(path, detail=detail, **kwargs)
        return [{**entry, "size": None} for entry in found] if detail else found

    def find(self, path: str, *args: Any, detail: bool = False, **kwargs: Any) -> Any:
        found = super().find(path, *args, detail=detail, **kwargs)
        if not detail:
            return found
        return {name: {**entry, "size": None} for name, entry in found.items()}


def test_an_image_at_a_url_whose_listing_tells_no_sizes_can_be_read(
    memory: MemoryFileSystem,
) -> None:
    fsspec.register_implementation("sizeless", SizelessFileSystem, clobber=True)
    image = nib.Nifti1Image(np.zeros((2, 3, 4), np.int16), np.eye(4))
    memory.pipe("/web/imagesTr/amos_0001.nii.gz", gzip.compress(image.to_bytes()))
    (ref,) = list_files("sizeless://web")
    assert ref.path == "imagesTr/amos_0001.nii.gz"
    assert gzip.decompress(b"".join(read_blocks(ref))) == image.to_bytes()
    assert read_info(ref).shape == (2, 3, 4)


# ---------------------------------------------------------------- nothing there


@pytest.mark.parametrize("name", ["absent", "absent.zip", "file.txt", "folder.zip"])
def test_a_location_that_is_no_archive_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file.txt").write_text("x")
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(ArchiveError) as caught:
        list_files(str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["memory://nothing/amos22.zip", "nosuchprotocol://a/b", "nosuchprotocol://a/b.zip"],
)
def test_a_url_that_cannot_be_opened_is_named(memory: MemoryFileSystem, url: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        list_files(url)
    assert url in str(caught.value)


@pytest.mark.parametrize("end", ["", ".zip"])
def test_a_url_whose_file_system_is_not_installed_is_named(end: str) -> None:
    fsspec.register_implementation("notinstalled", "no_such_package.FileSystem", clobber=True)
    with pytest.raises(ArchiveError) as caught:
        list_files(f"notinstalled://bucket/amos22{end}")
    assert "notinstalled://bucket/amos22" in str(caught.value)


# ---------------------------------------------------------------- folders


def test_an_empty_folder_has_no_files(tmp_path: Path) -> None:
    assert list_files(str(tmp_path)) == []


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    write_folder(tmp_path / "a")
    (tmp_path / "a" / "amos22" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a" / "self")
    found = [ref.path for ref in list_files(str(tmp_path / "a"))]
    assert set(FILES) <= set(found)
    assert set(found) - set(FILES) <= {"self"}


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "imagesTr").symlink_to(tmp_path / "elsewhere/amos22/imagesTr")
    (tmp_path / "a" / "dataset.json").symlink_to(tmp_path / "elsewhere/amos22/dataset.json")
    refs = list_files(str(tmp_path / "a"))
    assert [ref.path for ref in refs] == [
        "dataset.json",
        "imagesTr/amos_0001.nii.gz",
        "imagesTr/amos_0002.nii.gz",
    ]
    assert refs[1].size == len(FILES["amos22/imagesTr/amos_0001.nii.gz"])


def test_another_name_for_a_folder_does_not_hide_the_folder(tmp_path: Path) -> None:
    """Whatever order the disk lists them in, what lies in imagesTr is found as imagesTr/…"""
    for number in range(8):
        (tmp_path / f"before{number}").symlink_to(tmp_path / "imagesTr")
    write_folder(tmp_path, {"imagesTr/amos_0001.nii.gz": b"x"})
    for number in range(8):
        (tmp_path / f"zz{number}").symlink_to(tmp_path / "imagesTr")
    assert "imagesTr/amos_0001.nii.gz" in [ref.path for ref in list_files(str(tmp_path))]


def test_a_dangling_link_is_listed_and_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "amos_0001.nii.gz").symlink_to(tmp_path / "absent")
    (ref,) = list_files(str(tmp_path))
    assert ref.size == 0
    with pytest.raises(InaccessibleFileError, match="No such file"):
        list(read_blocks(ref))


def test_a_folder_that_may_not_be_listed_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, {"imagesTr/amos_0001.nii.gz": b"", "imagesVa/amos_0002.nii.gz": b""})
    scandir = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path).name == "imagesVa":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ArchiveError, match="imagesVa"):
        list_files(str(tmp_path))


def test_something_that_is_not_a_regular_file_has_no_size(tmp_path: Path) -> None:
    assert file_ref(tmp_path, "shown").size == 0
    assert file_ref(tmp_path / "absent", "shown") == FileRef("shown", f"{tmp_path}/absent", 0)


# ---------------------------------------------------------------- zips

LENGTHS = [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, UNPACKED_BYTES, 3_000_001]


@pytest.mark.parametrize("method", METHODS)
def test_members_of_any_length_are_read_whole(tmp_path: Path, method: str) -> None:
    files = {f"noise/{n}": noise(n) for n in LENGTHS}
    files |= {f"zeros/{n}": bytes(n) for n in LENGTHS}
    location = write_zip(tmp_path, zip_of(files, METHODS[method]))
    refs = list_files(location)
    assert content_of(refs) == files
    with zipfile.ZipFile(location) as archive:
        assert {ref.path: ref.crc32 for ref in refs} == {
            entry.filename: entry.CRC for entry in archive.infolist()
        }


def test_members_are_read_in_pieces_of_bounded_size(tmp_path: Path) -> None:
    location = write_zip(tmp_path, zip_of({"zeros": bytes(20_000_000)}))
    (ref,) = list_files(location)
    assert max(map(len, read_blocks(ref))) <= UNPACKED_BYTES


@quick
@given(
    files=st.dictionaries(
        st.from_regex(r"[a-zé]{1,8}(/[a-z_0-9]{1,8})?", fullmatch=True),
        st.binary(max_size=200),
        max_size=5,
    ),
    method=st.sampled_from(list(METHODS.values())),
    prefix=st.binary(max_size=20),
)
def test_any_small_zip_reads_as_zipfile_reads_it(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], method: int, prefix: bytes
) -> None:
    location = write_zip(tmp_path_factory.getbasetemp(), prefix + zip_of(files, method))
    assert content_of(list_files(location)) == files


def test_folders_in_a_zip_are_not_files(tmp_path: Path) -> None:
    location = write_zip(tmp_path, zip_of({"imagesTr/": b"", "imagesTr/a": b"1"}))
    assert [ref.path for ref in list_files(location)] == ["imagesTr/a"]


def test_a_streamed_zip_and_zip64_sizes_are_read(tmp_path: Path) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.content = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.content += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        archive.writestr("a", noise(1000))
        with archive.open("b", "w", force_zip64=True) as member:
            member.write(noise(2000))
    refs = list_files(write_zip(tmp_path, bytes(pipe.content)))
    assert content_of(refs) == {"a": noise(1000), "b": noise(2000)}


def test_the_ending_zip_may_be_in_capitals(tmp_path: Path) -> None:
    path = tmp_path / "AMOS22.ZIP"
    path.write_bytes(zip_of(FILES))
    assert content_of(list_files(str(path))) == FILES


def test_an_encrypted_member_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    content = bytearray(zip_of({"a": b"secret", "b": b"open"}))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    content[content.index(b"PK\x03\x04") + 6] |= 1
    first, second = list_files(write_zip(tmp_path, bytes(content)))
    assert "encrypted" in refusal(first)
    assert b"".join(read_blocks(second)) == b"open"


def test_an_unknown_packing_method_is_refused(tmp_path: Path) -> None:
    (ref,) = list_files(write_zip(tmp_path, zip_of({"a": b"x" * 99}, zipfile.ZIP_BZIP2)))
    assert "method 12" in refusal(ref)


def test_a_zip_cut_anywhere_is_refused_as_a_whole(tmp_path: Path) -> None:
    content = zip_of(FILES)
    for n_bytes in range(0, len(content), 7):
        location = write_zip(tmp_path, content[:n_bytes])
        with pytest.raises(ArchiveError) as caught:
            list_files(location)
        assert location in str(caught.value)


@pytest.mark.parametrize("method", METHODS)
def test_a_zip_that_shrank_after_listing_is_noticed(tmp_path: Path, method: str) -> None:
    content = zip_of({"a": noise(700_000)}, METHODS[method])
    location = write_zip(tmp_path, content)
    (ref,) = list_files(location)
    for n_bytes in (0, 10, 40, 300_000, 600_000):
        write_zip(tmp_path, content[:n_bytes])
        assert refusal(ref)


def test_a_damaged_directory_is_an_error_or_a_list_never_a_surprise(tmp_path: Path) -> None:
    content = zip_of(FILES)
    for place, bit in itertools.product(range(content.index(b"PK\x01\x02"), len(content)), (0, 6)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        location = write_zip(tmp_path, bytes(damaged))
        try:
            refs = list_files(location)
        except ArchiveError:
            continue
        for ref in refs:
            try:
                b"".join(read_blocks(ref))
            except (UnreadableImageError, InaccessibleFileError):
                continue


def test_a_zip_that_needs_a_newer_program_is_named(tmp_path: Path) -> None:
    content = bytearray(zip_of({"a": b"x"}))
    struct.pack_into("<H", content, content.index(b"PK\x01\x02") + 6, 99)
    with pytest.raises(ArchiveError, match=r"amos22\.zip"):
        list_files(write_zip(tmp_path, bytes(content)))


@pytest.mark.parametrize("method", METHODS)
def test_a_member_that_does_not_match_its_checksum_is_refused(tmp_path: Path, method: str) -> None:
    content = bytearray(zip_of({"a.csv": b"amos_id,Site\n1,A\n"}, METHODS[method]))
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 16, 12345)
    location = write_zip(tmp_path, bytes(content))
    with zipfile.ZipFile(location) as archive:
        assert archive.testzip() == "a.csv"
    (ref,) = list_files(location)
    with pytest.raises(UnreadableImageError):
        read_bytes(ref, 1000)


def test_a_member_that_does_not_begin_where_it_should_is_refused(tmp_path: Path) -> None:
    content = bytearray(zip_of({"a": b"x"}))
    content[0] ^= 1
    (ref,) = list_files(write_zip(tmp_path, bytes(content)))
    assert "damaged" in refusal(ref)


# ---------------------------------------------------------------- small files whole


def test_a_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100))
    ref = file_ref(tmp_path / "a", "a")
    assert read_bytes(ref, 100) == bytes(100)
    with pytest.raises(UnreadableImageError, match="99"):
        read_bytes(ref, 99)


def test_a_file_of_unknown_size_is_not_read_beyond_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5_000_000))
    with pytest.raises(UnreadableImageError):
        read_bytes(FileRef("a", str(tmp_path / "a"), 0), 1000)
