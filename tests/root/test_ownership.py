"""What is ours is written over; what is not stays, or makes way when that is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from amos_dask.errors import ForeignFileError
from amos_dask.root.layout import Layout
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.staging import (
    Journal,
    Staging,
    end_run,
    find_journals,
    find_set_aside,
    remove_temporaries,
    run_number,
    set_aside,
)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "R")
    layout.descriptor.mkdir(parents=True)
    return layout


def write(layout: Layout, text: str, *, adopt: bool = False) -> list[Path]:
    with OwnFiles(layout, adopt=adopt) as own:
        own.write_content(layout.descriptor / "a.txt", text.encode())
    return own.set_aside


def test_what_we_wrote_is_written_over(layout: Layout) -> None:
    assert write(layout, "one") == []
    assert write(layout, "two") == []
    assert (layout.descriptor / "a.txt").read_text() == "two"
    assert not layout.replaced.exists()


def test_what_was_altered_is_set_aside_first(layout: Layout) -> None:
    path = layout.descriptor / "a.txt"
    write(layout, "one")
    path.write_text("mine")
    assert write(layout, "two") == [path]
    assert path.read_text() == "two"
    assert (layout.replaced / "1/descriptor/a.txt").read_text() == "mine"


@pytest.mark.parametrize("content", ["mine", ""])
def test_what_is_not_ours_stops_us_untouched(layout: Layout, content: str) -> None:
    path = layout.descriptor / "a.txt"
    path.write_text(content)
    with pytest.raises(ForeignFileError, match="--adopt"):
        write(layout, "one")
    assert path.read_text() == content
    assert [p.name for p in layout.descriptor.iterdir()] == ["a.txt"]
    assert write(layout, "one", adopt=True) == [path]
    assert path.read_text() == "one"
    assert (layout.replaced / "1/descriptor/a.txt").read_text() == content


def test_what_holds_the_same_is_taken_as_ours(layout: Layout) -> None:
    path = layout.descriptor / "a.txt"
    path.write_text("one")
    inode = path.stat().st_ino
    assert write(layout, "one") == []
    assert path.stat().st_ino == inode
    assert write(layout, "two") == []
    assert path.read_text() == "two"


def test_nothing_is_written_through_a_link(layout: Layout, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (layout.descriptor / "link").symlink_to(elsewhere)
    path = layout.descriptor / "link/a.txt"
    with OwnFiles(layout) as own, pytest.raises(ForeignFileError, match="link is a link"):
        own.write_content(path, b"one")
    with OwnFiles(layout, adopt=True) as own:
        own.write_content(path, b"one")
    assert list(elsewhere.iterdir()) == []
    assert path.read_text() == "one"
    assert not path.parent.is_symlink()
    assert (layout.replaced / "1/descriptor/link").readlink() == elsewhere
    assert [issue.code for issue in own.issues()] == ["replaced"]


def test_a_file_where_a_folder_goes_makes_way(layout: Layout) -> None:
    path = layout.descriptor / "folder/below/a.txt"
    (layout.descriptor / "folder").write_text("mine")
    with OwnFiles(layout) as own, pytest.raises(ForeignFileError, match="folder is no folder"):
        own.write_content(path, b"one")
    with OwnFiles(layout, adopt=True) as own:
        own.write_content(path, b"one")
    assert path.read_text() == "one"
    assert (layout.replaced / "1/descriptor/folder").read_text() == "mine"


def test_only_what_is_ours_is_removed(layout: Layout) -> None:
    write(layout, "one")
    theirs = layout.descriptor / "b.txt"
    theirs.write_text("mine")
    with OwnFiles(layout) as own:
        own.remove(theirs)
        own.remove(layout.descriptor / "a.txt")
    assert [p.name for p in layout.descriptor.iterdir()] == ["b.txt"]


def test_after_a_kill_what_was_written_is_still_ours(layout: Layout) -> None:
    path = layout.descriptor / "a.txt"
    own = OwnFiles(layout)
    own.write_content(path, b"one")  # and killed: the list of files is not written
    assert write(layout, "two") == []
    assert path.read_text() == "two"
    assert find_journals(layout) == []


def test_files_of_one_size_and_time_are_all_kept(layout: Layout) -> None:
    path = layout.descriptor / "a.txt"
    for text in ("one", "one", "two"):
        path.write_text(text)
        os.utime(path, (1, 1))  # as programs do that keep the times of what they copy
        set_aside(layout, path)
    kept = layout.replaced.rglob("a*.txt")
    assert sorted(file.read_text() for file in kept) == ["one", "two"]


def test_what_is_given_up_leaves_no_empty_folder(layout: Layout) -> None:
    with Staging() as staging:
        staging.path_for(layout.descriptor / "new/a.txt")
    assert not (layout.descriptor / "new").exists()


def test_temporary_files_of_a_kill_go_and_those_of_others_stay(layout: Layout) -> None:
    staging = Staging(Journal(layout, "amos_0001"))
    ours = staging.path_for(layout.grouped / "x/a.nii.gz")
    ours.write_bytes(b"half")
    theirs = ours.with_name(".b.nii.gz.0badcafe.part~")
    theirs.write_bytes(b"mine")
    remove_temporaries(layout)
    assert [p.name for p in ours.parent.iterdir()] == [theirs.name]


def test_a_run_that_was_killed_goes_on_under_its_number(layout: Layout) -> None:
    for name in "ab":
        (layout.descriptor / name).write_text(name)
    set_aside(layout, layout.descriptor / "a")
    assert run_number(layout) == 1
    assert find_set_aside(layout, [layout.descriptor / n for n in "ab"]) == [
        layout.descriptor / "a"
    ]
    end_run(layout)
    assert run_number(layout) == 2


def test_a_folder_is_set_aside_whole(layout: Layout) -> None:
    folder = layout.descriptor / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below/a.txt").write_text("mine")
    set_aside(layout, folder)
    assert not folder.exists()
    assert (layout.replaced / "1/descriptor/folder/below/a.txt").read_text() == "mine"


def test_without_hard_links_a_copy_is_set_aside(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no hard links here")

    monkeypatch.setattr("os.link", refuse)
    path = layout.descriptor / "a.txt"
    path.write_text("mine")
    set_aside(layout, path, leave=True)
    kept = layout.replaced / "1/descriptor/a.txt"
    assert [path.read_text(), kept.read_text()] == ["mine", "mine"]
    assert [p.name for p in kept.parent.iterdir()] == ["a.txt"]
    set_aside(layout, path)
    assert not path.exists()
    assert [p.name for p in kept.parent.iterdir()] == ["a.txt"]


def test_nothing_is_overwritten_in_replaced(layout: Layout) -> None:
    path = layout.descriptor / "a.nii.gz"
    for text in ("one", "two", "three"):
        path.write_text(text)
        set_aside(layout, path)
    found = {p.name: p.read_text() for p in (layout.replaced / "1/descriptor").iterdir()}
    assert found == {"a.nii.gz": "one", "a (2).nii.gz": "two", "a (3).nii.gz": "three"}
