"""Zips as programs write them: backslashes in names, split into parts."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from samples import discover_one

from amos_dask.archive.listing import list_files
from amos_dask.archive.sources import read_bytes, read_ends
from amos_dask.errors import ArchiveError

CONTENT = bytes(range(256)) * 20
NAMES = ["amos22/imagesTr/amos_0001.nii.gz", "amos22/labelsTr/amos_0001.nii.gz"]


def a_zip(path: Path, *names: str, comment: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else CONTENT)
        archive.comment = comment
    return path


def with_backslashes(path: Path, *names: str) -> Path:
    """As PowerShell's Compress-Archive wrote them; ``names`` only."""
    content = path.read_bytes()
    for name in names:
        content = content.replace(name.encode(), name.replace("/", "\\").encode())
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("n_names", [1, 2])
def test_backslashes_are_read_as_slashes(n_names: int, tmp_path: Path) -> None:
    """Also where only some of the names have them, as in a zip that two programs wrote."""
    path = with_backslashes(a_zip(tmp_path / "amos22.zip", *NAMES), *NAMES[:n_names])
    refs = list_files(str(path))
    assert [ref.path for ref in refs] == NAMES
    assert [read_ends(ref).zip_fault for ref in refs] == ["", ""]
    (sample,) = discover_one(str(path)).samples
    assert sample.volume is not None
    assert sample.mask is not None
    assert read_bytes(sample.volume, 1 << 20) == CONTENT


def test_folders_with_backslashes_are_no_files(tmp_path: Path) -> None:
    path = a_zip(tmp_path / "amos22.zip", "amos22/", "amos22/imagesTr/", NAMES[0])
    with_backslashes(path, NAMES[0], "amos22/imagesTr/", "amos22/")
    assert [ref.path for ref in list_files(str(path))] == NAMES[:1]


def test_names_with_backslashes_that_lead_outside_are_left_out(tmp_path: Path) -> None:
    names = (*NAMES, "../imagesTr/amos_0002.nii.gz", "x/../../labelsTr/amos_0002.nii.gz")
    path = with_backslashes(a_zip(tmp_path / "amos22.zip", *names), *names)
    found = discover_one(str(path))
    assert [sample.seq for sample in found.samples] == ["0001"]
    assert sum("outside the archive" in issue.message for issue in found.issues) == 2


@pytest.mark.parametrize("comment", [b"", b"made somewhere"])
def test_the_last_part_of_a_split_zip_is_named(comment: bytes, tmp_path: Path) -> None:
    """Its own directory may look whole: all of it may lie in the last part."""
    path = a_zip(tmp_path / "amos22.zip", *NAMES, comment=comment)
    content = bytearray(path.read_bytes())
    end = content.rfind(b"PK\x05\x06")
    content[end + 4] = content[end + 6] = 2  # number of this disk, and of the directory's
    path.write_bytes(content)
    assert_named_part(path)


@pytest.mark.skipif(shutil.which("zip") is None, reason="needs zip")
def test_parts_that_zip_writes_are_named(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr/amos_0001.nii.gz").write_bytes(bytes(range(256)) * 1000)
    subprocess.run(
        ["zip", "-q", "-0", "-s", "64k", "amos22.zip", "-r", "imagesTr"], cwd=tmp_path, check=True
    )
    for name in ("amos22.zip", "amos22.z01", "amos22.z02"):
        assert_named_part(tmp_path / name)
    for name in ("amos22.z01", "amos22.z02"):
        (tmp_path / name).unlink()  # only the last one was downloaded
    assert_named_part(tmp_path / "amos22.zip")


def assert_named_part(path: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        list_files(str(path))
    assert str(caught.value).startswith(f"{path}: one part of a split zip; put the parts together")


def test_other_zips_are_no_parts(tmp_path: Path) -> None:
    """One that is whole beside a part of another; one with much in its comment; an empty one."""
    (tmp_path / "amos22.z01").write_bytes(b"PK\x07\x08")
    for comment in (b"", b"c" * 60_000):
        path = a_zip(tmp_path / "amos22.zip", *NAMES, comment=comment)
        assert [ref.path for ref in list_files(str(path))] == NAMES
    assert list_files(str(a_zip(tmp_path / "empty.zip"))) == []
