"""One run at a time: who holds the lock, who may take it over, and who may release it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from amos_dask.errors import AmosDaskError
from amos_dask.root import lock
from amos_dask.root.layout import Layout
from amos_dask.root.lock import Owner, hold_lock, read_owner, require_unlocked

ME = Owner.of_this_process()


@pytest.fixture(params=["links", "no links"], autouse=True)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test on file systems with and without hard links."""

    def refuse(source: Path, target: Path) -> NoReturn:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(lock, "_SECONDS_TO_WRITE", 0.01)
    if request.param == "no links":
        monkeypatch.setattr(os, "link", refuse)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "AMOS22")


@pytest.fixture
def another_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is not this one and lives until its stdin is closed."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def of_process(process: subprocess.Popen[bytes]) -> Owner:
    return Owner.of_process(process.pid)


def by_the_clock(owner: Owner) -> Owner:
    """Return an owner as told where there is no ``/proc``."""
    return replace(owner, ticks=None, boot=None)


def lock_for(layout: Layout, owner: Owner) -> None:
    layout.state.mkdir(parents=True, exist_ok=True)
    layout.lock.write_text(json.dumps(asdict(owner)))


def a_dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def refusal(layout: Layout, *, break_lock: bool = False) -> str:
    with pytest.raises(AmosDaskError) as refused, hold_lock(layout, break_lock=break_lock):
        pytest.fail("the lock was taken")
    return str(refused.value)


# ---------------------------------------------------------------- taken and released


def test_a_lock_names_its_owner_and_is_gone_afterwards(layout: Layout) -> None:
    with hold_lock(layout):
        owner = read_owner(layout)
        assert owner is not None
        assert replace(owner, since="") == replace(ME, since="")
        assert [path.name for path in layout.state.iterdir()] == ["lock"]
    assert list(layout.state.iterdir()) == []
    assert read_owner(layout) is None


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_lock_is_released_whatever_happens(layout: Layout, error: type[BaseException]) -> None:
    with pytest.raises(error), hold_lock(layout):
        raise error
    assert list(layout.state.iterdir()) == []


def test_a_lock_can_be_taken_again(layout: Layout) -> None:
    for _ in range(2):
        with hold_lock(layout):
            assert layout.lock.exists()


def test_another_roots_lock_does_not_matter(layout: Layout, tmp_path: Path) -> None:
    with hold_lock(layout), hold_lock(Layout(tmp_path / "other")):
        require_unlocked(Layout(tmp_path / "third"))


# ---------------------------------------------------------------- another owner that may be alive


def test_a_second_owner_is_refused_in_one_line_that_names_the_first(layout: Layout) -> None:
    with hold_lock(layout):
        held = layout.lock.read_bytes()
        said = refusal(layout)
        assert "\n" not in said
        assert f"process {ME.pid} on {ME.host}" in said
        assert str(layout.root) in said
        assert "--break_lock" in said
        assert layout.lock.read_bytes() == held
        assert [path.name for path in layout.state.iterdir()] == ["lock"]


def test_a_process_that_lives_keeps_its_lock(
    layout: Layout, another_process: subprocess.Popen[bytes]
) -> None:
    lock_for(layout, of_process(another_process))
    assert f"process {another_process.pid} on" in refusal(layout)
    with pytest.raises(AmosDaskError, match=f"process {another_process.pid} on"):
        require_unlocked(layout)


def test_a_process_that_cannot_be_asked_keeps_its_lock(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(pid: int) -> NoReturn:
        raise psutil.AccessDenied(pid)

    lock_for(layout, by_the_clock(replace(ME, started=0.0)))
    with monkeypatch.context() as patched:
        patched.setattr(psutil, "Process", denied)
        with pytest.raises(AmosDaskError):
            require_unlocked(layout)


def test_a_process_of_another_machine_keeps_its_lock(layout: Layout) -> None:
    owner = replace(ME, host="elsewhere", pid=a_dead_pid())
    lock_for(layout, owner)
    assert f"process {owner.pid} on elsewhere" in refusal(layout)
    with pytest.raises(AmosDaskError, match="elsewhere"):
        require_unlocked(layout)
    assert read_owner(layout) == owner


# ---------------------------------------------------------------- locks that may be taken over


def is_taken(layout: Layout, *, break_lock: bool = False) -> bool:
    with hold_lock(layout, break_lock=break_lock):
        owner = read_owner(layout)
    assert list(layout.state.iterdir()) == []
    return owner is not None and replace(owner, since="") == replace(ME, since="")


def test_a_dead_owners_lock_is_taken_over(layout: Layout) -> None:
    lock_for(layout, replace(ME, pid=a_dead_pid()))
    require_unlocked(layout)
    assert is_taken(layout)


def test_a_lock_of_a_number_that_came_again_is_taken_over(
    layout: Layout, another_process: subprocess.Popen[bytes]
) -> None:
    owner = of_process(another_process)
    lock_for(layout, by_the_clock(replace(owner, started=owner.started - 3600)))
    require_unlocked(layout)
    assert is_taken(layout)
    assert owner.ticks is not None
    lock_for(layout, replace(owner, ticks=owner.ticks - 1))
    require_unlocked(layout)
    assert is_taken(layout)


def test_a_step_of_the_clock_kills_nobody(
    layout: Layout, another_process: subprocess.Popen[bytes]
) -> None:
    owner = of_process(another_process)
    lock_for(layout, replace(owner, started=owner.started - 86400))
    assert f"process {owner.pid} on" in refusal(layout)


def test_a_lock_of_before_the_machine_was_started_is_taken_over(
    layout: Layout, another_process: subprocess.Popen[bytes]
) -> None:
    lock_for(layout, replace(of_process(another_process), boot="another"))
    require_unlocked(layout)
    assert is_taken(layout)


def test_a_process_that_proc_does_not_show_keeps_its_lock(
    layout: Layout, another_process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_for(layout, of_process(another_process))
    monkeypatch.setattr(lock, "_read_ticks", lambda pid: None)
    with pytest.raises(AmosDaskError):
        require_unlocked(layout)


def test_without_proc_the_clock_tells(
    layout: Layout,
    another_process: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    known = of_process(another_process)
    monkeypatch.setattr(lock, "_PROC", str(tmp_path / "no proc"))
    owner = of_process(another_process)
    assert (owner.ticks, owner.boot) == (None, None)
    for living in (owner, known):
        lock_for(layout, living)
        assert refusal(layout)
    lock_for(layout, replace(known, started=known.started - 3600))
    assert is_taken_by_the_clock(layout)


def is_taken_by_the_clock(layout: Layout) -> bool:
    with hold_lock(layout):
        owner = read_owner(layout)
    return owner is not None and owner.pid == ME.pid


def test_the_ticks_of_a_process_with_an_odd_name_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lock, "_PROC", str(tmp_path))
    (tmp_path / "7").mkdir()
    fields = " ".join(str(n) for n in range(4, 53))
    (tmp_path / "7" / "stat").write_text(f"7 (a) S 1) S {fields}\n")
    assert lock._read_ticks(7) == 22
    (tmp_path / "7" / "stat").write_text("")
    assert lock._read_ticks(7) is None


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_lock_of_an_earlier_version_counts(
    layout: Layout, another_process: subprocess.Popen[bytes], *, is_alive: bool
) -> None:
    content = asdict(of_process(another_process))
    del content["ticks"], content["boot"]
    layout.state.mkdir(parents=True)
    layout.lock.write_text(json.dumps(content if is_alive else content | {"pid": a_dead_pid()}))
    if is_alive:
        assert f"process {another_process.pid} on" in refusal(layout)
    else:
        assert is_taken(layout)


@pytest.mark.parametrize("seconds", [-1.0, 1.0])
def test_a_clock_that_is_not_exact_kills_nobody(
    layout: Layout, another_process: subprocess.Popen[bytes], seconds: float
) -> None:
    owner = of_process(another_process)
    lock_for(layout, by_the_clock(replace(owner, started=owner.started + seconds)))
    assert refusal(layout)


def test_a_lock_of_another_machine_is_taken_when_it_is_asked_for(layout: Layout) -> None:
    lock_for(layout, replace(ME, host="elsewhere"))
    assert is_taken(layout, break_lock=True)


def test_a_lock_is_broken_once_only(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = replace(ME, host="elsewhere")
    lock_for(layout, owner)
    take, calls = lock._take, []

    def another_is_faster(path: Path, me: Owner) -> bool:
        calls.append(path)
        assert len(calls) <= 2, "the lock was broken twice"
        if not path.exists():
            lock_for(layout, replace(owner, host="a third"))
        return take(path, me)

    monkeypatch.setattr(lock, "_take", another_is_faster)
    assert "on a third" in refusal(layout, break_lock=True)


def test_a_lock_cut_anywhere_is_taken_over(layout: Layout) -> None:
    lock_for(layout, replace(ME, host="elsewhere"))
    content = layout.lock.read_bytes()
    for n_bytes in range(len(content)):
        layout.lock.write_bytes(content[:n_bytes])
        require_unlocked(layout)
        assert is_taken(layout)


@pytest.mark.parametrize("content", ["5", "[]", "{}", "null", '{"host": "a"}', "\xff\x00"])
def test_a_lock_that_says_nothing_is_taken_over(layout: Layout, content: str) -> None:
    layout.state.mkdir(parents=True)
    layout.lock.write_bytes(content.encode("latin-1"))
    require_unlocked(layout)
    assert is_taken(layout)


# ---------------------------------------------------------------- no place for it


@pytest.mark.parametrize("what", ["mkdir", "write_text"])
def test_a_root_that_cannot_be_written_to_is_named(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def refuse(path: Path, *words: Any, **options: Any) -> NoReturn:
        raise OSError(30, "Read-only file system", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(Path, what, refuse)
        said = refusal(layout)
    assert said == f"{layout.root}: cannot be written to (Read-only file system)."


def test_a_folder_that_another_removed_meanwhile_is_made_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, removed = Path.write_text, list[Path]()

    def remove_first(path: Path, *words: Any, **options: Any) -> int:
        if not removed:
            removed.append(path)
            path.parent.rmdir()
        return write(path, *words, **options)

    monkeypatch.setattr(Path, "write_text", remove_first)
    assert is_taken(layout)


# ---------------------------------------------------------------- not the own lock


def test_a_lock_that_another_took_over_is_not_released(layout: Layout) -> None:
    other = replace(ME, host="elsewhere")
    with hold_lock(layout):
        lock_for(layout, other)
    assert read_owner(layout) == other


def test_a_lock_that_is_gone_is_no_error(layout: Layout) -> None:
    with hold_lock(layout):
        layout.lock.unlink()


# ---------------------------------------------------------------- at once


def test_of_many_at_once_one_gets_the_lock(layout: Layout) -> None:
    program = (
        "import sys, time; from pathlib import Path\n"
        "from amos_dask.errors import AmosDaskError; from amos_dask.root.layout import Layout\n"
        "from amos_dask.root.lock import hold_lock\n"
        "print(flush=True); sys.stdin.readline()\n"
        "try:\n"
        "    with hold_lock(Layout(Path(sys.argv[1]))):\n"
        "        print('taken', flush=True); sys.stdin.read()\n"
        "except AmosDaskError: print('refused', flush=True)\n"
    )
    with ExitStack() as stack:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [
            stack.enter_context(
                subprocess.Popen([sys.executable, "-c", program, str(layout.root)], **pipes)
            )
            for _ in range(4)
        ]
        streams: list[tuple[Any, Any]] = [(p.stdin, p.stdout) for p in processes]
        for _, stdout in streams:
            assert stdout.readline() == "\n"  # ready
        for stdin, _ in streams:
            stdin.write("\n")
            stdin.flush()
        said = sorted(stdout.readline().strip() for _, stdout in streams)
        assert said == ["refused", "refused", "refused", "taken"]
        for stdin, _ in streams:
            stdin.close()
    assert list(layout.state.iterdir()) == []
