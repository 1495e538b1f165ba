"""One run at a time on a ROOT_DIR."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from amos_dask.errors import AmosDaskError
from amos_dask.root.layout import Layout

_SAME_START_SECONDS = 2.0
_SECONDS_TO_WRITE = 0.5
_PROC = "/proc"


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock.

    Parameters
    ----------
    host : str
        Name of its machine.
    pid : int
        Its process number there.
    started : float
        When the process started, in seconds since 1970: numbers of processes come again.
    since : str
        When the lock was taken, for people.
    ticks : int, optional
        The same start in the kernel's own count since the machine started, which no step of the
        clock moves; where ``/proc`` is there.
    boot : str, optional
        Which start of the machine that count is of.
    """

    host: str
    pid: int
    started: float
    since: str
    ticks: int | None = None
    boot: str | None = None

    @staticmethod
    def of_this_process() -> Owner:
        """Return this process as an owner."""
        return Owner.of_process(os.getpid())

    @staticmethod
    def of_process(pid: int) -> Owner:
        """Return a process of this machine as an owner."""
        started = psutil.Process(pid).create_time()
        now = datetime.now(UTC).isoformat(" ", "seconds")
        boot = _read_boot()
        ticks = None if boot is None else _read_ticks(pid)
        return Owner(socket.gethostname(), pid, started, now, ticks, boot)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended; of other machines nothing is known."""
        if self.host != socket.gethostname():
            return False
        boot = _read_boot()
        if self.ticks is None or self.boot is None or boot is None:
            return self._seems_dead()
        if boot != self.boot:  # the machine was started again since
            return True
        ticks = _read_ticks(self.pid)
        return not psutil.pid_exists(self.pid) if ticks is None else ticks != self.ticks

    def _seems_dead(self) -> bool:
        """Tell it by the clock, where there is nothing better."""
        try:
            started = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False
        return abs(started - self.started) > _SAME_START_SECONDS


@contextmanager
def hold_lock(layout: Layout, *, break_lock: bool = False) -> Iterator[None]:
    """Keep other runs off a ROOT_DIR within the ``with`` block.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR; its state folder is made when it is missing.
    break_lock : bool
        Take the lock from whoever holds it.

    Raises
    ------
    AmosDaskError
        When another run that may be alive holds the lock, or ROOT_DIR cannot be written to.
    """
    me = Owner.of_this_process()
    try:
        while not _take(layout.lock, me):
            _remove_outdated(layout, break_lock=break_lock)
            break_lock = False  # whoever takes it now is alive
    except OSError as error:
        reason = error.strerror or error
        raise AmosDaskError(f"{layout.root}: cannot be written to ({reason}).") from error
    try:
        yield
    finally:
        if read_owner(layout) == me:
            layout.lock.unlink(missing_ok=True)


def _remove_outdated(layout: Layout, *, break_lock: bool) -> None:
    """Remove the lock unless its owner may be alive; raise then.

    One process at a time: a lock that was just taken over must not be taken for the old one.
    """
    try:
        turn = os.open(layout.state, os.O_RDONLY)
    except FileNotFoundError:  # whoever held it is done, and removed the empty folder
        return
    try:
        with suppress(OSError):  # a file system without locks: then it is as good as it gets
            fcntl.flock(turn, fcntl.LOCK_EX)
        owner = read_owner(layout)
        if owner is None and layout.lock.exists():
            time.sleep(_SECONDS_TO_WRITE)  # it may just be written
            owner = read_owner(layout)
        if owner is not None and not break_lock and not owner.is_dead:
            raise AmosDaskError(_in_use(layout, owner))
        layout.lock.unlink(missing_ok=True)
    finally:
        os.close(turn)


def require_unlocked(layout: Layout) -> None:
    """Raise `AmosDaskError` when a run that may be alive works on ROOT_DIR."""
    owner = read_owner(layout)
    if owner is not None and not owner.is_dead:
        raise AmosDaskError(_in_use(layout, owner))


def read_owner(layout: Layout) -> Owner | None:
    """Return who holds the lock; None without one, or when it cannot be understood."""
    try:
        return Owner(**json.loads(layout.lock.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _take(lock: Path, me: Owner) -> bool:
    """Make the lock with its content in one go; a link cannot replace a file that is there."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    content = lock.with_name(f".{lock.name}.{me.host}.{me.pid}.part~")
    text = json.dumps(asdict(me))
    try:
        content.write_text(text, encoding="utf-8")
    except FileNotFoundError:  # somebody who was done has just removed the empty folder
        return False
    try:
        os.link(content, lock)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        return _take_without_link(lock, text)
    finally:
        with suppress(OSError):
            content.unlink()
    return True


def _take_without_link(lock: Path, text: str) -> bool:
    try:
        with lock.open("x", encoding="utf-8") as file:
            file.write(text)
    except (FileExistsError, FileNotFoundError):  # held, or the empty folder was just removed
        return False
    return True


def _read_boot() -> str | None:
    """Return what tells this start of the machine from others; None where that is not told."""
    try:
        return Path(_PROC, "sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _read_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since the machine did; None when not told."""
    try:
        stat = Path(_PROC, str(pid), "stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])  # field 22; the second is a free name
    except (OSError, ValueError, IndexError):
        return None


def _in_use(layout: Layout, owner: Owner) -> str:
    return (
        f"{layout.root}: in use since {owner.since} by process {owner.pid} on {owner.host}; wait "
        "for it, or if it is dead, use 'amos-dask run --break_lock'."
    )
