"""Files that are not as they were written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from amos_dask.root.identity import AlteredFile, Change, find_altered, identity

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
