"""One owner of a ROOT_DIR at a time: a lock that the operating system holds."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from amos_dask.errors import AmosDaskError
from amos_dask.root.layout import Layout


@contextmanager
def hold_lock(layout: Layout, *, shared: bool = False, no_lock: bool = False) -> Iterator[None]:
    """Keep others off a ROOT_DIR within the ``with`` block.

    The operating system holds the lock and releases it when the process ends, however it ends: a
    lock file that a killed process leaves locks nobody out. It holds among all processes that the
    file system's locks reach, also in containers with one host name.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR; its state folder is made when it is missing.
    shared : bool
        For who only reads: several may at once. Where there is no state folder yet, or it cannot be
        written to, no lock is taken: nobody works there, as far as can be told from here.
    no_lock : bool
        Take none, where the file system has no locks: then two runs at once mix their files.

    Raises
    ------
    AmosDaskError
        When another holds the lock, the file system refuses locks, or ROOT_DIR cannot be written.
    """
    if no_lock or (shared and not os.access(layout.state, os.W_OK)):
        yield
        return
    descriptor = _take(layout, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        if not shared:
            os.truncate(descriptor, 0)
            os.write(descriptor, _describe_owner().encode())
        yield
    finally:
        _release(layout.lock, descriptor)


def _take(layout: Layout, kind: int) -> int:
    """Return the descriptor of the locked lock file."""
    while True:
        try:
            layout.state.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # whoever held it is done, and removed the empty folder
            continue
        except OSError as error:
            reason = error.strerror or error
            raise AmosDaskError(f"{layout.root}: cannot be written to ({reason}).") from error
        try:
            _lock(layout, descriptor, kind)
            if _is_in_place(layout.lock, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has just removed the file


def _lock(layout: Layout, descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.pread(descriptor, 1000, 0).decode(errors="replace") or "by a reader"
        raise AmosDaskError(f"{layout.root}: in use {owner}; wait for it.") from error
    except OSError as error:
        raise AmosDaskError(
            f"{layout.root}: its file system has no locks ({error.strerror}); with --no_lock, make "
            "sure that nobody else works there: two runs at once mix their files."
        ) from error


def _is_in_place(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _release(path: Path, descriptor: int) -> None:
    """Remove the lock file unless others share it, and let go."""
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_in_place(path, descriptor):
                path.unlink()
    finally:
        os.close(descriptor)


def _describe_owner() -> str:
    now = datetime.now(UTC).isoformat(" ", "seconds")
    return f"since {now} by process {os.getpid()} on {socket.gethostname()}"


def require_unlocked(layout: Layout) -> None:
    """Raise `AmosDaskError` when somebody works on ROOT_DIR."""
    with hold_lock(layout, shared=True):
        pass
