"""Work on a ROOT_DIR: alone or as a reader, by a lock that the operating system holds.

SIGTERM ends work as Ctrl-C does: in order.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing import current_process
from pathlib import Path

from amos_dask.archive.recognise import require_outside_archives
from amos_dask.errors import AmosDaskError, raise_on_sigterm
from amos_dask.root.layout import Layout
from amos_dask.root.staging import end_run, remove_if_empty, remove_temporaries


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
        When somebody else works there, ROOT_DIR cannot be written to, or it or an output lies in an
        archive.
    """
    _require_own_process()
    _require_folders(layout.root, layout.grouped, layout.descriptor, layout.state)
    for path in (layout.root, *outputs):
        require_outside_archives(path, layout.dataset)
    made = [path for path in (layout.state, *layout.state.parents) if not path.exists()]
    try:
        with raise_on_sigterm(), hold_lock(layout, no_lock=no_lock):
            try:
                yield
            except BaseException:
                remove_temporaries(layout, forget=False)
                raise
            end_run(layout)
    finally:
        remove_if_empty(layout.journals, *made)


def working_where_possible(
    layout: Layout, *, no_lock: bool = False
) -> AbstractContextManager[None]:
    """Return `working_on`, or `reading_from` where ROOT_DIR cannot be written to.

    For what need not write there: nobody else can either, as far as can be told from here.
    """
    can_write = os.access(layout.state if layout.state.exists() else layout.root, os.W_OK)
    return working_on(layout, no_lock=no_lock) if can_write else reading_from(layout)


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
    with ExitStack() as held:
        if shared and layout.state.is_dir():
            _lock_folder(layout, fcntl.LOCK_SH, held)
            _look_at_lock_file(layout)
        elif not (shared or no_lock):
            descriptor = _lock_file(layout, held)
            _lock_folder(layout, fcntl.LOCK_EX, held)
            os.truncate(descriptor, 0)
            now = datetime.now(UTC).isoformat(" ", "seconds")
            owner = f"since {now} by process {os.getpid()} on {socket.gethostname()}"
            os.write(descriptor, owner.encode())
        yield


def _lock_folder(layout: Layout, kind: int, held: ExitStack) -> None:
    """Lock the state folder, which readers can lock without writing anything.

    Where a file system cannot lock folders, as NFS, readers do not keep those who write off.
    """
    descriptor = os.open(layout.state, os.O_RDONLY | os.O_CLOEXEC)
    held.callback(os.close, descriptor)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        if kind == fcntl.LOCK_SH:
            _look_at_lock_file(layout)  # which tells who it is
        raise AmosDaskError(f"{layout.root}: in use by a reader; wait for it.") from error
    except OSError:
        return


def _look_at_lock_file(layout: Layout) -> None:
    """Raise when somebody who writes holds the lock file."""
    with suppress(OSError), layout.lock.open("rb") as file:  # there is none, or there are no locks
        _flock(layout, file.fileno(), fcntl.LOCK_SH)


def _lock_file(layout: Layout, held: ExitStack) -> int:
    """Return the descriptor of the lock file, locked; it is removed in the end."""
    while True:
        try:
            layout.state.mkdir(parents=True, exist_ok=True)
            _hide_as_root_dir_is(layout)
            is_new = not layout.lock.exists()
            descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # whoever held it is done, and removed the empty folder
            continue
        except OSError as error:
            reason = error.strerror or error
            raise AmosDaskError(f"{layout.root}: cannot be written to ({reason}).") from error
        with ExitStack() as opened:
            opened.callback(os.close, descriptor)
            try:
                _flock(layout, descriptor, fcntl.LOCK_EX)
            except OSError as error:
                if is_new:
                    layout.lock.unlink(missing_ok=True)
                raise AmosDaskError(
                    f"{layout.root}: its file system has no locks ({error.strerror}); with "
                    "--no_lock, make sure that nobody else works there: two runs at once mix their "
                    "files."
                ) from error
            with suppress(FileNotFoundError):  # whoever held it has just removed the file
                if os.path.samestat(os.fstat(descriptor), layout.lock.stat()):
                    opened.callback(layout.lock.unlink, missing_ok=True)
                    held.push(opened.pop_all())
                    return descriptor


def _hide_as_root_dir_is(layout: Layout) -> None:
    """Make the state folder no more readable than ROOT_DIR."""
    allowed, mode = (stat.S_IMODE(path.stat().st_mode) for path in (layout.root, layout.state))
    if mode & 0o777 & ~allowed:
        with suppress(PermissionError):  # it is another user's, who made it so
            layout.state.chmod(mode & (allowed | ~0o777))


def _require_own_process() -> None:
    """End a process that imports a script which runs us: it is to be a worker, not to run it."""
    if getattr(current_process(), "_inheriting", False):
        raise SystemExit(
            "amos-dask: the script needs \"if __name__ == '__main__':\" around what it runs, since "
            "workers import it."
        )


def _flock(layout: Layout, descriptor: int, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError as error:
        # Nothing is written there yet by whoever has just begun, nor ever by who only looks.
        owner = os.pread(descriptor, 1000, 0).decode(errors="replace") or "by another program"
        raise AmosDaskError(f"{layout.root}: in use {owner}; wait for it.") from error


def _require_folders(*places: Path) -> None:
    for path in places:
        if path.is_symlink() and not path.exists():
            raise AmosDaskError(f"{path} leads to nothing; is a disk not mounted?")
        if path.exists() and not path.is_dir():
            raise AmosDaskError(f"{path}: a file where a folder goes; move it elsewhere.")
