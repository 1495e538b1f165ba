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
from amos_dask.store.layout import Layout

_SAME_START_SECONDS = 2.0
_SECONDS_TO_WRITE = 0.5


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
    """

    host: str
    pid: int
    started: float
    since: str

    @staticmethod
    def of_this_process() -> Owner:
        """Return this process as an owner."""
        started = psutil.Process().create_time()
        now = datetime.now(UTC).isoformat(" ", "seconds")
        return Owner(socket.gethostname(), os.getpid(), started, now)

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended; of other machines nothing is known."""
        if self.host != socket.gethostname():
            return False
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
        When another run that may be alive holds the lock.
    """
    layout.state.mkdir(parents=True, exist_ok=True)
    me = Owner.of_this_process()
    while not _take(layout.lock, me):
        _remove_outdated(layout, break_lock=break_lock)
        break_lock = False  # whoever takes it now is alive
    try:
        yield
    finally:
        if read_owner(layout) == me:
            layout.lock.unlink(missing_ok=True)


def _remove_outdated(layout: Layout, *, break_lock: bool) -> None:
    """Remove the lock unless its owner may be alive; raise then.

    One process at a time: a lock that was just taken over must not be taken for the old one.
    """
    turn = os.open(layout.state, os.O_RDONLY)
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
    content = lock.with_name(f".{lock.name}.{me.host}.{me.pid}.part~")
    content.write_text(json.dumps(asdict(me)), encoding="utf-8")
    try:
        os.link(content, lock)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        return _take_without_link(lock, content)
    finally:
        with suppress(OSError):
            content.unlink()
    return True


def _take_without_link(lock: Path, content: Path) -> bool:
    try:
        with lock.open("x", encoding="utf-8") as file:
            file.write(content.read_text(encoding="utf-8"))
    except FileExistsError:
        return False
    return True


def _in_use(layout: Layout, owner: Owner) -> str:
    return (
        f"{layout.root}: in use since {owner.since} by process {owner.pid} on {owner.host}; wait "
        "for it, or if it is dead, use 'amos-dask run --break_lock'."
    )
