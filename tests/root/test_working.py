"""One owner of a ROOT_DIR at a time, readers together, and what a killed owner leaves."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from amos_dask.errors import AmosDaskError
from amos_dask.root.layout import Layout
from amos_dask.root.working import hold_lock, working_on

HOLD = """
import sys
from pathlib import Path
from amos_dask.root.layout import Layout
from amos_dask.root.working import hold_lock
with hold_lock(Layout(Path(sys.argv[1])), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "AMOS22")
    layout.state.mkdir(parents=True)
    return layout


@contextmanager
def another_owner(
    layout: Layout, kind: str = "alone", *before: str
) -> Iterator[subprocess.Popen[str]]:
    """Let another process hold the lock."""
    command = [*before, sys.executable, "-c", HOLD, str(layout.root), kind]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def refusal(layout: Layout, *, shared: bool = False) -> str:
    with pytest.raises(AmosDaskError) as refused, hold_lock(layout, shared=shared):
        pytest.fail("the lock was taken")
    return str(refused.value)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_a_lock_is_released_whatever_happens(
    layout: Layout, error: type[BaseException] | None, shared: bool
) -> None:
    for _ in range(2):
        try:
            with hold_lock(layout, shared=shared):
                assert layout.lock.exists() != shared
                if error is not None:
                    raise error
        except BaseException as raised:
            assert type(raised) is error  # noqa: PT017  (None is no error to expect)
        assert list(layout.state.iterdir()) == []


def test_a_second_owner_is_refused_in_one_line_that_names_the_first(layout: Layout) -> None:
    with another_owner(layout) as process:
        said = refusal(layout)
        assert "\n" not in said
        assert f"process {process.pid} on {os.uname().nodename}" in said
        assert str(layout.root) in said
        assert refusal(layout, shared=True) == said


def test_a_thread_of_the_same_process_is_refused_too(layout: Layout) -> None:
    with hold_lock(layout):
        assert f"process {os.getpid()}" in refusal(layout)


def test_another_roots_lock_does_not_matter(layout: Layout, tmp_path: Path) -> None:
    with hold_lock(layout), hold_lock(Layout(tmp_path / "other")):
        pass


def test_readers_share_and_keep_writers_off(layout: Layout) -> None:
    with another_owner(layout, "shared"), hold_lock(layout, shared=True):
        assert "in use by a reader" in refusal(layout)
    with hold_lock(layout):
        pass


def test_the_last_reader_leaves_nothing(layout: Layout) -> None:
    with hold_lock(layout, shared=True):
        with hold_lock(layout, shared=True):
            pass
        assert "in use" in refusal(layout)
    assert list(layout.state.iterdir()) == []


def test_a_killed_owner_locks_nobody_out(layout: Layout) -> None:
    with another_owner(layout) as process:
        process.kill()
        process.wait()
        assert layout.lock.exists()
        with hold_lock(layout):
            assert f"process {os.getpid()} on" in layout.lock.read_text()


@pytest.mark.netns
def test_containers_with_one_host_name_do_not_both_work(layout: Layout) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    unshare = ("unshare", "--pid", "--fork", "--kill-child")
    with another_owner(layout, "alone", *unshare):
        assert "in use since" in refusal(layout)


def test_a_lock_of_an_earlier_version_locks_nobody_out(layout: Layout) -> None:
    layout.lock.write_text('{"host": "elsewhere", "pid": 1}')
    with hold_lock(layout):
        pass


def test_a_file_system_without_locks_is_said(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert "--no_lock" in refusal(layout)
    assert not layout.lock.exists()  # nor is an empty one left
    with hold_lock(layout, no_lock=True):
        pass


def test_a_root_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in refusal(Layout(tmp_path / "file" / "AMOS22"))


def test_many_at_once_take_turns(layout: Layout) -> None:
    code = HOLD.replace(
        '    print("held", flush=True)\n    sys.stdin.read()\n',
        (
            "    path = Path(sys.argv[1]).with_name('busy')\n"
            "    path.touch(exist_ok=False)\n"
            "    path.unlink()\n"
        ),
    )
    commands = [[sys.executable, "-c", code, str(layout.root), "alone"] for _ in range(4)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    said = [process.communicate()[1].decode() for process in processes]
    assert all(not text or "in use since" in text or "in use by" in text for text in said)
    assert "" in said


def test_a_reader_makes_nothing_where_nobody_has_worked(tmp_path: Path) -> None:
    with hold_lock(Layout(tmp_path / "AMOS22"), shared=True):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755, 0o770])
@pytest.mark.parametrize("is_there", [False, True])
def test_the_state_folder_is_no_more_readable_than_root_dir(
    tmp_path: Path, mode: int, is_there: bool
) -> None:
    layout = Layout(tmp_path / "AMOS22")
    layout.root.mkdir()
    layout.root.chmod(mode)
    if is_there:
        layout.receipts.mkdir(parents=True)
        layout.state.chmod(0o777)
    with working_on(layout):
        assert layout.state.stat().st_mode & 0o777 & ~mode == 0
        assert layout.state.stat().st_mode & 0o700 == 0o700
        assert layout.root.stat().st_mode & 0o777 == mode
