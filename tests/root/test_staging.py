"""Files appear complete and together, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from amos_dask.root.staging import Staging, write_text


def names_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def stage(staging: Staging, *finals: Path) -> None:
    for final in finals:
        staging.path_for(final).write_bytes(final.name.encode())


def test_published_files_have_their_names_and_contents(tmp_path: Path) -> None:
    with Staging() as staging:
        stage(staging, tmp_path / "new" / "deep" / "a", tmp_path / "b")
        staging.write_text(tmp_path / "c", "größer\n")
        staging.publish()
    assert names_below(tmp_path) == ["b", "c", "new/deep/a"]
    assert (tmp_path / "b").read_bytes() == b"b"
    assert (tmp_path / "c").read_bytes() == "größer\n".encode()


def test_a_folder_that_vanished_after_publishing_is_made_again(tmp_path: Path) -> None:
    with Staging() as staging:
        staging.write_text(tmp_path / "folder" / "a", "first")
        staging.publish()
        shutil.rmtree(tmp_path / "folder")
        staging.write_text(tmp_path / "folder" / "b", "second")
        staging.publish()
    assert names_below(tmp_path) == ["folder/b"]


def test_nothing_has_its_final_name_before_publishing(tmp_path: Path) -> None:
    with Staging() as staging:
        stage(staging, tmp_path / "a", tmp_path / "b")
        assert not (tmp_path / "a").exists()
        assert not (tmp_path / "b").exists()
        staging.publish()


def test_temporary_names_are_hidden_and_in_the_final_folder(tmp_path: Path) -> None:
    with Staging() as staging:
        temporary = staging.path_for(tmp_path / "amos_0001_mask.nii.gz")
    assert temporary.parent == tmp_path
    assert temporary.name.startswith(".")
    assert not temporary.name.endswith(".nii.gz")


def test_what_is_not_published_disappears(tmp_path: Path) -> None:
    with Staging() as staging:
        stage(staging, tmp_path / "a", tmp_path / "b")
    assert names_below(tmp_path) == []


def test_an_exception_leaves_the_old_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), Staging() as staging:  # noqa: PT012
        stage(staging, tmp_path / "a", tmp_path / "b")
        raise RuntimeError
    assert names_below(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"


def test_published_files_stay_when_a_later_step_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Staging() as staging:  # noqa: PT012
        stage(staging, tmp_path / "a")
        staging.publish()
        stage(staging, tmp_path / "b")
        raise RuntimeError
    assert names_below(tmp_path) == ["a"]


def test_old_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert names_below(tmp_path) == ["a"]


def test_a_file_that_was_never_written_publishes_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), Staging() as staging:  # noqa: PT012
        stage(staging, tmp_path / "a")
        staging.path_for(tmp_path / "b")
        stage(staging, tmp_path / "c")
        staging.publish()
    assert names_below(tmp_path) == []


def test_a_name_staged_twice_gets_the_later_content_and_leaves_nothing(tmp_path: Path) -> None:
    with Staging() as staging:
        staging.write_text(tmp_path / "a", "first")
        staging.write_text(tmp_path / "a", "second")
        staging.publish()
    assert (tmp_path / "a").read_text() == "second"
    assert names_below(tmp_path) == ["a"]


def test_two_stagings_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with Staging() as first, Staging() as second:
        assert first.path_for(tmp_path / "a") != second.path_for(tmp_path / "a")


@pytest.mark.parametrize("last", ["a", "b", "c"])
def test_the_last_name_appears_after_all_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    appeared: list[str] = []
    replace = Path.replace

    def spy(self: Path, target: Path) -> Path:
        appeared.append(Path(target).name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", spy)
    with Staging() as staging:
        stage(staging, tmp_path / "a", tmp_path / "b", tmp_path / "c")
        staging.publish(last=tmp_path / last)
    assert appeared[-1] == last
    assert sorted(appeared) == ["a", "b", "c"]


def test_every_file_is_on_disk_before_the_first_name_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def spy_fsync(descriptor: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"  # noqa: PTH112
        events.append(f"fsync {kind}")
        fsync(descriptor)

    def spy_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(Path, "replace", spy_replace)
    with Staging() as staging:
        stage(staging, tmp_path / "a", tmp_path / "b")
        staging.publish()
    assert events[:2] == ["fsync file"] * 2
    assert events[2:4] == ["rename"] * 2


def test_when_renaming_fails_the_marker_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").mkdir()  # a folder in the way
    (tmp_path / "b" / "x").touch()
    with pytest.raises(OSError), Staging() as staging:  # noqa: PT012
        stage(staging, tmp_path / "receipt", tmp_path / "a", tmp_path / "b")
        staging.publish(last=tmp_path / "receipt")
    assert not (tmp_path / "receipt").exists()
    assert set(names_below(tmp_path)) <= {"a", "b/x"}


DYING = """
import os, sys
from pathlib import Path
from amos_dask.root.staging import Staging
folder = Path(sys.argv[1])
with Staging() as staging:
    staging.write_text(folder / "a", "new")
    staging.write_text(folder / "b", "new")
    os._exit(9)
"""


def test_a_process_that_dies_leaves_only_hidden_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    died = subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], check=False)
    assert died.returncode == 9
    left = names_below(tmp_path)
    assert [name for name in left if not name.startswith(".")] == ["a"]
    assert len(left) == 3
    assert (tmp_path / "a").read_text() == "old"


def test_line_ends_are_written_as_given(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "1\r\n2\n")
    assert (tmp_path / "a").read_bytes() == b"1\r\n2\n"
