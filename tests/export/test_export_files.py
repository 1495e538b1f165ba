"""Copies, clones and links of an export, and which of its files are as it wrote them."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

import amos_dask
from amos_dask.errors import AmosDaskError
from amos_dask.export.files import ExportFolder, Placing, can_clone, copy_file
from amos_dask.root.export_mark import ExportedFile

NAME = "labelsTr/amos_0001.nii.gz"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "amos_0001_mask.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"voxels")
    return path


def place(
    source: Path, base: Path, own: dict[str, ExportedFile] | None = None, **options: Any
) -> Placing:
    """Place a file in an export, and return what was noted."""
    known = {key: frozenset([file.identity]) for key, file in (own or {}).items()}
    placing = Placing(ExportFolder(base, known, **options), "amos_0001")
    placing.place(source, base / NAME)
    assert [path.name for path in (base / NAME).parent.iterdir()] == [Path(NAME).name]
    return placing


def kind(path: Path, source: Path) -> str:
    if path.is_symlink():
        return "symbolic"
    return "hard" if path.samefile(source) else "copy"


@pytest.mark.parametrize("first", ["hard", "symbolic", "copy"])
@pytest.mark.parametrize("second", ["symbolic", "copy"])
def test_the_kind_of_link_can_be_changed_and_then_stays(
    first: str, second: str, source: Path, tmp_path: Path
) -> None:
    base = tmp_path / "out"
    if first == "hard":  # as version 0.1.0 made it, which listed nothing
        (base / NAME).parent.mkdir(parents=True)
        (base / NAME).hardlink_to(source)
        own: dict[str, ExportedFile] = {}
    else:
        own = place(source, base, link=first).files
    for n_written in (0 if first == second else 1, 0):
        placing = place(source, base, own, link=second)
        own = placing.files
        assert len(placing.n_bytes) == n_written
        assert placing.in_the_way == []
        assert kind(base / NAME, source) == second
        assert (base / NAME).read_bytes() == source.read_bytes()


def test_a_new_source_is_followed_and_said(source: Path, tmp_path: Path) -> None:
    base = tmp_path / "out"
    own = place(source, base).files
    source.write_bytes(b"other voxels")
    placing = place(source, base, own)
    assert (base / NAME).read_bytes() == b"other voxels"
    assert placing.in_the_way == []
    assert own[NAME].is_outdated_by(placing.files[NAME])


def test_an_altered_file_stays_unless_it_is_adopted(source: Path, tmp_path: Path) -> None:
    base = tmp_path / "out"
    own = place(source, base).files
    (base / NAME).write_bytes(b"mine")
    placing = place(source, base, own)
    assert (base / NAME).read_bytes() == b"mine"
    assert placing.in_the_way == [NAME]
    place(source, base, own, adopt=True)
    assert (base / NAME).read_bytes() == source.read_bytes()
    assert (base / "replaced/1" / NAME).read_bytes() == b"mine"


def test_what_is_not_listed_is_taken_when_it_is_the_same(source: Path, tmp_path: Path) -> None:
    base = tmp_path / "out"
    place(source, base)
    placing = place(source, base)
    assert (placing.in_the_way, placing.n_bytes) == ([], [])
    assert list(placing.files) == [NAME]


def test_a_link_of_somebody_stays(source: Path, tmp_path: Path) -> None:
    base, other = tmp_path / "out", tmp_path / "other.nii.gz"
    other.write_bytes(b"mine")
    (base / NAME).parent.mkdir(parents=True)
    (base / NAME).symlink_to(other)
    placing = place(source, base)
    assert placing.in_the_way == [NAME]
    assert (base / NAME).readlink() == other
    assert other.read_bytes() == b"mine"


def test_nothing_is_written_through_a_link_to_a_folder(source: Path, tmp_path: Path) -> None:
    base, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    base.mkdir()
    (elsewhere / "amos_0001.nii.gz").write_bytes(b"mine")
    (base / "labelsTr").symlink_to(elsewhere)
    assert place(source, base).in_the_way == [NAME]
    folder = ExportFolder(base, {NAME: frozenset(["1-2"])}, adopt=True)
    folder.ownership(base / NAME).remove(base / NAME)
    assert (elsewhere / "amos_0001.nii.gz").exists()
    assert place(source, base, adopt=True).in_the_way == []
    assert (elsewhere / "amos_0001.nii.gz").read_bytes() == b"mine"
    assert (base / "replaced/1/labelsTr").readlink() == elsewhere
    assert (base / NAME).read_bytes() == source.read_bytes()


def test_the_target_of_a_linked_source_is_linked(source: Path, tmp_path: Path) -> None:
    alias = tmp_path / "amos_0001_mask.nii.gz"
    alias.symlink_to(source)
    place(alias, tmp_path / "out", link="symbolic")
    assert (tmp_path / "out" / NAME).readlink() == source


def test_a_copy_shares_blocks_where_it_can(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def clone(target: int, request: int, origin: int) -> int:
        asked.append(request)
        return os.write(target, os.pread(origin, 100, 0))

    monkeypatch.setattr(fcntl, "ioctl", clone)
    copy_file(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"voxels"
    assert can_clone(source, tmp_path)
    assert set(asked) == {0x40049409}
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["copy", "source"]


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EXDEV, errno.ENOTTY, errno.EINVAL])
def test_a_copy_where_blocks_cannot_be_shared(
    number: int, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    copy_file(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"voxels"
    assert not can_clone(source, tmp_path)


def test_another_failure_is_not_taken_for_that(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfileobj", refuse)
    with pytest.raises(OSError, match="No space left"):
        place(source, tmp_path / "out")
    assert not (tmp_path / "out" / NAME).parent.exists()


@pytest.mark.parametrize("link", ["soft", "hard", "auto"])
def test_an_unknown_kind_of_link(link: str, tmp_path: Path) -> None:
    with pytest.raises(AmosDaskError, match=f"'{link}' is not known"):
        amos_dask.export_nnunet(tmp_path, tmp_path, link=link)
