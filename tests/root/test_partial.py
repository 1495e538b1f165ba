"""A file that arrives over several runs: its bytes and MD5, its lock, its name in the end."""

from __future__ import annotations

import fcntl
import hashlib
from pathlib import Path
from typing import Any

import pytest

from amos_dask.downloading.partial import Origin, PartialFile, partial_path
from amos_dask.errors import AmosDaskError

CONTENT = bytes(range(256)) * 100
ORIGIN = Origin("https://a.org/a.zip", '"one"')


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def final(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "a.zip"


def test_what_is_written_is_counted_and_summed(final: Path) -> None:
    with PartialFile(final) as partial:
        assert (partial.n_bytes, partial.md5) == (0, md5(b""))
        partial.append(CONTENT[:5])
        partial.append(CONTENT[5:])
        assert (partial.n_bytes, partial.md5) == (len(CONTENT), md5(CONTENT))
        partial.restart()
        assert (partial.n_bytes, partial.md5) == (0, md5(b""))
        partial.append(CONTENT)
        assert not final.exists()
        partial.publish()
    assert [path.name for path in final.parent.iterdir()] == ["a.zip"]
    assert final.read_bytes() == CONTENT


def test_the_next_one_goes_on(final: Path) -> None:
    with PartialFile(final) as partial:
        partial.append(CONTENT[:1000])
        partial.came_from(ORIGIN)
    seen: list[int] = []
    with PartialFile(final) as partial:
        assert (partial.n_bytes, partial.origin) == (1000, ORIGIN)
        partial.read_again(seen.append)
        assert (partial.n_bytes, partial.md5) == (1000, md5(CONTENT[:1000]))
        partial.append(CONTENT[1000:])
        partial.publish()
    assert seen == [1000]
    assert final.read_bytes() == CONTENT


@pytest.mark.parametrize("discards", [True, False])
def test_nothing_leaves_no_trace(final: Path, tmp_path: Path, discards: bool) -> None:
    with PartialFile(final) as partial:
        partial.came_from(ORIGIN)
        if discards:
            partial.append(CONTENT)
            partial.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    with PartialFile(tmp_path / "a.zip"):
        pass
    assert tmp_path.is_dir()


def test_it_has_one_writer(final: Path) -> None:
    with PartialFile(final) as partial:
        partial.append(CONTENT)
        with pytest.raises(AmosDaskError, match="another process"), PartialFile(final):
            pass
        partial.append(CONTENT)
    assert partial_path(final).read_bytes() == CONTENT * 2


@pytest.mark.parametrize("is_renamed", [True, False])
def test_what_another_writer_finished_meanwhile_is_not_written_to(
    final: Path, monkeypatch: pytest.MonkeyPatch, is_renamed: bool
) -> None:
    def finish_first(file: Any, operation: int) -> None:
        if is_renamed:
            partial_path(final).rename(final)
        else:
            partial_path(final).unlink()

    final.parent.mkdir(parents=True)
    partial_path(final).write_bytes(CONTENT)
    monkeypatch.setattr(fcntl, "flock", finish_first)
    with pytest.raises(AmosDaskError, match="another process"), PartialFile(final):
        pass
    assert final.exists() == is_renamed
    assert not is_renamed or final.read_bytes() == CONTENT


def test_a_file_system_without_locks_will_do(final: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Any, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with PartialFile(final) as partial:
        partial.append(CONTENT)
        partial.publish()
    assert final.read_bytes() == CONTENT


def test_a_name_that_is_taken_is_left_alone(final: Path) -> None:
    with PartialFile(final) as partial:
        partial.append(CONTENT)
        final.write_text("mine")
        with pytest.raises(FileExistsError):
            partial.publish()
    assert final.read_text() == "mine"
    assert partial_path(final).read_bytes() == CONTENT
