"""Work on a ROOT_DIR: alone or as a reader, by a lock that the operating system holds.

SIGTERM ends work as Ctrl-C does: in order.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from amos_dask.errors import AmosDaskError, Terminated
from amos_dask.root.layout import Layout
from amos_dask.root.staging import remove_if_empty, remove_leftovers_below


@contextmanager
def working_on(layout: Layout, *outputs: Path, no_lock: bool = False) -> Iterator[None]:
    """Hold ROOT_DIR's lock within the ``with`` block, and leave no temporary files on a failure.

    SIGTERM raises `Terminated`. Where nothing was kept in the state folder, which holds the lock,
    it is gone afterwards as it was before.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    *outputs : Path
        Folders that tasks write to and that may lie elsewhere.
    no_lock : bool
        Take no lock, on a file system that has none.

    Raises
    ------
    AmosDaskError
        When somebody else works there, or ROOT_DIR cannot be written to.
    """
    made = [path for path in (layout.state, *layout.state.parents) if not path.exists()]
    try:
        with raise_on_sigterm(), hold_lock(layout, no_lock=no_lock):
            try:
                yield
            except BaseException:
                remove_leftovers_below(layout.descriptor, layout.grouped, layout.state, *outputs)
                raise
    finally:
        remove_if_empty(*made)


@contextmanager
def working_where_possible(layout: Layout) -> Iterator[None]:
    """As `working_on`, but without a lock where ROOT_DIR cannot be written to.

    For what need not write there: nobody else can either, as far as can be told from here.
    """
    if os.access(layout.state if layout.state.exists() else layout.root, os.W_OK):
        with working_on(layout):
            yield
    else:
        with reading_from(layout):
            yield


@contextmanager
def reading_from(layout: Layout) -> Iterator[None]:
    """Keep those who write off a ROOT_DIR within the ``with`` block; other readers may share it.

    SIGTERM raises `Terminated`. Nothing is left behind.

    Raises
    ------
    AmosDaskError
        When somebody works there.
    """
    with raise_on_sigterm(), hold_lock(layout, shared=True):
        yield


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


@contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` in the ``with`` block when SIGTERM arrives.

    Only the main thread can listen to signals; elsewhere this does nothing. A second SIGTERM while
    the first is answered ends the process as SIGTERM does.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    raise Terminated
