"""Links and copies, and folders that are ours or not."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from amos_dask.errors import AmosDaskError
from amos_dask.export.files import (
    MARKER,
    claim_folder,
    is_ours,
    remove_if_only_marked,
    remove_others,
    require_link,
    stage_file,
)
from amos_dask.root.staging import Staging


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source" / "amos_0001_mask.nii.gz"
    path.parent.mkdir()
    path.write_bytes(b"voxels")
    return path


def place(source: Path, final: Path, link: str) -> bool:
    """Place a file and return whether anything had to be done."""
    with Staging() as staging:
        stage_file(staging, source, final, link)
        n_staged = len(staging._staged)
        staging.publish()
    assert final.read_bytes() == source.read_bytes()
    assert [path.name for path in final.parent.iterdir()] == [final.name]
    return n_staged > 0


def kind(path: Path, source: Path) -> str:
    if path.is_symlink():
        return "symbolic"
    return "hard" if path.samefile(source) else "copy"


@pytest.mark.parametrize("link", ["auto", "hard", "symbolic", "copy"])
def test_a_file_is_placed_once_and_then_left_alone(link: str, source: Path, tmp_path: Path) -> None:
    final = tmp_path / "out" / "amos_0001.nii.gz"
    assert place(source, final, link)
    assert kind(final, source) == ("hard" if link == "auto" else link)
    assert not place(source, final, link)


@pytest.mark.parametrize("first", ["hard", "symbolic", "copy"])
@pytest.mark.parametrize("second", ["hard", "symbolic", "copy"])
def test_the_kind_of_link_can_be_changed(
    first: str, second: str, source: Path, tmp_path: Path
) -> None:
    final = tmp_path / "out" / "amos_0001.nii.gz"
    place(source, final, first)
    assert place(source, final, second) is (first != second)
    assert kind(final, source) == second


@pytest.mark.parametrize("link", ["hard", "symbolic", "copy"])
def test_a_new_source_is_followed(link: str, source: Path, tmp_path: Path) -> None:
    final = tmp_path / "out" / "amos_0001.nii.gz"
    place(source, final, link)
    replacement = source.with_name("other")
    replacement.write_bytes(b"other voxels")
    replacement.replace(source)
    place(source, final, link)


def test_the_target_of_a_linked_source_is_linked(source: Path, tmp_path: Path) -> None:
    alias = tmp_path / "alias.nii.gz"
    alias.symlink_to(source)
    final = tmp_path / "out" / "amos_0001.nii.gz"
    place(alias, final, "hard")
    assert kind(final, source) == "hard"


def test_where_hard_links_are_impossible(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(os, "link", refuse)
    final = tmp_path / "out" / "amos_0001.nii.gz"
    assert place(source, final, "auto")
    assert kind(final, source) == "symbolic"
    assert not place(source, final, "auto")
    with (
        Staging() as staging,
        pytest.raises(AmosDaskError, match=r"a hard link to .* is not possible"),
    ):
        stage_file(staging, source, final.with_name("other"), "hard")


def test_another_failure_is_not_taken_for_that(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    with Staging() as staging, pytest.raises(OSError, match="No space left"):
        stage_file(staging, source, tmp_path / "out" / "x.nii.gz", "auto")


def test_an_unknown_kind_of_link() -> None:
    with pytest.raises(AmosDaskError, match="'soft' is not known"):
        require_link("soft")


def test_a_folder_is_claimed_when_new_empty_or_ours(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "deep"
    claim_folder(folder, {"a": 1})
    assert is_ours(folder)
    claim_folder(folder, {"a": 2})
    assert '"a": 2' in (folder / MARKER).read_text()
    (tmp_path / "empty").mkdir()
    claim_folder(tmp_path / "empty", {})


def test_what_others_have_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("theirs", "file"):
        with pytest.raises(AmosDaskError, match="no export of amos-dask"):
            claim_folder(tmp_path / name, {})
    assert not is_ours(tmp_path / "theirs")


def test_only_exported_files_of_earlier_times_are_removed(tmp_path: Path) -> None:
    names = ["amos_0001_0000.nii.gz", "amos_0002.nii.gz", "amos_0003.nii.gz", "notes.txt",
             "mine_0001_0000.nii.gz", ".amos_0004.nii.gz.1234abcd.part~"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    remove_others(tmp_path, {tmp_path / "amos_0002.nii.gz"}, "amos")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["amos_0002.nii.gz", "mine_0001_0000.nii.gz", "notes.txt"]
    remove_others(tmp_path / "nowhere", set(), "amos")


def test_a_folder_with_nothing_but_the_mark_goes(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    claim_folder(folder, {})
    (folder / "mine").touch()
    remove_if_only_marked(folder)
    assert is_ours(folder)
    (folder / "mine").unlink()
    remove_if_only_marked(folder)
    assert not folder.exists()
